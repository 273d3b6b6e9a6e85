import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_iou

from detector.config import IoULoss
from detector.losses.baseline import Classification, smooth_l1, softmax_classification
from detector.losses.harmonic import (
    HarmonicCriterion,
    harmonic_iou_loss,
    harmonic_loss,
    task_contrasting_loss,
)
from detector.losses.iou import paired_box_iou

REFERENCE = json.loads((Path(__file__).parent / "loss_reference.json").read_text())
UNIT = [0.0, 0.0, 1.0, 1.0]


def boxes(*rows: list[float], dtype: torch.dtype = torch.float64, grad: bool = False) -> Tensor:
    return torch.tensor(rows, dtype=dtype, requires_grad=grad)


def column(*values: float, grad: bool = False) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


def reference_terms(dtype: torch.dtype) -> dict[str, Tensor]:
    """Every term of the reference file, computed by the library."""
    given = {
        name: torch.tensor(values, dtype=torch.int64 if name == "labels" else dtype)
        for name, values in REFERENCE["inputs"].items()
    }
    classified = softmax_classification(given["class_logits"], given["labels"])
    iou = paired_box_iou(given["boxes"], given["target_boxes"])
    hiou = harmonic_iou_loss(given["boxes"], given["target_boxes"])
    localization = smooth_l1(given["offsets"], given["target_offsets"]) + 1.5 * hiou
    classification_term, localization_term = harmonic_loss(classified.loss, localization)
    return {
        "cross_entropy": classified.loss,
        "iou": iou,
        "harmonic_iou": hiou,
        "localization": localization,
        "harmonic_classification": classification_term,
        "harmonic_localization": localization_term,
        "task_contrasting": task_contrasting_loss(classified.probability, iou, classified.entropy),
    }


@pytest.mark.parametrize("term", list(REFERENCE["expected"]))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_every_term_reproduces_the_reference_numbers(dtype: torch.dtype, tolerance: float, term: str) -> None:
    computed = reference_terms(dtype)
    assert computed.keys() == REFERENCE["expected"].keys()
    assert computed[term].dtype == dtype
    expected = torch.tensor(REFERENCE["expected"][term], dtype=torch.float64)
    torch.testing.assert_close(computed[term].double(), expected, rtol=tolerance, atol=0)


def test_the_criterion_composes_the_reference_numbers() -> None:
    given = {name: torch.tensor(values) for name, values in REFERENCE["inputs"].items()}
    terms = HarmonicCriterion()(
        softmax_classification(given["class_logits"], given["labels"]),
        smooth_l1(given["offsets"], given["target_offsets"]),
        given["boxes"],
        given["target_boxes"],
    )
    expected = {name: torch.tensor(values) for name, values in REFERENCE["expected"].items()}
    torch.testing.assert_close(terms.classification, expected["harmonic_classification"], rtol=1e-5, atol=0)
    torch.testing.assert_close(terms.localization, expected["harmonic_localization"], rtol=1e-5, atol=0)
    torch.testing.assert_close(terms.task_contrasting, expected["task_contrasting"], rtol=1e-5, atol=0)


# --- harmonic IoU loss --------------------------------------------------------------------------------------


def test_equal_boxes_cost_nothing() -> None:
    same = boxes(UNIT, [3.0, 4.0, 103.5, 40.25], dtype=torch.float32)
    assert harmonic_iou_loss(same, same.clone()).tolist() == [0.0, 0.0]


def test_boxes_that_do_not_meet_cost_one() -> None:
    apart = harmonic_iou_loss(boxes(UNIT, UNIT), boxes([2.0, 0.0, 3.0, 1.0], [1.0, 1.0, 2.0, 2.0]))
    assert apart.tolist() == [1.0, 1.0]


