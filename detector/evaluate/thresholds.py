"""What a score threshold does: precision, recall and F1, and the thresholds worth taking.

All of it counts pycocotools' matches (`matches.matches`). Those are made best score first, so leaving out the
detections below a threshold changes none of the matches above it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.evaluate.matches import ClassMatches


@dataclass(frozen=True)
class Point:
    """The detections of at least this score. Precision is null without detections, recall without objects."""

    threshold: float
    detections: int
    hits: int
    objects: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, how it did where it was chosen, and how it does elsewhere. All null when there is none."""

    class_id: int
    chosen: Point | None
    reported: Point | None


def sweep(found: ClassMatches, thresholds: Sequence[float] | NDArray[np.float64]) -> list[Point]:
    """A point per threshold."""
    order = np.argsort(found.scores, kind="stable")
    scores, hits = found.scores[order], found.hits[order]
    hits_from = np.concatenate([np.cumsum(hits[::-1])[::-1], [0]])
    points = []
    for threshold in thresholds:
        first = int(np.searchsorted(scores, threshold, side="left"))
        points.append(_point(float(threshold), len(scores) - first, int(hits_from[first]), found.objects))
    return points


def at(found: ClassMatches, threshold: float) -> Point:
    """What one threshold gives."""
    return sweep(found, [threshold])[0]


def best_f1(found: ClassMatches) -> float | None:
    """The score with the best F1, of equals the highest; None when no detection is right."""
    points = [point for point in sweep(found, np.unique(found.scores)[::-1]) if point.hits]
    if not points or not found.objects:
        return None
    return max(points, key=lambda point: point.f1 or 0.0).threshold


def precise(found: ClassMatches, precision: float) -> float | None:
    """The lowest score from which at least this share is right, so with the best recall; None without any."""
    for point in sweep(found, np.unique(found.scores)):
        if point.hits and point.precision is not None and point.precision >= precision:
            return point.threshold
    return None


def operating_points(
    chosen_on: Sequence[ClassMatches],
    reported_on: Sequence[ClassMatches],
    *,
    precision: float | None = None,
) -> list[OperatingPoint]:
    """A threshold per class, for the best F1 or (with `precision`) for that precision at the best recall.

    The same detections as both arguments say how good a choice looks; only other images say how good it is.
    """
    elsewhere = {one.class_id: one for one in reported_on}
    points = []
    for found in chosen_on:
        threshold = best_f1(found) if precision is None else precise(found, precision)
        other = elsewhere.get(found.class_id)
        points.append(
            OperatingPoint(
                found.class_id,
                None if threshold is None else at(found, threshold),
                None if threshold is None or other is None else at(other, threshold),
            )
        )
    return points


def _point(threshold: float, detections: int, hits: int, objects: int) -> Point:
    return Point(
        threshold,
        detections,
        hits,
        objects,
        hits / detections if detections else None,
        hits / objects if objects else None,
        2 * hits / (detections + objects) if detections + objects else None,
    )
