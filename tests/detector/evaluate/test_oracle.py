"""Our evaluator against pycocotools, to the last bit, on problems made to be awkward."""

import contextlib
import copy
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools import mask as masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detector.evaluate import coco, evaluators, matching, reference
from detector.evaluate.columns import Detections, IouType
from detector.evaluate.evaluation import IOUS, Evaluation
from tests.detector.evaluate.builders import Results, Truth, random_case

SIDES = [8.0, 16.0, 24.0, 32.0, 96.0]
"""Few enough for equal IoUs and for those of exactly 0.5 and 0.75; 32 and 96 make areas at COCO's limits."""

boxes = st.tuples(
    st.sampled_from([0.0, 4.0, 8.0]),
    st.sampled_from([0.0, 4.0, 8.0]),
    st.sampled_from(SIDES),
    st.sampled_from(SIDES),
).map(list)
images = st.integers(0, 3)  # of which 3 has no objects
classes = st.integers(1, 3)  # of which 3 has no objects
scores = st.sampled_from([-1.5, 0.0, 0.25, 0.5, 0.5000000001, 0.9, 1])
objects = st.fixed_dictionaries(
    {
        "image_id": st.integers(0, 2),
        "category_id": st.integers(1, 2),
        "bbox": boxes,
        "area": st.sampled_from([0.0, 64.0, 1023.9, 1024.0, 1024.1, 9216.0, 1e10, 1e10 + 1e4]),
        "iscrowd": st.sampled_from([0, 0, 0, 1]),
    }
)
found = st.fixed_dictionaries({"image_id": images, "category_id": classes, "bbox": boxes, "score": scores})


@settings(max_examples=80)
@given(st.lists(objects, max_size=12), st.lists(found, max_size=30))
@example([], [])
def test_boxes(things: list[dict[str, Any]], detections: Results) -> None:
    agrees(dataset(things), detections)


@st.composite
def segmentations(draw: st.DrawFn) -> dict[str, Any]:
    """A rectangle with a hole, as run lengths."""
    pixels = np.zeros((24, 24), np.uint8, order="F")
    top, left = draw(st.integers(0, 8)), draw(st.integers(0, 8))
    pixels[top : top + draw(st.integers(1, 16)), left : left + draw(st.integers(1, 16))] = 1
    pixels[draw(st.integers(0, 23)), draw(st.integers(0, 23))] = 0
    rle = masks.encode(pixels)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


triangles = st.permutations([0.0, 5.0, 10.0, 20.0, 23.0, 12.0]).map(lambda corners: [corners])


@settings(max_examples=40)
@given(
    st.lists(st.tuples(objects, st.one_of(segmentations(), triangles)), max_size=8),
    st.lists(st.tuples(found, segmentations()), max_size=16),
)
def test_masks(
    things: list[tuple[dict[str, Any], Any]], detections: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    truth = dataset([one | {"segmentation": mask} for one, mask in things])
    without_box = [{k: v for k, v in one.items() if k != "bbox"} for one, _ in detections]
    results = [one | {"segmentation": mask} for one, (_, mask) in zip(without_box, detections, strict=True)]
    agrees(truth, results, "segm")


def test_more_than_a_hundred_detections_of_a_class_on_an_image() -> None:
    truth, detections = crowded(images=3, objects=40, detections=260)
    agrees(truth, detections)
    assert max(np.bincount(evaluation(truth, detections).image_ids)) == 100


def test_pairs_may_be_looked_at_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "MOST_PAIRS", 64)  # less than some detection has, so cut within groups
    agrees(*crowded(images=3, objects=70, detections=90))


def test_many_images_and_classes_with_ids_in_no_order() -> None:
    truth, detections = random_case(3, images=40)
    renumbered = {k: (k * 7919) % 100_003 + 1_000_000_007 for k in range(40)}
    for row in [*truth["annotations"], *detections]:
        row["image_id"] = renumbered[row["image_id"]]
    for image in truth["images"]:
        image["id"] = renumbered[image["id"]]
    truth["images"].reverse()
    truth["categories"].reverse()
    agrees(truth, detections)


