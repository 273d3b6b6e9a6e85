"""A draft's annotations against the pixels of their images.

Faults are looked for in all of them at once, and only where there may be one, row by row.
"""

import json
import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.data import masks
from detector.data.boxes import checked_box, sound, turned
from detector.data.columns import MASKED, Box
from detector.data.draft import NUMBERED, UNCHECKED, Draft, DraftImage
from detector.data.findings import Findings
from detector.images import ImageInfo

_FIXABLE = ("negative_size_box", "box_exceeds_image")

_FACTORS = [math.sqrt(prime) for prime in (2, 3, 5, 7)]  # what one coordinate adds, no others take away

_read_polygons = msgspec.json.Decoder(list[list[float]]).decode


class Objects:
    """Those of image i are the rows `starts[i]` to `starts[i + 1]`."""

    def __init__(self, draft: Draft, sizes: NDArray[np.float64]) -> None:
        """`sizes` (N, 2): width and height of the draft's images. The draft gives its rows away."""
        rows = _by_image(draft.take_rows())
        self._images = rows["image"]
        self._positions = rows["position"]
        self._rows = rows["annotation"]
        self._texts = draft.texts
        self._starts = np.searchsorted(self._images, np.arange(len(sizes) + 1)).tolist()
        self._kept = np.ones(len(rows), bool)
        of_rows = sizes[self._images]
        if draft.relative:
            self._scale(of_rows)
        self._sound = sound(self._rows["box"], of_rows)
        suspects = ~self._sound | (self._rows["flags"] & UNCHECKED > 0)
        suspects[_perhaps_repeated(self._images, self._rows)] = True
        self._suspicious = np.bincount(self._images[suspects], minlength=len(sizes)) > 0

    def turn(self, place: int, width: int, height: int, orientation: int) -> None:
        """Move what was made on an image as stored (`width` x `height`) to the upright one."""
        rows = self._rows[self._of(place)]
        for row, (box, flags, mask) in enumerate(
            zip(rows["box"].tolist(), rows["flags"].tolist(), rows["mask"].tolist(), strict=True)
        ):
            x1, y1, x2, y2 = turned(box, width, height, orientation)
            rows["box"][row] = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
            if flags & MASKED:
                polygons = _read_polygons(self._texts[mask])
                moved = [turned(points, width, height, orientation) for points in polygons]
                rows["mask"][row] = self._texts.add(msgspec.json.encode(moved))
            elif flags & UNCHECKED and not isinstance(json.loads(self._texts[mask]), list):
                rows["flags"][row] ^= UNCHECKED  # run lengths go by columns of the stored image
                rows["mask"][row] = 0
        self._sound[self._of(place)] = sound(rows["box"], np.array([[height, width]], np.float64))
        self._suspicious[place] = True

    def check(self, place: int, image: DraftImage, info: ImageInfo, findings: Findings) -> int:
        """Says what is wrong with those of one image. Returns how many were put right."""
        if not self._suspicious[place]:
            return 0
        fixed = 0
        seen: set[tuple[int, Box]] = set()
        of = self._of(place)
        rows = self._rows[of]
        columns = zip(
            self._positions[of].tolist(),
            rows["category_id"].tolist(),
            map(tuple, rows["box"].tolist()),
            self._sound[of].tolist(),
            (rows["flags"] & UNCHECKED > 0).tolist(),
            strict=True,
        )
        for row, (position, category_id, box, is_sound, is_unchecked) in enumerate(columns, of.start):
            where = image.where(position)
            if not is_sound:
                before = sum(findings.by_code[code] for code in _FIXABLE)
                checked = checked_box(box, where, info.width, info.height, findings)
                if checked is None:
                    self._kept[row] = False
                    continue
                self._rows["box"][row] = box = checked
                fixed += sum(findings.by_code[code] for code in _FIXABLE) > before
            if (category_id, box) in seen:
                message = "The same box with the same category is there twice on this image."
                findings.warn("duplicate_annotation", where, message)
            seen.add((category_id, box))
            if is_unchecked:
                self._check_mask(row, where, info, findings)
        return fixed

    def usable(self, places: Sequence[int]) -> tuple[NDArray[np.void], list[int]]:
        """Rows of these images, of type `columns.ROW`, id 0 where none was given, and how many each has."""
        wanted = np.zeros(len(self._starts) - 1, bool)
        wanted[places] = True
        kept = self._kept & wanted[self._images]
        rows = self._rows[kept]
        whole = (rows["box"][:, 2:] - rows["box"][:, :2]).prod(axis=1)
        stated = np.isfinite(rows["area"]) & (rows["area"] > 0)
        rows["area"] = np.where(stated, np.minimum(rows["area"], whole), whole)
        rows["flags"] &= 0xFF ^ (UNCHECKED | NUMBERED)
        counts = np.bincount(self._images[kept], minlength=len(wanted))
        return rows, counts[places].tolist()

    def _of(self, place: int) -> slice:
        return slice(self._starts[place], self._starts[place + 1])

    def _scale(self, sizes: NDArray[np.float64]) -> None:
        """Parts of the image to pixels; `sizes` (M, 2)."""
        rows = self._rows
        with np.errstate(over="ignore", invalid="ignore"):
            rows["box"] *= np.tile(sizes, 2)
            rows["area"] *= sizes.prod(axis=1)
        for row in np.flatnonzero(rows["flags"] & MASKED).tolist():
            width, height = sizes[row].tolist()
            polygons = [
                [value * (height if place % 2 else width) for place, value in enumerate(points)]
                for points in _read_polygons(self._texts[rows["mask"][row]])
            ]
            rows["mask"][row] = self._texts.add(msgspec.json.encode(polygons))

    def _check_mask(self, row: int, where: str, info: ImageInfo, findings: Findings) -> None:
        """Of a mask as written: it becomes one that can be used, or is left out."""
        written = json.loads(self._texts[self._rows["mask"][row]])
        mask = 0
        try:
            checked = masks.checked(written, info.width, info.height)
            if checked is not None:
                mask = self._texts.add(msgspec.json.encode(checked))
        except (ValueError, RecursionError) as error:
            if where.endswith("/bbox"):
                where = where.removesuffix("/bbox") + "/segmentation"
            findings.warn("invalid_segmentation", where, f"The segmentation is left out: {error}.")
        self._rows["mask"][row] = mask
        self._rows["flags"][row] |= MASKED * (mask > 0)


def _by_image(rows: NDArray[np.void]) -> NDArray[np.void]:
    """In the order of their images, those of one image as they were."""
    images = rows["image"]
    if (images[1:] >= images[:-1]).all():
        return rows
    return rows[np.argsort(images, kind="stable")]


def _perhaps_repeated(images: NDArray[np.int64], rows: NDArray[np.void]) -> NDArray[np.intp]:
    """Rows with the image, category and box of another, and perhaps, by chance, some that have not.

    Rows are compared by one number for each: equal rows have equal numbers, others hardly ever.
    """
    box = rows["box"]
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = images * math.pi + rows["category_id"] * math.e
        for column, factor in zip(box.T, _FACTORS, strict=True):
            numbers += column * factor
    order: NDArray[np.intp] = np.argsort(numbers)
    equal: NDArray[np.bool_] = numbers[order[1:]] == numbers[order[:-1]]
    return order[:-1][equal]
