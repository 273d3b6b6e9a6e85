"""Classifiers as backbones: torchvision's feature pyramid over any of them."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from torch import nn
from torchvision.models import (
    mobilenet_v2,
    mobilenet_v3_large,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnext101_32x8d,
)
from torchvision.models.detection.backbone_utils import _mobilenet_extractor, _resnet_fpn_extractor
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.mobilenetv3 import MobileNetV3
from torchvision.models.resnet import ResNet
from torchvision.ops import FrozenBatchNorm2d

from detector.config import Backbone, InitialWeights

Classifier: TypeAlias = ResNet | MobileNetV2 | MobileNetV3
NormLayer: TypeAlias = Callable[..., nn.Module]

CHANNELS = 256  # of every map of a pyramid

_CLASSIFIERS: dict[Backbone, Any] = {
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnext101_32x8d": resnext101_32x8d,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_large": mobilenet_v3_large,
}


def build_classifier(name: Backbone, norm_layer: NormLayer) -> Classifier:
    """The classifier with random weights; its last layers are left out of a pyramid."""
    return _CLASSIFIERS[name](weights=None, norm_layer=norm_layer)


def norm_layer(initial_weights: InitialWeights, *, coco_eps: float = 1e-5) -> NormLayer:
    """As in torchvision's first versions, batch norms are frozen where their statistics come from elsewhere,
    and learn where training starts from random weights.

    Args:
        coco_eps: what was added to the variance when the published COCO detector was trained.
    """
    if initial_weights == "random":
        return nn.BatchNorm2d
    return partial(FrozenBatchNorm2d, eps=coco_eps if initial_weights == "coco" else 1e-5)


def deepest_channels(classifier: Classifier) -> int:
    """Channels of the map with stride 32."""
    channels: int = (
        classifier.inplanes if isinstance(classifier, ResNet) else classifier.features[-1].out_channels
    )
    return channels


def build_pyramid(
    classifier: Classifier,
    trainable_layers: int | None,
    *,
    finest_stride: int,
    extra_blocks: nn.Module | None = None,
    norm_layer: NormLayer | None = None,
) -> nn.Module:
    """A feature pyramid over the classifier's maps up to stride 32, and those of `extra_blocks`.

    Args:
        trainable_layers: how many of the classifier's stages learn, counted from its end: up to 5 of a
            ResNet, 6 of a MobileNet; None for all.
        finest_stride: 4 or 8; with 32, a MobileNet gives its two last maps, both of stride 32, as
            torchvision's own detectors with a MobileNet have it.
        extra_blocks: what makes the coarser maps; None for one max pool.
        norm_layer: in the pyramid itself; None for none.
    """
    if isinstance(classifier, ResNet):
        extract, stages = _resnet_fpn_extractor, 5
        returned = {4: [1, 2, 3, 4], 8: [2, 3, 4]}[finest_stride]
    else:
        extract, stages = _mobilenet_extractor, 6
        returned = {4: [1, 2, 3, 5], 8: [2, 3, 5], 32: [4, 5]}[finest_stride]
    options: dict[str, Any] = {
        "trainable_layers": stages if trainable_layers is None else trainable_layers,
        "returned_layers": returned,
        "extra_blocks": extra_blocks,
        "norm_layer": norm_layer,
    }
    if not isinstance(classifier, ResNet):
        options["fpn"] = True
    backbone: nn.Module = extract(classifier, **options)
    return backbone
