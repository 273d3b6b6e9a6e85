"""What is in a dataset, on the wire: its images with their boxes, and statistics of them."""

from typing import Literal, Self

from pydantic import ConfigDict

from api.schemas.common import Example, NumberedListView, Shape
from detector.data.catalogue import Catalogue
from detector.data.columns import CROWD, DIFFICULT, OCCLUDED, TRUNCATED
from store.tables import DatasetImage


class BoxView(Shape):
    """One annotation."""

    id: int
    box: tuple[float, float, float, float]
    """`[x1, y1, x2, y2]` in pixels of the upright image."""
    category_id: int
    """The dataset's own."""
    category: str
    area: float
    """Pixels of the mask where there is one, else of the box."""
    crowd: bool
    difficult: bool
    truncated: bool
    occluded: bool


class DatasetImageView(Shape):
    """One image with its boxes."""

    id: int
    """Its position within the dataset, from 0; its paths are named by this."""
    object: Literal["dataset_image"] = "dataset_image"
    file_name: str
    """Its name in the archive."""
    image_id: int
    """Its id in the annotations, as detections of an evaluation name it."""
    split: str
    width: int
    """Of the upright image."""
    height: int
    findings: int
    """How many findings of the report are about it."""
    boxes: list[BoxView]

    @classmethod
    def of(cls, row: DatasetImage, catalogue: Catalogue, *, findings: int) -> Self:
        start, end = catalogue.starts[row.position], catalogue.starts[row.position + 1]
        boxes = []
        for place in range(start, end):
            category = catalogue.categories[catalogue.classes[place]]
            flags = int(catalogue.flags[place])
            x1, y1, x2, y2 = catalogue.boxes[place].tolist()
            boxes.append(
                BoxView(
                    id=int(catalogue.ids[place]),
                    box=(x1, y1, x2, y2),
                    category_id=category.id,
                    category=category.name,
                    area=float(catalogue.areas[place]),
                    crowd=bool(flags & CROWD),
                    difficult=bool(flags & DIFFICULT),
                    truncated=bool(flags & TRUNCATED),
                    occluded=bool(flags & OCCLUDED),
                )
            )
        return cls(
            id=row.position,
            file_name=row.file_name,
            image_id=int(catalogue.image_ids[row.position]),
            split=row.split,
            width=row.width,
            height=row.height,
            findings=findings,
            boxes=boxes,
        )


class DatasetImageList(NumberedListView[DatasetImageView]):
    """A page of images in the order of the dataset."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [
                        {
                            "id": 17,
                            "object": "dataset_image",
                            "file_name": "JPEGImages/BloodImage_00017.jpg",
                            "image_id": 18,
                            "split": "train",
                            "width": 640,
                            "height": 480,
                            "findings": 0,
                            "boxes": [
                                {
                                    "id": 231,
                                    "box": [75.0, 177.0, 190.0, 290.0],
                                    "category_id": 2,
                                    "category": "RBC",
                                    "area": 12995.0,
                                    "crowd": False,
                                    "difficult": False,
                                    "truncated": False,
                                    "occluded": False,
                                }
                            ],
                        }
                    ],
                    "first_id": 17,
                    "last_id": 17,
                    "has_more": True,
                }
            ]
        }
    )


class SplitStats(Shape):
    """A split of the dataset."""

    name: str
    images: int
    boxes: int
    negatives: int
    """Images without a box."""


class ClassStats(Shape):
    """A class of objects."""

    id: int
    name: str
    boxes: int
    images: int
    """Images that show it."""
    share: float
    """Of all boxes, 0 to 1."""
    splits: dict[str, int]
    """Boxes in each split."""


class Bin(Shape):
    """How many values are at least `start` and less than `end`."""

    start: float
    end: float | None
    """Null: there is none."""
    count: int


class BoxesPerImage(Shape):
    """How crowded the images are."""

    mean: float
    median: float
    max: int
    histogram: list[Bin]


class BoxSizes(Shape):
    """Boxes by COCO's sizes: below 32 x 32 pixels, below 96 x 96, and the others."""

    small: int
    medium: int
    large: int


class Spread(Shape):
    """Of a length in pixels."""

    min: int
    median: float
    max: int


class CommonSize(Shape):
    """A size that images have."""

    width: int
    height: int
    images: int


class ImageSizes(Shape):
    """How large the images are."""

    width: Spread
    height: Spread
    distinct: int
    """How many sizes there are."""
    most_common: list[CommonSize]


def _bins(*bins: tuple[float, float | None, int]) -> list[Example]:
    return [{"start": start, "end": end, "count": count} for start, end, count in bins]


STATS_EXAMPLE: Example = {
    "object": "dataset_stats",
    "dataset_id": "ds_01jz4m8x0v3s7q9k2b5c6d7e8f",
    "images": 100,
    "boxes": 354,
    "negatives": 0,
    "crowds": 0,
    "splits": [
        {"name": "train", "images": 60, "boxes": 210, "negatives": 0},
        {"name": "val", "images": 40, "boxes": 144, "negatives": 0},
    ],
    "classes": [
        {
            "id": 1,
            "name": "disc",
            "boxes": 124,
            "images": 78,
            "share": 0.3502824858757062,
            "splits": {"train": 76, "val": 48},
        }
    ],
    "boxes_per_image": {
        "mean": 3.54,
        "median": 3.5,
        "max": 5,
        "histogram": _bins((2, 3, 23), (3, 5, 50), (5, 10, 27)),
    },
    "box_sizes": {"small": 50, "medium": 276, "large": 28},
    "relative_areas": _bins((0.01, 0.03, 112), (0.03, 0.1, 146), (0.1, 0.3, 96), (0.3, None, 0)),
    "aspect_ratios": _bins((0.5, 0.67, 13), (0.67, 0.8, 52), (0.8, 1.25, 248), (1.25, 1.5, 37)),
    "image_sizes": {
        "width": {"min": 320, "median": 320.0, "max": 320},
        "height": {"min": 320, "median": 320.0, "max": 320},
        "distinct": 1,
        "most_common": [{"width": 320, "height": 320, "images": 100}],
    },
}


class StatsView(Shape):
    """What the images and boxes of a dataset say together."""

    model_config = ConfigDict(json_schema_extra={"examples": [STATS_EXAMPLE]})

    object: Literal["dataset_stats"] = "dataset_stats"
    dataset_id: str
    images: int
    boxes: int
    """Crowds included."""
    negatives: int
    """Images without a box."""
    crowds: int
    splits: list[SplitStats]
    classes: list[ClassStats]
    boxes_per_image: BoxesPerImage
    box_sizes: BoxSizes
    """By the area of the annotation: of its mask where there is one."""
    relative_areas: list[Bin]
    """Width times height of the box, as a part of its image."""
    aspect_ratios: list[Bin]
    """Width of the box divided by its height."""
    image_sizes: ImageSizes
