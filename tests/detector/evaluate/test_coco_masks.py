"""AP of masks."""

import copy
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detector.evaluate import columns
from detector.evaluate.coco import METRICS, evaluate
from detector.evaluate.columns import box_of_mask
from tests.detector.evaluate.builders import Truth, dataset, found, thing

BOX = (100.0, 100.0, 200.0, 200.0)
SQUARE = [[100.0, 100.0, 200.0, 100.0, 200.0, 200.0, 100.0, 200.0]]
TRIANGLE = [[100.0, 100.0, 200.0, 100.0, 100.0, 200.0]]


def run_lengths(pixels: NDArray[np.bool_]) -> dict[str, Any]:
    rle = masks.encode(np.asfortranarray(pixels.astype(np.uint8)))
    return {"size": [480, 640], "counts": rle["counts"].decode()}


def painted(polygons: list[list[float]]) -> dict[str, Any]:
    rle = masks.merge(masks.frPyObjects(polygons, 480, 640))
    return {"size": [480, 640], "counts": rle["counts"].decode()}


def masked(image: int, polygons: list[list[float]], score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": 1, "segmentation": painted(polygons), "score": score}


def test_a_perfect_mask_has_an_ap_of_one() -> None:
    truth = dataset(thing(0, BOX, segmentation=TRIANGLE, area=5000))
    assert evaluate(truth, [masked(0, TRIANGLE, 0.9)], "segm").metrics["AP"] == pytest.approx(1.0)


def test_the_right_box_with_the_wrong_mask_is_wrong() -> None:
    """The square covers twice the triangle, from whose IoU of 0.5 it is a few pixels of the diagonal away."""
    truth = dataset(thing(0, BOX, segmentation=TRIANGLE, area=5000))
    detection = masked(0, SQUARE, 0.9) | {"bbox": [100, 100, 100, 100]}
    assert evaluate(truth, [detection], "bbox").metrics["AP"] == pytest.approx(1.0)
    assert evaluate(truth, [detection], "segm").metrics["AP75"] == 0.0


def test_run_lengths_may_be_a_list() -> None:
    truth = dataset(thing(0, BOX, segmentation=SQUARE))
    # Column by column: 100 pixels of the square, then the 380 to where it goes on in the next.
    counts = [100 * 480 + 100, *[100, 380] * 99, 100]
    counts.append(480 * 640 - sum(counts))
    detection = masked(0, SQUARE, 0.9) | {"segmentation": {"size": [480, 640], "counts": counts}}
    assert evaluate(truth, [detection], "segm").metrics["AP"] == pytest.approx(1.0)
    assert evaluate(truth, [detection], "bbox").metrics["AP"] == pytest.approx(1.0)
    assert box_of_mask(detection["segmentation"]) == [100, 100, 100, 100]


def test_an_object_without_a_mask_is_ignored_where_masks_are_compared() -> None:
    truth = dataset(thing(0, BOX, segmentation=SQUARE), thing(1, BOX), thing(2, BOX))
    hit, on_ignored = masked(0, SQUARE, 0.5), masked(1, SQUARE, 0.9)
    measured = evaluate(truth, [hit, on_ignored], "segm").metrics
    assert [measured["AP"], measured["AR100"]] == pytest.approx([1.0, 1.0])


def test_an_object_without_a_mask_may_be_on_an_image_without_a_size() -> None:
    truth = dataset(thing(0, BOX, segmentation=SQUARE), thing(1, BOX))
    truth["images"][1] = {"id": 1, "width": None}
    assert evaluate(truth, [masked(0, SQUARE, 0.5)], "segm").metrics["AP"] == pytest.approx(1.0)


def test_a_detection_without_a_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="no segm"):
        evaluate(dataset(thing(0, BOX, segmentation=SQUARE)), [found(0, BOX, 0.9)], "segm")


def test_small_medium_and_large_go_by_the_mask() -> None:
    """A thin diagonal: its box is large, its mask small. loadRes, given both, would take the box's size."""
    band = [[100.0, 100.0, 103.0, 100.0, 303.0, 300.0, 300.0, 300.0]]
    truth = dataset(thing(0, (100, 100, 303, 300), segmentation=band, area=600))
    elsewhere = [[x + 250 if k % 2 == 0 else x for k, x in enumerate(band[0])]]
    wrong = masked(0, elsewhere, 0.95) | {"bbox": [350, 100, 203, 200]}
    right = masked(0, band, 0.9) | {"bbox": [100, 100, 203, 200]}
    by_mask = evaluate(truth, [right, wrong], "segm").metrics
    assert by_mask["AP_small"] == pytest.approx(0.5)
    by_box = evaluate(truth, [right, wrong], "bbox").metrics
    assert by_box["AP_small"] == pytest.approx(1.0)  # the large wrong box is none of the small ones


def test_against_pycocotools_with_crowds() -> None:
    truth, detections = random_masks()
    measured = evaluate(truth, detections, "segm")
    reference = COCO()
    reference.dataset = copy.deepcopy(truth)
    reference.createIndex()
    results = reference.loadRes(copy.deepcopy(detections))
    expected = COCOeval(reference, results, "segm")
    expected.evaluate()
    expected.accumulate()
    expected.summarize()
    assert 0.1 < expected.stats[0] < 0.9
    assert [
        -1.0 if measured.metrics[n] is None else measured.metrics[n] for n in METRICS
    ] == expected.stats.tolist()


def random_masks() -> tuple[Truth, list[dict[str, Any]]]:
    """Discs, some of them crowds, and discs found near them."""
    random = np.random.default_rng(3)
    rows, columns = np.mgrid[:480, :640]
    things, detections = [], []
    for image in range(6):
        for _ in range(5):
            x, y, radius = random.uniform(60, 420), random.uniform(60, 420), random.uniform(10, 60)
            disc = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
            rle = run_lengths(disc)
            box = (x - radius, y - radius, x + radius, y + radius)
            crowd = int(random.random() < 0.2)
            things.append(thing(image, box, crowd=crowd, segmentation=rle, area=float(disc.sum())))
            x, y = x + random.normal(0, 4), y + random.normal(0, 4)
            near = run_lengths((rows - y) ** 2 + (columns - x) ** 2 < radius**2)
            score = float(random.random())
            detections.append({"image_id": image, "category_id": 1, "segmentation": near, "score": score})
    return dataset(*things, images=6), detections


def test_more_masks_than_a_byte_counts_have_their_areas_and_boxes() -> None:
    """pycocotools itself counts those it is given at once in 8 bits, with numpy 2 not without an error."""
    pixels = np.arange(400).reshape(20, 20)
    regions = [masks.encode(np.asfortranarray((pixels > k).astype(np.uint8))) for k in range(300)]
    rows = [{"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": one} for one in regions]
    assert columns.detections_of(rows, "segm").areas.tolist() == [399 - k for k in range(300)]
    assert columns.boxes_of(regions).tolist() == [masks.toBbox(one).tolist() for one in regions]
