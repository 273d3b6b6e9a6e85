"""SSD300 is torchvision's, at its own size; the generic claims are tested on its smaller sister SSDlite."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import VGG16_Weights
from torchvision.models.detection import SSD300_VGG16_Weights, ssd300_vgg16
from torchvision.models.detection.ssd import SSDFeatureExtractorVGG

from detector.config import SSD300, BaselineLoss, HarmonicLoss
from detector.models import graph_module, input_spec
from detector.models.ssd import build_vgg
from detector.weights import load_initial
from tests.detector.models.helpers import (
    CLASSES,
    detect,
    gradient,
    make,
    objects,
    pictures,
    train_losses,
)
from tests.detector.models.test_against_torchvision import LOSS_NAMES, weight_nothing
from tests.detector.models.test_graph import assert_equal_detections, export, pixels
from tests.detector.test_weights import publish

ARCHITECTURE = SSD300()


def torchvisions(state: dict[str, Any]) -> Any:
    network = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=CLASSES + 1)
    network.transform._skip_resize = True
    network.load_state_dict(state)
    return network


def test_baseline_losses_and_gradients_are_torchvisions() -> None:
    ours, images, targets = make(ARCHITECTURE, BaselineLoss()), pictures((300, 300)), objects()[:1]
    theirs = torchvisions(ours.network.state_dict()).train()
    their_losses = theirs(images, [{"boxes": t["boxes"], "labels": t["labels"] + 1} for t in targets])
    our_losses = train_losses(ours, images, targets)
    assert {LOSS_NAMES[name]: loss.item() for name, loss in their_losses.items()} == {
        name: loss.item() for name, loss in our_losses.items()
    }
    their_gradient, our_gradient = gradient(theirs, their_losses), gradient(ours, our_losses)
    assert our_gradient.keys() == {f"network.{name}" for name in their_gradient}
    for name, value in their_gradient.items():
        torch.testing.assert_close(our_gradient[f"network.{name}"], value, rtol=1e-5, atol=1e-7)


def test_harmonic_differs_in_nothing_but_the_loss() -> None:
    harmonic, baseline = make(ARCHITECTURE, HarmonicLoss()), make(ARCHITECTURE, BaselineLoss())
    images, targets = pictures((300, 300)), objects()[:1]
    theirs = train_losses(baseline, images, targets)
    assert train_losses(harmonic, images, targets)["localization"] > theirs["localization"]
    network: Any = harmonic.network
    network.criterion = weight_nothing
    for name, loss in train_losses(harmonic, images, targets).items():
        torch.testing.assert_close(loss, theirs[name], rtol=1e-6, atol=0)


def test_detections_are_torchvisions_and_onnx_runtimes() -> None:
    detector = make(ARCHITECTURE, HarmonicLoss())
    network: Any = detector.network
    with torch.no_grad():  # random heads find everything everywhere: that would be thousands of boxes
        for predictor in network.head.classification_head.module_list:
            predictor.bias[::4] += 2.0
    image = pixels(300, 300)
    (ours,) = detect(detector, [image.permute(2, 0, 1) / 255])
    with torch.no_grad():
        (theirs,) = torchvisions(detector.network.state_dict()).eval()([image.permute(2, 0, 1) / 255])
    assert torch.equal(ours["boxes"], theirs["boxes"])
    assert torch.equal(ours["scores"], theirs["scores"])
    assert torch.equal(ours["labels"], theirs["labels"] - 1)
    graph = export(detector, dynamic=False, example=pixels(300, 300, seed=99))
    assert assert_equal_detections(graph_module(detector), graph, image) > 5


def test_the_stages_asked_for_learn() -> None:
    architecture = SSD300(initial_weights="coco", trainable_backbone_layers=2)
    frozen = {n for n, p in make(architecture).network.named_parameters() if not p.requires_grad}
    assert {int(name.split(".")[2]) for name in frozen} == {0, 2, 5, 7, 10, 12, 14}
    with pytest.raises(ValueError, match="trainable_backbone_layers must be 5"):
        SSD300(trainable_backbone_layers=2)


def test_images_come_as_squares_of_300_pixels() -> None:
    assert input_spec(ARCHITECTURE).shape_for(480, 640) == (300, 300)


def test_imagenet_weights_are_those_of_every_convolution_of_vgg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(3)
    classifier = build_vgg().features
    published = publish(VGG16_Weights.IMAGENET1K_FEATURES, nn.ModuleDict({"features": classifier}))
    detector = make(ARCHITECTURE, BaselineLoss())
    random = load_initial(detector, SSD300(initial_weights="imagenet"))
    ours, theirs = detector.network, SSDFeatureExtractorVGG(classifier, highres=False)
    loaded = ours.state_dict().keys() - set(random)
    assert len(loaded) == len(published) == 26
    for name in loaded:
        assert torch.equal(ours.state_dict()[name], theirs.state_dict()[name.removeprefix("backbone.")])


def test_coco_weights_leave_out_only_the_layers_of_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    published = publish(SSD300_VGG16_Weights.COCO_V1, ssd300_vgg16(weights=None, weights_backbone=None))
    detector = make(ARCHITECTURE, BaselineLoss())
    random = load_initial(detector, SSD300(initial_weights="coco"))
    assert all(name.startswith("head.classification_head.") for name in random)
    assert len(random) == 12
    for name, value in detector.network.state_dict().items():
        assert name in random or torch.equal(value, published[name])
