import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest

from detector.errors import ResultsInvalid
from detector.evaluate.results import check, read
from tests.detector.evaluate.builders import dataset, found, thing

BOX = (100.0, 100.0, 200.0, 200.0)
TRUTH = dataset(thing(0, BOX))
GOOD = found(0, BOX, 0.9)
RLE = {"size": [480, 640], "counts": [100, 5, 640 * 480 - 105]}


def faults(truth: Any, detections: Any) -> list[tuple[str, str]]:
    """Code and place of each finding."""
    with pytest.raises(ResultsInvalid) as caught:
        check(truth, detections)
    return [(one.code, one.location) for one in caught.value.findings]


@pytest.mark.parametrize(
    ("change", "code", "place"),
    [
        ({"image_id": 77}, "unknown_image", "/image_id"),
        ({"image_id": "0"}, "unknown_image", "/image_id"),
        ({"image_id": True}, "unknown_image", "/image_id"),
        ({"category_id": 9}, "unknown_category", "/category_id"),
        ({"category_id": None}, "unknown_category", "/category_id"),
        ({"category_id": [1]}, "unknown_category", "/category_id"),
        ({"score": math.nan}, "invalid_score", "/score"),
        ({"score": math.inf}, "invalid_score", "/score"),
        ({"score": "0.9"}, "invalid_score", "/score"),
        ({"score": True}, "invalid_score", "/score"),
        ({"bbox": [1, 2, 3]}, "invalid_box", "/bbox"),
        ({"bbox": [1, 2, 3, math.nan]}, "invalid_box", "/bbox"),
        ({"bbox": "1 2 3 4"}, "invalid_box", "/bbox"),
        ({"bbox": [1, 2, 3, 10**400]}, "invalid_box", "/bbox"),
        ({"bbox": [1, 2, -3, 4]}, "negative_size_box", "/bbox"),
        ({"bbox": [1, 2, 3, -4]}, "negative_size_box", "/bbox"),
        ({"bbox": []}, "missing_box", ""),
        ({"segmentation": [[1, 2, 3, 4, 5, 6]]}, "invalid_segmentation", "/segmentation"),
        ({"segmentation": {**RLE, "size": [640, 480]}}, "invalid_segmentation", "/segmentation"),
        ({"segmentation": {**RLE, "counts": [5]}}, "invalid_segmentation", "/segmentation"),
        # Fields that nobody looks at, but that are given out again with the rest of the file.
        ({"segmentation": {**RLE, "more": math.inf}}, "not_json", "/segmentation"),
        ({"note": math.nan}, "not_json", "/note"),
        ({"note": [{"x": math.inf}]}, "not_json", "/note"),
    ],
)
def test_a_detection_that_cannot_be_measured_is_named(change: dict[str, Any], code: str, place: str) -> None:
    assert faults(TRUTH, [GOOD, GOOD | change]) == [(code, f"detections#/1{place}")]


def test_a_detection_without_score_or_box_is_named() -> None:
    assert faults(TRUTH, [{"image_id": 0, "category_id": 1}]) == [
        ("missing_score", "detections#/0"),
        ("missing_box", "detections#/0"),
    ]


def test_everything_is_said_at_once_and_the_message_shows_the_first() -> None:
    bad = [GOOD | {"score": math.nan}, GOOD | {"image_id": 5}, GOOD, [], GOOD | {"category_id": 5}]
    with pytest.raises(ResultsInvalid) as caught:
        check(TRUTH, bad)
    assert [one.code for one in caught.value.findings] == [
        "invalid_score",
        "unknown_image",
        "no_object",
        "unknown_category",
    ]
    assert "4 things are wrong" in caught.value.message
    assert "detections#/1/image_id: The ground truth has no image 5." in caught.value.message


def test_a_hundred_faults_are_enough() -> None:
    with pytest.raises(ResultsInvalid, match="100 or more") as caught:
        check(TRUTH, [GOOD | {"image_id": 5}] * 1000)
    assert len(caught.value.findings) == 100


