"""Which detections are right: COCO's own matches, as arrays per class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.evaluate.evaluation import Evaluation


@dataclass(frozen=True)
class ClassMatches:
    """The detections of one class that count: not those on a crowd, 100 at most per image.

    Every array is (N,): image by image, and within an image the best score first.
    """

    class_id: int
    objects: int
    """Objects to be found; crowds are not."""
    rows: NDArray[np.int64]
    """Places in the list of results."""
    images: NDArray[np.int64]
    """Image ids."""
    scores: NDArray[np.float64]
    hits: NDArray[np.bool_]
    """Whether it is the one match of an object."""
    ious: NDArray[np.float64]
    """IoU with the object it is the match of; 0 without one."""


def matches(evaluation: Evaluation, iou: float = 0.5) -> list[ClassMatches]:
    """The matches at one of the evaluation's IoU thresholds, objects of the first area range (every size).

    Raises ValueError for an IoU that was not evaluated.
    """
    matched = evaluation.at(iou)
    counted = np.flatnonzero(~matched.ignored)
    ends = np.searchsorted(evaluation.classes[counted], np.arange(len(evaluation.class_ids) + 1))
    found = []
    for k, class_id in enumerate(evaluation.class_ids.tolist()):
        here = counted[ends[k] : ends[k + 1]]
        found.append(
            ClassMatches(
                class_id,
                int(evaluation.objects[k]),
                evaluation.rows[here],
                evaluation.image_ids[here],
                evaluation.scores[here],
                matched.objects[here] >= 0,
                matched.ious[here],
            )
        )
    return found


def pooled(per_class: Sequence[ClassMatches]) -> ClassMatches:
    """All classes as one; its class id is -1."""
    return ClassMatches(
        -1,
        sum(one.objects for one in per_class),
        np.concatenate([np.zeros(0, np.int64), *(one.rows for one in per_class)]),
        np.concatenate([np.zeros(0, np.int64), *(one.images for one in per_class)]),
        np.concatenate([np.zeros(0, np.float64), *(one.scores for one in per_class)]),
        np.concatenate([np.zeros(0, np.bool_), *(one.hits for one in per_class)]),
        np.concatenate([np.zeros(0, np.float64), *(one.ious for one in per_class)]),
    )
