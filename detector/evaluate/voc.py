"""PASCAL VOC's average precision, as its devkit computes it (VOCevaldet.m; 11 points until 2009)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detector.evaluate.overlap import Boxes, corners, iou

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
    images = [image["id"] for image in ground_truth["images"]]
    truth = _by_class(ground_truth["annotations"])
    found = _by_class(detections)
    per_class = []
    for category in ground_truth["categories"]:
        objects = truth.get(category["id"], [])
        precision, recall, count = _curve(
            objects, found.get(category["id"], []), images, iou_threshold, inclusive
        )
        average = _eleven_points if interpolation == "11_points" else _area
        ap = average(precision, recall) if count else None
        per_class.append(VocClass(category["id"], category["name"], ap, count, precision, recall))
    known = [one.AP for one in per_class if one.AP is not None]
    return VocMetrics(float(np.mean(known)) if known else None, per_class)


def _curve(
    objects: Sequence[dict[str, Any]],
    found: Sequence[dict[str, Any]],
    images: Sequence[int],
    iou_threshold: float,
    inclusive: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Precision and recall after each detection that counts, and the objects to be found."""
    boxes: dict[int, Boxes] = {}
    optional: dict[int, list[bool]] = {}
    for image, here in _by(objects, "image_id").items():
        boxes[image] = corners([one["bbox"] for one in here])
        optional[image] = [bool(one.get("difficult") or one.get("iscrowd")) for one in here]
    taken = {image: [False] * len(flags) for image, flags in optional.items()}
    count = sum(not flag for flags in optional.values() for flag in flags)

    known = set(images)
    right: list[bool] = []
    for k in np.argsort([-one["score"] for one in found], kind="stable"):
        image = found[k]["image_id"]
        if image not in known:
            raise ValueError(f"detection on image {image}, which the ground truth lacks")
        if image not in boxes:
            right.append(False)
            continue
        overlaps = iou(corners([found[k]["bbox"]]), boxes[image], inclusive=inclusive)[0]
        best = int(np.argmax(overlaps))
        if overlaps[best] < iou_threshold:
            right.append(False)
        elif not optional[image][best]:
            right.append(not taken[image][best])
            taken[image][best] = True
    hits = np.cumsum(np.array(right, np.float64))
    return hits / np.arange(1, len(hits) + 1), hits / max(count, 1), count


def _eleven_points(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    # As in the ports of the devkit to Python (and the reference case of the tests): 3 * 0.1, 6 * 0.1 and
    # 7 * 0.1 lie a bit above 0.3, 0.6 and 0.7 in binary, so a recall of exactly 0.6 misses its point.
    best = [np.max(precision[recall >= point], initial=0.0) for point in np.linspace(0.0, 1.0, 11)]
    return float(np.mean(best))


def _area(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


def _by_class(rows: Sequence[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    return _by(rows, "category_id")


def _by(rows: Sequence[dict[str, Any]], key: str) -> dict[int, list[dict[str, Any]]]:
    grouped: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row[key], []).append(row)
    return grouped
