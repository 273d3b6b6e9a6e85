"""Which detection finds which object: COCO's matching, for all images and classes at once.

An object can be found only by a detection that overlaps it by the lowest IoU threshold, and such pairs are
few. Everything below is about them; the detections without one (`contenders` are those with) were never more
than a count.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as masks

from detector.evaluate.columns import Problem, Regions

MOST_PAIRS = 1 << 18  # looked at together: some 25 MB
_SHORT = 1 << 16


@dataclass(frozen=True)
class Order:
    """Objects and detections sorted by class, then image: the places of a group's are beside each other.

    Within a group objects are in the dataset's order, detections best score first, of equals in the results'
    order. What is beyond the `most` best of a group is left out, as what is of no known image or class.
    """

    objects: NDArray[np.int64]  # (G,) rows
    object_groups: NDArray[np.int64]  # (G,), class * number of images + image
    detections: NDArray[np.int64]  # (D,) rows
    groups: NDArray[np.int64]  # (D,)
    ranks: NDArray[np.int64]  # (D,), within the group
    by_score: NDArray[np.int64]  # (D,): the places of detections by class, then score, of equals ascending


@dataclass(frozen=True)
class Pairs:
    """Detections and objects of one class and image whose IoU is at least the lowest threshold.

    Detections and objects are places of an `Order`. Pairs are in the order in which they are decided: first
    those of the best contender of each group (`turns[0]` contenders), then of the second best, and so on; of
    one contender the greatest IoU last, of equals the last object.
    """

    contenders: NDArray[np.int64]  # (C,): the detections that are in a pair, by turn, then ascending
    turns: NDArray[np.int64]
    of: NDArray[np.int64]  # (P,): each pair's place in `contenders`, ascending
    objects: NDArray[np.int64]  # (P,)
    ious: NDArray[np.float64]  # (P,)
    best: NDArray[np.float64]  # (D,): each detection's greatest IoU with an object that is no crowd, else 0


def ordered(problem: Problem, most: int) -> Order:
    """Sorts a problem; `most` detections of a class and image are looked at."""
    things, found = problem.objects, problem.detections
    objects, images, classes = _known(problem, things.image_ids, things.category_ids)
    object_groups = classes * len(problem.image_ids) + images
    by_group = np.argsort(object_groups, kind="stable")
    objects, object_groups = objects[by_group], object_groups[by_group]

    rows, images, classes = _known(problem, found.image_ids, found.category_ids)
    best_first = _by(images)
    best_first = best_first[np.argsort(-found.scores[rows[best_first]], kind="stable")]
    by_class = best_first[_by(classes[best_first])]
    by_group = best_first[_by(images[best_first])]
    by_group = by_group[_by(classes[by_group])]
    groups = (classes * len(problem.image_ids) + images)[by_group]
    ranks = _ranks(groups)
    kept = ranks < most
    places = np.full(len(rows), -1)
    places[by_group[kept]] = np.arange(np.count_nonzero(kept))
    by_score = places[by_class]
    return Order(
        objects, object_groups, rows[by_group[kept]], groups[kept], ranks[kept], by_score[by_score >= 0]
    )


def pairs(problem: Problem, order: Order, lowest: float) -> Pairs:
    """Every pair with an IoU of at least `lowest`."""
    crowds = problem.objects.crowds[order.objects]
    best = np.zeros(len(order.detections))
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for detections, objects in _neighbours(order):
        ious = _ious(problem, order, detections, objects, crowds)
        first = np.flatnonzero(np.diff(detections, prepend=-1))
        best[detections[first]] = np.maximum.reduceat(np.where(crowds[objects], 0.0, ious), first)
        near = ious >= lowest
        parts.append((detections[near], objects[near], ious[near]))
    detections, objects, ious = (np.concatenate([part[k] for part in parts]) for k in range(3))

    first = np.flatnonzero(np.diff(detections, prepend=-1))
    contenders, many = detections[first], np.diff(first, append=len(detections))
    turns = _ranks(order.groups[contenders])
    by_turn = _by(turns)
    many = many[by_turn]
    of = np.repeat(np.arange(len(many)), many)
    queue = np.repeat(first[by_turn], many) + _ranks(of)
    several = np.flatnonzero(many[of] > 1)
    queue[several] = queue[several][np.lexsort((ious[queue[several]], of[several]))]
    return Pairs(contenders[by_turn], np.bincount(turns), of, objects[queue], ious[queue], best)


def match(
    near: Pairs,
    crowds: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
) -> NDArray[np.int32]:
    """The pair (T, C) that each contender makes its match, -1 for none.

    Best score first, a detection takes of the objects that are left the one that it overlaps most, of equals
    the last; an ignored object (`ignored` (G,), crowds among them) only where no other will do. A crowd is
    always left. Both are by place.
    """
    # What is ignored goes before the rest of its contender: the last that it can have is its match.
    queue = np.argsort(2 * near.of + ~ignored[near.objects], kind="stable").astype(np.int32)
    objects, ious = near.objects[queue], near.ious[queue]
    first = np.searchsorted(near.of, np.arange(len(near.contenders) + 1))  # of the pairs of each contender
    matched = np.full((len(thresholds), len(near.contenders)), -1, np.int32)
    taken = np.zeros((len(thresholds), len(crowds)), bool)
    stop = 0
    for contenders in near.turns:
        start, stop = stop, stop + contenders
        low, high = first[start], first[stop]
        # (T, pairs of this turn): every group has one contender in it, so none takes what another wants
        possible = (ious[low:high] >= thresholds[:, None]) & ~taken[:, objects[low:high]]
        choice = np.where(possible, np.arange(low, high, dtype=np.int32), np.int32(-1))
        last = np.maximum.reduceat(choice, first[start:stop] - low, axis=1)
        level, one = np.nonzero(last >= 0)
        chosen = last[level, one]
        matched[level, start + one] = queue[chosen]
        taken[level, objects[chosen]] = ~crowds[objects[chosen]]
    return matched


def _known(
    problem: Problem, image_ids: NDArray[np.int64], category_ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The rows of a known image and category, and the places of these."""
    images, known_image = _places(problem.image_ids, image_ids)
    classes, known_class = _places(problem.category_ids, category_ids)
    rows = np.flatnonzero(known_image & known_class)
    return rows, images[rows], classes[rows]


