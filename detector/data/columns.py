"""Annotations in columns: a row of one array for each, and its mask as the JSON that `index.json` has of it.

A million annotations are then 64 MB, and no objects that Python has to make, count and clear away. Objects
are made of the rows that somebody asks for.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.data.masks import Segmentation
from detector.data.records import Annotation

Box: TypeAlias = tuple[float, float, float, float]  # xyxy

CROWD, DIFFICULT, TRUNCATED, OCCLUDED, MASKED = 1, 2, 4, 8, 16
ROW = np.dtype(
    [
        ("id", np.int64),
        ("category_id", np.int64),
        ("box", np.float64, 4),  # xyxy in pixels
        ("area", np.float64),  # of the mask where there is one
        ("flags", np.uint8),  # CROWD | DIFFICULT | TRUNCATED | OCCLUDED | MASKED
        ("mask", np.uint32),  # its number in a `Texts`, 0 without one
    ],
    align=True,
)
_TOGETHER = 1024  # rows that are put into an array at a time: few calls, and few objects that wait for them

_read_mask = msgspec.json.Decoder(Segmentation).decode


class Texts:
    """Texts in one buffer, by numbers from 1: 8 bytes for each beside its own."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])

    def add(self, text: bytes | memoryview) -> int:
        """Its number."""
        self._bytes += text
        self._ends.append(len(self._bytes))
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> bytes:
        return bytes(self._bytes[self._ends[number - 1] : self._ends[number]])


class Growing:
    """Rows of a type as they come, in one array that is made longer where it is."""

    def __init__(self, dtype: np.dtype[np.void]) -> None:
        self._rows = np.empty(0, dtype)
        self._count = 0
        self._waiting: list[tuple[Any, ...]] = []

    def extend(self, rows: Iterable[tuple[Any, ...]]) -> None:
        self._waiting += rows
        if len(self._waiting) >= _TOGETHER:
            self._take()

    def array(self) -> NDArray[np.void]:
        """All of them, in order; there can be no more."""
        self._take()
        self._rows.resize(self._count, refcheck=False)
        return self._rows

    def _take(self) -> None:
        start, self._count = self._count, self._count + len(self._waiting)
        if self._count > len(self._rows):
            # What is not yet written to is no memory yet.
            self._rows.resize(self._count * 3 // 2, refcheck=False)
        self._rows[start : self._count] = self._waiting
        self._waiting = []


class Annotations(Sequence[Annotation]):
    """Rows as annotations, each made when it is asked for."""

    __slots__ = ("rows", "texts")

    def __init__(self, rows: NDArray[np.void], texts: Texts) -> None:
        self.rows = rows
        self.texts = texts

    def values(self) -> Iterator[tuple[int, int, Box, float, int, int]]:
        """The fields of each row as numbers of Python."""
        rows = self.rows
        return zip(
            rows["id"].tolist(),
            rows["category_id"].tolist(),
            map(tuple, rows["box"].tolist()),
            rows["area"].tolist(),
            rows["flags"].tolist(),
            rows["mask"].tolist(),
            strict=True,
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Annotation]:
        for id_, category_id, box, area, flags, mask in self.values():
            yield Annotation(
                id_,
                category_id,
                box,
                area,
                bool(flags & CROWD),
                bool(flags & DIFFICULT),
                bool(flags & TRUNCATED),
                bool(flags & OCCLUDED),
                _read_mask(self.texts[mask]) if mask else None,
            )

    @overload
    def __getitem__(self, place: int) -> Annotation: ...
    @overload
    def __getitem__(self, place: slice) -> "Annotations": ...
    def __getitem__(self, place: int | slice) -> "Annotation | Annotations":
        if isinstance(place, slice):
            return Annotations(self.rows[place], self.texts)
        place = range(len(self))[place]
        return next(iter(self[place : place + 1]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as that of a list

    def __repr__(self) -> str:
        return repr(list(self))


def rows_of(annotations: Sequence[Annotation]) -> NDArray[np.void]:
    """(N,) of type `ROW`. Masks have no number where these are objects, but the flag."""
    if isinstance(annotations, Annotations):
        return annotations.rows
    return np.array(
        [
            (one.id, one.category_id, one.box, one.area, flags_of(one) | MASKED * bool(one.segmentation), 0)
            for one in annotations
        ],
        ROW,
    )


def learnable(rows: NDArray[np.void]) -> NDArray[np.bool_]:
    """(N,) which are learned from: no crowds, as everywhere in training, and no boxes without area."""
    boxes = rows["box"]
    objects: NDArray[np.bool_] = (rows["flags"] & CROWD == 0) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return objects


def flags_of(one: Any) -> int:
    """An annotation's four yes or no; `one` is an `Annotation`, or has its fields."""
    crowd, difficult = CROWD * one.iscrowd, DIFFICULT * one.difficult
    truncated, occluded = TRUNCATED * one.truncated, OCCLUDED * one.occluded
    return int(crowd | difficult | truncated | occluded)