def test_overlap_of_one_third_costs_what_the_formula_says() -> None:
    # Two boxes of area 2 share an area of 1, so their union is 3.
    third = harmonic_iou_loss(boxes([0.0, 0.0, 2.0, 1.0]), boxes([1.0, 0.0, 3.0, 1.0]))
    assert third.item() == pytest.approx((4 / 3) ** 0.8 * (2 / 3), rel=1e-12)


def test_gamma_zero_is_the_plain_iou_loss_and_gamma_one_its_square() -> None:
    predicted, target = boxes([0.0, 0.0, 2.0, 1.0]), boxes([1.0, 0.0, 3.0, 1.0])
    assert harmonic_iou_loss(predicted, target, gamma=0).item() == pytest.approx(1 - 1 / 3)
    assert harmonic_iou_loss(predicted, target, gamma=1).item() == pytest.approx(1 - 1 / 9)


@pytest.mark.parametrize("gamma", [-0.1, 1.0001, 2.0, math.nan])
def test_gamma_outside_0_to_1_is_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match="gamma must be from 0 to 1"):
        harmonic_iou_loss(boxes(UNIT), boxes(UNIT), gamma=gamma)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.8, 1.0])
def test_a_better_placed_box_never_costs_more(gamma: float) -> None:
    heights = torch.linspace(0, 1, 101, dtype=torch.float64)  # IoU of [0, 0, 1, h] with the unit box is h
    predicted = torch.stack([heights * 0, heights * 0, heights * 0 + 1, heights], dim=1)
    loss = harmonic_iou_loss(predicted, boxes(UNIT).expand(101, 4), gamma)
    assert (loss.diff() <= 0).all()


def test_well_placed_boxes_have_a_larger_share_than_in_the_plain_iou_loss() -> None:
    predicted, target = boxes([0.0, 0.0, 1.0, 0.9], [0.0, 0.0, 1.0, 0.1]), boxes(UNIT, UNIT)
    good, poor = harmonic_iou_loss(predicted, target)
    plain_good, plain_poor = harmonic_iou_loss(predicted, target, gamma=0)
    assert good / poor > plain_good / plain_poor


# --- IoU ----------------------------------------------------------------------------------------------------

coordinates = st.floats(-1e4, 1e4, allow_nan=False, width=32)


@settings(max_examples=100, deadline=None)
@given(st.lists(coordinates, min_size=8, max_size=8))
def test_paired_iou_is_torchvisions_on_proper_boxes(values: list[float]) -> None:
    corners = torch.tensor(values, dtype=torch.float64).reshape(2, 2, 2)
    a, b = torch.cat([corners.amin(dim=1), corners.amax(dim=1) + 1e-2], dim=1).unsqueeze(1)
    iou = paired_box_iou(a, b)
    torch.testing.assert_close(iou, box_iou(a, b)[0], rtol=1e-6, atol=1e-12)
    assert torch.equal(iou, paired_box_iou(b, a))
    assert 0 <= iou.item() <= 1


@pytest.mark.parametrize(
    "degenerate", [[0.5, 0.5, 0.5, 0.5], [0.2, 0.0, 0.2, 1.0], [0.9, 0.9, 0.1, 0.1], [0.0, 0.0, 1e-20, 1e-20]]
)
@pytest.mark.parametrize("target", [UNIT, [0.0, 0.0, 0.0, 0.0]])
def test_a_box_without_area_has_no_overlap_and_a_finite_gradient(
    degenerate: list[float], target: list[float]
) -> None:
    predicted = boxes(degenerate, dtype=torch.float32, grad=True)
    loss = harmonic_iou_loss(predicted, boxes(target, dtype=torch.float32))
    assert loss.item() == 1
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert predicted.grad is not None
    assert predicted.grad.isfinite().all()


# --- harmonic loss ------------------------------------------------------------------------------------------


