"""PASCAL VOC's average precision, as its devkit computes it (VOCevaldet.m; 11 points until 2009)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detector.evaluate.overlap import corners, iou

Interpolation: TypeAlias = Literal["11_points", "area"]
INTERPOLATIONS: tuple[Interpolation, ...] = ("11_points", "area")


@dataclass(frozen=True)
class VocClass:
    """One class. `AP` is 0 to 1, null without objects; `objects` leaves the difficult ones out."""

    id: int
    name: str
    AP: float | None
    objects: int
    precision: NDArray[np.float64]  # (N,) after each detection that counts, best score first
    recall: NDArray[np.float64]  # (N,)


@dataclass(frozen=True)
class VocMetrics:
    """`mean` is mAP: the mean over the classes that have objects, null when none has."""

    mean: float | None
    per_class: list[VocClass]


def evaluate(
    ground_truth: dict[str, Any],
    detections: list[dict[str, Any]],
    *,
    interpolation: Interpolation = "area",
    iou_threshold: float = 0.5,
    inclusive: bool = False,
) -> VocMetrics:
    """Measures COCO results (boxes) against a COCO dataset by VOC's rules.

    Of a class, the best score comes first, equal scores in the order given. A detection belongs to the object
    of its image that it covers best. Is their IoU below the threshold, or has a better score taken the
    object, then it is wrong; unlike COCO, it is not given the next best object. What belongs to a `difficult`
    object is neither right nor wrong, and the object need not be found. A crowd, which VOC does not know,
    is handled as a difficult object.

    Args:
        interpolation: "11_points" is VOC2007's: the mean of the best precision at recall 0, 0.1, ... 1.
            "area" is that of VOC2010 and later: the area under the curve made monotone.
        inclusive: measure boxes as the devkit does, whose corners are pixels of the box: each is a pixel
            wider and higher than the difference of its coordinates. For boxes read from VOC files as they
            are written, it gives the devkit's number; without, boxes are continuous as elsewhere.
    """
    images = {image["id"] for image in ground_truth["images"]}
    annotations = ground_truth["annotations"]
    truth, results = _by(annotations, "category_id"), _by(detections, "category_id")
    per_class = []
    for category in ground_truth["categories"]:
        objects = [annotations[k] for k in truth.get(category["id"], [])]
        found = [detections[k] for k in results.get(category["id"], [])]
        precision, recall, count = _curve(objects, found, images, iou_threshold, inclusive)
        average = _eleven_points if interpolation == "11_points" else _area
        ap = average(precision, recall) if count else None
        per_class.append(VocClass(category["id"], category["name"], ap, count, precision, recall))
    known = [one.AP for one in per_class if one.AP is not None]
    return VocMetrics(float(np.mean(known)) if known else None, per_class)


def _curve(
    objects: Sequence[dict[str, Any]],
    found: Sequence[dict[str, Any]],
    images: Collection[int],
    iou_threshold: float,
    inclusive: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Precision and recall after each detection that counts, and the objects to be found."""
    optional = [bool(one.get("difficult") or one.get("iscrowd")) for one in objects]
    nearest, overlaps = _nearest(objects, found, images, inclusive)
    count = optional.count(False)
    taken = [False] * len(objects)
    right: list[bool] = []
    for k in np.argsort([-one["score"] for one in found], kind="stable"):
        best = nearest[k]
        if overlaps[k] < iou_threshold:
            right.append(False)
        elif not optional[best]:
            right.append(not taken[best])
            taken[best] = True
    hits = np.cumsum(np.array(right, np.float64))
    return hits / np.arange(1, len(hits) + 1), hits / max(count, 1), count


def _nearest(
    objects: Sequence[dict[str, Any]],
    found: Sequence[dict[str, Any]],
    images: Collection[int],
    inclusive: bool,
) -> tuple[list[int], list[float]]:
    """For each detection the object of its image that it overlaps most, and the IoU; both -1 without any."""
    nearest, overlaps = [-1] * len(found), [-1.0] * len(found)
    places = _by(objects, "image_id")
    for image, rows in _by(found, "image_id").items():
        if image not in images:
            raise ValueError(f"detection on image {image}, which the ground truth lacks")
        if image not in places:
            continue
        here = places[image]
        ious = iou(
            corners([found[k]["bbox"] for k in rows]),
            corners([objects[k]["bbox"] for k in here]),
            inclusive=inclusive,
        )
        for k, best, overlap in zip(
            rows, ious.argmax(axis=1).tolist(), ious.max(axis=1).tolist(), strict=True
        ):
            nearest[k], overlaps[k] = here[best], overlap
    return nearest, overlaps


def _eleven_points(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    # As in the ports of the devkit to Python (and the reference case of the tests): 3 * 0.1, 6 * 0.1 and
    # 7 * 0.1 lie a bit above 0.3, 0.6 and 0.7 in binary, so a recall of exactly 0.6 misses its point.
    best = [np.max(precision[recall >= point], initial=0.0) for point in np.linspace(0.0, 1.0, 11)]
    return float(np.mean(best))


def _area(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


def _by(rows: Sequence[dict[str, Any]], key: str) -> dict[int, list[int]]:
    """The places of the rows, by what they have under the key."""
    grouped: dict[int, list[int]] = {}
    for k, row in enumerate(rows):
        grouped.setdefault(row[key], []).append(k)
    return grouped
