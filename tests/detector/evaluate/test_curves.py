import numpy as np
import pytest

from detector.evaluate import coco
from detector.evaluate.curves import curves
from tests.detector.evaluate import references
from tests.detector.evaluate.builders import dataset, found, shifted, thing

BOX = (100.0, 100.0, 200.0, 200.0)
FAR = (300.0, 300.0, 400.0, 400.0)


def test_ap_is_the_mean_of_its_curves() -> None:
    truth, detections = references.coco_bbox100()
    evaluation = coco.evaluation(truth, detections)
    metrics = coco.summarise(evaluation, truth)
    drawn = curves(evaluation, truth)
    assert drawn.ious.tolist() == pytest.approx(np.arange(50, 100, 5) / 100)
    assert drawn.AP[0] == pytest.approx(metrics.metrics["AP50"])
    assert drawn.AP[5] == pytest.approx(metrics.metrics["AP75"])
    assert np.mean([ap for ap in drawn.AP if ap is not None]) == pytest.approx(metrics.metrics["AP"])
    for one, expected in zip(drawn.per_class, metrics.per_class, strict=True):
        assert (one.id, one.name, one.AP[0]) == (expected.id, expected.name, expected.AP50)
        if one.precision is not None:
            assert one.precision.mean() == pytest.approx(expected.AP)


def test_a_hit_above_a_miss_above_a_hit() -> None:
    truth = dataset(thing(0, BOX), thing(1, BOX))
    detections = [found(0, BOX, 0.9), found(0, FAR, 0.8), found(1, BOX, 0.7)]
    one = curves(coco.evaluation(truth, detections), truth).per_class[0]
    assert one.precision is not None
    assert one.scores is not None
    # Recall up to 0.5 needs the first only; beyond it all three, of which two are right.
    assert one.precision[0, [0, 50, 51, 100]] == pytest.approx([1, 1, 2 / 3, 2 / 3])
    assert one.scores[0, [0, 50, 51, 100]].tolist() == [0.9, 0.9, 0.7, 0.7]


def test_a_box_of_iou_077_counts_up_to_075() -> None:
    truth = dataset(thing(0, BOX))
    drawn = curves(coco.evaluation(truth, [found(0, shifted(BOX, 0.77), 0.9)]), truth)
    by_iou = drawn.AP
    assert by_iou == pytest.approx([1.0] * 6 + [0.0] * 4)


def test_without_objects_there_is_no_curve_and_without_detections_a_flat_one() -> None:
    truth = dataset(thing(0, BOX))
    first, second = curves(coco.evaluation(truth, []), truth).per_class
    assert first.precision is not None
    assert not first.precision.any()
    assert second.precision is None
    assert second.AP == [None] * 10
