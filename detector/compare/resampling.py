"""COCO's numbers on images that are drawn again and again, from matches that are made once.

A detection's match depends on its own image only, so a resample of the images changes how often each match
counts and nothing else. Precision is needed at hits only (see `accumulation`), and of a hit that counts
several times only the last: within its copies recall and precision rise. So one pass over the hits, with a
column for each resample, gives the AP of all resamples at once, the same number that COCO's evaluator has for
a dataset with those images.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from detector.evaluate.accumulation import InRange
from detector.evaluate.coco import METRICS
from detector.evaluate.evaluation import AREAS, IOUS, MOST, RECALLS, Comparison, judge
from detector.evaluate.matching import Order

Floats = NDArray[np.float64]

_AT_ONCE = 1 << 18  # numbers in an array: 2 MB, which stay in a processor's cache
_BLOCK = 32
_REACHED = np.append(RECALLS, np.inf)


@dataclass(frozen=True)
class Resampled:
    """What R resamples give; NaN where a resample has no object to measure."""

    metrics: dict[str, Floats]
    """COCO's twelve, each (R,)."""
    per_class: Floats
    """AP of each class (K, R), of objects of every size."""


def draws(images: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each image is in each resample (I, R): as many as there are, drawn with replacement."""
    random = np.random.default_rng(seed)
    counts = np.zeros((images, resamples), np.int64)
    for column in range(resamples):
        counts[:, column] = np.bincount(random.integers(0, images, images), minlength=images)
    return counts


class Draws:
    """The same resamples for every run: drawn once it is known of how many images."""

    def __init__(self, resamples: int, seed: int = 0) -> None:
        self._resamples, self._seed = resamples, seed
        self._drawn = np.zeros((0, 0), np.int64)

    def of(self, images: int) -> NDArray[np.int64]:
        """See `draws`."""
        if len(self._drawn) != images:
            self._drawn = draws(images, self._resamples, self._seed)
        return self._drawn


def resample(comparison: Comparison, counts: NDArray[np.int64]) -> Resampled:
    """COCO's numbers with image i there `counts[i, r]` times, i by ascending image id.

    Each copy is an image of its own, beside the others of its image. Copies are compared as COCO does, equal
    scores included.
    """
    problem = comparison.problem
    if counts.shape[0] != len(problem.image_ids):
        raise ValueError(f"{counts.shape[0]} images are counted, {len(problem.image_ids)} are compared")
    everything = _Everything(comparison, counts)
    ap: dict[str, Floats] = {}
    ar: dict[str, Floats] = {}
    for name, limits in AREAS.items():
        one, _ = judge(comparison, limits)
        objects = everything.objects(limits)
        ap[name] = everything.precision(one, objects)
        for most in MOST if name == "all" else MOST[-1:]:
            ar[name if name != "all" else str(most)] = everything.recall(one, objects, most)
    by_class = ap["all"]
    found = {
        "AP": _mean(by_class),
        "AP50": _mean(by_class[:1]),
        "AP75": _mean(by_class[5:6]),
        **{f"AP_{name}": _mean(ap[name]) for name in ("small", "medium", "large")},
        **{f"AR{most}": _mean(ar[str(most)]) for most in MOST},
        **{f"AR_{name}": _mean(ar[name]) for name in ("small", "medium", "large")},
    }
    return Resampled({name: found[name] for name in METRICS}, by_class.mean(axis=0))


@dataclass
class _Everything:
    """The detections by class, then score, and on which image each is.

    Of equal scores in the same class and image, copies of the image alternate: first all of one copy, then
    all of the next. Such detections are written out, copy by copy; a copy is an image of its own that is
    there or not.
    """

    comparison: Comparison
    counts: NDArray[np.int64]
    weights: Floats = field(init=False)  # (V, R): how often each image or copy is there
    rows: NDArray[np.int64] = field(init=False)  # (D,): places in `order`
    images: NDArray[np.int64] = field(init=False)  # (D,): rows of `weights`

    def __post_init__(self) -> None:
        order = self.comparison.order
        images = len(self.counts)
        rows = order.by_score
        of = order.groups[rows] % max(images, 1)
        copies = int(self.counts.max(initial=1))
        block = _tied_blocks(self.comparison, order)
        tied = np.bincount(block)[block] > 1 if len(block) else np.zeros(0, bool)
        repeats = np.where(tied, copies, 1)
        # (block, copy, place): a stable order, so that the others stay where they are
        place = np.repeat(np.arange(len(rows)), repeats)
        copy = np.arange(len(place)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        written = np.lexsort((place, copy, block[place]))
        place, copy = place[written], copy[written]
        some = np.unique(of[tied])
        virtual = np.searchsorted(some, of[place]) * copies + copy + images
        self.rows = rows[place]
        self.images = np.where(tied[place], virtual, of[place])
        there = self.counts[some][:, None, :] > np.arange(copies)[None, :, None]
        self.weights = np.concatenate(
            [self.counts.astype(float), there.reshape(-1, self.counts.shape[1]).astype(float)]
        )

    @property
    def classes(self) -> int:
        return len(self.comparison.problem.category_ids)

    def objects(self, limits: tuple[float, float]) -> Floats:
        """(K, R): how many are to be found."""
        problem, order, images = self.comparison.problem, self.comparison.order, len(self.counts)
        areas, crowds = problem.objects.areas[order.objects], problem.objects.crowds[order.objects]
        groups = order.object_groups[~(crowds | (areas < limits[0]) | (areas > limits[1]))]
        shape = (self.classes, images)
        table = np.bincount(groups, minlength=self.classes * images).reshape(shape)
        return np.asarray(sparse.csr_array(table.astype(float)) @ self.counts.astype(float))

    def recall(self, one: InRange, objects: Floats, most: int) -> Floats:
        """(T, K, R), of so many detections of a class and image at most."""
        order, images = self.comparison.order, len(self.counts)
        contenders = self.comparison.near.contenders
        groups, few = order.groups[contenders], order.ranks[contenders] < most
        level, who = np.nonzero(one.hits & few)
        cells = np.bincount(
            level * self.classes * images + groups[who], minlength=len(IOUS) * self.classes * images
        )
        table = sparse.csr_array(cells.reshape(-1, images).astype(float))
        found = np.asarray(table @ self.counts.astype(float))
        return _ratio(found.reshape(len(IOUS), self.classes, -1), objects)

    def precision(self, one: InRange, objects: Floats) -> Floats:
        """The mean precision over COCO's recalls (T, K, R), of the 100 best of a class and image."""
        order = self.comparison.order
        who = np.full(len(order.detections), -1)
        who[self.comparison.near.contenders] = np.arange(len(self.comparison.near.contenders))
        who = who[self.rows]
        places = np.flatnonzero(who >= 0)  # of contenders, by class, then score
        who = who[places]
        classes = order.groups[self.rows] // max(len(self.counts), 1)
        inside = one.inside[self.rows]
        first = np.searchsorted(classes, np.arange(self.classes + 1))
        own = np.searchsorted(places, first)  # the contenders before each class
        means = np.full((len(IOUS), *objects.shape), np.nan)
        resamples = objects.shape[1]
        for k in range(self.classes):
            contenders = slice(own[k], own[k + 1])
            here = _counted(
                self.images, inside, places[contenders], int(first[k]), len(self.weights)
            )  # (C, V): what counts between a contender and the one before
            width = max(1, _AT_ONCE // max(own[k + 1] - own[k], 1))
            for start in range(0, resamples, width):
                columns = slice(start, start + width)
                weights = self.weights[:, columns]
                seen = here @ weights
                _running(np.add, seen)  # (C, r): detections up to each, as if none matched
                means[:, k, columns] = _means(
                    one.hits[:, who[contenders]],
                    one.matched[:, who[contenders]],
                    inside[places[contenders]],
                    weights[self.images[places[contenders]]],
                    seen,
                    objects[k, columns],
                )
        return means


def _tied_blocks(comparison: Comparison, order: Order) -> NDArray[np.int64]:
    """The detections by class, then score, numbered so that those of one class, image and score are alike."""
    groups = order.groups[order.by_score]
    scores = comparison.problem.detections.scores[order.detections[order.by_score]]
    new = np.ones(len(groups), bool)
    new[1:] = (groups[1:] != groups[:-1]) | (scores[1:] != scores[:-1])
    return np.cumsum(new) - 1


def _counted(
    images: NDArray[np.int64],
    inside: NDArray[np.bool_],
    contenders: NDArray[np.int64],
    first: int,
    columns: int,
) -> sparse.csr_array:
    """For each contender, the images of the detections inside the range after the last one, up to it."""
    stop = int(contenders[-1]) + 1 if len(contenders) else first
    ends = np.append(0, contenders - first + 1)
    counts = inside[first:stop].astype(float)
    return sparse.csr_array((counts, images[first:stop], ends), shape=(len(contenders), columns))


def _means(
    hits: NDArray[np.bool_],
    matched: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    weights: Floats,
    seen: Floats,
    objects: Floats,
) -> Floats:
    """Of one class and range (T, r), from its contenders: hits and matches (T, C), inside (C,), (C, r)."""
    means = np.zeros((len(hits), weights.shape[1]))
    safe = np.maximum(objects, 1.0)
    changes = matched * (hits.view(np.int8) - inside.view(np.int8))
    for level in range(len(hits)):
        (at,) = hits[level].nonzero()
        if not len(at):
            continue
        found = weights[at]
        _running(np.add, found)
        of = seen[at]
        (changed,) = changes[level].nonzero()
        if len(changed):
            change = np.zeros((len(changed) + 1, weights.shape[1]))
            np.multiply(weights[changed], changes[level, changed, None], out=change[1:])
            _running(np.add, change)
            of += change[changed.searchsorted(at, side="right")]
        of += np.spacing(1)
        precision = np.divide(found, of, out=of)
        _running(np.maximum, precision[::-1])
        means[level] = np.einsum("hr,hr->r", precision, _newly_reached(found, safe))
    means /= len(RECALLS)
    means[:, objects == 0] = np.nan
    return means


def _running(operation: np.ufunc, values: Floats) -> None:
    """`operation.accumulate` of (H, r) along the first axis, in place.

    It takes all columns in one step, where numpy's own takes them one by one."""
    if len(values) < 2 * _BLOCK:
        operation.accumulate(values, axis=0, out=values)
        return
    whole = len(values) // _BLOCK * _BLOCK
    blocks = values[:whole].reshape(-1, _BLOCK, values.shape[1])  # a view
    for k in range(1, _BLOCK):
        operation(blocks[:, k], blocks[:, k - 1], out=blocks[:, k])
    last = blocks[:, -1].copy()
    _running(operation, last)
    operation(blocks[1:], last[:-1, None], out=blocks[1:])
    operation.accumulate(values[whole - 1 :], axis=0, out=values[whole - 1 :])


def _newly_reached(found: Floats, objects: Floats) -> Floats:
    """How many of COCO's recalls each hit reaches that the hits before it did not; (H, r).

    A recall is compared as COCO does, in floating point: 29 of 100 objects do not reach a recall of 0.29
    where that is the greater number.
    """
    recall = found / objects
    reached = recall * (len(RECALLS) - 1)
    reached += 1e-9  # more than rounding, less than a detection
    np.floor(reached, out=reached)
    reached += recall >= _REACHED.take(reached.astype(np.intp))
    reached[1:] -= reached[:-1].copy()
    return reached


def _ratio(found: Floats, objects: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(objects > 0, found / objects, np.nan))


def _mean(values: Floats) -> Floats:
    """The mean of (T, K, R) over levels and the classes that a resample has objects of."""
    known = ~np.isnan(values)
    many = known.sum(axis=(0, 1))
    return _ratio(np.where(known, values, 0.0).sum(axis=(0, 1)), many.astype(float))
