"""RefineDet: its maps and anchors, its two steps of regression, what trains them and what is dropped."""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, VGG16_Weights, resnet18
from torchvision.ops import FrozenBatchNorm2d

from detector.config import BaselineLoss, HarmonicLoss, Loss, RefineDet320, RefineDet512
from detector.losses.harmonic import HarmonicCriterion
from detector.models import Detector, build, graph_module, input_spec
from detector.models.refinedet import Predictions, hardest_negatives, make_anchors
from detector.models.ssd import build_vgg
from detector.weights import load_initial
from tests.detector.helpers import config, run_training
from tests.detector.models.helpers import (
    CLASSES,
    LOSSES,
    detect,
    gradient,
    make,
    objects,
    pictures,
    target,
    train_losses,
)
from tests.detector.models.test_against_torchvision import weight_nothing
from tests.detector.models.test_graph import assert_equal_detections, export, pixels
from tests.detector.test_weights import publish

SMALL = RefineDet320(backbone="resnet18", image_size=128)
SMALL_VGG = RefineDet320(image_size=128)
both_losses = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.kind)
both_backbones = pytest.mark.parametrize("architecture", [SMALL, SMALL_VGG], ids=lambda a: a.backbone)

ANCHOR = [32.0, 32.0, 96.0, 96.0]
SHIFTED = [64.0, 32.0, 128.0, 96.0]  # IoU with ANCHOR is 1/3
FAR = [0.0, 0.0, 8.0, 8.0]


# --- maps and anchors ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "channels"),
    [
        ("vgg16", [512, 512, 1024, 512]),
        ("resnet18", [128, 256, 512, 512]),
        ("resnet50", [512, 1024, 2048, 512]),
    ],
)
@pytest.mark.parametrize(
    ("family", "sides", "anchors"),
    [(RefineDet320, [40, 20, 10, 5], 6375), (RefineDet512, [64, 32, 16, 8], 16320)],
)
def test_four_maps_of_strides_8_to_64_and_three_anchors_a_place(
    family: type[RefineDet320 | RefineDet512],
    sides: list[int],
    anchors: int,
    backbone: Any,
    channels: list[int],
) -> None:
    size = input_spec(family()).size
    with torch.device("meta"), torch.no_grad():  # shapes without numbers
        network: Any = build(family(backbone=backbone), BaselineLoss(), CLASSES).network
        maps = network.backbone(torch.empty(2, 3, size, size))
        transferred = network.transfer(maps)
        first, second = network.arm(maps), network.odm(transferred)
    assert [tuple(m.shape) for m in maps] == [
        (2, c, side, side) for c, side in zip(channels, sides, strict=True)
    ]
    assert [tuple(m.shape) for m in transferred] == [(2, 256, side, side) for side in sides]
    assert network.anchors.shape == (anchors, 4)
    assert first["bbox_regression"].shape == second["bbox_regression"].shape == (2, anchors, 4)
    assert first["cls_logits"].shape == (2, anchors, 2)
    assert second["cls_logits"].shape == (2, anchors, 3 + 1)


def test_an_anchor_is_four_strides_wide_and_centered_on_its_place() -> None:
    anchors = make_anchors(128)
    long, short = 16 * math.sqrt(2), 16 / math.sqrt(2)
    torch.testing.assert_close(anchors[0], torch.tensor([4.0 - 16, 4 - 16, 4 + 16, 4 + 16]))
    torch.testing.assert_close(anchors[1], torch.tensor([4 - long, 4 - short, 4 + long, 4 + short]))
    torch.testing.assert_close(anchors[2], torch.tensor([4 - short, 4 - long, 4 + short, 4 + long]))
    # The next place is to the right; the last anchors are those of the coarsest map's last place.
    torch.testing.assert_close(anchors[3], anchors[0] + torch.tensor([8.0, 0.0, 8.0, 0.0]))
    torch.testing.assert_close(anchors[-3], torch.tensor([96.0 - 128, 96 - 128, 96 + 128, 96 + 128]))


