import numpy as np
import pytest

from detector.evaluate import coco
from detector.evaluate.confusion import confusion
from detector.evaluate.matches import matches
from tests.detector.evaluate.builders import Results, Truth, dataset, found, random_case, shifted, thing

BOX = (100.0, 100.0, 200.0, 200.0)
FAR = (300.0, 300.0, 400.0, 400.0)


def matrix(truth: Truth, detections: Results, score: float = 0.5) -> list[list[int]]:
    """Rows: class 1, class 2, background; columns likewise."""
    counts: list[list[int]] = confusion(truth, detections, score_threshold=score).matrix.tolist()
    return counts


def test_right_wrong_missed_and_invented() -> None:
    truth = dataset(thing(0, BOX, 1), thing(1, BOX, 1), thing(2, BOX, 2))
    detections = [found(0, BOX, 0.9, 1), found(1, BOX, 0.9, 2), found(0, FAR, 0.9, 1)]
    assert matrix(truth, detections) == [
        [1, 1, 0],  # class 1: one right, one taken for class 2
        [0, 0, 1],  # class 2: missed
        [1, 0, 0],  # where nothing is: class 1
    ]


def test_below_the_threshold_nothing_was_found() -> None:
    truth = dataset(thing(0, BOX))
    assert matrix(truth, [found(0, BOX, 0.5)])[0] == [1, 0, 0]
    assert matrix(truth, [found(0, BOX, 0.49)])[0] == [0, 0, 1]


def test_the_best_score_takes_the_object_and_the_second_is_invented() -> None:
    truth = dataset(thing(0, BOX))
    detections = [found(0, BOX, 0.6, 1), found(0, BOX, 0.9, 2)]
    assert matrix(truth, detections) == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_an_object_of_its_own_class_comes_before_one_that_it_overlaps_more() -> None:
    """A rider and his horse: neither is taken for the other."""
    truth = dataset(thing(0, BOX, 1), thing(0, shifted(BOX, 0.7), 2))
    detections = [found(0, BOX, 0.9, 2), found(0, BOX, 0.8, 1)]
    assert matrix(truth, detections) == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_what_lies_in_a_crowd_is_left_out_of_whatever_class() -> None:
    truth = dataset(thing(0, (0, 0, 300, 300), 1, crowd=1))
    assert matrix(truth, [found(0, BOX, 0.9, 1), found(0, BOX, 0.9, 2)]) == [[0] * 3] * 3


def test_an_object_inside_a_crowd_can_be_found() -> None:
    truth = dataset(thing(0, (0, 0, 300, 300), 1, crowd=1), thing(0, BOX, 1))
    assert matrix(truth, [found(0, BOX, 0.9, 1), found(0, BOX, 0.8, 1)])[0] == [1, 0, 0]


def test_nothing_at_all() -> None:
    assert matrix(dataset(), []) == [[0] * 3] * 3


@pytest.mark.parametrize("seed", range(4))
def test_every_object_and_every_detection_is_counted_once(seed: int) -> None:
    truth, detections = random_case(seed)
    truth["annotations"] = [one for one in truth["annotations"] if not one["iscrowd"]]
    counts = np.array(matrix(truth, detections, 0.4))
    for k, category in enumerate((1, 2)):
        objects = [one for one in truth["annotations"] if one["category_id"] == category]
        chosen = [d for d in detections if d["category_id"] == category and d["score"] >= 0.4]
        assert counts[k].sum() == len(objects)
        assert counts[:, k].sum() == len(chosen)


@pytest.mark.parametrize("seed", range(4))
def test_with_one_class_it_is_cocos_matching(seed: int) -> None:
    truth, detections = random_case(seed)
    truth["categories"] = truth["categories"][:1]
    truth["annotations"] = [{**one, "category_id": 1} for one in truth["annotations"]]
    detections = [{**one, "category_id": 1} for one in detections]
    (expected,) = matches(coco.evaluation(truth, detections))
    hits = int(expected.hits.sum())
    assert matrix(truth, detections, 0.0) == [
        [hits, expected.objects - hits],
        [len(expected.hits) - hits, 0],
    ]
