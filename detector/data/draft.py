"""What a reader makes of an archive before the pixels have been looked at: nothing here is trusted yet."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from detector.data.records import Category

Box: TypeAlias = tuple[float, float, float, float]  # xyxy


@dataclass(slots=True)
class DraftAnnotation:
    """One object as written: its box may be empty, infinite or beside the image."""

    category_id: int
    box: Box  # pixels; parts of the image's width and height where the draft is `relative`
    source: str  # the member that says so
    position: int  # line, or index in a JSON file's annotations
    id: int | None = None
    area: float | None = None
    iscrowd: bool = False
    difficult: bool = False
    truncated: bool = False
    occluded: bool = False
    segmentation: Any = None

    @property
    def location(self) -> str:
        """`labels/a.txt:4`, or `train.json#/annotations/17/bbox`."""
        if self.source.lower().endswith(".json"):
            return f"{self.source}#/annotations/{self.position}/bbox"
        return f"{self.source}:{self.position}"


@dataclass(slots=True)
class DraftImage:
    """One image as written. `split` is None where nothing says it."""

    member: str
    split: str | None
    location: str  # where the annotations speak of it
    id: int | None = None
    declared: tuple[int, int] | None = None  # width, height
    annotations: list[DraftAnnotation] = field(default_factory=list)


@dataclass(slots=True)
class Draft:
    """A whole dataset as written. `found` counts every annotation, those that could not be read included."""

    format: str  # coco | voc | yolo
    categories: list[Category] = field(default_factory=list)
    images: list[DraftImage] = field(default_factory=list)
    found: int = 0
    relative: bool = False