def _by(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """A stable order of these: by radix where 16 bits hold them."""
    small = len(places) == 0 or places.max() < _SHORT
    return np.argsort(places.astype(np.uint16) if small else places, kind="stable")


def _ranks(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each within its group; the groups are ascending."""
    first = np.flatnonzero(np.diff(groups, prepend=-1))
    return np.arange(len(groups)) - np.repeat(first, np.diff(first, append=len(groups)))


def _places(known: NDArray[np.int64], ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    if not len(known):
        return np.zeros(len(ids), np.int64), np.zeros(len(ids), bool)
    places = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return places, known[places] == ids


def _neighbours(order: Order) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Places of detections and objects of the same group, every pair, some at a time."""
    first = np.searchsorted(order.object_groups, order.groups)
    counts = np.searchsorted(order.object_groups, order.groups, side="right") - first
    detections = np.flatnonzero(counts)
    first, ends = first[detections], np.cumsum(counts[detections])
    start = 0
    while start < len(detections):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + MOST_PAIRS, side="right")))
        many = counts[detections[start:stop]]
        within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        yield np.repeat(detections[start:stop], many), np.repeat(first[start:stop], many) + within
        start = stop


def _ious(
    problem: Problem,
    order: Order,
    detections: NDArray[np.int64],
    objects: NDArray[np.int64],
    crowds: NDArray[np.bool_],
) -> NDArray[np.float64]:
    found, things = problem.detections.regions, problem.objects.regions
    rows, things_rows, crowd = order.detections[detections], order.objects[objects], crowds[objects]
    if not isinstance(found, list) and not isinstance(things, list):
        return box_ious(found.take(rows, axis=0), things.take(things_rows, axis=0), crowd)
    return _mask_ious(found, things, rows, things_rows, crowd, order.groups[detections])


def box_ious(
    a: NDArray[np.float64], b: NDArray[np.float64], crowds: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """IoU (P,) of boxes (P, 4) xywh, pair by pair; with a crowd `b` the share of `a` that lies in it.

    To the last bit as pycocotools (bbIou of maskApi.c): the same operations in the same order.
    """
    width = np.minimum(a[:, 2] + a[:, 0], b[:, 2] + b[:, 0]) - np.maximum(a[:, 0], b[:, 0])
    height = np.minimum(a[:, 3] + a[:, 1], b[:, 3] + b[:, 1]) - np.maximum(a[:, 1], b[:, 1])
    common = width * height
    own = a[:, 2] * a[:, 3]
    union = np.where(crowds, own, own + b[:, 2] * b[:, 3] - common)
    meet = (width > 0) & (height > 0) & (union > 0)
    ious: NDArray[np.float64] = np.divide(common, union, out=np.zeros(len(a)), where=meet)
    return ious


def _mask_ious(
    found: Regions,
    things: Regions,
    rows: NDArray[np.int64],
    things_rows: NDArray[np.int64],
    crowds: NDArray[np.bool_],
    groups: NDArray[np.int64],
) -> NDArray[np.float64]:
    """pycocotools' own, group by group: every detection of one with every object of one."""
    ious = np.zeros(len(rows))
    starts = np.append(np.flatnonzero(np.diff(groups, prepend=-1)), len(rows))
    for start, stop in pairwise(starts):
        here = slice(start, stop)
        width = int(np.count_nonzero(rows[here] == rows[start]))
        ious[here] = masks.iou(
            [found[row] for row in rows[here][::width]],
            [things[row] for row in things_rows[start : start + width]],
            crowds[start : start + width].astype(np.uint8),
        ).ravel()
    return ious
