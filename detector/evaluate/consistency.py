"""Does a box's score tell how well the box is placed? The paper's own subject."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detector.evaluate import coco, evaluators
from detector.evaluate.columns import Detections, Regions
from detector.evaluate.evaluation import Comparison, Evaluation
from detector.evaluate.evaluators import DEFAULT, Evaluator
from detector.evaluate.matches import ClassMatches, matches, pooled

DETECTIONS_PER_IMAGE = 100
BINS = 10


@dataclass(frozen=True)
class Consistency:
    """Score against IoU, on the detections that COCO matches to an object at IoU 0.5.

    Numbers are null where they are not defined: a correlation of fewer than two detections or of equal
    values; what takes a score for a probability where scores leave 0 to 1.
    """

    matched: int
    spearman: float | None
    pearson: float | None
    histogram: NDArray[np.int64]
    """(BINS, BINS): rows score, columns IoU."""
    score_edges: NDArray[np.float64]
    iou_edges: NDArray[np.float64]
    high_score_low_iou: float | None
    """Share of the matched detections; `limits` says what high and low are."""
    low_score_high_iou: float | None
    calibration_error: float | None
    """Expected calibration error of score against IoU: in 10 equal bins of score, |mean score - mean IoU|,
    weighted by the detections in the bin."""
    calibration_error_of_all: float | None
    """The same over all detections that count, where the IoU of what matches no object is 0."""
    ap: float | None
    ap_ranked_by_iou: float | None
    """AP of the same boxes, had each as score its IoU with the object of its class that it covers best."""
    headroom: float | None
    """What perfect ranking would add to AP."""
    limits: "Limits"


@dataclass(frozen=True)
class Limits:
    """What counts as a high and a low score and IoU; a value at the limit is high, or not low."""

    high_score: float = 0.7
    low_score: float = 0.3
    high_iou: float = 0.8
    low_iou: float = 0.6


def consistency(
    evaluation: Evaluation, *, limits: Limits | None = None, evaluator: Evaluator = DEFAULT
) -> Consistency:
    """Of an evaluation by `coco.evaluation`.

    Of each image the 100 best detections are taken, over all classes; for AP as COCO does, per class.
    """
    limits = limits or Limits()
    whole = pooled(matches(evaluation))
    top = _best_of_each_image(whole)
    hits = whole.hits[top]
    all_scores, all_ious = whole.scores[top], whole.ious[top]
    # Rounding may put the IoU of equal boxes a bit above 1.
    scores, ious = all_scores[hits], np.minimum(all_ious[hits], 1.0)
    probabilities = bool(np.all((all_scores >= 0) & (all_scores <= 1)))
    lowest, highest = (
        (0.0, 1.0) if probabilities else (float(scores.min(initial=0)), float(scores.max(initial=1)))
    )
    histogram, score_edges, iou_edges = np.histogram2d(
        scores, ious, bins=BINS, range=[[lowest, highest], [0.5, 1.0]]
    )
    judged = probabilities and len(scores) > 0
    ap = coco.mean_precision(evaluation.arrays.precision[:, :, :, 0, -1])
    ranked = _ap_ranked_by_iou(evaluation, evaluator)
    return Consistency(
        matched=len(scores),
        spearman=spearman(scores, ious),
        pearson=pearson(scores, ious),
        histogram=histogram.astype(np.int64),
        score_edges=score_edges,
        iou_edges=iou_edges,
        high_score_low_iou=(
            float(np.mean((scores >= limits.high_score) & (ious < limits.low_iou))) if judged else None
        ),
        low_score_high_iou=(
            float(np.mean((scores < limits.low_score) & (ious >= limits.high_iou))) if judged else None
        ),
        calibration_error=calibration_error(scores, ious) if judged else None,
        calibration_error_of_all=(
            calibration_error(all_scores, all_ious) if probabilities and len(all_scores) else None
        ),
        ap=ap,
        ap_ranked_by_iou=ranked,
        headroom=None if ap is None or ranked is None else ranked - ap,
        limits=limits,
    )


def pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """The linear correlation of two samples (N,), -1 to 1."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    x, y = a - a.mean(), b - b.mean()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """The correlation of the ranks of two samples (N,), -1 to 1; equal values share their mean rank."""
    return pearson(_ranks(a), _ranks(b))


def calibration_error(scores: NDArray[np.float64], ious: NDArray[np.float64]) -> float:
    """Expected calibration error of scores (N,), 0 to 1, against IoUs (N,), N > 0, in BINS equal bins."""
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, scores - ious, minlength=BINS)
    return float(np.sum(np.abs(gaps)) / len(scores))


def _best_of_each_image(found: ClassMatches) -> NDArray[np.int64]:
    order = np.lexsort((-found.scores, found.images))
    images = found.images[order]
    first = np.searchsorted(images, images, side="left")
    return order[np.arange(len(order)) - first < DETECTIONS_PER_IMAGE]


def _ap_ranked_by_iou(evaluation: Evaluation, evaluator: Evaluator) -> float | None:
    # Only what was among the 100 best of its class and image: what changes is the order, not the choice.
    problem, rows = evaluation.comparison.problem, evaluation.rows
    found = problem.detections
    ranked = Detections(
        found.image_ids[rows],
        found.category_ids[rows],
        _taken(found.regions, rows),
        evaluation.best,
        found.areas[rows],
    )
    again = evaluators.evaluate(
        Comparison(replace(problem, detections=ranked)), {"all": (0.0, 1e10)}, evaluator
    )
    return coco.mean_precision(again.arrays.precision[:, :, :, 0, -1])


def _taken(regions: Regions, rows: NDArray[np.int64]) -> Regions:
    return [regions[row] for row in rows] if isinstance(regions, list) else regions[rows]


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray(((last - counts + 1 + last) / 2)[inverse])
