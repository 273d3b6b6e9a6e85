import numpy as np
import pytest

from detector.evaluate import coco
from detector.evaluate.matches import ClassMatches, matches
from detector.evaluate.thresholds import Point, at, best_f1, operating_points, precise, sweep
from tests.detector.evaluate.builders import random_case


def judged(*detections: tuple[float, bool], objects: int, class_id: int = 1) -> ClassMatches:
    scores = np.array([score for score, _ in detections], np.float64)
    hits = np.array([hit for _, hit in detections], bool)
    nothing = np.zeros(len(detections), np.int64)
    return ClassMatches(class_id, objects, nothing, nothing, scores, hits, hits * 0.7)


MIXED = judged((0.9, True), (0.8, False), (0.7, True), (0.6, True), (0.5, False), (0.5, False), objects=4)


def test_a_point_counts_what_has_at_least_the_threshold() -> None:
    assert at(MIXED, 0.7) == Point(0.7, 3, 2, 4, 2 / 3, 2 / 4, 4 / 7)
    assert at(MIXED, 0.70001) == Point(0.70001, 2, 1, 4, 1 / 2, 1 / 4, 2 / 6)
    assert at(MIXED, 0.95) == Point(0.95, 0, 0, 4, None, 0.0, 0.0)


def test_without_objects_there_is_no_recall() -> None:
    point = at(judged((0.9, False), objects=0), 0.5)
    assert (point.precision, point.recall, point.f1) == (0.0, None, 0.0)
    assert at(judged(objects=0), 0.5) == Point(0.5, 0, 0, 0, None, None, None)


@pytest.mark.parametrize("seed", range(4))
def test_a_sweep_against_counting_anew_below_each_threshold(seed: int) -> None:
    """Leaving out the low scores before matching gives the same as leaving them out after it."""
    truth, detections = random_case(seed)
    found = matches(coco.evaluation(truth, detections))
    for threshold in (0.0, 0.3, 0.5, 0.75, 1.0):
        kept = [one for one in detections if one["score"] >= threshold]
        for one, again in zip(found, matches(coco.evaluation(truth, kept)), strict=True):
            point = at(one, threshold)
            assert (point.detections, point.hits) == (len(again.hits), int(again.hits.sum()))


def test_the_best_f1_of_all_scores() -> None:
    assert best_f1(MIXED) == 0.6
    points = sweep(MIXED, MIXED.scores)
    assert max(point.f1 or 0 for point in points) == at(MIXED, 0.6).f1 == pytest.approx(6 / 8)


def test_of_equal_f1_the_higher_threshold() -> None:
    """One of one found, of two objects: 2/3. Two of four found: 4/6."""
    found = judged((0.9, True), (0.5, True), (0.5, False), (0.5, False), objects=2)
    assert best_f1(found) == 0.9


def test_precise_is_the_lowest_threshold_that_is_precise_enough() -> None:
    assert precise(MIXED, 0.75) == 0.6  # 3 of 4; at 0.8 it is 1 of 2 only, which does not matter
    assert precise(MIXED, 0.76) == 0.9
    assert precise(MIXED, 0.5) == 0.5


def test_there_is_no_threshold_where_nothing_is_right() -> None:
    for found in (judged(objects=3), judged((0.9, False), objects=3), judged((0.9, False), objects=0)):
        assert best_f1(found) is None
        assert precise(found, 0.5) is None
    assert precise(judged((0.9, False), (0.8, True), objects=1), 0.9) is None


def test_equal_scores_are_taken_together() -> None:
    """No threshold parts a hit from a miss of the same score."""
    found = judged((0.5, True), (0.5, False), objects=1)
    assert precise(found, 0.9) is None
    assert at(found, 0.5).precision == 0.5


def test_a_point_is_chosen_on_one_split_and_reported_on_another() -> None:
    there = [judged((0.9, True), (0.4, False), objects=1), judged((0.3, False), objects=1, class_id=2)]
    here = [judged((0.8, True), (0.95, False), objects=1), judged((0.3, True), objects=1, class_id=2)]
    first, second = operating_points(there, here)
    assert first.chosen == at(there[0], 0.9)
    assert first.reported == Point(0.9, 1, 0, 1, 0.0, 0.0, 0.0)
    assert (second.class_id, second.chosen, second.reported) == (2, None, None)
    (precise_here, _) = operating_points(there, here, precision=0.5)
    assert precise_here.reported == at(here[0], 0.4)


def test_a_class_that_the_other_split_lacks_is_reported_nowhere() -> None:
    (point,) = operating_points([MIXED], [])
    assert (point.chosen, point.reported) == (at(MIXED, 0.6), None)
