"""How large a detector is and what it can see, without building it. Imports without torch.

All numbers are those of the networks that `detector.models.build` makes; tests/detector/test_footprint.py
builds every one of them without memory for its weights and compares.
"""

from dataclasses import dataclass
from typing import NamedTuple

from detector.config import AdamW, Architecture, Optimizer, SSDLite320
from detector.origins import backbone_of

CHECKPOINTS_KEPT = 2  # in a run directory
FLOAT = 4  # bytes; half precision is for computing only, weights are kept whole
_CHECKPOINT_EXTRAS = 1 << 20  # names and places of the tensors in the file, and all that is no tensor
_MODEL_EXTRAS = 1 << 19  # the same of `model.safetensors` and `model.onnx` together
_DETECTION = 150  # bytes of JSON, measured: 148 to 151
# Run lengths in JSON for each pixel of an image's width, and what is around them. Measured: 1 to 4.5 where a
# network has hardly begun to learn and its masks are rough; less later.
_MASK, _AROUND_MASK = 5, 60
_DETECTIONS_OF_CLASS = 100  # that `images.jsonl` has of an image and a class
_REPORT, _REPORT_OF_CLASS = 20_000, 10_000


@dataclass(frozen=True)
class Footprint:
    """A detector's size.

    `parameters` are those that learn when all do: layers and norms that are frozen have no state in the
    optimiser, so that it is smaller then.
    """

    parameters: int
    buffer_bytes: int
    """Of what does not learn: running statistics."""
    finest_stride: int
    """Pixels of the resized image, along each side, for one place of the finest feature map."""
    most_detections: int
    """That are kept of an image."""
    smallest_anchor: float | None
    """Side of the square that is as large as the smallest anchor, in pixels of the resized image. None where
    anchors are refined before they are told classes (two stages, RefineDet), or are points (FCOS)."""

    @property
    def weight_bytes(self) -> int:
        return FLOAT * self.parameters + self.buffer_bytes

    @property
    def model_bytes(self) -> int:
        """Of `model.safetensors` and `model.onnx`, at most."""
        return 2 * self.weight_bytes + _MODEL_EXTRAS

    def checkpoint_bytes(self, optimizer: Optimizer) -> int:
        """At most: the weights, their average, the best average so far, and what the optimiser remembers: one
        number per parameter, or with AdamW two."""
        remembered = 2 if isinstance(optimizer, AdamW) else 1
        return 3 * self.weight_bytes + remembered * FLOAT * self.parameters + _CHECKPOINT_EXTRAS

    def state_bytes(self, optimizer: Optimizer) -> int:
        """What is in memory whatever the batch, at most: weights, their average, gradients, and what the
        optimiser remembers."""
        remembered = 2 if isinstance(optimizer, AdamW) else 1
        return 2 * self.weight_bytes + (1 + remembered) * FLOAT * self.parameters

    def evaluation_bytes(self, images: int, classes: int, *, mask_width: float | None = None) -> int:
        """Of `detections.json`, `images.jsonl` and `report.json` for so many images, at most.

        Args:
            mask_width: mean width of the images in pixels, where every detection has a mask.
        """
        shown = min(self.most_detections, _DETECTIONS_OF_CLASS * classes)
        mask = 0 if mask_width is None else round(_MASK * mask_width) + _AROUND_MASK
        an_image = _DETECTION * (self.most_detections + shown) + mask * self.most_detections
        return an_image * images + _REPORT + _REPORT_OF_CLASS * classes


def footprint(architecture: Architecture, num_classes: int) -> Footprint:
    """The size of a detector of so many classes, background not counted."""
    name = backbone_of(architecture)
    head = _head(architecture)
    body = _BODIES[name] if head.has_body else _Body(0, 0, (0, 0, 0, 0))
    over_maps = sum(times * channels for times, channels in zip(head.per_channel, body.channels, strict=True))
    return Footprint(
        parameters=body.parameters + over_maps + head.parameters + head.per_class * num_classes,
        buffer_bytes=body.buffer_bytes + head.buffer_bytes,
        finest_stride=head.finest_stride,
        most_detections=head.most_detections,
        smallest_anchor=_smallest_anchor(architecture),
    )


def _smallest_anchor(architecture: Architecture) -> float | None:
    if isinstance(architecture, SSDLite320):
        return 0.2 * architecture.image_size  # they grow with the image
    return _SMALLEST_ANCHORS.get(architecture.kind)


