"""Which class is taken for which: a confusion matrix with the background as one more class."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.evaluate.overlap import Boxes, corners, covered, iou


@dataclass(frozen=True)
class Confusion:
    """Counts (K + 1, K + 1): row the object's class, column the detection's; the last of each is background.

    The last column counts objects that were missed, the last row detections where no object is.
    """

    class_ids: list[int]
    matrix: NDArray[np.int64]
    score_threshold: float
    iou_threshold: float


def confusion(
    ground_truth: dict[str, Any],
    detections: list[dict[str, Any]],
    *,
    score_threshold: float,
    iou_threshold: float = 0.5,
) -> Confusion:
    """Matches boxes across classes, greedily, and counts which class met which.

    On each image the detections of at least `score_threshold` come best score first. Each takes an object
    that is still free and that it overlaps by `iou_threshold` or more: of its own class if there is one (a
    rider and his horse overlap, and each is found rightly), else of another; among those the one that it
    overlaps most. So every object and every detection is counted once, but for detections that take nothing
    and lie by `iou_threshold` of their area in a crowd, of whatever class: these are left out, as are crowds.
    """
    class_ids = [int(category["id"]) for category in ground_truth["categories"]]
    place = {class_id: k for k, class_id in enumerate(class_ids)}
    background = len(class_ids)
    matrix = np.zeros((background + 1, background + 1), np.int64)
    found: dict[int, list[dict[str, Any]]] = {}
    for detection in detections:
        if detection["score"] >= score_threshold:
            found.setdefault(detection["image_id"], []).append(detection)
    objects: dict[int, list[dict[str, Any]]] = {}
    for annotation in ground_truth["annotations"]:
        objects.setdefault(annotation["image_id"], []).append(annotation)

    for image in found.keys() | objects.keys():
        here = sorted(found.get(image, []), key=lambda one: -one["score"])
        plain = [one for one in objects.get(image, []) if not one.get("iscrowd")]
        crowds = [one for one in objects.get(image, []) if one.get("iscrowd")]
        boxes = _boxes(here)
        true = np.array([place[one["category_id"]] for one in plain], np.int64)
        predicted = [place[one["category_id"]] for one in here]
        taken = _match(iou(boxes, _boxes(plain)), predicted, true, iou_threshold)
        in_crowd = covered(boxes, _boxes(crowds)).max(axis=1, initial=0.0) >= iou_threshold
        for d, k in enumerate(taken):
            if k >= 0:
                matrix[true[k], predicted[d]] += 1
            elif not in_crowd[d]:
                matrix[background, predicted[d]] += 1
        for k in set(range(len(plain))) - set(taken):
            matrix[true[k], background] += 1
    return Confusion(class_ids, matrix, score_threshold, iou_threshold)


def _match(
    overlaps: NDArray[np.float64], predicted: list[int], true: NDArray[np.int64], iou_threshold: float
) -> list[int]:
    """For each detection, best first, the object it takes, or -1. `overlaps` is (detections, objects)."""
    free = np.ones(len(true), bool)
    taken = []
    for row, label in zip(overlaps, predicted, strict=True):
        candidates = free & (row >= iou_threshold)
        own = candidates & (true == label)
        candidates = own if own.any() else candidates
        if not candidates.any():
            taken.append(-1)
            continue
        best = int(np.argmax(np.where(candidates, row, -1.0)))
        free[best] = False
        taken.append(best)
    return taken


def _boxes(rows: list[dict[str, Any]]) -> Boxes:
    return corners([row["bbox"] for row in rows])
