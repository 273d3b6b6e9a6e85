import numpy as np
import pytest
from scipy import stats

from detector.evaluate import coco
from detector.evaluate.consistency import (
    Consistency,
    Limits,
    calibration_error,
    consistency,
    pearson,
    spearman,
)
from tests.detector.evaluate import references
from tests.detector.evaluate.builders import Results, Truth, dataset, found, random_case, shifted, thing

BOX = (100.0, 100.0, 200.0, 200.0)
FAR = (300.0, 300.0, 400.0, 400.0)


def measure(truth: Truth, detections: Results, limits: Limits | None = None) -> Consistency:
    return consistency(coco.evaluation(truth, detections), limits=limits)


def placed(*pairs: tuple[float, float]) -> tuple[Truth, Results]:
    """An image and an object for each (score, IoU)."""
    truth = dataset(*(thing(image, BOX) for image in range(len(pairs))), images=len(pairs))
    return truth, [found(k, shifted(BOX, iou), score) for k, (score, iou) in enumerate(pairs)]


@pytest.mark.parametrize("levels", [5, 10**9])
def test_correlations_against_scipy_with_and_without_ties(levels: int) -> None:
    random = np.random.default_rng(levels)
    a = random.integers(0, levels, 200).astype(float)
    b = a * 0.5 + random.integers(0, levels, 200)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert pearson(a, b) == pytest.approx(stats.pearsonr(a, b).statistic)


def test_there_is_no_correlation_of_one_or_of_equal_values() -> None:
    one, two = np.array([0.5]), np.array([0.5, 0.5])
    assert spearman(one, one) is None
    assert pearson(two, np.array([0.1, 0.9])) is None


def test_scores_that_rank_as_the_ious_do_are_consistent() -> None:
    measured = measure(*placed((0.9, 0.95), (0.5, 0.8), (0.1, 0.6)))
    assert measured.matched == 3
    assert measured.spearman == pytest.approx(1.0)
    reverse = measure(*placed((0.1, 0.95), (0.5, 0.8), (0.9, 0.6)))
    assert reverse.spearman == pytest.approx(-1.0)


def test_scores_that_are_the_ious_are_calibrated() -> None:
    measured = measure(*placed((0.95, 0.95), (0.8, 0.8), (0.6, 0.6)))
    assert measured.calibration_error == pytest.approx(0.0, abs=1e-9)
    assert measured.pearson == pytest.approx(1.0)


def test_the_calibration_error_is_the_weighted_gap_of_the_bins() -> None:
    scores = np.array([0.91, 0.99, 0.15, 1.0])
    ious = np.array([0.71, 0.59, 0.65, 0.8])
    gap = abs((0.91 + 0.99 + 1.0) - (0.71 + 0.59 + 0.8)) / 4 + abs(0.15 - 0.65) / 4
    assert calibration_error(scores, ious) == pytest.approx(gap)


def test_what_matches_no_object_counts_as_iou_0_in_the_calibration_of_all() -> None:
    truth, detections = placed((0.8, 0.8))
    measured = measure(truth, [*detections, found(0, FAR, 0.4)])
    assert measured.matched == 1
    assert measured.calibration_error == pytest.approx(0.0, abs=1e-9)
    assert measured.calibration_error_of_all == pytest.approx(0.4 / 2)


def test_shares_of_the_matched() -> None:
    measured = measure(*placed((0.9, 0.55), (0.7, 0.59), (0.9, 0.9), (0.29, 0.81), (0.3, 0.9)))
    assert measured.high_score_low_iou == pytest.approx(2 / 5)
    assert measured.low_score_high_iou == pytest.approx(1 / 5)
    stricter = measure(*placed((0.9, 0.55), (0.7, 0.59)), Limits(high_score=0.8))
    assert stricter.high_score_low_iou == pytest.approx(1 / 2)


def test_the_histogram_has_a_row_per_score_and_a_column_per_iou() -> None:
    measured = measure(*placed((0.95, 0.52), (0.97, 0.53), (0.05, 0.99)))
    assert measured.histogram.sum() == 3
    assert measured.histogram[9, 0] == 2
    assert measured.histogram[0, 9] == 1
    assert (measured.score_edges[0], measured.iou_edges[0]) == (0.0, 0.5)


def test_the_100_best_of_an_image_are_taken_over_all_classes() -> None:
    boxes = [
        (20.0 * (k % 12), 20.0 * (k // 12), 20.0 * (k % 12) + 19, 20.0 * (k // 12) + 19) for k in range(140)
    ]
    truth = dataset(*(thing(0, box, 1 + k % 2) for k, box in enumerate(boxes)))
    detections = [found(0, box, (k + 1) / 200, 1 + k % 2) for k, box in enumerate(boxes)]
    measured = measure(truth, detections)
    assert measured.matched == 100
    assert measured.histogram[:2].sum() == 0  # the scores left out are 0.005 to 0.2


def test_ranking_by_iou_puts_the_better_placed_first() -> None:
    """Two boxes of one object: the worse scores more. At IoU 0.8 and above, the first box is a miss."""
    truth = dataset(thing(0, BOX))
    detections = [found(0, shifted(BOX, 0.77), 0.9), found(0, BOX, 0.5)]
    measured = measure(truth, detections)
    assert measured.ap == pytest.approx((6 * 1.0 + 4 * 0.5) / 10)
    assert measured.ap_ranked_by_iou == pytest.approx(1.0)
    assert measured.headroom == pytest.approx(0.2)


def test_random_scores_leave_much_to_gain_by_ranking() -> None:
    """The scores of the reference case are random numbers."""
    truth, detections = references.coco_bbox100()
    measured = measure(truth, detections)
    assert measured.ap == pytest.approx(0.503647, abs=1e-6)
    assert measured.spearman == pytest.approx(0.0, abs=0.05)
    assert measured.headroom is not None
    assert measured.headroom > 0.09


@pytest.mark.parametrize("seed", range(3))
def test_ranking_by_iou_leaves_crowds_ignored(seed: int) -> None:
    truth, detections = random_case(seed)
    measured = measure(truth, detections)
    assert measured.ap is not None
    assert measured.ap_ranked_by_iou is not None
    assert measured.ap_ranked_by_iou >= measured.ap


def test_without_detections_or_objects_nothing_is_said() -> None:
    nothing_found = measure(dataset(thing(0, BOX)), [])
    assert (nothing_found.matched, nothing_found.ap, nothing_found.headroom) == (0, 0.0, 0.0)
    assert nothing_found.spearman is None
    assert nothing_found.calibration_error is None
    assert nothing_found.high_score_low_iou is None
    nothing_there = measure(dataset(), [found(0, BOX, 0.9)])
    assert (nothing_there.matched, nothing_there.ap, nothing_there.headroom) == (0, None, None)
    assert nothing_there.calibration_error_of_all == pytest.approx(0.9)


def test_scores_beyond_0_to_1_can_rank_but_are_no_probabilities() -> None:
    measured = measure(*placed((4.0, 0.9), (-2.0, 0.6), (1.0, 0.7)))
    assert measured.spearman == pytest.approx(1.0)
    assert measured.calibration_error is None
    assert measured.high_score_low_iou is None
    assert measured.histogram.sum() == 3