@pytest.mark.parametrize("detections", [{}, {"annotations": []}, None, "[]", 3])
def test_results_must_be_a_list(detections: Any) -> None:
    with pytest.raises(ResultsInvalid, match="no list"):
        check(TRUTH, detections)


@pytest.mark.parametrize("truth", [[], None, {}, {"images": [], "annotations": []}, {**TRUTH, "images": {}}])
def test_a_ground_truth_must_be_a_coco_dataset(truth: Any) -> None:
    with pytest.raises(ResultsInvalid, match="no COCO dataset"):
        check(truth, [])


@pytest.mark.parametrize(
    ("change", "code", "place"),
    [
        ({"image_id": 77}, "unknown_image", "/image_id"),
        ({"category_id": 77}, "unknown_category", "/category_id"),
        ({"bbox": None}, "invalid_box", "/bbox"),
        ({"area": math.nan}, "invalid_area", "/area"),
        ({"iscrowd": 2}, "invalid_iscrowd", "/iscrowd"),
        ({"segmentation": [[1, 2]]}, "invalid_segmentation", "/segmentation"),
    ],
)
def test_an_object_that_cannot_be_measured_is_named(change: dict[str, Any], code: str, place: str) -> None:
    truth = copy.deepcopy(TRUTH)
    truth["annotations"][0] |= change
    assert faults(truth, [GOOD]) == [(code, f"ground_truth#/annotations/0{place}")]


def test_ids_must_be_there_and_only_once() -> None:
    truth = {**TRUTH, "images": [*TRUTH["images"], {"id": 0}, {"file_name": "a.jpg"}]}
    assert faults(truth, []) == [
        ("duplicate_id", "ground_truth#/images/3/id"),
        ("missing_id", "ground_truth#/images/4"),
    ]


def test_a_mask_needs_an_image_of_known_size() -> None:
    truth = {**copy.deepcopy(TRUTH), "images": [{"id": 0}]}
    assert faults(truth, [GOOD | {"segmentation": RLE}]) == [("image_without_size", "detections#/0/image_id")]
    truth["annotations"][0]["segmentation"] = RLE
    assert faults(truth, []) == [("image_without_size", "ground_truth#/annotations/0/image_id")]


def test_what_a_dataset_may_leave_out_is_filled_in() -> None:
    bare = {"image_id": 0, "category_id": 1, "bbox": [0, 0, 10, 20], "segmentation": []}
    truth = {"images": [{"id": 0}], "categories": [{"id": 1}], "annotations": [bare]}
    checked, _ = check(truth, [])
    (annotation,) = checked["annotations"]
    assert (annotation["area"], annotation["iscrowd"], "segmentation" in annotation) == (200, 0, False)
    assert checked["categories"] == [{"id": 1, "name": "1"}]
    assert bare["segmentation"] == []


def test_a_result_with_a_mask_only_gets_the_masks_box() -> None:
    detection = {"image_id": 0, "category_id": 1, "score": 0.5, "segmentation": RLE}
    _, (checked,) = check(TRUTH, [detection])
    assert checked["bbox"] == [0, 100, 1, 5]


def test_scores_may_be_any_finite_numbers() -> None:
    _, checked = check(TRUTH, [GOOD | {"score": -12}, GOOD | {"score": 3.5}])
    assert [one["score"] for one in checked] == [-12, 3.5]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(ResultsInvalid, match=r"a\.json cannot be read"):
        read(path)
    path.write_text("[1, ")
    with pytest.raises(ResultsInvalid, match=r"a\.json is no JSON"):
        read(path)
    path.write_text("[" * 100_000)
    with pytest.raises(ResultsInvalid, match=r"a\.json is no JSON"):
        read(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ResultsInvalid, match=r"a\.json is no JSON"):
        read(path)
    path.write_text(json.dumps([GOOD]))
    assert read(path) == [GOOD]
