"""Which detections are right: pycocotools' own matches, as arrays per class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval


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


def matches(evaluation: COCOeval, iou: float = 0.5) -> list[ClassMatches]:
    """The matches at one of the evaluation's IoU thresholds, objects of the first area range (every size).

    Raises ValueError for an IoU that was not evaluated.
    """
    parameters = evaluation.params
    level = np.flatnonzero(np.isclose(parameters.iouThrs, iou))
    if not len(level):
        raise ValueError(f"IoU {iou} was not evaluated")
    images = len(parameters.imgIds)
    areas = len(parameters.areaRng)
    return [
        _of_class(
            evaluation, int(class_id), int(level[0]), slice(k * areas * images, k * areas * images + images)
        )
        for k, class_id in enumerate(parameters.catIds)
    ]


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


def placements(evaluation: COCOeval) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Every detection that was looked at (100 of a class and image): its place in the list of results (N,),
    and its IoU (N,) with the object of its class that it covers best, whether it is its match or not."""
    rows, best = [np.zeros(0, np.int64)], [np.zeros(0)]
    first_range = evaluation.params.areaRng[0]
    for found in evaluation.evalImgs:
        if found is None or found["aRng"] != first_range or not found["dtIds"]:
            continue
        overlap, _, crowd = _overlaps(evaluation, found["image_id"], found["category_id"])
        rows.append(np.array(found["dtIds"], np.int64) - 1)
        best.append(overlap[:, ~crowd].max(axis=1, initial=0.0) if len(crowd) else np.zeros(len(rows[-1])))
    return np.concatenate(rows), np.concatenate(best)


def _of_class(evaluation: COCOeval, class_id: int, level: int, where: slice) -> ClassMatches:
    objects = 0
    parts: list[ClassMatches] = []
    for found in evaluation.evalImgs[where]:
        if found is None:
            continue
        objects += int(np.count_nonzero(found["gtIgnore"] == 0))
        if not found["dtIds"]:
            continue
        counted = ~found["dtIgnore"][level].astype(bool)
        match = found["dtMatches"][level]
        overlap, columns, _ = _overlaps(evaluation, found["image_id"], class_id)
        ious = np.array([overlap[d, columns[m]] if m else 0.0 for d, m in enumerate(match)])
        parts.append(
            ClassMatches(
                class_id,
                0,
                np.array(found["dtIds"], np.int64)[counted] - 1,
                np.full(np.count_nonzero(counted), found["image_id"], np.int64),
                np.array(found["dtScores"], np.float64)[counted],
                match[counted] > 0,
                ious[counted],
            )
        )
    whole = pooled(parts)
    return ClassMatches(class_id, objects, whole.rows, whole.images, whole.scores, whole.hits, whole.ious)


def _overlaps(
    evaluation: COCOeval, image_id: int, class_id: int
) -> tuple[NDArray[np.float64], dict[int, int], NDArray[np.bool_]]:
    """IoU (detections by score, objects), the column of each object's id, and which columns are crowds."""
    objects = [one for one in evaluation.cocoGt.imgToAnns[image_id] if one["category_id"] == class_id]
    overlap = np.asarray(evaluation.ious[image_id, class_id], np.float64)
    crowd = np.array([bool(one.get("iscrowd", 0)) for one in objects], bool)
    return (
        overlap.reshape(-1, len(objects)) if objects else np.zeros((len(overlap), 0)),
        {one["id"]: k for k, one in enumerate(objects)},
        crowd,
    )
