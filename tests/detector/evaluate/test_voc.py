import numpy as np
import pytest

from detector.evaluate.voc import INTERPOLATIONS, Interpolation, evaluate
from tests.detector.evaluate.builders import (
    Results,
    Truth,
    dataset,
    found,
    random_case,
    shifted,
    thing,
)

BOX = (100.0, 100.0, 200.0, 200.0)
FAR = (300.0, 300.0, 400.0, 400.0)


def ap(truth: Truth, detections: Results, interpolation: Interpolation = "area") -> float | None:
    return evaluate(truth, detections, interpolation=interpolation).per_class[0].AP


def devkit(truth: Truth, detections: Results, category: int, interpolation: str) -> float | None:
    """VOCevaldet.m and VOCap.m, line by line, with continuous boxes."""
    objects = [one for one in truth["annotations"] if one["category_id"] == category]
    hard = [bool(one.get("difficult") or one["iscrowd"]) for one in objects]
    npos = hard.count(False)
    if npos == 0:
        return None
    detected = [False] * len(objects)
    tp, fp = [], []
    mine = [one for one in detections if one["category_id"] == category]
    for one in sorted(mine, key=lambda one: -one["score"]):
        ovmax, jmax = -np.inf, -1
        for j, other in enumerate(objects):
            if other["image_id"] != one["image_id"]:
                continue
            (ax, ay, aw, ah), (bx, by, bw, bh) = one["bbox"], other["bbox"]
            iw, ih = min(ax + aw, bx + bw) - max(ax, bx), min(ay + ah, by + bh) - max(ay, by)
            overlap = iw * ih / (aw * ah + bw * bh - iw * ih) if iw > 0 and ih > 0 else 0.0
            if overlap > ovmax:
                ovmax, jmax = overlap, j
        tp.append(0)
        fp.append(0)
        if ovmax < 0.5:
            fp[-1] = 1
        elif not hard[jmax]:
            if detected[jmax]:
                fp[-1] = 1
            else:
                tp[-1], detected[jmax] = 1, True
    tps, fps = np.cumsum(tp), np.cumsum(fp)
    recall, precision = tps / npos, tps / np.maximum(tps + fps, 1)
    if interpolation == "11_points":
        return float(np.mean([max(precision[recall >= t], default=0.0) for t in np.arange(0, 1.1, 0.1)]))
    mrec = [0.0, *recall, 1.0]
    mpre = [0.0, *precision, 0.0]
    for i in reversed(range(len(mpre) - 1)):
        mpre[i] = max(mpre[i], mpre[i + 1])
    return float(sum((mrec[i] - mrec[i - 1]) * mpre[i] for i in range(1, len(mrec))))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("seed", range(8))
def test_against_the_devkit_line_by_line(seed: int, interpolation: Interpolation) -> None:
    truth, detections = random_case(seed)
    measured = evaluate(truth, detections, interpolation=interpolation)
    expected = [devkit(truth, detections, category, interpolation) for category in (1, 2)]
    assert [one.AP for one in measured.per_class] == pytest.approx(expected)
    assert measured.mean == pytest.approx(np.mean([value for value in expected if value is not None]))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_perfect_detection_has_an_ap_of_one(interpolation: Interpolation) -> None:
    assert ap(dataset(thing(0, BOX)), [found(0, BOX, 0.9)], interpolation) == 1.0


def test_half_of_the_objects_found_is_half_the_area_and_6_of_11_points() -> None:
    truth = dataset(thing(0, BOX), thing(1, BOX))
    assert ap(truth, [found(0, BOX, 0.9)], "area") == 0.5
    assert ap(truth, [found(0, BOX, 0.9)], "11_points") == pytest.approx(6 / 11)


def test_a_second_detection_of_an_object_is_wrong() -> None:
    truth = dataset(thing(0, BOX), thing(1, BOX))
    twice = [found(0, BOX, 0.9), found(0, BOX, 0.8), found(1, BOX, 0.7)]
    precision = evaluate(truth, twice).per_class[0].precision.tolist()
    assert precision == pytest.approx([1, 1 / 2, 2 / 3])
    assert ap(truth, twice) == pytest.approx((1 + 2 / 3) / 2)


def test_a_detection_is_not_given_the_next_best_object_as_coco_does() -> None:
    near = shifted(BOX, 0.8)
    truth = dataset(thing(0, BOX), thing(0, near))
    measured = evaluate(truth, [found(0, BOX, 0.9), found(0, BOX, 0.8)]).per_class[0]
    assert measured.recall.tolist() == [0.5, 0.5]


def test_a_difficult_object_is_neither_missed_nor_found() -> None:
    truth = dataset(thing(0, BOX), thing(0, FAR, difficult=1))
    assert ap(truth, [found(0, BOX, 0.5)]) == 1.0
    twice = [found(0, FAR, 0.9), found(0, FAR, 0.8), found(0, BOX, 0.5)]
    measured = evaluate(truth, twice).per_class[0]
    assert (measured.AP, measured.objects, len(measured.precision)) == (1.0, 1, 1)


def test_a_crowd_is_handled_as_difficult() -> None:
    truth = dataset(thing(0, BOX), thing(0, FAR, crowd=1))
    assert ap(truth, [found(0, FAR, 0.9), found(0, BOX, 0.5)]) == 1.0


def test_a_class_without_objects_is_left_out_of_the_mean() -> None:
    measured = evaluate(dataset(thing(0, BOX)), [found(0, BOX, 0.9), found(0, BOX, 0.9, category=2)])
    assert [one.AP for one in measured.per_class] == [1.0, None]
    assert measured.mean == 1.0


def test_no_detection_is_zero_and_no_object_is_null() -> None:
    assert evaluate(dataset(thing(0, BOX)), []).mean == 0.0
    assert evaluate(dataset(), [found(0, BOX, 0.9)]).mean is None
    assert evaluate(dataset(thing(0, BOX, difficult=1)), [found(0, BOX, 0.9)]).mean is None


def test_equal_scores_count_in_the_order_given() -> None:
    truth = dataset(thing(0, BOX))
    right, wrong = found(0, BOX, 0.5), found(0, FAR, 0.5)
    assert ap(truth, [right, wrong]) == 1.0
    assert ap(truth, [wrong, right]) == 0.5


def test_the_threshold_itself_is_enough() -> None:
    half = (100.0, 100.0, 200.0, 150.0)
    assert ap(dataset(thing(0, BOX)), [found(0, half, 0.5)]) == 1.0


def test_inclusive_corners_make_boxes_a_pixel_larger() -> None:
    """Pixels 0..9 and 5..14: 5 of 15 columns; as continuous boxes 4 of 14."""
    truth = dataset(thing(0, (0, 0, 9, 9)))
    detection = found(0, (5, 0, 14, 9), 0.5)
    for inclusive, overlap in ((True, 5 / 15), (False, 4 / 14)):
        at, above = (
            evaluate(truth, [detection], iou_threshold=iou, inclusive=inclusive).mean
            for iou in (overlap - 1e-9, overlap + 1e-9)
        )
        assert (at, above) == (1.0, 0.0)


def test_a_detection_on_an_unknown_image_is_refused() -> None:
    with pytest.raises(ValueError, match="image 7"):
        evaluate(dataset(thing(0, BOX)), [found(7, BOX, 0.5)])
