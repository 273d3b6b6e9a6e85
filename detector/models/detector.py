"""What every detector family looks like from outside: images in; losses or detections out."""

from typing import Any, NotRequired, TypeAlias, TypedDict

import torch
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from detector.images import InputSpec
from detector.losses.baseline import in_full_precision


class Target(TypedDict):
    """The objects of one image."""

    boxes: Tensor  # (N, 4) xyxy in pixels of the resized image, float32
    labels: Tensor  # (N,) int64, 0-based class indexes
    # (N, h, w) of 0 and 1, as large as the image; empty for an object whose mask nobody knows. Only for
    # detectors that learn masks.
    masks: NotRequired[Tensor]


class Detection(TypedDict):
    """What was found in one image, best first."""

    boxes: Tensor  # (N, 4) xyxy in pixels of the resized image, clipped to it
    scores: Tensor  # (N,) 0..1
    labels: Tensor  # (N,) int64, 0-based class indexes
    masks: NotRequired[Tensor]  # (N, 1, 28, 28) 0..1, each stretched over its box; see detector.pasting


Losses: TypeAlias = dict[str, Tensor]


# torchvision's names of the losses, and ours
_OUR_NAMES = {
    "bbox_regression": "localization",
    "bbox_ctrness": "centerness",
    "loss_classifier": "classification",
    "loss_box_reg": "localization",
    "loss_mask": "mask",
    "loss_objectness": "rpn_objectness",
    "loss_rpn_box_reg": "rpn_box",
}


class Detector(nn.Module):
    """One of torchvision's detectors behind one vocabulary.

    Classes count from 0 and there is no background outside; torchvision's background class 0 stays inside.

    Args:
        first_class: the network's label of class 0: 1 behind a background, 0 for a network without one.
        has_masks: whether it learns and gives a mask of every object.
        one_normaliser: whether all its losses are divided by one number (see `models.normalisers`).
    """

    def __init__(
        self,
        network: nn.Module,
        input_spec: InputSpec,
        first_class: int = 1,
        *,
        has_masks: bool = False,
        one_normaliser: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.input_spec = input_spec
        self.first_class = first_class
        self.has_masks = has_masks
        self.one_normaliser = one_normaliser

    def forward(self, images: list[Tensor], targets: list[Target] | None = None) -> Losses | list[Detection]:
        """
        Args:
            images: each (3, h, w) RGB, float 0..1, already resized as `input_spec` says.
            targets: one per image; needed in training mode, ignored otherwise. Boxes must have positive width
                and height; an image may have none. A detector with masks needs them in every target.

        Returns:
            In training mode the losses, scalars whose sum is to be minimised: `classification`,
            `localization`, and where they exist `task_contrasting`, `centerness`, `rpn_objectness`,
            `rpn_box`, `mask`, `arm_objectness`, `arm_box`. In evaluation mode a `Detection` per image.
        """
        if self.training:
            if targets is None:
                raise ValueError("training needs targets")
            first = self.first_class
            ours = [{"boxes": target["boxes"], "labels": target["labels"] + first} for target in targets]
            if self.has_masks:
                for our, target in zip(ours, targets, strict=True):
                    our["masks"] = target["masks"]
            losses: Losses = self.network(images, ours)
            return {_OUR_NAMES.get(name, name): loss for name, loss in losses.items()}
        detections: list[Detection] = []
        for found in self.network(images):
            labels = found["labels"] - self.first_class
            detection = Detection(boxes=found["boxes"], scores=found["scores"], labels=labels)
            if "masks" in found:
                detection["masks"] = found["masks"]
            detections.append(detection)
        return detections


class GraphModule(nn.Module):
    """A detector as the graph that is exported: one image of bytes in; three arrays out, with masks four."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            image: (h, w, 3) RGB uint8, already resized as the detector's `input_spec` says.

        Returns:
            boxes (N, 4) xyxy in pixels of that image, scores (N,), labels (N,) int64 0-based; best first;
            of a detector with masks also those, (N, 28, 28) 0..1.
        """
        (found,) = self.detector([pixels_to_unit(image)])
        if self.detector.has_masks:
            return found["boxes"], found["scores"], found["labels"], found["masks"].squeeze(1)
        return found["boxes"], found["scores"], found["labels"]


def pixels_to_unit(image: Tensor) -> Tensor:
    """(h, w, 3) uint8 to (3, h, w) float32 0..1, alike in training, evaluation and the exported graph."""
    return image.permute(2, 0, 1).to(torch.float32) / 255


def graph_module(detector: Detector) -> GraphModule:
    """The detector for `torch.onnx.export(..., dynamo=False)`. Switches the detector to evaluation mode."""
    return GraphModule(detector).eval()


class NormalizeAndBatch(GeneralizedRCNNTransform):  # type: ignore[misc]  # torchvision has no types
    """torchvision's transform without its resizing: images come resized, by the filter that serving
    shares. Mean and deviation are on the device: torchvision would take them there for every image."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: list[float], std: list[float], size_divisible: int) -> None:
        super().__init__(0, 0, mean, std, size_divisible=size_divisible)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def normalize(self, image: Tensor) -> Tensor:
        """(3, h, w) float 0..1."""
        return (image - self.mean) / self.std

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        return image, target

    def postprocess(
        self,
        result: list[dict[str, Tensor]],
        image_shapes: list[tuple[int, int]],
        original_image_sizes: list[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        return result


def keep_full_precision_between(*modules: nn.Module) -> None:
    """Under autocast, what these modules give is float32 again: anchors, offsets and boxes in bfloat16 would
    be off by whole pixels. Without autocast this changes nothing."""
    for module in modules:
        module.register_forward_hook(_in_full_precision)


def _in_full_precision(module: nn.Module, inputs: Any, output: Any) -> Any:
    if isinstance(output, Tensor):
        return in_full_precision(output)
    if isinstance(output, dict):
        return type(output)((name, in_full_precision(value)) for name, value in output.items())
    return type(output)(_in_full_precision(module, inputs, value) for value in output)
