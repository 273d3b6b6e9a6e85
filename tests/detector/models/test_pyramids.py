"""RetinaNet, FCOS and Faster R-CNN are torchvision's networks, of which the loss only is changed."""

import math
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection, resnet18
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import FrozenBatchNorm2d

from detector.config import (
    ARCHITECTURES,
    FCOS,
    Architecture,
    Backbone,
    BaselineLoss,
    FasterRCNN,
    FasterRCNNMobile,
    HarmonicLoss,
    RetinaNet,
    RetinaNetV2,
    TrainConfig,
)
from detector.losses.harmonic import HarmonicCriterion
from detector.models import Detector, build, input_spec, roi_align
from detector.models.backbones import build_classifier, build_pyramid
from tests.detector.models.families import (
    FAMILIES,
    FASTER_RCNN_MOBILE,
    FCOS_,
    HEADS,
    RETINANET,
    RETINANET_V2,
    SMALL,
    few_proposals,
    head_of,
    lively,
    small,
)
from tests.detector.models.helpers import (
    CLASSES,
    detect,
    gradient,
    objects,
    pictures,
    target,
    train_losses,
)
from tests.detector.models.test_against_torchvision import LOSS_NAMES, weight_nothing

NAMES = {**LOSS_NAMES, "bbox_ctrness": "centerness"}
IMAGES = [(128, 150), (160, 128), (128, 128)]
every_family = pytest.mark.parametrize("architecture", FAMILIES, ids=lambda a: a.kind)
every_head = pytest.mark.parametrize("architecture", HEADS, ids=lambda a: a.kind)
PYRAMIDS = [kind for kind in ARCHITECTURES if kind in {family.kind for family in FAMILIES}]


def torchvisions(architecture: Architecture, like: Detector) -> nn.Module:
    """torchvision's own detector, made by torchvision, with the weights of ours."""
    network: Any = getattr(detection, architecture.kind)(
        weights=None,
        weights_backbone=None,
        num_classes=CLASSES + like.first_class,
        min_size=128,
        max_size=256,
    )
    network.transform._skip_resize = True
    network.load_state_dict(like.network.state_dict())
    few_proposals(network)
    return network  # type: ignore[no-any-return]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's functions have one backbone each: a smaller one under its name."""
    for module in ("retinanet", "fcos", "faster_rcnn", "mask_rcnn"):
        monkeypatch.setattr(f"torchvision.models.detection.{module}.resnet50", resnet18)


@every_family
@pytest.mark.usefixtures("narrow")
def test_baseline_losses_gradients_and_detections_are_torchvisions(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roi_align, "CELLS_LIMIT", 0)  # products are rounded otherwise, see test_roi_align
    if isinstance(architecture, RetinaNetV2):  # torchvision writes the width of a ResNet-50 into this one
        blocks = detection.retinanet.LastLevelP6P7
        monkeypatch.setattr(detection.retinanet, "LastLevelP6P7", lambda _, width: blocks(512, width))
    ours, images = small(architecture, BaselineLoss()), pictures(*IMAGES)
    theirs = torchvisions(architecture, ours).train()
    labelled = [{**t, "labels": t["labels"] + ours.first_class} for t in objects()]
    torch.manual_seed(7)
    their_losses: dict[str, Tensor] = theirs(images, labelled)
    our_losses = train_losses(ours, images, objects())
    assert {NAMES[name]: loss.item() for name, loss in their_losses.items()} == {
        name: loss.item() for name, loss in our_losses.items()
    }
    their_gradient, our_gradient = gradient(theirs, their_losses), gradient(ours, our_losses)
    assert our_gradient.keys() == {f"network.{name}" for name in their_gradient}
    for name, value in their_gradient.items():
        torch.testing.assert_close(our_gradient[f"network.{name}"], value, rtol=1e-5, atol=1e-7)

    theirs.load_state_dict(lively(ours).network.state_dict())
    with torch.no_grad():
        their_detections = theirs.eval()(images)
    assert sum(len(found["scores"]) for found in their_detections) > 10
    for our, their, shape in zip(detect(ours, images), their_detections, IMAGES, strict=True):
        assert torch.equal(our["boxes"], their["boxes"])
        assert torch.equal(our["scores"], their["scores"])
        assert torch.equal(our["labels"] + ours.first_class, their["labels"])
        assert set(our["labels"].tolist()) <= set(range(CLASSES))
        assert ("masks" in our) == ours.has_masks
        if ours.has_masks:  # torchvision pastes them into the image
            assert torch.equal(paste_masks_in_image(our["masks"], our["boxes"], shape), their["masks"])


