"""The baseline is torchvision's detector to the bit; the harmonic one differs in nothing but the loss."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import (
    fasterrcnn_mobilenet_v3_large_320_fpn,
    ssdlite320_mobilenet_v3_large,
)

from detector.config import Architecture, BaselineLoss, FasterRCNN320, HarmonicLoss, SSDLite320
from detector.losses.baseline import Classification
from detector.losses.harmonic import HarmonicTerms
from detector.models import Detector, roi_align
from tests.detector.models.helpers import (
    ARCHITECTURES,
    CLASSES,
    detect,
    gradient,
    lively,
    make,
    objects,
    pictures,
    train_losses,
)

# torchvision's names, in ours
LOSS_NAMES = {
    "classification": "classification",
    "bbox_regression": "localization",
    "loss_classifier": "classification",
    "loss_box_reg": "localization",
    "loss_mask": "mask",
    "loss_objectness": "rpn_objectness",
    "loss_rpn_box_reg": "rpn_box",
}


def torchvisions(architecture: Architecture, like: Detector) -> nn.Module:
    """torchvision's own detector, made by torchvision, with the weights of ours."""
    network: Any
    if isinstance(architecture, SSDLite320):
        network = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES + 1)
        network.transform.fixed_size = (architecture.image_size, architecture.image_size)
    else:
        assert isinstance(architecture, FasterRCNN320)
        network = fasterrcnn_mobilenet_v3_large_320_fpn(
            weights=None,
            weights_backbone=None,
            num_classes=CLASSES + 1,
            min_size=architecture.image_size,
            max_size=2 * architecture.image_size,
        )
    # In training, torchvision draws the size to resize to, from sizes of which there is one: here it must not
    # draw, so that proposals are sampled alike. In evaluation it resizes, which must change nothing.
    network.transform._skip_resize = True
    network.load_state_dict(like.network.state_dict())
    return network  # type: ignore[no-any-return]


def images_of(architecture: Architecture) -> list[Tensor]:
    if isinstance(architecture, SSDLite320):
        return pictures((128, 128), (128, 128), (128, 128))
    return pictures((128, 150), (160, 128), (128, 128))


def weight_nothing(
    classification: Classification, offsets_loss: Tensor, boxes: Tensor, target_boxes: Tensor
) -> HarmonicTerms:
    """A criterion that leaves the detector's own losses as they are."""
    return HarmonicTerms(classification.loss, offsets_loss, None)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.kind)
def test_baseline_losses_and_gradients_are_torchvisions(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roi_align, "CELLS_LIMIT", 0)  # products are rounded otherwise, see test_roi_align
    ours, images = make(architecture, BaselineLoss()), images_of(architecture)
    theirs = torchvisions(architecture, ours).train()
    torch.manual_seed(7)
    their_losses: dict[str, Tensor] = theirs(
        images, [{"boxes": t["boxes"], "labels": t["labels"] + 1} for t in objects()]
    )
    our_losses = train_losses(ours, images, objects())
    assert {LOSS_NAMES[name]: loss.item() for name, loss in their_losses.items()} == {
        name: loss.item() for name, loss in our_losses.items()
    }
    their_gradient, our_gradient = gradient(theirs, their_losses), gradient(ours, our_losses)
    assert our_gradient.keys() == {f"network.{name}" for name in their_gradient}
    for name, value in their_gradient.items():
        torch.testing.assert_close(our_gradient[f"network.{name}"], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.kind)
def test_detections_are_torchvisions(architecture: Architecture) -> None:
    ours, images = lively(make(architecture, BaselineLoss())), images_of(architecture)
    with torch.no_grad():
        theirs = torchvisions(architecture, ours).eval()(images)
    assert sum(len(found["scores"]) for found in theirs) > 10
    for our, their in zip(detect(ours, images), theirs, strict=True):
        assert torch.equal(our["boxes"], their["boxes"])
        assert torch.equal(our["scores"], their["scores"])
        assert torch.equal(our["labels"], their["labels"] - 1)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.kind)
