import copy
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detector.data.records import Annotation, Category, ImageRecord
from detector.evaluate.coco import METRICS, evaluate, ground_truth

CATEGORIES = [Category(90, "toothbrush"), Category(1, "person")]


def image(
    number: int, *boxes: tuple[int, tuple[float, float, float, float]], crowd: bool = False
) -> ImageRecord:
    annotations = [
        Annotation(k, category, box, (box[2] - box[0]) * (box[3] - box[1]), iscrowd=crowd)
        for k, (category, box) in enumerate(boxes)
    ]
    return ImageRecord(number, f"{number}.jpg", "val", 640, 480, annotations)


def detection(image_id: int, category: int, box: tuple[float, ...], score: float) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    bbox = [x1, y1, x2 - x1, y2 - y1]
    return {"image_id": image_id, "category_id": category, "bbox": bbox, "score": score}


BOX = (100.0, 100.0, 200.0, 200.0)


def test_perfect_detections_have_an_ap_of_one() -> None:
    truth = ground_truth([image(0, (1, BOX)), image(5, (90, BOX))], CATEGORIES)
    measured = evaluate(truth, [detection(0, 1, BOX, 0.9), detection(5, 90, BOX, 0.8)])
    assert measured.metrics["AP"] == pytest.approx(1.0)
    assert measured.metrics["AR1"] == pytest.approx(1.0)
    assert {one.id: one.AP for one in measured.per_class} == pytest.approx({1: 1.0, 90: 1.0})


def test_annotation_zero_counts_as_a_match() -> None:
    """pycocotools takes a match with annotation 0 for no match."""
    truth = ground_truth([image(0, (1, BOX))], CATEGORIES)
    truth["annotations"][0]["id"] = 0
    assert evaluate(truth, [detection(0, 1, BOX, 0.9)]).metrics["AP"] == pytest.approx(1.0)


def test_no_detections_are_an_ap_of_zero() -> None:
    measured = evaluate(ground_truth([image(0, (1, BOX))], CATEGORIES), [])
    assert measured.metrics["AP"] == 0.0
    assert measured.score_threshold == 0.5


def test_what_no_object_was_there_to_measure_is_null() -> None:
    measured = evaluate(ground_truth([image(0, (1, BOX))], CATEGORIES), [detection(0, 1, BOX, 0.9)])
    assert measured.metrics["AP_small"] is None
    assert measured.metrics["AP_large"] == pytest.approx(1.0)
    assert {one.id: (one.AP, one.AP50, one.boxes) for one in measured.per_class}[90] == (None, None, 0)


def test_a_split_without_any_object_is_null_throughout() -> None:
    measured = evaluate(ground_truth([image(0)], CATEGORIES), [detection(0, 1, BOX, 0.9)])
    assert set(measured.metrics.values()) == {None}


def test_detections_on_a_crowd_are_ignored() -> None:
    crowd = image(1, (1, (0.0, 0.0, 300.0, 300.0)), crowd=True)
    truth = ground_truth([image(0, (1, BOX)), crowd], CATEGORIES)
    hit = detection(0, 1, BOX, 0.5)
    on_crowd = [detection(1, 1, (10.0 * k, 10.0, 10.0 * k + 80, 90.0), 0.9) for k in range(5)]
    measured = evaluate(truth, [hit, *on_crowd])
    assert measured.metrics["AP"] == pytest.approx(1.0)
    assert {one.id: one.boxes for one in measured.per_class}[1] == 1


def test_a_false_positive_above_a_hit_halves_the_precision() -> None:
    truth = ground_truth([image(0, (1, BOX))], CATEGORIES)
    elsewhere = detection(0, 1, (300.0, 300.0, 400.0, 400.0), 0.9)
    assert evaluate(truth, [elsewhere, detection(0, 1, BOX, 0.5)]).metrics["AP"] == pytest.approx(0.5)


def test_the_threshold_is_where_f1_is_best() -> None:
    truth = ground_truth([image(0, (1, BOX), (1, (300.0, 300.0, 400.0, 400.0)))], CATEGORIES)
    found = [
        detection(0, 1, BOX, 0.905),
        detection(0, 1, (300.0, 300.0, 400.0, 400.0), 0.705),
        *(detection(0, 1, (10.0 * k, 0.0, 10.0 * k + 9, 9.0), 0.505) for k in range(10)),
    ]
    assert evaluate(truth, found).score_threshold == pytest.approx(0.70)


def test_a_detection_on_an_unknown_image_is_refused() -> None:
    with pytest.raises(ValueError, match="image 4"):
        evaluate(ground_truth([image(0, (1, BOX))], CATEGORIES), [detection(4, 1, BOX, 0.9)])


def test_what_is_difficult_truncated_or_occluded_is_noted_where_it_is_so() -> None:
    flagged = Annotation(1, 1, BOX, 10000.0, difficult=True, occluded=True)
    record = ImageRecord(0, "0.jpg", "val", 640, 480, [flagged, Annotation(2, 1, BOX, 10000.0)])
    first, second = ground_truth([record], CATEGORIES)["annotations"]
    flags = ("difficult", "truncated", "occluded")
    assert [first.get(flag) for flag in flags] == [1, None, 1]
    assert not any(flag in second for flag in flags)


def test_inputs_are_left_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    truth = ground_truth([image(0, (1, BOX))], CATEGORIES)
    found = [detection(0, 1, BOX, 0.9)]
    before = copy.deepcopy((truth, found))
    evaluate(truth, found)
    assert (truth, found) == before
    assert capsys.readouterr().out == ""


def test_against_pycocotools_on_random_detections() -> None:
    random = np.random.default_rng(0)
    images, found = [], []
    for number in range(30):
        objects = []
        for _ in range(random.integers(0, 8)):
            corner, size = random.uniform(0, 300, 2), random.uniform(10, 200, 2)
            box = tuple(float(v) for v in (*corner, *(corner + size)))
            category = int(random.choice([1, 90]))
            objects.append((category, box))
            if random.random() < 0.8:
                near = tuple(float(v + random.normal(0, 6)) for v in box)
                found.append(detection(number, category, near, float(random.random())))
        images.append(image(number, *objects))  # type: ignore[arg-type]
    truth = ground_truth(images, CATEGORIES)
    measured = evaluate(truth, found)

    coco = COCO()
    coco.dataset = copy.deepcopy(truth)
    coco.createIndex()
    reference = COCOeval(coco, coco.loadRes(copy.deepcopy(found)), "bbox")
    reference.evaluate()
    reference.accumulate()
    reference.summarize()
    assert [measured.metrics[name] for name in METRICS] == reference.stats.tolist()
    for k, class_id in enumerate([1, 90]):
        expected = reference.eval["precision"][:, :, k, 0, 2].mean()
        assert {one.id: one.AP for one in measured.per_class}[class_id] == pytest.approx(expected)
