"""Boxes as written, and boxes that can be trained on."""

import math

import numpy as np
from numpy.typing import NDArray

from detector.data.columns import Box
from detector.data.findings import Findings

_TOLERANCE = 1.0  # pixels beyond the edge that rounding and counting from 1 explain; clipped without a word
_TINY = 1.0  # pixels


def sound(boxes: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(M,) for which `checked_box` would give the very same box and say nothing: nearly all.

    `boxes` (M, 4), and the width and height of their images, (M, 2).
    """
    with np.errstate(invalid="ignore", over="ignore"):
        starts, ends = boxes[:, :2], boxes[:, 2:]
        good = (starts >= 0) & (ends <= sizes) & (ends - starts >= _TINY)
    return good[:, 0] & good[:, 1]


def checked_box(box: Box, where: str, width: int, height: int, findings: Findings) -> Box | None:
    """The box within an image of `width` x `height` pixels; None when it must be left out.

    Says what is wrong. Of that, swapped corners and what sticks out of the image can be put right.
    """
    if not all(math.isfinite(value) for value in box):
        findings.drop("non_finite_box", where, f"The box {_shown(box)} has a number that is not finite.")
        return None
    x1, y1, x2, y2 = box
    if x1 == x2 or y1 == y2:
        findings.drop(
            "zero_size_box", where, f"The box {_shown(box)} has no {'width' if x1 == x2 else 'height'}."
        )
        return None
    if x1 > x2 or y1 > y2:
        if not findings.fix("negative_size_box", where, f"The box {_shown(box)} ends before it starts."):
            return None
        x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    inside = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        message = f"The box {_shown(box)} is wholly outside its image of {width}x{height} pixels."
        findings.drop("box_outside_image", where, message)
        return None
    excess = max(-x1, -y1, x2 - width, y2 - height)
    if excess > _TOLERANCE:
        message = f"The box {_shown(box)} sticks out of its image of {width}x{height} pixels by {excess:g}."
        if not findings.fix("box_exceeds_image", where, message):
            return None
    if min(inside[2] - inside[0], inside[3] - inside[1]) < _TINY:
        findings.warn("tiny_box", where, f"The box {_shown(inside)} is less than a pixel wide or high.")
    return inside


def turned(points: list[float], width: int, height: int, orientation: int) -> list[float]:
    """Points [x, y, x, y, …] of the stored image (`width` x `height`), moved to the upright one.

    `orientation` is EXIF's, 5 to 8: the ones that swap width and height.
    """
    moved: list[float] = []
    for x, y in zip(points[0::2], points[1::2], strict=True):
        moved += [height - y if orientation in (6, 7) else y, width - x if orientation in (7, 8) else x]
    return moved


def _shown(box: Box) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"