def test_more_classes_than_sixteen_bits_can_count_images_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places of more than 16 bits are sorted another way."""
    monkeypatch.setattr(matching, "_SHORT", 2)
    agrees(*random_case(4))


def test_columns_are_the_rows_they_were_made_of() -> None:
    truth, detections = random_case(5)
    columns = Detections.of_boxes(
        np.array([one["image_id"] for one in detections]),
        np.array([one["category_id"] for one in detections]),
        np.array([one["bbox"] for one in detections]),
        np.array([one["score"] for one in detections]),
    )
    assert coco.evaluate(truth, columns) == coco.evaluate(truth, detections)
    with pytest.raises(ValueError, match="no segm"):
        coco.evaluate(truth, columns, "segm")


def test_what_is_of_no_known_class_takes_no_part() -> None:
    truth, detections = random_case(6)
    more = [one | {"category_id": 17} for one in detections]
    assert coco.evaluate(truth, [*detections, *more]) == coco.evaluate(truth, detections)


@pytest.mark.parametrize("evaluator", evaluators.EVALUATORS)
def test_either_evaluator_gives_the_same_report_numbers(evaluator: evaluators.Evaluator) -> None:
    truth, detections = random_case(7)
    expected = coco.evaluate(truth, detections)
    assert coco.evaluate(truth, detections, evaluator=evaluator) == expected
    assert evaluators.provenance(evaluator)["name"] == evaluator
    assert evaluators.provenance(evaluator)["version"]


def agrees(truth: Truth, detections: Results, iou_type: IouType = "bbox") -> None:
    """Arrays, the twelve numbers and those of each class, and who matched whom at every IoU."""
    ours, fallback = (evaluation(truth, detections, iou_type, one) for one in evaluators.EVALUATORS)
    theirs = plain(truth, detections, iou_type)
    for name in ("precision", "recall", "scores"):
        assert np.array_equal(getattr(ours.arrays, name), theirs.eval[name]), name
        assert np.array_equal(getattr(fallback.arrays, name), theirs.eval[name]), name
    summary = coco.summarise(ours, truth)
    stats = [-1.0 if summary.metrics[name] is None else summary.metrics[name] for name in coco.METRICS]
    assert stats == theirs.stats.tolist()
    assert summary == coco.summarise(fallback, truth)
    for name in ("rows", "image_ids", "classes", "scores", "inside", "best", "objects"):
        assert np.array_equal(getattr(ours, name), getattr(fallback, name)), name
    for iou in IOUS:
        for mine, expected in zip(vars(ours.at(iou)).values(), vars(fallback.at(iou)).values(), strict=True):
            assert np.array_equal(mine, expected)


def evaluation(
    truth: Truth,
    detections: Results,
    iou_type: IouType = "bbox",
    evaluator: evaluators.Evaluator = "harmonicdet",
) -> Evaluation:
    return coco.evaluation(truth, detections, iou_type, evaluator)


def plain(truth: Truth, detections: Results, iou_type: IouType) -> COCOeval:
    """pycocotools on the very dictionaries, without a line of ours."""
    truth, detections = copy.deepcopy((truth, detections))
    with contextlib.redirect_stdout(io.StringIO()):
        index = COCO()
        index.dataset = truth
        index.createIndex()
        if detections:
            results = index.loadRes(detections)
        else:  # which loadRes refuses
            results = COCO()
            results.dataset = truth | {"annotations": []}
            results.createIndex()
        expected = COCOeval(index, results, iou_type)
        expected.evaluate()
        expected.accumulate()
        expected.summarize()
    return expected


def dataset(things: list[dict[str, Any]]) -> Truth:
    return {
        "images": [{"id": k, "width": 24, "height": 24} for k in range(4)],
        "categories": [{"id": k, "name": f"class {k}"} for k in (1, 2, 3)],
        "annotations": [{"id": k, **one} for k, one in enumerate(things, start=1)],
    }


def crowded(*, images: int, objects: int, detections: int) -> tuple[Truth, Results]:
    """One class; many boxes on few places, so that they contend for each other's objects."""
    random = np.random.default_rng(objects)

    def some(count: int) -> list[list[float]]:
        corners = random.integers(0, 12, (count, 2)) * 10
        sides = random.integers(2, 11, (count, 2)) * 10
        rows: list[list[float]] = np.concatenate([corners, sides], axis=1).tolist()
        return rows

    things = [
        {
            "image_id": image,
            "category_id": 1,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": int(random.random() < 0.1),
        }
        for image in range(images)
        for box in some(objects)
    ]
    results = [
        {"image_id": image, "category_id": 1, "bbox": box, "score": float(random.integers(1, 40)) / 40}
        for image in range(images)
        for box in some(detections)
    ]
    random.shuffle(results)
    return dataset(things), results


def test_the_reference_leaves_its_input_alone() -> None:
    truth, detections = random_case(8)
    before = copy.deepcopy((truth, detections))
    reference.evaluate(coco.evaluation(truth, detections).comparison)
    assert (truth, detections) == before
