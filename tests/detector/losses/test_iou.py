from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from detector.losses.iou import ciou_loss, diou_loss, giou_loss, iou_loss

Loss = Callable[[Tensor, Tensor], Tensor]
every_loss = pytest.mark.parametrize("loss", [iou_loss, giou_loss, diou_loss, ciou_loss])
UNIT = [0.0, 0.0, 1.0, 1.0]


def random_boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 50
    size = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 50 + 1
    return torch.cat([corner, corner + size], dim=1)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (giou_loss, generalized_box_iou_loss),
        (diou_loss, distance_box_iou_loss),
        (ciou_loss, complete_box_iou_loss),
    ],
)
def test_values_and_gradients_are_torchvisions_on_proper_boxes(ours: Loss, theirs: Any) -> None:
    predicted, target = random_boxes(50, 1).requires_grad_(), random_boxes(50, 2)
    our, their = ours(predicted, target), theirs(predicted, target)
    torch.testing.assert_close(our, their, rtol=1e-6, atol=1e-8)
    (our_gradient,) = torch.autograd.grad(our.sum(), predicted)
    (their_gradient,) = torch.autograd.grad(their.sum(), predicted)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-5, atol=1e-8)


@every_loss
def test_equal_boxes_cost_nothing(loss: Loss) -> None:
    same = random_boxes(5, 3).float()
    torch.testing.assert_close(loss(same, same.clone()), torch.zeros(5), rtol=0, atol=1e-6)


def test_only_the_plain_loss_is_blind_to_how_far_apart_boxes_are() -> None:
    near, far = torch.tensor([[2.0, 0.0, 3.0, 1.0]]), torch.tensor([[9.0, 0.0, 10.0, 1.0]])
    unit = torch.tensor([UNIT])
    assert iou_loss(near, unit).item() == iou_loss(far, unit).item() == 1
    for loss in (giou_loss, diou_loss, ciou_loss):
        assert 1 < loss(near, unit).item() < loss(far, unit).item() < 2


def test_only_the_complete_loss_sees_the_shape_of_concentric_boxes() -> None:
    wide = torch.tensor([[-0.5, 0.25, 1.5, 0.75]])
    assert diou_loss(wide, torch.tensor([UNIT])).item() == iou_loss(wide, torch.tensor([UNIT])).item()
    assert ciou_loss(wide, torch.tensor([UNIT])).item() > diou_loss(wide, torch.tensor([UNIT])).item()


@every_loss
@pytest.mark.parametrize(
    "box", [[0.5] * 4, [0.2, 0.0, 0.2, 1.0], [0.9, 0.9, 0.1, 0.1], [0.0, 0.0, 1e-20, 1e-20]]
)
@pytest.mark.parametrize("target", [UNIT, [0.0] * 4, [0.5] * 4])
def test_boxes_without_area_give_finite_values_and_gradients(
    loss: Loss, box: list[float], target: list[float]
) -> None:
    predicted = torch.tensor([box], requires_grad=True)
    cost = loss(predicted, torch.tensor([target]))
    (gradient,) = torch.autograd.grad(cost.sum(), predicted)
    assert cost.isfinite().all()
    assert gradient.isfinite().all()


@every_loss
def test_no_boxes_give_an_empty_loss(loss: Loss) -> None:
    assert loss(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)


@every_loss
def test_half_precision_is_computed_in_float32(loss: Loss) -> None:
    box = torch.tensor([[0.0, 0.0, 300.0, 300.0]], dtype=torch.float16)  # its area is beyond float16
    assert loss(box, box).dtype == torch.float32
    assert loss(box, box).isfinite().all()
