"""Precision over recall, per class and IoU: COCO's own arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.evaluate.coco import mean_precision
from detector.evaluate.evaluation import IOUS, RECALLS, Evaluation


@dataclass(frozen=True)
class ClassCurves:
    """One class at every IoU threshold, objects of every size, 100 detections per image.

    `precision[t, r]` is the best precision (0 to 1) at a recall of `recall[r]` or more, 0 where it is not
    reached, and `scores[t, r]` the score threshold that gives it. Without objects both are None.
    """

    id: int
    name: str
    AP: list[float | None]  # (T,)
    precision: NDArray[np.float64] | None  # (T, R)
    scores: NDArray[np.float64] | None  # (T, R)


@dataclass(frozen=True)
class Curves:
    """COCO's: T = 10 IoU thresholds from 0.50 to 0.95, R = 101 recalls from 0 to 1."""

    ious: NDArray[np.float64]  # (T,)
    recall: NDArray[np.float64]  # (R,)
    AP: list[float | None]  # (T,), mean over the classes that have objects
    per_class: list[ClassCurves]


def curves(evaluation: Evaluation, ground_truth: dict[str, Any]) -> Curves:
    """The curves of an accumulated evaluation (`coco.evaluation`)."""
    names = {category["id"]: category["name"] for category in ground_truth["categories"]}
    precision = evaluation.arrays.precision[:, :, :, 0, -1]  # (T, R, K)
    scores = evaluation.arrays.scores[:, :, :, 0, -1]
    levels = range(len(precision))
    per_class = []
    for k, class_id in enumerate(evaluation.class_ids.tolist()):
        known = bool(np.all(precision[:, :, k] > -1))
        per_class.append(
            ClassCurves(
                class_id,
                names[class_id],
                [mean_precision(precision[t, :, k]) for t in levels],
                precision[:, :, k] if known else None,
                scores[:, :, k] if known else None,
            )
        )
    return Curves(
        IOUS,
        RECALLS,
        [mean_precision(precision[t]) for t in levels],
        per_class,
    )