def test_the_order_of_anchors_is_that_of_the_heads() -> None:
    """A head that speaks at one place only moves the anchors of that place."""
    network: Any = make(SMALL).network
    with torch.no_grad():
        for predictor in network.arm.regression_head.module_list:
            predictor.weight.zero_()
        network.arm.regression_head.module_list[1].weight[6:8, 0, 1, 1] = 1  # sides of the second ratio
        maps = [
            torch.zeros(1, c, side, side) for c, side in zip((128, 256, 512, 512), (16, 8, 4, 2), strict=True)
        ]
        maps[1][0, 0, 2, 5] = 1  # row 2, column 5 of the map of stride 16
        moved = network.refine(network.arm(maps)["bbox_regression"])[0] - network.anchors
    (index,) = torch.where(moved.abs().amax(dim=1) > 1)[0].tolist()
    x1, y1, x2, y2 = network.anchors[index].tolist()
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((5.5 * 16, 2.5 * 16), abs=1e-4)
    assert (x2 - x1) / (y2 - y1) == pytest.approx(2, rel=1e-5)


# --- two steps of regression ----------------------------------------------------------------


def with_anchors(loss: Loss, anchors: list[list[float]]) -> Any:
    """The network with a few anchors instead of its own."""
    network: Any = make(SMALL, loss).network
    network.anchors = torch.tensor(anchors)
    return network


def predictions(logits: list[list[float]], offsets: list[list[float]]) -> Predictions:
    return Predictions(torch.tensor([logits]), torch.tensor([offsets]))


def test_the_second_offsets_start_from_the_refined_anchor() -> None:
    # ARM: an anchor of side 64 around (64, 64) moves by 10 % of 64 to the right and doubles its width.
    network = with_anchors(BaselineLoss(), [ANCHOR])
    refined = network.refine(torch.tensor([[[1.0, 0.0, 5 * math.log(2), 0.0]]]))
    center = 64 + 6.4
    torch.testing.assert_close(refined[0, 0], torch.tensor([center - 64, 32, center + 64, 96]))
    # ODM: that box moves up by 20 % of 64, left by 10 % of 128, and its height halves.
    second = predictions([[0.0, 9.0, 0.0, 0.0]], [[-1.0, -2.0, 0.0, -5 * math.log(2)]])
    (found,) = network.detect(second, refined, torch.zeros(1, 1), [(128, 128)])
    x, y = center - 12.8, 64 - 12.8
    torch.testing.assert_close(found["boxes"], torch.tensor([[0.0, y - 16, x + 64, y + 16]]))  # clipped
    assert x - 64 < 0
    assert found["labels"].tolist() == [1]


def test_a_refined_anchor_always_has_an_area() -> None:
    network = with_anchors(BaselineLoss(), [ANCHOR, ANCHOR])
    refined = network.refine(torch.tensor([[[0.0, 0.0, -1e4, -1e4], [0.0, 0.0, 1e4, 1e4]]]))[0]
    torch.testing.assert_close(refined[:, 2:] - refined[:, :2], torch.tensor([[1.024] * 2, [4000.0] * 2]))


def test_the_odms_loss_does_not_move_the_anchors() -> None:
    detector = make(SMALL, HarmonicLoss())
    losses = train_losses(detector, pictures(*[(128, 128)] * 3), objects())
    odm = {name: loss for name, loss in losses.items() if not name.startswith("arm_")}
    assert odm.keys() == {"classification", "localization", "task_contrasting"}
    assert not any(name.startswith("network.arm.") for name in gradient(detector, odm))


# --- losses ----------------------------------------------------------------


def losses_of(
    loss: Loss,
    box: list[float],
    second_offsets: list[float] | None = None,
    *,
    promising: tuple[bool, ...] = (True,) * 5,
    second_logits: list[list[float]] | None = None,
) -> dict[str, Tensor]:
    """Losses on five anchors, of which the first is matched with `box` and the others are background; all
    logits are equal unless given."""
    network = with_anchors(loss, [ANCHOR] + [FAR] * 4)
    first = predictions([[0.0, 0.0]] * 5, [[0.0] * 4] * 5)
    second = predictions(second_logits or [[0.0] * 4] * 5, [second_offsets or [0.0] * 4] + [[0.0] * 4] * 4)
    losses: dict[str, Tensor] = network.compute_loss(
        first,
        second,
        network.anchors[None],
        torch.tensor([promising]),
        [{"boxes": torch.tensor([box]), "labels": torch.tensor([2])}],
    )
    return losses


