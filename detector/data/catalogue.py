"""A dataset's index as columns: every box of every image in a few arrays, and what they say together.

Its masks are not in it. Imports without torch.
"""

from dataclasses import dataclass
from functools import cached_property
from mmap import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.data import index_file
from detector.data.columns import CROWD, ROW, rows_of
from detector.data.records import Category, DatasetIndex

SMALL, MEDIUM = 32**2, 96**2  # COCO's borders, in pixels of the image itself
AREA_EDGES = (0.0, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
RATIO_EDGES = (0.0, 0.2, 0.33, 0.5, 0.67, 0.8, 1.25, 1.5, 2.0, 3.0, 5.0)
COUNT_EDGES = (0, 1, 2, 3, 5, 10, 20, 50, 100)
_COMMON_SIZES = 10


@dataclass(frozen=True)
class Catalogue:
    """N images and their M boxes; those of image i are `starts[i]` to `starts[i + 1]`."""

    categories: list[Category]
    splits: list[str]
    image_ids: NDArray[np.int64]  # (N,)
    image_splits: NDArray[np.int16]  # (N,), places in `splits`
    sizes: NDArray[np.int32]  # (N, 2) width, height
    starts: NDArray[np.int64]  # (N + 1,)
    ids: NDArray[np.int64]  # (M,)
    classes: NDArray[np.int32]  # (M,), places in `categories`
    boxes: NDArray[np.float64]  # (M, 4) xyxy in pixels
    areas: NDArray[np.float64]  # (M,) of the mask where there is one
    flags: NDArray[np.uint8]  # (M,) CROWD | DIFFICULT | TRUNCATED | OCCLUDED | MASKED

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        columns = (self.image_ids, self.image_splits, self.sizes, self.starts)
        boxes = (self.ids, self.classes, self.boxes, self.areas, self.flags)
        return sum(column.nbytes for column in (*columns, *boxes))

    @cached_property
    def image_of(self) -> NDArray[np.int64]:
        """(M,) the image of every box."""
        return np.repeat(np.arange(len(self.image_ids)), np.diff(self.starts))

    def shows(self, category_id: int) -> NDArray[np.bool_]:
        """(N,) which images have a box of this category."""
        found = np.zeros(len(self.image_ids), bool)
        places = [place for place, one in enumerate(self.categories) if one.id == category_id]
        found[self.image_of[np.isin(self.classes, places)]] = True
        return found

    @cached_property
    def shown_on(self) -> NDArray[np.int64]:
        """(categories,) how many images have a box of each."""
        count = len(self.categories)
        shown = np.unique(self.image_of * count + self.classes)
        return np.bincount(shown % count, minlength=count) if count else np.zeros(0, np.int64)

    @cached_property
    def learnable(self) -> NDArray[np.bool_]:
        """(M,) which boxes are learned from: no crowd, and not without area."""
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        objects: NDArray[np.bool_] = (self.flags & CROWD == 0) & (sides > 0).all(axis=1)
        return objects

    def of_split(self, name: str) -> NDArray[np.bool_]:
        """(N,) which images are in this split."""
        places = [place for place, one in enumerate(self.splits) if one == name]
        return np.isin(self.image_splits, places)

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """What `GET /v1/datasets/{id}/stats` tells."""
        return _statistics(self)


def read(index: bytes | mmap) -> Catalogue:
    """The catalogue of an index as JSON (`detector.data.records.DatasetIndex`)."""
    return of(index_file.decode(index, masks=False))


def of(index: DatasetIndex) -> Catalogue:
    """The catalogue of an index."""
    images = index.images
    splits: dict[str, int] = {}
    image_splits = [splits.setdefault(image.split, len(splits)) for image in images]
    rows = np.concatenate([np.empty(0, ROW), *(rows_of(image.annotations) for image in images)])
    return Catalogue(
        index.categories,
        list(splits),
        np.array([image.id for image in images], np.int64),
        np.array(image_splits, np.int16),
        np.array([(image.width, image.height) for image in images], np.int32).reshape(-1, 2),
        np.cumsum([0, *(len(image.annotations) for image in images)], dtype=np.int64),
        np.ascontiguousarray(rows["id"]),
        _places(rows["category_id"], [category.id for category in index.categories]),
        np.ascontiguousarray(rows["box"]),
        np.ascontiguousarray(rows["area"]),
        np.ascontiguousarray(rows["flags"]),
    )


def _places(ids: NDArray[np.int64], of_places: list[int]) -> NDArray[np.int32]:
    """Where each id is in `of_places`."""
    sorted_places = np.argsort(of_places, kind="stable").astype(np.int32)
    return sorted_places[np.searchsorted(of_places, ids, sorter=sorted_places)]


def _statistics(of: Catalogue) -> dict[str, Any]:
    images, boxes = len(of.image_ids), len(of.ids)
    per_image = np.diff(of.starts)
    split_of_box = of.image_splits[of.image_of]
    sides = of.boxes[:, 2:] - of.boxes[:, :2]
    pixels = of.sizes.astype(np.float64).prod(axis=1)
    relative = sides.prod(axis=1) / pixels[of.image_of]
    classes = []
    for place, category in enumerate(of.categories):
        by_split = np.bincount(split_of_box[of.classes == place], minlength=len(of.splits))
        count = int(by_split.sum())
        classes.append(
            {
                "id": category.id,
                "name": category.name,
                "boxes": count,
                "images": int(of.shown_on[place]),
                "share": count / boxes if boxes else 0.0,
                "splits": dict(zip(of.splits, by_split.tolist(), strict=True)),
            }
        )
    return {
        "images": images,
        "boxes": boxes,
        "negatives": int((per_image == 0).sum()),
        "crowds": int((of.flags & CROWD > 0).sum()),
        "splits": [
            {
                "name": name,
                "images": int((of.image_splits == place).sum()),
                "boxes": int((split_of_box == place).sum()),
                "negatives": int(((of.image_splits == place) & (per_image == 0)).sum()),
            }
            for place, name in enumerate(of.splits)
        ],
        "classes": classes,
        "boxes_per_image": {
            "mean": boxes / images if images else 0.0,
            "median": float(np.median(per_image)) if images else 0.0,
            "max": int(per_image.max(initial=0)),
            "histogram": _histogram(per_image, COUNT_EDGES),
        },
        "box_sizes": {
            "small": int((of.areas < SMALL).sum()),
            "medium": int(((of.areas >= SMALL) & (of.areas < MEDIUM)).sum()),
            "large": int((of.areas >= MEDIUM).sum()),
        },
        "relative_areas": _histogram(np.minimum(relative, 1.0), AREA_EDGES[:-1]),
        "aspect_ratios": _histogram(sides[:, 0] / sides[:, 1], RATIO_EDGES),
        "image_sizes": _image_sizes(of.sizes),
    }


def _histogram(values: NDArray[Any], edges: tuple[float, ...]) -> list[dict[str, Any]]:
    """How many values are at or above each edge and below the next; the last bin has no end."""
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)[1:]
    ends = (*edges[1:], None)
    return [
        {"start": start, "end": end, "count": int(count)}
        for start, end, count in zip(edges, ends, counts, strict=True)
    ]


def _image_sizes(sizes: NDArray[np.int32]) -> dict[str, Any]:
    def spread(values: NDArray[np.int32]) -> dict[str, Any]:
        if not len(values):
            return {"min": 0, "median": 0.0, "max": 0}
        return {"min": int(values.min()), "median": float(np.median(values)), "max": int(values.max())}

    distinct, counts = np.unique(sizes, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_COMMON_SIZES]
    return {
        "width": spread(sizes[:, 0]),
        "height": spread(sizes[:, 1]),
        "distinct": len(distinct),
        "most_common": [
            {
                "width": int(distinct[place, 0]),
                "height": int(distinct[place, 1]),
                "images": int(counts[place]),
            }
            for place in order
        ],
    }
