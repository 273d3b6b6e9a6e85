"""Boxes as written, and boxes that can be trained on."""

import math

from detector.data.draft import Box, DraftAnnotation
from detector.data.findings import Findings

_TOLERANCE = 1.0  # pixels beyond the edge that rounding and counting from 1 explain; clipped without a word
_TINY = 1.0  # pixels


def is_sound(box: Box, width: int, height: int) -> bool:
    """Whether `checked_box` would give the very same box and say nothing: most are, and there are many."""
    x1, y1, x2, y2 = box
    return x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height and x2 - x1 >= _TINY and y2 - y1 >= _TINY


def checked_box(annotation: DraftAnnotation, width: int, height: int, findings: Findings) -> Box | None:
    """The annotation's box within an image of `width` x `height` pixels; None when it must be left out.

    Says what is wrong. Of that, swapped corners and what sticks out of the image can be put right.
    """
    box, where = annotation.box, annotation.location
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


def turn(annotation: DraftAnnotation, width: int, height: int, orientation: int) -> None:
    """Move an annotation that was made on the stored image to the upright one."""
    x1, y1, x2, y2 = turned(list(annotation.box), width, height, orientation)
    annotation.box = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    if isinstance(annotation.segmentation, list):
        annotation.segmentation = [
            turned(points, width, height, orientation) for points in annotation.segmentation
        ]
    else:
        annotation.segmentation = None  # run lengths go by columns of the stored image


def _shown(box: Box) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"