def test_both_modules_count_three_negatives_a_positive() -> None:
    losses = losses_of(BaselineLoss(), ANCHOR)
    assert losses["arm_objectness"].item() == pytest.approx((1 + 3) * math.log(2), rel=1e-6)
    assert losses["classification"].item() == pytest.approx((1 + 3) * math.log(4), rel=1e-6)
    assert losses["arm_box"].item() == losses["localization"].item() == 0


def test_both_modules_regress_their_own_offsets() -> None:
    # Half a width to the right is an offset of 10 * 1/2, whose smooth L1 loss is 4.5.
    losses = losses_of(BaselineLoss(), SHIFTED, [5.0, 0.0, 0.0, 0.0])
    assert losses["arm_box"].item() == pytest.approx(4.5, rel=1e-5)
    assert losses["localization"].item() == pytest.approx(0, abs=1e-5)


def test_the_harmonic_loss_weights_the_odms_positives_only() -> None:
    losses = losses_of(HarmonicLoss(), SHIFTED)
    localization = 4.5 + 1.5 * (4 / 3) ** 0.8 * (2 / 3)
    assert losses["localization"].item() == pytest.approx(1.25 * localization, rel=1e-5)
    assert losses["classification"].item() == pytest.approx(
        (1 + math.exp(-localization) + 3) * math.log(4), rel=1e-5
    )
    # p = 1/4 and IoU = 1/3 differ by less than the margin.
    assert losses["task_contrasting"].item() == 0
    assert losses["arm_objectness"].item() == pytest.approx((1 + 3) * math.log(2), rel=1e-6)
    assert losses["arm_box"].item() == pytest.approx(4.5, rel=1e-5)


def test_easy_negatives_are_not_mined() -> None:
    wrong = [[0.0] * 4] * 2 + [[0.0, 9.0, 0.0, 0.0]] * 3  # the last three take background for class 1
    mined = losses_of(BaselineLoss(), ANCHOR, second_logits=wrong)["classification"].item()
    assert mined == pytest.approx(math.log(4) + 3 * 9, rel=1e-3)
    two_left = losses_of(
        BaselineLoss(), ANCHOR, second_logits=wrong, promising=(True, True, False, True, False)
    )
    assert two_left["classification"].item() == pytest.approx(2 * math.log(4) + 9, rel=1e-3)
    assert two_left["arm_objectness"].item() == pytest.approx((1 + 3) * math.log(2), rel=1e-6)


def test_an_object_whose_anchors_are_all_dropped_trains_the_arm_only() -> None:
    losses = losses_of(HarmonicLoss(), SHIFTED, promising=(False, True, True, True, True))
    assert losses["arm_box"].item() > 0
    assert losses["classification"].item() == losses["localization"].item() == 0


@pytest.mark.parametrize(
    ("background", "factor"), [(0.5, 1.0), (0.984, 1.0), (0.9875, 0.5), (0.9901, 0.0), (0.9999, 0.0)]
)
def test_an_anchor_that_is_surely_background_finds_nothing(background: float, factor: float) -> None:
    network = with_anchors(BaselineLoss(), [ANCHOR, FAR])
    network.backbone = network.transfer = nn.Identity()
    network.odm = Saying([[0.0, 9.0, 0.0, 0.0]] * 2)
    network.arm = Saying([[0.0, 0.0], [math.log(background / (1 - background)), 0.0]])
    (found,) = network.eval()(pictures((128, 128)))
    score = math.exp(9) / (math.exp(9) + 3)
    assert found["scores"].tolist() == pytest.approx([score, score * factor][: 2 if factor else 1], rel=1e-3)
    assert sorted(found["boxes"].tolist()) == sorted([ANCHOR, FAR][: 2 if factor else 1])


@pytest.mark.parametrize(("background", "trains"), [(0.98, True), (0.9901, False)])
def test_an_anchor_that_is_surely_background_does_not_train_the_odm(background: float, trains: bool) -> None:
    network = with_anchors(BaselineLoss(), [ANCHOR, FAR])
    network.backbone = network.transfer = nn.Identity()
    network.odm = Saying([[0.0] * 4] * 2)
    network.arm = Saying([[math.log(background / (1 - background)), 0.0]] * 2)
    box = {"boxes": torch.tensor([SHIFTED]), "labels": torch.tensor([1])}
    losses = network.train()(pictures((128, 128)), [box])
    assert (losses["classification"].item() > 0) == trains
    assert (losses["localization"].item() > 0) == trains
    assert losses["arm_box"].item() > 0