def test_a_task_already_solved_doubles_the_weight_of_the_other() -> None:
    # exp(-0) = 1, so a perfect box weights its classification by 2, and a perfect score its box by 2.
    classification, localization = harmonic_loss(column(3.0, 0.0), column(0.0, 5.0))
    assert classification.tolist() == [6.0, 0.0]
    assert localization.tolist() == [0.0, 10.0]


def test_a_hopeless_task_leaves_the_other_as_it_is() -> None:
    classification, localization = harmonic_loss(column(0.7, 1000.0), column(1000.0, 0.9))
    assert classification[0].item() == 0.7
    assert localization[1].item() == 0.9


def test_factors_multiply_by_hand() -> None:
    classification, localization = harmonic_loss(column(math.log(2)), column(math.log(4)))
    assert classification.item() == pytest.approx((1 + 1 / 4) * math.log(2), rel=1e-12)
    assert localization.item() == pytest.approx((1 + 1 / 2) * math.log(4), rel=1e-12)


def gradients(ce: float, loc: float, *, detach_factors: bool) -> tuple[float, float]:
    """dH/dCE and dH/dL of one sample."""
    classification, localization = column(ce, grad=True), column(loc, grad=True)
    total = torch.cat(harmonic_loss(classification, localization, detach_factors)).sum()
    by_classification, by_localization = torch.autograd.grad(total, [classification, localization])
    return by_classification.item(), by_localization.item()


def test_the_gradient_flows_through_the_factors() -> None:
    ce, loc = 0.4, 1.3
    by_classification, by_localization = gradients(ce, loc, detach_factors=False)
    assert by_classification == pytest.approx(1 + math.exp(-loc) - loc * math.exp(-ce), rel=1e-12)
    assert by_localization == pytest.approx(1 + math.exp(-ce) - ce * math.exp(-loc), rel=1e-12)


def test_the_score_of_a_confident_but_badly_placed_box_is_lowered() -> None:
    assert gradients(0.05, 4.0, detach_factors=False)[0] < 0  # descending raises CE: less confident
    assert gradients(0.05, 0.1, detach_factors=False)[0] > 0  # well placed: more confident
    assert gradients(3.00, 4.0, detach_factors=False)[0] > 0  # not confident: learn the class first


def test_detached_factors_change_the_gradient_and_not_the_value() -> None:
    ce, loc = 0.05, 4.0
    for plain, detached in zip(
        harmonic_loss(column(ce), column(loc)), harmonic_loss(column(ce), column(loc), True), strict=True
    ):
        assert torch.equal(plain, detached)
    by_classification, by_localization = gradients(ce, loc, detach_factors=True)
    assert by_classification == pytest.approx(1 + math.exp(-loc), rel=1e-12)  # the constants themselves
    assert by_localization == pytest.approx(1 + math.exp(-ce), rel=1e-12)


# --- task-contrasting loss ----------------------------------------------------------------------------------


def test_score_and_iou_within_the_margin_cost_nothing() -> None:
    loss = task_contrasting_loss(column(0.5, 0.7, 0.3), column(0.5, 0.51, 0.49), column(0.0, 0.0, 0.0))
    assert loss.tolist() == [0.0, 0.0, 0.0]


def test_what_exceeds_the_margin_is_halved_for_a_certain_sample() -> None:
    # Entropy 0: exp(0) = 1, so the denominator is 2, whichever of the two is larger.
    loss = task_contrasting_loss(column(0.9, 0.1), column(0.1, 0.9), column(0.0, 0.0))
    assert loss.tolist() == pytest.approx([0.3, 0.3])


def test_an_uncertain_sample_counts_less() -> None:
    # The exponential of the entropy of a uniform distribution is the number of classes.
    loss = task_contrasting_loss(column(0.25), column(1.0), column(math.log(4)), margin=0.0)
    assert loss.item() == pytest.approx(0.75 / (1 + 4))


def test_without_task_contrasting_the_term_is_absent() -> None:
    classified = Classification(column(1.0), column(math.exp(-1)), column(0.5))
    criterion = HarmonicCriterion(task_contrasting=False)
    assert criterion(classified, column(0.0), boxes(UNIT), boxes(UNIT)).task_contrasting is None


