"""What the study trains: arms as the paper's ablation has them, and families with the paper's figures."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.config import TrainConfig


@dataclass(frozen=True)
class Arm:
    """A way of training."""

    name: str
    title: str
    loss: Any
    paper: float | None = None
    """AP that the paper reports for it: Faster R-CNN R50-FPN on COCO val2017."""


ARMS = (
    Arm("baseline", "baseline", "baseline", 37.3),
    Arm("factors", "+ harmonic factors", {"kind": "harmonic", "task_contrasting": False, "alpha": 0}, 38.3),
    Arm("task-contrasting", "+ task-contrasting loss", {"kind": "harmonic", "alpha": 0}, 38.5),
    Arm("plain-iou", "+ plain IoU loss", {"kind": "harmonic", "iou_loss": "iou"}, 38.7),
    Arm("harmonic", "harmonic: all of it, with the harmonic IoU loss", "harmonic", 39.2),
    Arm("detached", "whole, factors as constants", {"kind": "harmonic", "detach_factors": True}),
    Arm("sum", "whole, without the factors", {"kind": "harmonic", "harmonic_factors": False}),
    Arm("giou", "whole, with GIoU", {"kind": "harmonic", "iou_loss": "giou"}),
    Arm(
        "factors-detached",
        "factors alone, as constants",
        {"kind": "harmonic", "task_contrasting": False, "alpha": 0, "detach_factors": True},
    ),
    Arm(
        "scores-contrasting",
        "+ task-contrasting loss, for scores only",
        {"kind": "harmonic", "alpha": 0, "detach_iou": True},
    ),
    Arm("scores-whole", "whole, task-contrasting for scores only", {"kind": "harmonic", "detach_iou": True}),
)
ARM_SETS = {
    "main": ("baseline", "harmonic"),
    "ablation": ("baseline", "factors", "task-contrasting", "plain-iou", "harmonic"),
    "variants": (
        "baseline",
        "factors",
        "factors-detached",
        "task-contrasting",
        "scores-contrasting",
        "harmonic",
        "detached",
        "scores-whole",
        "sum",
        "giou",
    ),
}


@dataclass(frozen=True)
class Family:
    """A detector, and what the paper reports of the like."""

    name: str
    title: str
    config: Mapping[str, Any]
    takes_backbone: bool
    paper: tuple[str, float, float] | None
    """The detector there, and AP of baseline and of HarmonicDet, COCO test-dev."""


# What a training on a CPU can afford: some ten minutes of one core, many steps on small images.
_SMALL = {"image_size": 192, "max_size": 320}
_SHORT = {"epochs": 6, "batch_size": 4, "amp": "bf16"}

FAMILIES = {
    one.name: one
    for one in (
        Family(
            "ssdlite",
            "SSDlite, MobileNetV3, from random weights",
            {
                "architecture": {"kind": "ssdlite320_mobilenet_v3_large", "image_size": 224},
                "optimizer": {"kind": "sgd", "lr": 0.02},
                "epochs": 20,
            },
            takes_backbone=False,
            paper=("RefineDet512", 36.4, 38.8),
        ),
        Family(
            "faster_rcnn",
            "Faster R-CNN, MobileNetV2-FPN",
            {
                "architecture": {
                    "kind": "fasterrcnn_mobilenet_v3_large_fpn",
                    "backbone": "mobilenet_v2",
                    # Its finest map has a cell for 32 pixels, and most of its cost is that of its proposals.
                    "image_size": 384,
                    "max_size": 640,
                },
                "optimizer": {"kind": "adamw", "lr": 0.0002},
                **_SHORT,
                "batch_size": 2,
            },
            takes_backbone=True,
            paper=("Faster R-CNN R50-FPN", 37.5, 39.3),
        ),
        Family(
            "retinanet",
            "RetinaNet, MobileNetV2-FPN",
            {
                "architecture": {
                    "kind": "retinanet_resnet50_fpn",
                    "backbone": "mobilenet_v2",
                    **_SMALL,
                },
                "optimizer": {"kind": "adamw", "lr": 0.0002},
                **_SHORT,
            },
            takes_backbone=True,
            paper=("RetinaNet R50-FPN", 36.1, 37.6),
        ),
        Family(
            "retinanet_long",
            "RetinaNet, MobileNetV2-FPN, twice as long",
            {
                "architecture": {
                    "kind": "retinanet_resnet50_fpn",
                    "backbone": "mobilenet_v2",
                    **_SMALL,
                },
                "optimizer": {"kind": "adamw", "lr": 0.0002},
                **_SHORT,
                "epochs": 12,
            },
            takes_backbone=True,
            paper=("RetinaNet R50-FPN", 36.1, 37.6),
        ),
    )
}


@dataclass(frozen=True)
class Cell:
    """What is compared with each other: all arms and seeds of a family on a dataset."""

    dataset: str
    family: str
    rate: float | None = None
    """A learning rate in place of the family's own."""

    @property
    def folder(self) -> str:
        """Where its trainings are, below the study's folder; `Cell.of` reads it back."""
        return f"{self.dataset}/{self.family}" + ("" if self.rate is None else f"@{self.rate:g}")

    @property
    def file(self) -> str:
        """The name of its record."""
        return self.folder.replace("/", "-") + ".json"

    @classmethod
    def of(cls, folder: Path) -> "Cell":
        family, _, rate = folder.name.partition("@")
        return cls(folder.parent.name, family, float(rate) if rate else None)


def config_of(family: Family, arm: Arm, seed: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The config of one training, whole. Raises pydantic's ValidationError.

    It is measured once, at its end, so that nothing is chosen on the images that it is measured on.

    Args:
        changes: a merge patch (RFC 7396) of the family's config.
    """
    asked = merged(copy.deepcopy(dict(family.config)), changes) | {"loss": arm.loss, "seed": seed}
    epochs = TrainConfig.model_validate(asked).epochs
    return TrainConfig.model_validate({"evaluate_every": epochs} | asked).model_dump(mode="json")


def merged(value: dict[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch applied (RFC 7396): objects field by field, null takes a field away."""
    for name, one in patch.items():
        if one is None:
            value.pop(name, None)
        elif isinstance(one, Mapping):
            own = value.get(name)
            value[name] = merged(own if isinstance(own, dict) else {}, one)
        else:
            value[name] = one
    return value
