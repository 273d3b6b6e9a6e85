"""A resample has the numbers of COCO's evaluator for a dataset with those very images."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.compare.resampling import draws, resample
from detector.evaluate import coco
from detector.evaluate.columns import IouType, problem
from detector.evaluate.evaluation import Comparison
from tests.detector.evaluate.builders import Results, Truth, dataset, found, random_case, shifted, thing
from tests.detector.evaluate.test_coco_masks import random_masks


def written_out(truth: Truth, detections: Results, counts: NDArray[np.int64]) -> tuple[Truth, Results]:
    """The dataset that a resample stands for: each copy an image of its own, the copies side by side."""
    images: list[dict[str, Any]] = []
    things: list[dict[str, Any]] = []
    results: Results = []
    for image, count in zip(sorted(truth["images"], key=lambda one: one["id"]), counts, strict=True):
        for _ in range(count):
            copy = {"image_id": len(images)}
            images.append({**image, "id": len(images)})
            things += [
                {**one, **copy, "id": len(things) + k + 1}
                for k, one in enumerate(a for a in truth["annotations"] if a["image_id"] == image["id"])
            ]
            results += [{**one, **copy} for one in detections if one["image_id"] == image["id"]]
    return {**truth, "images": images, "annotations": things}, results


def agrees(truth: Truth, detections: Results, counts: NDArray[np.int64], iou_type: IouType = "bbox") -> None:
    resampled = resample(Comparison(problem(truth, detections, iou_type)), counts)
    for column in range(counts.shape[1]):
        measured = coco.evaluate(*written_out(truth, detections, counts[:, column]), iou_type)
        expected = {name: np.nan if value is None else value for name, value in measured.metrics.items()}
        ours = {name: float(values[column]) for name, values in resampled.metrics.items()}
        assert ours == pytest.approx(expected, rel=0, abs=1e-12, nan_ok=True), column
        per_class = [np.nan if one.AP is None else one.AP for one in measured.per_class]
        assert resampled.per_class[:, column] == pytest.approx(per_class, rel=0, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_a_resample_has_the_numbers_of_the_dataset_that_it_stands_for(seed: int, ties: bool) -> None:
    truth, detections = random_case(seed, ties=ties)
    agrees(truth, detections, draws(12, 8, seed))


def test_every_image_once_has_the_numbers_of_the_evaluator() -> None:
    truth, detections = random_case(7, images=40)
    agrees(truth, detections, np.ones((40, 1), np.int64))


def test_masks_are_resampled_alike() -> None:
    truth, detections = random_masks()
    agrees(truth, detections, draws(len(truth["images"]), 4, 0), "segm")


def test_of_equal_scores_on_an_image_copies_of_the_image_alternate() -> None:
    box = (10, 10, 60, 60)
    truth = dataset(thing(0, box), thing(1, box), images=2, categories=1)
    detections = [
        found(0, shifted(box, 0.9), 0.5),
        found(0, (200, 200, 240, 240), 0.5),
        found(1, shifted(box, 0.6), 0.2),
    ]
    agrees(truth, detections, np.array([[2, 1, 3, 0], [0, 1, 1, 2]]))


@pytest.mark.parametrize("objects", [100, 29, 58, 7])
def test_a_recall_is_reached_as_coco_compares_it(objects: int) -> None:
    # 29 of 100 is 0.29, and COCO's 29th recall is as great only after rounding.
    boxes = [
        (20 * k % 600, 20 * (20 * k // 600), 20 * k % 600 + 15, 20 * (20 * k // 600) + 15)
        for k in range(objects)
    ]
    truth = dataset(*(thing(0, box) for box in boxes), images=2, categories=1)
    detections = []
    for k, box in enumerate(boxes):
        detections.append(found(0, box, 1 - k / 200))
        detections.append(found(1, (0, 0, 9, 9), 1 - (k + 0.5) / 200))
    agrees(truth, detections, np.array([[1, 1, 2], [1, 0, 1]]))


def test_what_a_resample_has_no_objects_of_is_left_out() -> None:
    box = (10, 10, 60, 60)
    truth = dataset(thing(0, box), thing(1, box, 2), images=2)
    detections = [found(0, box, 0.9), found(1, shifted(box, 0.6), 0.8, 2)]
    counts = np.array([[2, 0], [0, 2]])
    resampled = resample(Comparison(problem(truth, detections)), counts)
    assert np.isnan(resampled.per_class[1, 0])
    assert np.isnan(resampled.per_class[0, 1])
    assert resampled.metrics["AP"] == pytest.approx([1.0, 0.3])
    agrees(truth, detections, counts)


def test_without_detections_every_number_is_0() -> None:
    truth = dataset(thing(0, (10, 10, 60, 60)), images=1, categories=1)
    agrees(truth, [], np.array([[1, 2]]))


def test_draws_are_as_many_images_and_the_same_again() -> None:
    counts = draws(30, 50, 1)
    assert (counts.sum(axis=0) == 30).all()
    assert counts.mean(axis=1) == pytest.approx(np.ones(30), abs=0.6)
    assert (counts == draws(30, 50, 1)).all()
    assert (counts != draws(30, 50, 2)).any()
