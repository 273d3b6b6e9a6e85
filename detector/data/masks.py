"""Segmentations as COCO writes them, polygons or run lengths: are they what they seem?"""

import math
from typing import Any, TypeAlias

import msgspec

Segmentation: TypeAlias = list[list[float]] | dict[str, Any]

_MOST_CHARACTERS = 7  # of one run length: more would not fit in 32 bits


def checked(segmentation: Any, width: int, height: int) -> Segmentation | None:
    """Polygons [[x, y, x, y, …], …] of finite numbers, or RLE {counts, size} that covers the image exactly.

    None where there is none. Raises ValueError with the reason when it is neither.
    """
    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, list):
        return [_polygon(item) for item in segmentation]
    if isinstance(segmentation, dict):
        return _run_lengths(segmentation, width, height)
    raise ValueError("it is neither a list of polygons nor run lengths")


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
        lengths = _decompressed(counts, width * height)
    elif isinstance(counts, list) and all(type(count) is int for count in counts):
        lengths = counts
    else:
        raise ValueError("its counts are neither a string nor a list of whole numbers")
    if any(length < 0 for length in lengths) or sum(lengths) != width * height:
        raise ValueError("its run lengths do not add up to the image")
    return {"counts": counts, "size": [height, width]}


def _decompressed(text: str, pixels: int) -> list[int]:
    """The run lengths in COCO's compressed string (pycocotools maskApi.c, rleFrString).

    5 bits a character, lowest first; from the fourth on, each is the difference to the one before the last.
    """
    lengths: list[int] = []
    position = 0
    while position < len(text):
        value = shift = 0
        while True:
            if position == len(text) or shift == 5 * _MOST_CHARACTERS:
                raise ValueError("its compressed counts end within a number")
            bits = ord(text[position]) - 48
            if not 0 <= bits < 64:
                raise ValueError("its compressed counts have a foreign character")
            position += 1
            value |= (bits & 0x1F) << shift
            shift += 5
            if not bits & 0x20:
                if bits & 0x10:
                    value -= 1 << shift
                break
        if len(lengths) > 2:
            value += lengths[-2]
        if not 0 <= value <= pixels:
            raise ValueError("its run lengths do not add up to the image")
        lengths.append(value)
    return lengths
