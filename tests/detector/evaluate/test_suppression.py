from typing import Any

import pytest

from detector.evaluate.suppression import Suppression, suppression
from tests.detector.evaluate.builders import dataset, found, shifted, thing

BOX = (100.0, 100.0, 200.0, 200.0)
BEST, WORSE = shifted(BOX, 0.95), shifted(BOX, 0.7)


def follow(candidates: list[dict[str, Any]], detections: list[dict[str, Any]]) -> Suppression:
    return suppression(dataset(thing(0, BOX)), candidates, detections)


def test_the_best_placed_box_lost_to_a_worse_one_that_scores_more() -> None:
    """The paper's complaint."""
    worse = found(0, WORSE, 0.9)
    told = follow([worse, found(0, BEST, 0.6)], [worse])
    assert (told.objects, told.with_candidate, told.kept_best, told.lost_to_worse) == (1, 1, 0, 1)
    assert told.mean_iou_lost == pytest.approx(0.25)
    assert told.fell_below == {0.5: 0, 0.75: 1, 0.9: 1}


def test_the_best_placed_box_scores_most_and_stays() -> None:
    best = found(0, BEST, 0.9)
    told = follow([best, found(0, WORSE, 0.6)], [best])
    assert (told.kept_best, told.lost_to_worse, told.lost_otherwise) == (1, 0, 0)
    assert told.mean_iou_lost is None


def test_a_box_rounded_on_its_way_is_the_same_box() -> None:
    rounded = [round(v, 1) for v in BEST]
    assert follow([found(0, BEST, 0.9)], [found(0, rounded, 0.9)]).kept_best == 1


def test_a_box_below_the_score_floor_was_not_suppressed() -> None:
    """No detection of higher score overlaps it."""
    elsewhere = found(0, (500, 300, 600, 400), 0.9)
    assert follow([found(0, BEST, 0.01), elsewhere], [elsewhere]).lost_otherwise == 1
    assert follow([found(0, BEST, 0.01)], []).lost_otherwise == 1


def test_a_detection_that_scores_less_suppresses_nothing() -> None:
    worse = found(0, WORSE, 0.3)
    assert follow([worse, found(0, BEST, 0.6)], [worse]).lost_otherwise == 1


def test_a_detection_of_another_class_suppresses_nothing() -> None:
    other = found(0, WORSE, 0.9, category=2)
    told = follow([other, found(0, BEST, 0.6)], [other])
    assert (told.lost_to_worse, told.lost_otherwise) == (0, 1)


def test_the_overlap_from_which_boxes_suppress_is_the_detectors() -> None:
    worse, best = found(0, WORSE, 0.9), found(0, BEST, 0.6)
    strict = suppression(dataset(thing(0, BOX)), [worse, best], [worse], nms_iou=0.9)
    assert (strict.lost_to_worse, strict.lost_otherwise) == (0, 1)


def test_an_object_that_no_box_covers_has_no_candidate() -> None:
    told = follow([found(0, shifted(BOX, 0.49), 0.9), found(1, BOX, 0.9)], [])
    assert (told.objects, told.with_candidate) == (1, 0)


def test_crowds_are_no_objects() -> None:
    truth = dataset(thing(0, BOX, crowd=1))
    assert suppression(truth, [found(0, BEST, 0.9)], []).objects == 0


def test_neighbours_whose_boxes_suppress_each_other() -> None:
    """Two objects side by side, a box for each; the better scored one suppresses the other's."""
    neighbour = shifted(BOX, 0.6)
    truth = dataset(thing(0, BOX), thing(0, neighbour))
    first, second = found(0, BOX, 0.9), found(0, neighbour, 0.8)
    told = suppression(truth, [first, second], [first])
    assert (told.kept_best, told.lost_to_worse) == (1, 1)
    assert told.mean_iou_lost == pytest.approx(0.4)