def test_alpha_weights_the_harmonic_iou_loss() -> None:
    classified = Classification(column(1000.0), column(0.0), column(0.0))  # a factor exp(-1000) = 0
    apart = boxes([2.0, 2.0, 3.0, 3.0])  # HIoU is 1
    localization = HarmonicCriterion(alpha=2.5)(classified, column(0.25), boxes(UNIT), apart).localization
    assert localization.item() == 0.25 + 2.5


# --- options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("iou_loss", ["hiou", "iou", "giou", "diou", "ciou"])
def test_alpha_weights_the_iou_loss_that_was_chosen(iou_loss: Any) -> None:
    classified = Classification(column(1000.0), column(0.0), column(0.0))  # a factor exp(-1000) = 0
    predicted, target = boxes([0.0, 0.0, 2.0, 1.0]), boxes([1.0, 0.0, 3.0, 1.0])  # IoU is 1/3
    expected = {
        "hiou": (4 / 3) ** 0.8 * (2 / 3),
        "iou": 2 / 3,
        "giou": 2 / 3,  # the enclosing box has no other area
        "diou": 2 / 3 + 1 / (3**2 + 1),
        "ciou": 2 / 3 + 1 / (3**2 + 1),  # of equal shape
    }
    criterion = HarmonicCriterion(alpha=2.0, iou_loss=iou_loss)
    localization = criterion(classified, column(0.25), predicted, target).localization
    assert localization.item() == pytest.approx(0.25 + 2 * expected[iou_loss], rel=1e-6)


def test_without_harmonic_factors_the_two_losses_are_added() -> None:
    classified = Classification(column(0.7), column(math.exp(-0.7)), column(0.5))
    terms = HarmonicCriterion(harmonic_factors=False)(classified, column(0.25), boxes(UNIT), boxes(UNIT))
    assert terms.classification.item() == 0.7
    assert terms.localization.item() == 0.25


def test_task_contrasting_measures_the_plain_iou_whatever_the_iou_loss() -> None:
    classified = Classification(column(0.1), column(0.9), column(0.0))
    predicted, target = boxes([0.0, 0.0, 2.0, 1.0]), boxes([1.0, 0.0, 3.0, 1.0])
    for iou_loss in get_args(IoULoss):
        terms = HarmonicCriterion(iou_loss=iou_loss)(classified, column(0.0), predicted, target)
        assert terms.task_contrasting is not None
        assert terms.task_contrasting.item() == pytest.approx((0.9 - 1 / 3 - 0.2) / 2)


# --- gradients, empty batches, half precision ---------------------------------------------------------------


def test_a_detached_iou_changes_what_task_contrasting_moves_and_not_its_value() -> None:
    def values_and_gradients(**options: Any) -> tuple[Tensor, Tensor, Tensor]:
        samples = random_samples(8)
        logits, predicted = samples["logits"].requires_grad_(), samples["boxes"].requires_grad_()
        values = whole_loss(HarmonicCriterion(**options))(logits, samples["offsets"], predicted)
        of_logits, of_predicted = torch.autograd.grad(values.sum(), [logits, predicted])
        return values.detach(), of_logits, of_predicted

    values, of_scores, of_boxes = values_and_gradients()
    same_values, same_of_scores, of_boxes_detached = values_and_gradients(detach_iou=True)
    _, _, of_boxes_without = values_and_gradients(task_contrasting=False)
    assert values[2].count_nonzero(), "there is something to contrast"
    assert same_values.equal(values)
    assert same_of_scores.equal(of_scores)
    assert of_boxes_detached.equal(of_boxes_without)
    assert not of_boxes_detached.allclose(of_boxes)


