"""What was found on each image: the same matches that COCO's numbers count."""

from typing import Any

import numpy as np

from detector.evaluate import coco, results
from detector.evaluate.by_image import by_image
from detector.evaluate.matches import matches, pooled
from tests.detector.evaluate.builders import Results, Truth, dataset, found, random_case, shifted, thing

BOX = (100.0, 100.0, 200.0, 200.0)


def lines(truth: Truth, detections: Results) -> list[dict[str, Any]]:
    truth, detections = results.check(truth, detections)
    return list(by_image(coco.evaluation(truth, detections), truth, detections))


def test_an_object_found_one_missed_and_a_box_where_nothing_is() -> None:
    away = (300.0, 300.0, 350.0, 350.0)
    truth = dataset(thing(0, BOX), thing(0, away, 2), images=2)
    near = shifted(BOX, 0.8)
    first, second = lines(truth, [found(0, (5, 5, 9, 9), 0.3), found(0, near, 0.9)])
    assert (first["id"], first["width"], first["height"]) == (0, 640, 480)
    assert first["objects"] == [
        {"id": 1, "category_id": 1, "box": [*BOX], "crowd": False},
        {"id": 2, "category_id": 2, "box": [*away], "crowd": False},
    ]
    right, wrong = first["detections"]
    assert (right["score"], right["object"], right["iou"], right["ignored"]) == (0.9, 0, 0.8, False)
    assert (wrong["score"], wrong["object"], wrong["iou"], wrong["ignored"]) == (0.3, None, None, False)
    assert (second["objects"], second["detections"]) == ([], [])


def test_what_lies_on_a_crowd_is_neither_right_nor_wrong() -> None:
    truth = dataset(thing(0, (0.0, 0.0, 300.0, 300.0), crowd=1), images=1)
    (image,) = lines(truth, [found(0, BOX, 0.9)])
    (one,) = image["detections"]
    assert (one["ignored"], one["object"]) == (True, 0)


def test_any_case_has_the_hits_of_the_evaluation() -> None:
    for seed in range(5):
        truth, detections = results.check(*random_case(seed))
        evaluation = coco.evaluation(truth, detections)
        counted = pooled(matches(evaluation))
        hits = [
            (image["id"], one["score"], one["object"], one["iou"])
            for image in by_image(evaluation, truth, detections)
            for one in image["detections"]
            if not one["ignored"]
        ]
        assert len(hits) == len(counted.rows)
        right = sorted((image, score, iou) for image, score, object_, iou in hits if object_ is not None)
        expected = sorted(
            zip(
                counted.images[counted.hits].tolist(),
                counted.scores[counted.hits].tolist(),
                counted.ious[counted.hits].tolist(),
                strict=True,
            )
        )
        assert np.allclose(right, expected, atol=1e-6)
        taken = [(image, place) for image, _, place, _ in hits if place is not None]
        assert len(taken) == len(set(taken))  # no object is found twice
