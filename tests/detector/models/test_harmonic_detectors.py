"""The harmonic loss inside the detectors: on which samples, with which boxes, over which number."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from detector.config import Architecture, BaselineLoss, FasterRCNN320, HarmonicLoss, Loss, SSDLite320
from detector.losses.harmonic import HarmonicCriterion
from detector.models import Detector
from tests.detector.models.helpers import (
    ARCHITECTURES,
    FASTER_RCNN,
    LOSSES,
    SSD,
    detect,
    gradient,
    make,
    objects,
    pictures,
    target,
    train_losses,
    with_weights,
)

ANCHOR = [32.0, 32.0, 96.0, 96.0]
SHIFTED = [64.0, 32.0, 128.0, 96.0]  # IoU with ANCHOR is 1/3


def ssd_losses(
    logits: list[list[float]], offsets: list[float], box: list[float], label: int
) -> dict[str, Tensor]:
    """HarmonicSSD's losses on four anchors, of which the first is matched with `box`."""
    network: Any = make(SSD, HarmonicLoss()).network
    anchors = torch.tensor([ANCHOR] * 4)
    losses: dict[str, Tensor] = network.compute_loss(
        [{"boxes": torch.tensor([box]), "labels": torch.tensor([label])}],
        {"cls_logits": torch.tensor([logits]), "bbox_regression": torch.tensor([[offsets] * 4])},
        [anchors],
        [torch.tensor([0, -1, -1, -1])],
    )
    return losses


def test_ssd_doubles_the_cross_entropy_of_a_perfectly_placed_positive() -> None:
    # Four equal logits: every CE is log 4. One positive with L = 0 counts twice, three mined
    # negatives once.
    losses = ssd_losses([[0.0] * 4] * 4, [0.0] * 4, ANCHOR, 2)
    assert losses["bbox_regression"].item() == 0
    assert losses["classification"].item() == pytest.approx((2 + 3) * math.log(4), rel=1e-6)
    # p = 1/4 and IoU = 1 differ by 3/4, and the exponential of the entropy of 4 equal classes is 4.
    assert losses["task_contrasting"].item() == pytest.approx((0.75 - 0.2) / (1 + 4), rel=1e-5)


def test_ssd_decodes_boxes_with_its_own_coder() -> None:
    # An offset of 10 * 32/64 moves the anchor by half its width onto the box: smooth L1 and HIoU are zero.
    matched = ssd_losses([[0.0] * 4] * 4, [5.0, 0.0, 0.0, 0.0], SHIFTED, 1)
    assert matched["bbox_regression"].item() == pytest.approx(0, abs=1e-5)
    # Left where it is: smooth L1 of 5 is 4.5, HIoU of IoU 1/3; CE is log 4, so the factor is 1 + 1/4.
    missed = ssd_losses([[0.0] * 4] * 4, [0.0] * 4, SHIFTED, 1)
    localization = 4.5 + 1.5 * (4 / 3) ** 0.8 * (2 / 3)
    assert missed["bbox_regression"].item() == pytest.approx(1.25 * localization, rel=1e-5)
    assert missed["classification"].item() == pytest.approx(
        (1 + math.exp(-localization) + 3) * math.log(4), rel=1e-5
    )


def roi_losses(labels: list[int], offsets: list[float], box: list[float]) -> dict[str, Tensor]:
    """HarmonicRoIHeads' losses on proposals at ANCHOR, of which those with a label are matched with `box`."""
    heads: Any = make(FASTER_RCNN, HarmonicLoss()).network.roi_heads
    count = len(labels)
    proposals, boxes = torch.tensor([ANCHOR] * count), torch.tensor([box] * count)
    own_class = torch.zeros(count, 4, 4)
    own_class[torch.arange(count), torch.tensor(labels)] = torch.tensor(offsets)
    losses: dict[str, Tensor] = heads.compute_loss(
        torch.zeros(count, 4),
        own_class.reshape(count, 16),
        torch.tensor(labels),
        proposals,
        heads.box_coder.encode_single(boxes, proposals),
        boxes,
    )
    return losses


