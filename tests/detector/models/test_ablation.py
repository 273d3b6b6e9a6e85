"""The paper's ablation table (Faster R-CNN R50-FPN on COCO val2017), row by row, as configs."""

from typing import Any

import pytest
import torch

from detector.config import Architecture, BaselineLoss, HarmonicLoss, TrainConfig
from detector.models import Losses, Target
from tests.detector.models.helpers import FASTER_RCNN, SSD, gradient, make, objects, pictures, train_losses

OFF = {"kind": "harmonic", "harmonic_factors": False, "task_contrasting": False, "alpha": 0.0}
ROWS: dict[str, Any] = {  # AP in the paper
    "baseline": OFF,  # 37.3
    "+ harmonic factors": {**OFF, "harmonic_factors": True},  # 38.3
    "+ task-contrasting loss": {"kind": "harmonic", "alpha": 0.0},  # 38.5
    "+ IoU loss": {"kind": "harmonic", "iou_loss": "iou"},  # 38.7
    "harmonic IoU loss instead": "harmonic",  # 39.2
}
both_families = pytest.mark.parametrize("architecture", [SSD, FASTER_RCNN], ids=lambda a: a.kind)


def loss_of(row: str) -> HarmonicLoss:
    loss = TrainConfig.model_validate({"loss": ROWS[row]}).loss
    assert isinstance(loss, HarmonicLoss)
    return loss


def losses_of(architecture: Architecture, row: str) -> Losses:
    return train_losses(make(architecture, loss_of(row)), pictures(*[(128, 128)] * 3), objects())


@both_families
def test_with_everything_off_it_is_the_baseline(architecture: Architecture) -> None:
    # In float64: sums add up in another order, and small gradients are what large ones leave of each other.
    ours, theirs = (make(architecture, loss).double() for loss in (loss_of("baseline"), BaselineLoss()))
    images = [image.double() for image in pictures(*[(128, 128)] * 3)]
    targets: list[Target] = [target | {"boxes": target["boxes"].double()} for target in objects()]
    our_losses, their_losses = train_losses(ours, images, targets), train_losses(theirs, images, targets)
    assert our_losses.keys() == their_losses.keys()
    for name, value in their_losses.items():
        torch.testing.assert_close(our_losses[name], value, rtol=1e-6, atol=0)
    our_gradient, their_gradient = gradient(ours, our_losses), gradient(theirs, their_losses)
    for name, value in their_gradient.items():
        torch.testing.assert_close(our_gradient[name], value, rtol=1e-4, atol=1e-6)


@both_families
def test_each_row_adds_its_part(architecture: Architecture) -> None:
    """The network is the same in all rows, and so are its samples: what differs is the loss alone."""
    baseline, factors, contrasting, iou, hiou = (losses_of(architecture, row) for row in ROWS)
    assert factors["classification"] > baseline["classification"]
    assert factors["localization"] > baseline["localization"]
    assert "task_contrasting" not in factors
    assert contrasting["task_contrasting"] > 0
    assert contrasting["localization"] == factors["localization"]
    assert iou["localization"] > contrasting["localization"]
    assert hiou["localization"] > iou["localization"]  # (1 + IoU)^gamma >= 1
    assert hiou["task_contrasting"] == iou["task_contrasting"] == contrasting["task_contrasting"]


def test_detached_factors_without_factors_are_refused_with_both_names() -> None:
    with pytest.raises(ValueError, match="detach_factors needs harmonic_factors"):
        HarmonicLoss(harmonic_factors=False, detach_factors=True)


def test_a_detached_iou_without_task_contrasting_is_refused_with_both_names() -> None:
    with pytest.raises(ValueError, match="detach_iou needs task_contrasting"):
        HarmonicLoss(task_contrasting=False, detach_iou=True)
