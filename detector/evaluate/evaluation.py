"""An evaluation: COCO's arrays, and who matched whom."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from detector.evaluate.accumulation import Arrays, InRange, Seen, accumulate
from detector.evaluate.columns import Problem
from detector.evaluate.matching import Order, Pairs, match, ordered, pairs

Ranges: TypeAlias = Mapping[str, tuple[float, float]]
Number = TypeVar("Number", bound=np.generic)

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MOST = (1, 10, 100)
"""Detections of a class and image."""
AREAS: Ranges = MappingProxyType(
    {
        "all": (0.0, 1e5**2),
        "small": (0.0, 32.0**2),
        "medium": (32.0**2, 96.0**2),
        "large": (96.0**2, 1e5**2),
    }
)
"""Both limits belong to a range, so an area of 32 x 32 is small and medium."""


@dataclass(frozen=True)
class Matched:
    """Of each of the D detections of an evaluation, at one IoU threshold."""

    objects: NDArray[np.int64]
    """The place of the annotation that it is the match of, -1 for none."""
    ious: NDArray[np.float64]
    """With that one; 0 without."""
    ignored: NDArray[np.bool_]
    """Neither right nor wrong."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured. D detections were looked at: the 100 best of a class and image, by class, image and
    score. Who matched whom is told for the first range; C of them may have a match at some threshold."""

    comparison: "Comparison"
    ranges: tuple[str, ...]
    arrays: Arrays
    rows: NDArray[np.int64]  # (D,): places in the list of results
    image_ids: NDArray[np.int64]  # (D,)
    classes: NDArray[np.int64]  # (D,): places in `class_ids`
    scores: NDArray[np.float64]  # (D,)
    inside: NDArray[np.bool_]  # (D,): wrong, not ignored, if it has no match
    best: NDArray[np.float64]  # (D,): greatest IoU with an object of the class that is no crowd, else 0
    contenders: NDArray[np.int64]  # (C,): places among the D
    matched: NDArray[np.int64]  # (T, C): the place of the annotation, -1 for none
    matched_ious: NDArray[np.float64]  # (T, C), 0 for none
    hits: NDArray[np.bool_]  # (T, C): whether it is the match of an object that is to be found
    objects: NDArray[np.int64]  # (K,): how many are to be found

    @property
    def class_ids(self) -> NDArray[np.int64]:
        """(K,), ascending."""
        return self.comparison.problem.category_ids

    def at(self, iou: float) -> Matched:
        """Who matched whom at one of the thresholds. Raises ValueError for one that was not evaluated."""
        level = np.flatnonzero(np.isclose(IOUS, iou))
        if not len(level):
            raise ValueError(f"IoU {iou} was not evaluated")
        objects, ious = np.full(len(self.rows), -1, np.int64), np.zeros(len(self.rows))
        objects[self.contenders] = self.matched[level[0]]
        ious[self.contenders] = self.matched_ious[level[0]]
        right = np.zeros(len(self.rows), bool)
        right[self.contenders] = self.hits[level[0]]
        return Matched(objects, ious, np.where(objects >= 0, ~right, ~self.inside))


class Comparison:
    """A problem, sorted and with the pairs that overlap: what all ranges and areas have in common."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @cached_property
    def order(self) -> Order:
        return ordered(self.problem, MOST[-1])

    @cached_property
    def near(self) -> Pairs:
        return pairs(self.problem, self.order, IOUS[0])

    def with_areas(
        self, objects: NDArray[np.float64], detections: NDArray[np.float64] | None
    ) -> "Comparison":
        """See `Problem.with_areas`."""
        other = Comparison(self.problem.with_areas(objects, detections))
        # What is known already; cached_property looks there first.
        vars(other).update({name: vars(self)[name] for name in ("order", "near") if name in vars(self)})
        return other


def evaluate(comparison: Comparison, ranges: Ranges = AREAS) -> Evaluation:
    """Matches and accumulates, all images and classes at once."""
    problem, order, near = comparison.problem, comparison.order, comparison.near
    images = max(len(problem.image_ids), 1)
    classes = order.groups // images
    scores = problem.detections.scores[order.detections]
    judged = [judge(comparison, limits) for limits in ranges.values()]
    seen = Seen(classes, scores, order.ranks, near.contenders, order.by_score)
    first, matched = judged[0]
    return Evaluation(
        comparison=comparison,
        ranges=tuple(ranges),
        arrays=accumulate(seen, [one for one, _ in judged], RECALLS, MOST),
        rows=order.detections,
        image_ids=problem.image_ids[order.groups % images],
        classes=classes,
        scores=scores,
        inside=first.inside,
        best=near.best,
        contenders=near.contenders,
        matched=_of_pairs(order.objects[near.objects], matched, -1),
        matched_ious=_of_pairs(near.ious, matched, 0.0),
        hits=first.hits,
        objects=first.objects,
    )


def outside(areas: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.bool_]:
    """Which areas (N,) are not within these limits, both included; NaN is outside of nothing."""
    return np.asarray((areas < limits[0]) | (areas > limits[1]))


def judge(comparison: Comparison, limits: tuple[float, float]) -> tuple[InRange, NDArray[np.int32]]:
    """One range, and the pairs (T, C) that match there: what accumulation needs, and nothing of scores."""
    problem, order, near = comparison.problem, comparison.order, comparison.near
    crowds = problem.objects.crowds[order.objects]
    ignored = crowds | outside(problem.objects.areas[order.objects], limits)
    matched = match(near, crowds, ignored, np.minimum(IOUS, 1 - 1e-10))
    classes = order.object_groups[~ignored] // max(len(problem.image_ids), 1)
    return (
        InRange(
            np.bincount(classes, minlength=len(problem.category_ids)),
            ~outside(problem.detections.areas[order.detections], limits),
            matched >= 0,
            _of_pairs(~ignored[near.objects], matched, False),
        ),
        matched,
    )


def _of_pairs(values: NDArray[Number], matched: NDArray[np.int32], without: Any) -> NDArray[Number]:
    """The value (P,) of each matched pair (T, C)."""
    return np.append(values, np.array([without], values.dtype))[matched]
