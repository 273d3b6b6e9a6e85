"""Segmentations as COCO writes them, polygons or run lengths: are they what they seem?"""

import math
from typing import Any, TypeAlias

import msgspec

from detector.run_lengths import decompress

Segmentation: TypeAlias = list[list[float]] | dict[str, Any]


def checked(segmentation: Any, width: int, height: int) -> Segmentation | None:
    """Polygons [[x, y, x, y, …], …] of finite numbers, or RLE {counts, size} that covers the image exactly.

    None where there is none. Raises ValueError with the reason when it is neither.
    """
    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, dict):
        return _run_lengths(segmentation, width, height)
    return polygons(segmentation)


def polygons(segmentation: Any) -> list[list[float]]:
    """Polygons [[x, y, x, y, …], …] of finite numbers. Raises ValueError with the reason when it is none."""
    if not isinstance(segmentation, list):
        raise ValueError("it is neither a list of polygons nor run lengths")
    return [_polygon(item) for item in segmentation]


def polygon_area(points: list[float]) -> float:
    """Area of a polygon [x, y, x, y, …], by the shoelace formula."""
    xs, ys = points[0::2], points[1::2]
    return abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))) / 2


def _polygon(points: Any) -> list[float]:
    if not isinstance(points, list) or len(points) < 6 or len(points) % 2:
        raise ValueError("a polygon needs an even number of coordinates, six at least")
    try:
        numbers = msgspec.convert(points, list[float])
    except (msgspec.ValidationError, OverflowError) as error:
        raise ValueError(f"a polygon has a coordinate that is no number: {error}") from error
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a polygon has a coordinate that is not finite")
    return numbers


def _run_lengths(rle: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    counts, size = rle.get("counts"), rle.get("size")
    if size != [height, width]:
        raise ValueError(f"its run lengths are for size {str(size)[:40]}, the image has [{height}, {width}]")
    if isinstance(counts, str):
        lengths = decompress(counts, width * height)
    elif isinstance(counts, list) and all(type(count) is int for count in counts):
        lengths = counts
    else:
        raise ValueError("its counts are neither a string nor a list of whole numbers")
    if any(length < 0 for length in lengths) or sum(lengths) != width * height:
        raise ValueError("its run lengths do not add up to the image")
    return {"counts": counts, "size": [height, width]}