class Saying(nn.Module):
    """A head that gives the same logits for one image, whatever it sees, and no offsets."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.logits = torch.tensor([logits])

    def forward(self, maps: Any) -> dict[str, Tensor]:
        return {"cls_logits": self.logits, "bbox_regression": torch.zeros(1, self.logits.shape[1], 4)}


def test_the_hardest_negatives_are_chosen_image_by_image() -> None:
    loss = torch.tensor([[9.0, 1.0, 5.0, 3.0, 4.0, 2.0], [9.0, 1.0, 5.0, 3.0, 4.0, 2.0]])
    positive = torch.tensor([[True, *[False] * 5], [False] * 6])
    negative = torch.tensor([[False, True, False, True, True, True], [True] * 6])
    chosen = hardest_negatives(loss, positive, negative)
    assert chosen.tolist() == [[False, False, False, True, True, True], [False] * 6]


def test_every_object_has_an_anchor_and_overlapping_anchors_are_matched() -> None:
    network = with_anchors(BaselineLoss(), [ANCHOR, [40.0, 32.0, 104.0, 96.0], FAR])
    tiny = [100.0, 100.0, 104.0, 104.0]  # overlaps nothing but is matched with something
    labels, boxes = network.match(
        network.anchors.expand(2, 3, 4),
        [
            {"boxes": torch.tensor([ANCHOR]), "labels": torch.tensor([3])},
            {"boxes": torch.tensor([tiny]), "labels": torch.tensor([1])},
        ],
    )
    assert labels[0].tolist() == [3, 3, 0]
    assert boxes[0].tolist() == [ANCHOR, ANCHOR, FAR]
    assert labels[1].sum() == 1
    assert boxes[1][labels[1] > 0].tolist() == [tiny]


@both_losses
def test_without_objects_every_loss_is_a_zero_with_gradient(loss: Loss) -> None:
    detector = make(SMALL, loss)
    losses = train_losses(detector, pictures((128, 128), (128, 128)), [target([], []), target([], [])])
    assert {value.item() for value in losses.values()} == {0}
    learned = gradient(detector, losses)
    assert learned.keys() == {name for name, _ in detector.named_parameters()}
    assert all((value == 0).all() for value in learned.values())


@both_backbones
def test_a_criterion_that_weights_nothing_gives_the_baseline(architecture: RefineDet320) -> None:
    """Matching, mining, normalisers, the filter and all of the ARM are the detector's own."""
    harmonic, baseline = make(architecture, HarmonicLoss()), make(architecture, BaselineLoss())
    assert harmonic.state_dict().keys() == baseline.state_dict().keys()
    images, targets = pictures((128, 128), (128, 128)), objects()[:2]
    theirs = train_losses(baseline, images, targets)
    assert train_losses(harmonic, images, targets)["localization"] > theirs["localization"]
    network: Any = harmonic.network
    assert network.criterion == HarmonicCriterion()
    network.criterion = weight_nothing
    ours = train_losses(harmonic, images, targets)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-6, atol=0)
    learned = gradient(harmonic, ours)
    assert learned.keys() == {name for name, _ in harmonic.named_parameters()}
    for name, value in gradient(baseline, theirs).items():
        torch.testing.assert_close(learned[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("offset", [-1e4, 1e4])
@both_losses
def test_absurd_offsets_give_finite_losses_and_gradients(loss: Loss, offset: float) -> None:
    detector = make(SMALL, loss)
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if "regression_head" in name and name.endswith("bias"):
                parameter.fill_(offset)
    losses = train_losses(detector, pictures((128, 128), (128, 128)), objects()[:2])
    assert all(value.isfinite() for value in losses.values())
    assert all(value.isfinite().all() for value in gradient(detector, losses).values())


def test_autocast_leaves_boxes_and_losses_in_float32() -> None:
    detector, images = make(SMALL), pictures(*[(128, 128)] * 3)
    plain = train_losses(detector, images, objects())
    with torch.autocast("cpu", torch.bfloat16):
        half = train_losses(detector, images, objects())
        found = detect(detector, images)
    assert {value.dtype for value in half.values()} == {torch.float32}
    assert {image["boxes"].dtype for image in found} == {torch.float32}
    for name, value in plain.items():
        torch.testing.assert_close(half[name], value, rtol=0.1, atol=0.05)


# --- training and export ----------------------------------------------------------------


@cache
def fitted(loss: Loss) -> tuple[Detector, list[float]]:
    """A detector after 30 steps on two images, and its losses."""
    detector = make(SMALL, loss)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=5e-4)
    images, targets = pictures((128, 128), (128, 128)), [objects()[0], objects()[2]]
    course = []
    for _ in range(30):
        total = torch.stack(list(train_losses(detector, images, targets).values())).sum()
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        course.append(total.item())
    return detector.eval(), course


@both_losses
def test_two_images_are_learned_by_heart(loss: Loss) -> None:
    detector, course = fitted(loss)
    assert course[-1] < 0.1 * course[0]
    first, second = detect(detector, pictures((128, 128), (128, 128)))
    assert set(first["labels"][:2].tolist()) == {0, 1}
    assert second["labels"][0].item() == 2
    torch.testing.assert_close(second["boxes"][:1], objects()[2]["boxes"], rtol=0, atol=15)


@both_losses
def test_onnx_runtime_finds_what_torch_finds(loss: Loss) -> None:
    detector, _ = fitted(loss)
    session, graph = export(detector, dynamic=False), graph_module(detector)
    assert sum(assert_equal_detections(graph, session, pixels(128, 128, seed)) for seed in (1, 5, 6)) > 3
    assert assert_equal_detections(graph, session, torch.zeros(128, 128, 3, dtype=torch.uint8)) >= 0


def test_the_graph_of_the_vgg_finds_what_torch_finds() -> None:
    detector = make(SMALL_VGG)
    network: Any = detector.network
    with torch.no_grad():  # scores that differ, and some anchors that are dropped
        for predictor in (
            *network.odm.classification_head.module_list,
            *network.arm.classification_head.module_list,
        ):
            predictor.weight.mul_(20)
    detector.eval()
    graph = export(detector, dynamic=False)
    assert assert_equal_detections(graph_module(detector), graph, pixels(128, 128)) > 5


def test_a_training_ends_with_a_graph_that_agrees(dataset: Path, tmp_path: Path) -> None:
    architecture = {"kind": "refinedet320", "image_size": 128, "backbone": "resnet18"}
    run_training(dataset, tmp_path, config(architecture=architecture, epochs=1))
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["parity"]["images"] == 4
    assert result["architecture"] == "refinedet320"


# --- initial weights ----------------------------------------------------------------


def test_imagenet_weights_are_those_of_vggs_convolutions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(3)
    published = publish(VGG16_Weights.IMAGENET1K_FEATURES, nn.ModuleDict({"features": build_vgg().features}))
    detector = make(SMALL_VGG)
    random = load_initial(detector, RefineDet320(image_size=128, initial_weights="imagenet"))
    ours = detector.network.state_dict()
    assert ours.keys() - set(random) == {f"backbone.{name}" for name in published}
    for name, value in published.items():
        assert torch.equal(ours[f"backbone.{name}"], value)


def test_imagenet_weights_are_those_of_a_resnet_with_frozen_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(3)
    published = publish(ResNet18_Weights.IMAGENET1K_V1, resnet18(weights=None))
    architecture = RefineDet512(backbone="resnet18", image_size=128, initial_weights="imagenet")
    detector = make(architecture)
    random = load_initial(detector, architecture)
    ours = detector.network.state_dict()
    loaded = ours.keys() - set(random)
    assert {name.split(".")[1] for name in loaded} == {"body"}
    for name in loaded:
        assert torch.equal(ours[name], published[name.removeprefix("backbone.body.")])
    body = detector.network.get_submodule("backbone.body")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in body.modules())
    assert any(isinstance(module, FrozenBatchNorm2d) for module in body.modules())


def test_the_size_is_a_multiple_of_the_coarsest_stride() -> None:
    assert input_spec(SMALL).shape_for(480, 640) == (128, 128)
    with pytest.raises(ValueError, match="multiple of 64"):
        RefineDet320(image_size=300)