def test_where_the_score_is_below_the_iou_task_contrasting_lowers_the_iou() -> None:
    probability, entropy = column(0.1), column(0.5)
    iou = column(0.8, grad=True)
    (gradient,) = torch.autograd.grad(task_contrasting_loss(probability, iou, entropy).sum(), [iou])
    assert gradient.item() > 0  # descending lowers IoU


def random_samples(count: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(4)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 20
    target = torch.cat([corner, corner + 20 + torch.rand(count, 2, generator=generator) * 20], dim=1)
    target = target.floor()  # so that it is the same in every precision
    noise = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    return {
        "logits": torch.randn(count, 5, generator=generator, dtype=torch.float64).to(dtype),
        "offsets": torch.randn(count, 4, generator=generator, dtype=torch.float64).to(dtype),
        "boxes": (target + noise).to(dtype),
        "target": target.to(dtype),
    }


def whole_loss(criterion: HarmonicCriterion) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def loss(logits: Tensor, offsets: Tensor, predicted: Tensor) -> Tensor:
        labels = torch.arange(len(logits)) % 5
        target = random_samples(len(logits))["target"].to(predicted.dtype)
        terms = criterion(
            softmax_classification(logits, labels),
            smooth_l1(offsets, offsets.detach() * 0),
            predicted,
            target,
        )
        return torch.stack([term for term in terms if term is not None])

    return loss


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gamma": 0.0},
        {"gamma": 1.0},
        {"alpha": 0.0, "margin": 0.0},
        {"harmonic_factors": False},
        {"iou_loss": "giou"},
        {"iou_loss": "diou"},
    ],
)
def test_gradients_are_those_of_the_formulas(options: dict[str, Any]) -> None:
    samples = random_samples(6)
    inputs = tuple(samples[name].requires_grad_() for name in ("logits", "offsets", "boxes"))
    assert torch.autograd.gradcheck(whole_loss(HarmonicCriterion(**options)), inputs)


def test_gradients_with_detached_factors_are_those_of_constant_factors() -> None:
    ce, loc = column(0.05, 1.0, 4.0, grad=True), column(3.0, 0.5, 0.0, grad=True)
    classification_factor, localization_factor = 1 + (-loc.detach()).exp(), 1 + (-ce.detach()).exp()

    def constant_factors(ce: Tensor, loc: Tensor) -> Tensor:
        return torch.cat([classification_factor * ce, localization_factor * loc])

    assert torch.autograd.gradcheck(constant_factors, (ce, loc))
    detached = torch.autograd.grad(torch.cat(harmonic_loss(ce, loc, True)).sum(), [ce, loc])
    assert detached[0].equal(classification_factor)
    assert detached[1].equal(localization_factor)


def test_an_empty_batch_gives_a_zero_that_carries_gradient() -> None:
    samples = random_samples(0)
    inputs = [samples[name].requires_grad_() for name in ("logits", "offsets", "boxes")]
    total = whole_loss(HarmonicCriterion())(*inputs).sum()
    assert total.item() == 0
    total.backward()  # type: ignore[no-untyped-call]
    assert all(tensor.grad is not None and tensor.grad.shape == tensor.shape for tensor in inputs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    names = ("logits", "offsets", "boxes")
    half = random_samples(6, dtype)
    loss = whole_loss(HarmonicCriterion())
    computed = loss(*(half[name] for name in names))
    assert computed.dtype == torch.float32
    assert torch.equal(computed, loss(*(half[name].float() for name in names)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_each_function_alone_takes_half_precision(dtype: torch.dtype) -> None:
    values = torch.tensor([0.3, 20.0], dtype=dtype)
    square = torch.tensor([[0.0, 0.0, 300.0, 300.0]], dtype=dtype)  # its area is beyond float16
    assert harmonic_loss(values, values)[0].dtype == torch.float32
    assert task_contrasting_loss(values, values, values).dtype == torch.float32
    assert harmonic_iou_loss(square, square).tolist() == [0.0]