class _Body(NamedTuple):
    """A classifier without its last layers."""

    parameters: int
    buffer_bytes: int
    channels: tuple[int, int, int, int]  # of its maps of stride 4, 8, 16, 32


class _Head(NamedTuple):
    """What a detector adds to its backbone. Where `has_body` is false, the backbone is counted here, too."""

    finest_stride: int
    most_detections: int
    parameters: int
    per_class: int
    per_channel: tuple[int, int, int, int] = (0, 0, 0, 0)  # of the backbone's maps
    buffer_bytes: int = 0
    has_body: bool = True


_BODIES = {
    "resnet18": _Body(11_176_512, 38_560, (64, 128, 256, 512)),
    "resnet34": _Body(21_284_672, 68_384, (64, 128, 256, 512)),
    "resnet50": _Body(23_508_032, 212_904, (256, 512, 1024, 2048)),
    "resnet101": _Body(42_500_160, 422_208, (256, 512, 1024, 2048)),
    "resnext101_32x8d": _Body(86_742_336, 812_352, (256, 512, 1024, 2048)),
    "mobilenet_v2": _Body(2_223_872, 136_864, (24, 32, 64, 1280)),
    "mobilenet_v3_large": _Body(2_971_952, 97_968, (24, 40, 80, 960)),
}
# A pyramid brings a map of any depth to 256 channels by a convolution of 1 x 1.
_FROM_4 = (256, 256, 256, 256)
_FROM_8 = (0, 256, 256, 256)
_FROM_32 = (0, 0, 0, 256)
_MOBILE = _Head(32, 100, 15_731_792, 5_125, _FROM_32)
_HEADS = {
    "ssd300_vgg16": _Head(8, 200, 23_612_246, 133_662, has_body=False),
    "retinanet_resnet50_fpn": _Head(8, 300, 7_754_788, 20_745, _FROM_8),
    # One more convolution, of 3 x 3, looks at the deepest map.
    "retinanet_resnet50_fpn_v2": _Head(8, 300, 7_167_012, 20_745, (0, 256, 256, 256 + 9 * 256)),
    "fcos_resnet50_fpn": _Head(8, 100, 7_687_429, 2_305, _FROM_8),
    "fasterrcnn_mobilenet_v3_large_320_fpn": _MOBILE,
    "fasterrcnn_mobilenet_v3_large_fpn": _MOBILE,
    "fasterrcnn_resnet50_fpn": _Head(4, 100, 16_856_084, 5_125, _FROM_4),
    "fasterrcnn_resnet50_fpn_v2": _Head(4, 100, 18_759_956, 5_125, _FROM_4, 24_672),
    "maskrcnn_resnet50_fpn": _Head(4, 100, 19_479_061, 5_382, _FROM_4),
    "maskrcnn_resnet50_fpn_v2": _Head(4, 100, 21_383_957, 5_382, _FROM_4, 32_896),
}
_SMALLEST_ANCHORS = {
    "ssd300_vgg16": 21.0,
    "retinanet_resnet50_fpn": 32.0,
    "retinanet_resnet50_fpn_v2": 32.0,
}
_SSDLITE = _Head(16, 300, 3_691_940, 16_740, buffer_bytes=161_136, has_body=False)
_SSDLITE_REDUCED = _Head(16, 300, 2_192_660, 13_860, buffer_bytes=132_336, has_body=False)
_REFINEDET_VGG = _Head(8, 200, 33_887_684, 27_660, has_body=False)
# Convolutions of 3 x 3 transfer each map (to 256 channels) and refine its anchors (3 of 6 numbers); the
# block behind the deepest map makes 128 and 512 channels of it.
_REFINEDET_RESNET = _Head(
    8,
    200,
    7_129_220,
    27_660,
    (0, 9 * (256 + 18), 9 * (256 + 18), 9 * (256 + 18) + 128 + 512),
    buffer_bytes=41_112,
)


def _head(architecture: Architecture) -> _Head:
    kind = architecture.kind
    if isinstance(architecture, SSDLite320):
        return _SSDLITE_REDUCED if architecture.tail_is_reduced else _SSDLITE
    if kind in ("refinedet320", "refinedet512"):
        return _REFINEDET_VGG if backbone_of(architecture) == "vgg16" else _REFINEDET_RESNET
    return _HEADS[kind]
