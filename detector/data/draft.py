"""What a reader makes of an archive before the pixels have been looked at: nothing here is trusted yet."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.data import masks
from detector.data.columns import MASKED, ROW, Texts
from detector.data.records import Category

# Beside `columns`' flags: the mask is as written, and may be none; the id is the dataset's own.
UNCHECKED, NUMBERED = 32, 64
DRAFT = np.dtype(
    [
        ("image", np.int64),  # its place in `Draft.images`
        ("position", np.int64),  # line, or index in a JSON file's annotations
        ("annotation", ROW),  # as written: its box may be empty, infinite or beside the image, its area NaN
    ]
)
"""One object as written; a box is in parts of the image's width and height where the draft is `relative`."""


@dataclass(slots=True)
class DraftImage:
    """One image as written. `split` is None where nothing says it."""

    member: str
    split: str | None
    location: str  # where the annotations speak of it
    source: str  # the member that has its annotations
    id: int | None = None
    declared: tuple[int, int] | None = None  # width, height

    def where(self, position: int) -> str:
        """Of one of its annotations: `labels/a.txt:4`, or `train.json#/annotations/17/bbox`."""
        if self.source.lower().endswith(".json"):
            return f"{self.source}#/annotations/{position}/bbox"
        return f"{self.source}:{position}"


@dataclass(slots=True)
class Draft:
    """A whole dataset as written. `found` counts every annotation, those that could not be read included."""

    format: str  # coco | voc | yolo
    categories: list[Category] = field(default_factory=list)
    images: list[DraftImage] = field(default_factory=list)
    rows: list[NDArray[np.void]] = field(default_factory=list)  # of type DRAFT; of one image in their order
    texts: Texts = field(default_factory=Texts)  # their masks
    found: int = 0
    relative: bool = False

    def take_rows(self) -> NDArray[np.void]:
        """All of them, which the draft then has no more."""
        portions, self.rows = self.rows, []
        return portions[0] if len(portions) == 1 else np.concatenate([np.empty(0, DRAFT), *portions])

    def keep_mask(self, segmentation: Any, area: float) -> tuple[float, int, int]:
        """Takes a segmentation as written. The annotation's area (where it says none, that of its polygons),
        flags and mask.

        Run lengths, and what is no mask at all, cannot be told apart before the image's size is known.
        """
        if segmentation is None or segmentation == []:
            return area, 0, 0
        try:
            polygons = masks.polygons(segmentation)
        except ValueError:
            # Not by msgspec, which writes NaN as null.
            return area, UNCHECKED, self.texts.add(json.dumps(segmentation).encode())
        if math.isnan(area):
            area = sum(map(masks.polygon_area, polygons))
        return area, MASKED, self.texts.add(msgspec.json.encode(polygons))
