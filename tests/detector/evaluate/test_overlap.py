import numpy as np
import pytest
from pycocotools import mask as masks

from detector.evaluate.overlap import areas, corners, covered, iou


def test_against_pycocotools() -> None:
    random = np.random.default_rng(0)
    a, b = (random.uniform(0, 50, (n, 4)) for n in (20, 30))
    crowd = [0] * 30
    assert iou(corners(a), corners(b)) == pytest.approx(masks.iou(a, b, crowd))
    assert covered(corners(a), corners(b)) == pytest.approx(masks.iou(a, b, [1] * 30))


def test_no_boxes_are_empty_arrays() -> None:
    none, one = corners([]), corners([[0, 0, 2, 2]])
    assert (iou(none, one).shape, iou(one, none).shape) == ((0, 1), (1, 0))


def test_boxes_without_area_overlap_nothing() -> None:
    flat = corners([[5, 5, 0, 0]])
    assert iou(flat, flat).tolist() == [[0.0]]
    assert covered(flat, corners([[0, 0, 9, 9]])).tolist() == [[0.0]]


def test_an_inclusive_box_of_one_point_is_one_pixel() -> None:
    assert areas(corners([[5, 5, 0, 0]]), inclusive=True).tolist() == [1.0]