def test_both_losses_have_the_same_network_and_detections(architecture: Architecture) -> None:
    harmonic, baseline = make(architecture, HarmonicLoss()), make(architecture, BaselineLoss())
    assert harmonic.input_spec == baseline.input_spec
    assert harmonic.state_dict().keys() == baseline.state_dict().keys()
    for name, value in harmonic.state_dict().items():
        assert torch.equal(value, baseline.state_dict()[name])
    lively(baseline)
    harmonic.load_state_dict(baseline.state_dict())
    images = images_of(architecture)
    for a, b in zip(detect(harmonic, images), detect(baseline, images), strict=True):
        assert torch.equal(a["boxes"], b["boxes"])
        assert torch.equal(a["scores"], b["scores"])
        assert torch.equal(a["labels"], b["labels"])


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.kind)
def test_a_criterion_that_weights_nothing_gives_the_baseline(architecture: Architecture) -> None:
    """Sampling, mining, negatives, RPN and normalisers are the detector's own."""
    harmonic, baseline = make(architecture, HarmonicLoss()), make(architecture, BaselineLoss())
    holder: Any = harmonic.network if isinstance(architecture, SSDLite320) else harmonic.network.roi_heads
    holder.criterion = weight_nothing
    images = images_of(architecture)
    ours, theirs = train_losses(harmonic, images, objects()), train_losses(baseline, images, objects())
    assert ours.keys() == theirs.keys()
    for name, loss in theirs.items():
        torch.testing.assert_close(ours[name], loss, rtol=1e-6, atol=0)
    our_gradient, their_gradient = gradient(harmonic, ours), gradient(baseline, theirs)
    for name, value in their_gradient.items():
        torch.testing.assert_close(our_gradient[name], value, rtol=1e-4, atol=1e-6)


def test_of_proposals_with_equal_scores_the_first_survive_and_come_first() -> None:
    network: Any = make(FasterRCNN320(image_size=128), BaselineLoss()).eval().network
    network.rpn._pre_nms_top_n["testing"], network.rpn._post_nms_top_n["testing"] = 1000, 500
    anchors = [1500, 700]  # so many that torchvision sorts what is left of the levels once more
    corners = torch.stack(torch.meshgrid(torch.arange(50), torch.arange(44), indexing="ij"), -1).reshape(
        -1, 2
    )
    boxes = torch.cat([corners * 2.0, corners * 2.0 + 1.9], 1)[None]  # no two overlap
    logits = torch.randn(1, sum(anchors), generator=torch.Generator().manual_seed(0)).mul(4).round()
    (kept,), (scores,) = network.rpn.filter_proposals(boxes, logits, [(128, 128)], anchors)
    # Of each level the best so many are looked at.
    first, second = (
        part.sort(descending=True, stable=True).indices for part in torch.split(logits[0], anchors)
    )
    most = network.rpn.pre_nms_top_n()
    looked_at = torch.cat([first[:most], second[:most] + anchors[0]])
    best = logits[0, looked_at].sort(descending=True, stable=True).indices[: network.rpn.post_nms_top_n()]
    assert kept.equal(boxes[0, looked_at[best]])
    assert scores.equal(logits[0, looked_at[best]].sigmoid())


@pytest.mark.parametrize("seed", range(3))
def test_proposals_of_different_scores_are_torchvisions(seed: int) -> None:
    architecture = FasterRCNN320(image_size=128)
    ours: Any = make(architecture, BaselineLoss())
    theirs: Any = torchvisions(architecture, ours).eval()
    random = torch.Generator().manual_seed(seed)
    anchors = [900, 500, 300]
    corner = torch.rand(2, sum(anchors), 2, generator=random) * 120 - 10
    boxes = torch.cat([corner, corner + torch.rand(2, sum(anchors), 2, generator=random) * 30], 2)
    logits = torch.randn(2, sum(anchors), generator=random)
    shapes = [(128, 128), (96, 128)]
    mine = ours.eval().network.rpn.filter_proposals(boxes, logits, shapes, anchors)
    reference = theirs.rpn.filter_proposals(boxes, logits, shapes, anchors)
    for a, b in zip((*mine[0], *mine[1]), (*reference[0], *reference[1]), strict=True):
        assert a.equal(b)
