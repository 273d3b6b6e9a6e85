"""IoU of paired boxes, and the losses that published methods make of it.

All functions take boxes (N, 4) xyxy paired by row and give (N,), in float32 or float64 (half precision is
computed in float32). Their gradient is finite for every finite box, also for one without area.
"""

import math

import torch
from torch import Tensor

from detector.losses.baseline import in_full_precision

_TINY = 1e-7  # keeps quotients finite; areas and squared distances are in pixels


def paired_box_iou(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """IoU of the boxes of equal rows, 0..1. A box without area, or with swapped corners, has IoU 0."""
    return _overlap(*_corners(boxes, target_boxes))[0]


def iou_loss(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """The plain IoU loss, `1 - IoU`: 0..1."""
    return 1 - paired_box_iou(boxes, target_boxes)


def giou_loss(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Generalised IoU loss (arXiv 1902.09630), 0..2: adds the share of the enclosing box that neither
    fills."""
    boxes, target_boxes = _corners(boxes, target_boxes)
    iou, union = _overlap(boxes, target_boxes)
    enclosing = _area(*_enclosing(boxes, target_boxes)).clamp(min=_TINY)
    return 1 - iou + (enclosing - union) / enclosing


def diou_loss(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Distance IoU loss (arXiv 1911.08287), 0..2: adds the squared distance of the centres over the squared
    diagonal of the enclosing box."""
    boxes, target_boxes = _corners(boxes, target_boxes)
    return 1 - _overlap(boxes, target_boxes)[0] + _centre_distance(boxes, target_boxes)


def ciou_loss(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Complete IoU loss (arXiv 1911.08287), 0..3: the distance IoU loss, and the difference of the aspect
    ratios, whose weight grows with the IoU and is a constant for the gradient."""
    boxes, target_boxes = _corners(boxes, target_boxes)
    iou = _overlap(boxes, target_boxes)[0]
    aspect = (4 / math.pi**2) * (_slope(target_boxes) - _slope(boxes)) ** 2
    weight = (aspect / (1 - iou + aspect + _TINY)).detach()
    return 1 - iou + _centre_distance(boxes, target_boxes) + weight * aspect


def _corners(boxes: Tensor, target_boxes: Tensor) -> tuple[Tensor, Tensor]:
    return in_full_precision(boxes), in_full_precision(target_boxes)


def _overlap(boxes: Tensor, target_boxes: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and area of the union."""
    corner = boxes[:, :2].maximum(target_boxes[:, :2])
    opposite = boxes[:, 2:].minimum(target_boxes[:, 2:])
    intersection = _area(corner, opposite)
    union = _area(boxes[:, :2], boxes[:, 2:]) + _area(target_boxes[:, :2], target_boxes[:, 2:]) - intersection
    return intersection / union.clamp(min=_TINY), union


def _area(corner: Tensor, opposite: Tensor) -> Tensor:
    width, height = (opposite - corner).clamp(min=0).unbind(dim=1)
    return width * height


def _enclosing(boxes: Tensor, target_boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The two corners of the smallest box around both."""
    return boxes[:, :2].minimum(target_boxes[:, :2]), boxes[:, 2:].maximum(target_boxes[:, 2:])


def _centre_distance(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    corner, opposite = _enclosing(boxes, target_boxes)
    between = (boxes[:, :2] + boxes[:, 2:] - target_boxes[:, :2] - target_boxes[:, 2:]) / 2
    diagonal = ((opposite - corner) ** 2).sum(dim=1)
    return (between**2).sum(dim=1) / diagonal.clamp(min=_TINY)


def _slope(boxes: Tensor) -> Tensor:
    """The angle whose tangent is width over height."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).clamp(min=_TINY).unbind(dim=1)
    return torch.atan2(width, height)