@every_family
def test_a_criterion_that_weights_nothing_changes_no_other_loss(architecture: Architecture) -> None:
    """Sampling, negatives, centre-ness, RPN and normalisers are the detector's own. Box losses are equal too
    where the detector's own one is smooth L1."""
    harmonic, baseline = small(architecture), small(architecture, BaselineLoss())
    for name, value in harmonic.state_dict().items():
        assert torch.equal(value, baseline.state_dict()[name])
    head_of(harmonic).criterion = weight_nothing
    ours = train_losses(harmonic, pictures(*IMAGES), objects())
    theirs = train_losses(baseline, pictures(*IMAGES), objects())
    assert ours.keys() == theirs.keys()
    if harmonic.first_class == 0:
        ours.pop("localization")
    for name, loss in ours.items():
        torch.testing.assert_close(loss, theirs[name], rtol=1e-5, atol=0)


@every_family
def test_every_parameter_learns_and_losses_without_objects_are_finite(architecture: Architecture) -> None:
    detector = small(architecture)
    learned = gradient(detector, train_losses(detector, pictures((128, 128), (128, 128)), objects()[:2]))
    assert learned.keys() == {name for name, _ in detector.named_parameters()}
    assert all(value.isfinite().all() for value in learned.values())
    empty = train_losses(detector, pictures((128, 128), (128, 128)), [target([], []), target([], [])])
    assert empty["localization"].item() == empty["task_contrasting"].item() == 0
    assert all(value.isfinite().all() for value in gradient(detector, empty).values())


@every_head
@pytest.mark.parametrize("offset", [-1e4, 1e4])
def test_absurd_offsets_give_finite_losses_and_gradients(architecture: Architecture, offset: float) -> None:
    detector = small(architecture)
    for name, parameter in detector.named_parameters():
        if name.endswith(("box_predictor.bbox_pred.bias", "bbox_reg.bias")):
            parameter.data.fill_(offset)
    losses = train_losses(detector, pictures((128, 128)), objects()[:1])
    assert all(loss.isfinite() for loss in losses.values())
    assert all(value.isfinite().all() for value in gradient(detector, losses).values())


@every_head
def test_autocast_leaves_boxes_and_losses_in_float32(architecture: Architecture) -> None:
    detector, images = small(architecture), pictures((128, 128))
    with torch.autocast("cpu", torch.bfloat16):
        losses = train_losses(detector, images, objects()[:1])
        (found,) = detect(detector, images)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert found["boxes"].dtype == torch.float32


@every_head
def test_options_of_the_config_reach_the_loss(architecture: Architecture) -> None:
    options: dict[str, Any] = {"alpha": 3.0, "gamma": 0.5, "iou_loss": "ciou", "harmonic_factors": False}
    assert head_of(small(architecture, HarmonicLoss(**options))).criterion == HarmonicCriterion(**options)


# --- the sigmoid detectors' losses by hand ---

BOX = [32.0, 32.0, 96.0, 96.0]
FOCAL_POSITIVE = 0.25 * 0.25 * math.log(2)  # of a logit 0
FOCAL_NEGATIVE = 0.75 * 0.25 * math.log(2)
SAMPLE = FOCAL_POSITIVE + 2 * FOCAL_NEGATIVE  # three classes


