"""What every dataset becomes, whatever its layout: categories, images with boxes, and findings.

Boxes are xyxy in absolute pixels of the upright image (EXIF orientation applied), continuous coordinates: a
box covers `x2 - x1` by `y2 - y1` pixels.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec


class Category(msgspec.Struct, frozen=True):
    """A class of objects. `id` is the dataset's own: COCO's may be sparse, VOC counts from 1, YOLO from 0."""

    id: int
    name: str
    supercategory: str = ""


class Annotation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One object."""

    id: int
    category_id: int
    box: tuple[float, float, float, float]  # xyxy
    area: float  # of the mask where there is one, else of the box
    iscrowd: bool = False
    difficult: bool = False
    truncated: bool = False
    occluded: bool = False
    segmentation: list[list[float]] | dict[str, Any] | None = None  # polygons, or COCO RLE {counts, size}


class ImageRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image. `file_name` is the member of the archive; it is never used as a path on disk."""

    id: int
    file_name: str
    split: str
    width: int
    height: int
    annotations: Sequence[Annotation] = []  # of an index that was read: detector.data.columns.Annotations


class DatasetIndex(msgspec.Struct, frozen=True):
    """A validated dataset without its pixels; `index.json` of an inspection (detector.data.index_file)."""

    format: str  # coco | voc | yolo
    categories: list[Category]
    images: list[ImageRecord]

    def splits(self) -> dict[str, int]:
        """Images per split."""
        counts: dict[str, int] = {}
        for image in self.images:
            counts[image.split] = counts.get(image.split, 0) + 1
        return counts


class Severity(StrEnum):
    ERROR = "error"  # cannot be used as it is
    WARNING = "warning"  # can be used; somebody should look


class Action(StrEnum):
    """What was done about a finding, as `on_invalid` asked."""

    NONE = "none"
    FIXED = "fixed"
    DROPPED = "dropped"
    REJECTED = "rejected"  # this is why the dataset is invalid


class Finding(msgspec.Struct, frozen=True):
    """One thing wrong with a dataset, and where."""

    severity: Severity
    code: str  # stable, snake_case: zero_size_box, unknown_category, image_truncated, …
    location: str  # "annotations/train.json#/annotations/17/bbox", "Annotations/a.xml:23", "labels/b.txt:4"
    message: str  # a sentence that names the value
    action: Action = Action.NONE
    image: str | None = None  # the member with the image it is about, where it is about one


class Report(msgspec.Struct, frozen=True):
    """`report.json` of an inspection."""

    valid: bool
    format: str | None
    summary: dict[str, Any]  # see detector.data.inspect
    findings: list[Finding]
    findings_total: int  # may exceed len(findings), which is capped