def test_faster_rcnn_divides_by_the_number_of_sampled_proposals() -> None:
    # One positive with L = 0 of four proposals; every CE is log 4.
    losses = roi_losses([2, 0, 0, 0], [0.0] * 4, ANCHOR)
    assert losses["loss_box_reg"].item() == 0
    assert losses["loss_classifier"].item() == pytest.approx((2 + 3) / 4 * math.log(4), rel=1e-6)
    assert losses["task_contrasting"].item() == pytest.approx((0.75 - 0.2) / (1 + 4) / 4, rel=1e-5)


def test_faster_rcnn_takes_the_offsets_of_the_true_class() -> None:
    matched = roi_losses([3, 0], [5.0, 0.0, 0.0, 0.0], SHIFTED)
    assert matched["loss_box_reg"].item() == pytest.approx(0, abs=1e-5)
    missed = roi_losses([3, 0], [0.0] * 4, SHIFTED)
    localization = 5 - 0.5 / 9 + 1.5 * (4 / 3) ** 0.8 * (2 / 3)  # smooth L1 with beta 1/9
    assert missed["loss_box_reg"].item() == pytest.approx(1.25 * localization / 2, rel=1e-5)


def test_faster_rcnn_without_positive_proposals_trains_the_background() -> None:
    losses = roi_losses([0, 0], [0.0] * 4, ANCHOR)
    assert losses["loss_classifier"].item() == pytest.approx(math.log(4), rel=1e-6)
    assert losses["loss_box_reg"].item() == losses["task_contrasting"].item() == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.kind)
def test_options_of_the_config_reach_the_loss(architecture: Architecture) -> None:
    options: dict[str, Any] = {
        "alpha": 3.0,
        "gamma": 0.5,
        "task_contrasting": True,
        "margin": 0.1,
        "detach_factors": True,
        "detach_iou": True,
        "harmonic_factors": True,
        "iou_loss": "giou",
    }
    network: Any = make(architecture, HarmonicLoss(**options)).network
    holder = network if isinstance(architecture, SSDLite320) else network.roi_heads
    assert holder.criterion == HarmonicCriterion(**options)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.kind)
def test_without_task_contrasting_its_loss_is_not_reported(architecture: Architecture) -> None:
    detector = make(architecture, HarmonicLoss(task_contrasting=False))
    losses = train_losses(detector, pictures(*[(128, 128)] * 3), objects())
    assert losses.keys() - {"rpn_objectness", "rpn_box"} == {"classification", "localization"}


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.kind)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.kind)
def test_every_parameter_learns(architecture: Architecture, loss: Loss) -> None:
    detector = make(architecture, loss)
    learned = gradient(detector, train_losses(detector, pictures(*[(128, 128)] * 3), objects()))
    assert learned.keys() == {name for name, _ in detector.named_parameters()}
    assert all(value.isfinite().all() for value in learned.values())


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.kind)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.kind)
def test_images_without_objects_give_finite_losses_with_gradient(
    architecture: Architecture, loss: Loss
) -> None:
    detector = make(architecture, loss)
    losses = train_losses(detector, pictures((128, 128), (128, 128)), [target([], []), target([], [])])
    assert losses["localization"].item() == 0
    assert all(value.isfinite().all() for value in gradient(detector, losses).values())


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.kind)
def test_one_image_is_a_batch(architecture: Architecture) -> None:
    """SSDlite's last feature map is 1x1, where one image has no variance to normalise by."""
    detector = make(architecture)
    losses = train_losses(detector, pictures((128, 128)), objects()[:1])
    assert all(value.isfinite().all() for value in gradient(detector, losses).values())


