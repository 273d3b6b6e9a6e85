"""COCO's precision, recall and scores from who matched whom.

pycocotools walks over every detection at each of 120 settings (IoU, range, number of detections). What it
writes changes at hits only: between two of them precision falls and recall stays. So this looks at the hits,
and at the other detections as counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Arrays:
    """As pycocotools fills them, -1 for a class without objects in the range.

    T IoU thresholds, R recalls, K classes, A ranges of areas, M numbers of detections per class and image.
    """

    precision: Floats  # (T, R, K, A, M)
    recall: Floats  # (T, K, A, M)
    scores: Floats  # (T, R, K, A, M)

    @classmethod
    def empty(cls, t: int, r: int, k: int, a: int, m: int) -> "Arrays":
        shape = t, r, k, a, m
        return cls(np.full(shape, -1.0), np.full((t, k, a, m), -1.0), np.full(shape, -1.0))


@dataclass(frozen=True)
class Seen:
    """Detections (D,) in any order."""

    classes: NDArray[np.int64]
    scores: Floats
    ranks: NDArray[np.int64]
    """Within class and image."""
    contenders: NDArray[np.int64]
    """(C,): the places of those that may have a match."""
    by_score: NDArray[np.int64]
    """(D,): the places by class, then score."""


@dataclass(frozen=True)
class Ranked:
    """Detections by class, then score, which have at most some rank within class and image."""

    rows: NDArray[np.int64]
    """Which of all detections they are."""
    classes: NDArray[np.int64]
    scores: Floats
    contenders: NDArray[np.int64]
    """The places of those that may have a match, ascending."""
    who: NDArray[np.int64]
    """Which of all contenders these are."""


@dataclass(frozen=True)
class InRange:
    """One range of areas."""

    objects: NDArray[np.int64]
    """(K,): how many there are to be found."""
    inside: NDArray[np.bool_]
    """(D,): whether a detection without a match is in the range, so wrong."""
    matched: NDArray[np.bool_]
    """(T, C): whether a contender has a match."""
    hits: NDArray[np.bool_]
    """(T, C): whether that is an object to be found."""


def accumulate(seen: Seen, ranges: Sequence[InRange], recalls: Floats, most: Sequence[int]) -> Arrays:
    """Fills the arrays; `most` are the numbers of detections per class and image."""
    levels, classes = len(ranges[0].hits), len(ranges[0].objects)
    arrays = Arrays.empty(levels, len(recalls), classes, len(ranges), len(most))
    for m, limit in enumerate(most):
        ranked = _ranked(seen, limit)
        for a, one in enumerate(ranges):
            precision, recall, scores = _setting(ranked, one, recalls)
            some = one.objects > 0
            arrays.precision[:, :, some, a, m] = precision[:, :, some]
            arrays.recall[:, some, a, m] = recall[:, some]
            arrays.scores[:, :, some, a, m] = scores[:, :, some]
    return arrays


def _ranked(seen: Seen, most: int) -> Ranked:
    rows = seen.by_score[seen.ranks[seen.by_score] < most]
    who = np.full(len(seen.ranks), -1)
    who[seen.contenders] = np.arange(len(seen.contenders))
    who = who[rows]
    contenders = np.flatnonzero(who >= 0)
    return Ranked(rows, seen.classes[rows], seen.scores[rows], contenders, who[contenders])


def _setting(seen: Ranked, one: InRange, recalls: Floats) -> tuple[Floats, Floats, Floats]:
    """Precision (T, R, K), recall (T, K) and scores (T, R, K) of one range and number of detections."""
    where, levels, classes, contenders = seen.contenders, len(one.hits), len(one.objects), len(seen.who)
    right, inside = one.hits.take(seen.who, axis=1), one.inside[seen.rows]
    hits = np.flatnonzero(right)  # by IoU, then class, then score
    t, c = np.divmod(hits, max(contenders, 1))
    k = seen.classes[where[c]]
    # The hits up to each, of its IoU and class.
    per_class = np.bincount(t * classes + k, minlength=levels * classes)
    hit = np.arange(1, len(hits) + 1) - (np.cumsum(per_class) - per_class)[t * classes + k]

    # The detections that count up to each: as if none had a match, and what the matches change of that.
    starts = np.searchsorted(seen.classes, np.arange(classes + 1))
    counted = np.append(0, np.cumsum(inside))
    changed = np.zeros((levels, contenders + 1), np.int32)
    change = one.matched.take(seen.who, axis=1) * (right.view(np.int8) - inside[where])
    np.cumsum(change, axis=1, out=changed[:, 1:])
    own = np.searchsorted(where, starts)  # the contenders before each class
    of = counted[where[c] + 1] - counted[starts[k]] + changed[t, c + 1] - changed[t, own[k]]

    # A hit tells the precision of every recall up to the one that it reaches, and its score.
    reached = np.searchsorted(recalls, hit / one.objects[k], side="right") - 1
    precision = np.zeros((levels, len(recalls), classes))
    scores = np.full_like(precision, -np.inf)
    cell = np.ravel_multi_index((t, reached, k), precision.shape)
    np.maximum.at(precision.reshape(-1), cell, hit / (of + np.spacing(1)))
    np.maximum.at(scores.reshape(-1), cell, seen.scores[where[c]])
    for array in (precision, scores):
        array[:, ::-1] = np.maximum.accumulate(array[:, ::-1], axis=1)
    scores[np.isneginf(scores)] = 0.0
    some = np.flatnonzero(np.diff(starts))
    scores[:, 0, some] = seen.scores[starts[some]]  # a recall of 0 needs the first detection, right or wrong
    return precision, per_class.reshape(levels, classes) / np.maximum(one.objects, 1), scores
