"""The feature maps of RefineDet, of strides 8, 16, 32 and 64: those of its backbones, and those that transfer
connection blocks make of them.

S. Zhang et al.: "Single-Shot Refinement Neural Network for Object Detection", CVPR 2018, arXiv 1711.06897.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.models.vgg import VGG

CHANNELS = 256  # of every map of the object detection module
NormLayer: TypeAlias = Callable[[int], nn.Module]


class VGGMaps(nn.Module):
    """conv4_3 and conv5_3 of VGG16, brought to one length per place; its first two fully connected layers as
    convolutions (fc6 atrous); and an extra convolution."""

    out_channels = (512, 512, 1024, 512)

    def __init__(self, classifier: VGG) -> None:
        super().__init__()
        self.features = classifier.features
        self.norms = nn.ModuleList([L2Norm(512, 10.0), L2Norm(512, 8.0)])
        self.fc = nn.Sequential(
            nn.Conv2d(512, 1024, 3, padding=3, dilation=3),
            nn.ReLU(inplace=True),
            nn.Conv2d(1024, 1024, 1),
            nn.ReLU(inplace=True),
        )
        self.conv6 = nn.Sequential(
            nn.Conv2d(1024, 256, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 512, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
        )
        xavier_init(self.fc)
        xavier_init(self.conv6)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to four maps (B, C, H / stride, W / stride), finest first."""
        maps, x = [], images
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)  # the last map of each of the 5 stages
            x = layer(x)
        x = self.fc(x)
        normalized = [norm(found) for norm, found in zip(self.norms, maps[3:], strict=True)]
        return [*normalized, x, self.conv6(x)]


class ResNetMaps(nn.Module):
    """The maps of a ResNet's last three stages, and of one more residual block."""

    def __init__(self, classifier: ResNet, norm_layer: NormLayer) -> None:
        super().__init__()
        channels = classifier.inplanes  # of the last stage
        self.body = IntermediateLayerGetter(classifier, {"layer2": "0", "layer3": "1", "layer4": "2"})
        self.out_channels = (channels // 4, channels // 2, channels, 512)
        shortcut = nn.Sequential(nn.Conv2d(channels, 512, 1, stride=2, bias=False), norm_layer(512))
        self.res6 = Bottleneck(channels, 128, stride=2, downsample=shortcut, norm_layer=norm_layer)
        xavier_init(self.res6)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to four maps (B, C, H / stride, W / stride), finest first."""
        maps = list(self.body(images).values())
        return [*maps, self.res6(maps[-1])]


class L2Norm(nn.Module):
    """Brings the vector of channels at every place to length 1, then scales each channel: the maps of early
    layers have other magnitudes than those of later ones (ParseNet, arXiv 1506.04579)."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(x) * self.scale[:, None, None]


class TransferConnections(nn.Module):
    """Makes of the backbone's maps those that the object detection module looks at: from the coarsest to the
    finest, each with the one above it added."""

    def __init__(self, channels: tuple[int, ...], norm_layer: NormLayer | None) -> None:
        super().__init__()
        top = len(channels) - 1
        self.blocks = nn.ModuleList(
            TransferConnection(count, norm_layer, is_top=level == top) for level, count in enumerate(channels)
        )
        xavier_init(self)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Four maps (B, C, h, w) to four (B, 256, h, w), finest first."""
        found: list[Tensor] = []
        above: Tensor | None = None
        for block, own in zip(reversed(self.blocks), reversed(maps), strict=True):
            above = block(own, above)
            found.insert(0, above)
        return found


class TransferConnection(nn.Module):
    """Two convolutions of a map, the enlarged map above it added, a third convolution."""

    def __init__(self, channels: int, norm_layer: NormLayer | None, *, is_top: bool) -> None:
        super().__init__()
        self.lateral = nn.Sequential(
            *_convolution(channels, norm_layer), nn.ReLU(inplace=True), *_convolution(CHANNELS, norm_layer)
        )
        self.enlarge: nn.Module | None = None
        if not is_top:
            deconvolution = nn.ConvTranspose2d(CHANNELS, CHANNELS, 2, stride=2, bias=norm_layer is None)
            self.enlarge = nn.Sequential(deconvolution, *_norm(norm_layer))
        self.smooth = nn.Sequential(*_convolution(CHANNELS, norm_layer), nn.ReLU(inplace=True))

    def forward(self, own: Tensor, above: Tensor | None) -> Tensor:
        x: Tensor = self.lateral(own)
        if self.enlarge is not None:
            x = x + self.enlarge(above)
        smooth: Tensor = self.smooth(nn.functional.relu(x))
        return smooth


def xavier_init(module: nn.Module) -> None:
    """As the authors' layers start: uniform weights after Glorot, no bias."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _convolution(channels: int, norm_layer: NormLayer | None) -> list[nn.Module]:
    return [nn.Conv2d(channels, CHANNELS, 3, padding=1, bias=norm_layer is None), *_norm(norm_layer)]


def _norm(norm_layer: NormLayer | None) -> list[nn.Module]:
    return [] if norm_layer is None else [norm_layer(CHANNELS)]