def make_extreme(network: nn.Module, value: float) -> None:
    """Sets the bias of what predicts offsets of the final boxes."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("box_predictor.bbox_pred.bias") or (
                "regression_head" in name and name.endswith("1.bias")
            ):
                parameter.fill_(value)


@pytest.mark.parametrize("offset", [-1e4, 1e4])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.kind)
def test_absurd_offsets_give_finite_losses_and_gradients(architecture: Architecture, offset: float) -> None:
    """exp of a large offset is clamped by the box coder; exp of a very negative one is a box without area."""
    detector = make(architecture)
    make_extreme(detector.network, offset)
    losses = train_losses(detector, pictures((128, 128), (128, 128)), objects()[:2])
    assert all(loss.isfinite() for loss in losses.values())
    assert all(value.isfinite().all() for value in gradient(detector, losses).values())


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.kind)
def test_autocast_leaves_boxes_and_losses_in_float32(architecture: Architecture) -> None:
    detector, images = make(architecture), pictures(*[(128, 128)] * 3)
    plain = train_losses(detector, images, objects())
    with torch.autocast("cpu", torch.bfloat16):
        half = train_losses(detector, images, objects())
        found = detect(detector, images)
    assert {loss.dtype for loss in half.values()} == {torch.float32}
    assert {image["boxes"].dtype for image in found} == {torch.float32}
    for name, loss in plain.items():
        torch.testing.assert_close(half[name], loss, rtol=0.1, atol=0.02)


@pytest.mark.parametrize("size", [128, 160, 480, 640])
def test_ssdlite_anchors_follow_the_image_size(size: int) -> None:
    detector = make(SSDLite320(image_size=size))
    found = detect(detector, pictures((size, size)))[0]
    assert len(found["boxes"]) > 0
    assert found["boxes"].min() >= 0
    assert found["boxes"].max() <= size
    # A box over the whole image is met by an anchor.
    whole = target([[1.0, 1.0, size - 1.0, size - 1.0]], [0])
    assert train_losses(detector, pictures((size, size)), [whole])["localization"].item() > 0


def test_labels_count_from_zero_outside() -> None:
    network: Any = (detector := make(SSD)).network
    with torch.no_grad():
        for predictor in network.head.classification_head.module_list:
            predictor[1].bias.view(-1, 4)[:, 3] += 50  # torchvision's class 3 is our class 2
    assert set(detect(detector, pictures((128, 128)))[0]["labels"].tolist()) == {2}
    losses = train_losses(detector, pictures((128, 128)), [target([[10.0, 10.0, 90.0, 90.0]], [2])])
    assert losses["classification"].item() > 10  # only the background is wrong, and it is very wrong


def test_training_needs_targets() -> None:
    with pytest.raises(ValueError, match="training needs targets"):
        make(SSD).train()(pictures((128, 128)))


def test_a_detector_without_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="num_classes must be at least 1"):
        make(SSD, classes=0)


def test_a_wide_first_image_does_not_spoil_the_strides_of_the_pooler() -> None:
    """torchvision's pooler infers strides from the first batch; 16 pixels padded to 32 would halve them."""
    fresh, used = make(FASTER_RCNN), make(FASTER_RCNN)
    roi_heads: Any = used.network.roi_heads
    assert roi_heads.box_roi_pool.scales == [1 / 32, 1 / 32]
    detect(used, pictures((16, 256)))
    image = pictures((128, 160))
    assert torch.equal(detect(used, image)[0]["scores"], detect(fresh, image)[0]["scores"])


def norms(detector: Detector) -> set[type[nn.Module]]:
    return {type(m) for m in detector.modules() if isinstance(m, nn.BatchNorm2d | FrozenBatchNorm2d)}


def test_faster_rcnn_freezes_batch_norm_only_where_its_statistics_come_from_elsewhere() -> None:
    assert norms(make(FASTER_RCNN)) == {nn.BatchNorm2d}
    assert norms(make(with_weights(FASTER_RCNN, "imagenet"))) == {FrozenBatchNorm2d}
    assert norms(make(with_weights(FASTER_RCNN, "coco"))) == {FrozenBatchNorm2d}


def test_faster_rcnn_trains_the_stages_asked_for() -> None:
    architecture = FasterRCNN320(image_size=128, initial_weights="coco", trainable_backbone_layers=2)
    detector = make(architecture, BaselineLoss())
    learned = gradient(detector, train_losses(detector, pictures((128, 128)), objects()[:1]))
    stages = {int(name.split(".")[3]) for name in learned if name.startswith("network.backbone.body")}
    assert stages == {13, 14, 15, 16}  # from the last strided block on
