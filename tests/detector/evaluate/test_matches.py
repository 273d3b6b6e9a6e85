import numpy as np
import pytest

from detector.evaluate import coco
from detector.evaluate.matches import matches, pooled
from tests.detector.evaluate.builders import Results, Truth, dataset, found, random_case, shifted, thing

BOX = (100.0, 100.0, 200.0, 200.0)
FAR = (300.0, 300.0, 400.0, 400.0)


def overlap(a: list[float], b: list[float], crowd: bool) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / (a[2] * a[3] if crowd else a[2] * a[3] + b[2] * b[3] - common)


def by_hand(truth: Truth, detections: Results, category: int, iou: float) -> dict[int, tuple[bool, float]]:
    """COCO's rules: for each detection that counts, whether it is right, and the IoU with its object."""
    judged = {}
    for image in {one["image_id"] for one in detections}:
        objects = [o for o in truth["annotations"] if (o["image_id"], o["category_id"]) == (image, category)]
        free = {k for k, one in enumerate(objects) if not one["iscrowd"]}
        mine = [
            (k, d) for k, d in enumerate(detections) if (d["image_id"], d["category_id"]) == (image, category)
        ]
        for row, one in sorted(mine, key=lambda pair: -pair[1]["score"]):
            ious = [overlap(one["bbox"], o["bbox"], bool(o["iscrowd"])) for o in objects]
            good = [k for k in free if ious[k] >= iou]
            if good:
                best = max(good, key=lambda k: ious[k])
                free.remove(best)
                judged[row] = (True, ious[best])
            elif not any(o["iscrowd"] and v >= iou for o, v in zip(objects, ious, strict=True)):
                judged[row] = (False, 0.0)
    return judged


@pytest.mark.parametrize("iou", [0.5, 0.75])
@pytest.mark.parametrize("seed", range(6))
def test_against_cocos_rules_by_hand(seed: int, iou: float) -> None:
    truth, detections = random_case(seed)
    for found_ in matches(coco.evaluation(truth, detections), iou):
        expected = by_hand(truth, detections, found_.class_id, iou)
        rows = found_.rows.tolist()
        got = dict(zip(rows, zip(found_.hits.tolist(), found_.ious.tolist(), strict=True), strict=True))
        assert got.keys() == expected.keys()
        for row, (hit, value) in expected.items():
            assert got[row][0] == hit
            assert got[row][1] == pytest.approx(value)
        assert found_.scores.tolist() == [detections[row]["score"] for row in rows]
        assert found_.images.tolist() == [detections[row]["image_id"] for row in rows]
        plain = [one for one in truth["annotations"] if not one["iscrowd"]]
        assert found_.objects == sum(one["category_id"] == found_.class_id for one in plain)


def test_a_crowd_takes_many_detections_and_counts_none() -> None:
    truth = dataset(thing(0, (0, 0, 300, 300), crowd=1))
    detections = [found(0, (10 * k, 0, 10 * k + 50, 50), 0.9) for k in range(5)]
    found_ = matches(coco.evaluation(truth, detections))[0]
    assert (len(found_.scores), found_.objects) == (0, 0)


def test_a_class_without_objects_has_only_misses() -> None:
    found_ = matches(coco.evaluation(dataset(), [found(0, BOX, 0.9)]))[0]
    assert (found_.hits.tolist(), found_.ious.tolist(), found_.objects) == ([False], [0.0], 0)


def test_no_detections_are_empty_arrays() -> None:
    everything = pooled(matches(coco.evaluation(dataset(thing(0, BOX)), [])))
    assert (len(everything.scores), everything.objects) == (0, 1)


def test_the_best_is_the_best_object_of_the_class_whether_matched_or_not() -> None:
    truth = dataset(thing(0, BOX), thing(0, FAR, 2), thing(1, (0, 0, 300, 300), crowd=1))
    detections = [
        found(0, BOX, 0.5),
        found(0, shifted(BOX, 0.8), 0.9),  # takes the object
        found(0, FAR, 0.9),  # of the other class
        found(1, BOX, 0.9),  # in the crowd only
    ]
    evaluation = coco.evaluation(truth, detections)
    assert dict(zip(evaluation.rows.tolist(), np.round(evaluation.best, 9).tolist(), strict=True)) == {
        0: 1.0,
        1: 0.8,
        2: 0.0,
        3: 0.0,
    }


def test_an_iou_that_was_not_evaluated_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.3"):
        matches(coco.evaluation(dataset(thing(0, BOX)), []), 0.3)