def retinanet_losses(offsets: list[float], box: list[float], matched: list[int]) -> dict[str, Tensor]:
    """On four anchors at BOX in each of two images, the second without an object; all logits are 0."""
    losses: dict[str, Tensor] = head_of(small(RETINANET)).compute_loss(
        [
            {"boxes": torch.tensor([box]), "labels": torch.tensor([2])},
            {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
        ],
        {"cls_logits": torch.zeros(2, 4, 3), "bbox_regression": torch.tensor([[offsets] * 4] * 2)},
        [torch.tensor([BOX] * 4)] * 2,
        [torch.tensor(matched), torch.full((4,), -1)],
    )
    return losses


def test_retinanet_weights_its_focal_loss_and_takes_the_mean_over_images() -> None:
    # Two perfectly placed positives count CE twice, the ignored anchor nothing, the negative once.
    losses = retinanet_losses([0.0] * 4, BOX, [0, 0, -1, -2])
    assert losses["bbox_regression"].item() == 0
    first, second = (2 * 2 * SAMPLE + 3 * FOCAL_NEGATIVE) / 2, 4 * 3 * FOCAL_NEGATIVE
    assert losses["classification"].item() == pytest.approx((first + second) / 2, rel=1e-5)
    # p = 1/2 and IoU = 1; three Bernoulli entropies of log 2.
    contrast = (0.5 - 0.2) / (1 + 2**3)
    assert losses["task_contrasting"].item() == pytest.approx(contrast / 2, rel=1e-5)


@pytest.mark.parametrize("architecture", [RETINANET, RETINANET_V2], ids=lambda a: a.kind)
def test_both_retinanets_have_the_same_box_loss(architecture: Architecture) -> None:
    assert type(head_of(small(architecture))) is type(head_of(small(RETINANET)))
    shifted = [64.0, 32.0, 128.0, 96.0]  # an offset of 1/2; IoU with BOX is 1/3
    losses = retinanet_losses([0.0] * 4, shifted, [0, -1, -1, -1])
    localization = 0.5 - 0.5 / 9 + 1.5 * (4 / 3) ** 0.8 * (2 / 3)  # smooth L1 with beta 1/9
    expected = (1 + math.exp(-SAMPLE)) * localization / 2
    assert losses["bbox_regression"].item() == pytest.approx(expected, rel=1e-5)
    assert retinanet_losses([0.5, 0, 0, 0], shifted, [0] * 4)["bbox_regression"].item() < 1e-5


def fcos_losses(distances: list[float]) -> dict[str, Tensor]:
    """On two locations in the middle of BOX, the first of them positive; the stride is 8."""
    around = [60.0, 60.0, 68.0, 68.0]
    losses: dict[str, Tensor] = head_of(small(FCOS_)).compute_loss(
        [{"boxes": torch.tensor([BOX]), "labels": torch.tensor([1])}],
        {
            "cls_logits": torch.zeros(1, 2, 3),
            "bbox_regression": torch.tensor([[distances] * 2]),
            "bbox_ctrness": torch.zeros(1, 2, 1),
        },
        [torch.tensor([around] * 2)],
        [torch.tensor([0, -1])],
    )
    return losses


def test_fcos_measures_distances_in_strides() -> None:
    perfect = fcos_losses([4.0] * 4)
    assert perfect["bbox_regression"].item() == 0
    assert perfect["classification"].item() == pytest.approx(2 * SAMPLE + 3 * FOCAL_NEGATIVE, rel=1e-5)
    assert perfect["task_contrasting"].item() == pytest.approx((0.5 - 0.2) / (1 + 2**3), rel=1e-5)
    half = fcos_losses([2.0, 4.0, 2.0, 4.0])  # half as wide: IoU 1/2, smooth L1 of 2 strides twice
    localization = 2 * 1.5 + 1.5 * 1.5**0.8 * 0.5
    expected = (1 + math.exp(-SAMPLE)) * localization
    assert half["bbox_regression"].item() == pytest.approx(expected, rel=1e-5)


def test_fcos_keeps_its_centerness() -> None:
    # In the middle of the object the centre-ness is 1, and its logit is 0.
    assert fcos_losses([2.0] * 4)["bbox_ctrness"].item() == pytest.approx(math.log(2), rel=1e-6)


# --- backbones and configs ---


@pytest.fixture
def without_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Networks have shapes and no values; a pooler cannot learn its strides then."""
    monkeypatch.setattr("detector.models.faster_rcnn._learn_strides", lambda network: None)
    with torch.device("meta"):
        yield


@pytest.mark.usefixtures("without_memory")
@pytest.mark.parametrize("kind", PYRAMIDS)
def test_the_default_network_has_torchvisions_tensors(kind: str) -> None:
    ours = build(ARCHITECTURES[kind](), HarmonicLoss(), CLASSES)
    theirs = getattr(detection, kind)(
        weights=None, weights_backbone=None, num_classes=CLASSES + ours.first_class
    )
    assert {name: value.shape for name, value in ours.network.state_dict().items()} == {
        name: value.shape for name, value in theirs.state_dict().items()
    }
    spec = input_spec(ARCHITECTURES[kind]())
    assert (spec.size, spec.max_size) == (theirs.transform.min_size[0], theirs.transform.max_size)


@pytest.mark.usefixtures("without_memory")
@pytest.mark.parametrize("backbone", get_args(Backbone))
def test_every_backbone_gives_the_strides_of_the_family(backbone: Any) -> None:
    for family, strides in ((FasterRCNN, [4, 8, 16, 32, 64]), (FCOS, [8, 16, 32, 64, 128])):
        network: Any = build(family(backbone=backbone, **SMALL), HarmonicLoss(), CLASSES).network
        maps = network.eval().backbone(torch.zeros(1, 3, 256, 256))
        assert [256 // found.shape[-1] for found in maps.values()] == strides
        assert {found.shape[1] for found in maps.values()} == {256}


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "mobilenet_v3_large"])
def test_a_mobilenet_trains_under_a_retinanet(backbone: Any) -> None:
    detector = small(RetinaNetV2(backbone=backbone, **SMALL))
    learned = gradient(detector, train_losses(detector, pictures((128, 128), (128, 128)), objects()[:2]))
    assert learned.keys() == {name for name, _ in detector.named_parameters()}


def test_only_the_stages_asked_for_learn() -> None:
    classifier = build_classifier("resnet18", nn.BatchNorm2d)
    pyramid = build_pyramid(classifier, 2, finest_stride=4)
    body: Any = pyramid.body
    learning = {name.split(".")[0] for name, parameter in body.named_parameters() if parameter.requires_grad}
    assert learning == {"layer3", "layer4"}


@pytest.mark.usefixtures("without_memory")
def test_frozen_norms_have_the_eps_of_the_published_weights() -> None:
    def eps(architecture: Architecture) -> set[float]:
        detector = build(architecture, HarmonicLoss(), CLASSES)
        return {module.eps for module in detector.modules() if isinstance(module, FrozenBatchNorm2d)}

    assert eps(FasterRCNN()) == eps(RetinaNetV2(initial_weights="coco")) == set()
    assert eps(FasterRCNN(initial_weights="coco")) == eps(RetinaNet(initial_weights="coco")) == {0.0}
    assert eps(FasterRCNN(initial_weights="imagenet")) == eps(FCOS(initial_weights="coco")) == {1e-5}


def test_the_longer_side_is_limited() -> None:
    assert input_spec(RetinaNet()).shape_for(480, 640) == (800, 1067)
    assert input_spec(RetinaNet()).shape_for(400, 1000) == (533, 1333)
    assert input_spec(FASTER_RCNN_MOBILE).shape_for(100, 100) == (128, 128)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"kind": "fcos_resnet50_fpn", "image_size": 800, "max_size": 700},
            "max_size 700 is below",
        ),
        (
            {"kind": "retinanet_resnet50_fpn", "backbone": "resnet18", "initial_weights": "coco"},
            "initial_weights coco needs backbone resnet50",
        ),
        (
            {
                "kind": "fasterrcnn_mobilenet_v3_large_fpn",
                "backbone": "mobilenet_v2",
                "initial_weights": "coco",
            },
            "initial_weights coco needs backbone mobilenet_v3_large",
        ),
        ({"kind": "fasterrcnn_mobilenet_v3_large_fpn", "backbone": "resnet18"}, "backbone"),
        (
            {
                "kind": "fasterrcnn_resnet50_fpn",
                "initial_weights": "imagenet",
                "trainable_backbone_layers": 6,
            },
            "trainable_backbone_layers 6 exceeds the 5 of resnet50",
        ),
        (
            {"kind": "fasterrcnn_resnet50_fpn", "trainable_backbone_layers": 3},
            "trainable_backbone_layers must be null when initial_weights is random",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig.model_validate({"architecture": options})


def test_a_config_survives_json() -> None:
    for kind in PYRAMIDS:
        config = TrainConfig.model_validate({"architecture": kind})
        assert TrainConfig.model_validate_json(config.model_dump_json()) == config
    mobile = FasterRCNNMobile(
        initial_weights="imagenet", trainable_backbone_layers=6, backbone="mobilenet_v2"
    )
    assert FasterRCNNMobile.model_validate(mobile.model_dump()) == mobile
