"""COCO JSON: what is right is read whole, what is wrong is pointed to."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.data.inspect import inspect
from detector.data.records import Action, DatasetIndex, Finding, Report
from tests.detector.data.builders import (
    Members,
    coco_document,
    coco_members,
    encoded,
    jpeg,
    picture,
    write_zip,
)

TRAIN = "annotations/instances_train.json"
Edit = Callable[[dict[str, Any]], object]


def inspected(tmp_path: Path, members: Members, **options: Any) -> tuple[DatasetIndex | None, Report]:
    return inspect(write_zip(tmp_path / "a.zip", members), **options)


def report_of(tmp_path: Path, edit: Edit, **options: Any) -> Report:
    return inspected(tmp_path, coco_members(edit=edit), **options)[1]


def only(report: Report, code: str) -> Finding:
    (finding,) = [finding for finding in report.findings if finding.code == code]
    return finding


def test_boxes_polygons_crowds_and_sparse_ids_are_read_as_they_are(tmp_path: Path) -> None:
    rle = {"counts": [1000, 10, 64 * 48 - 1010], "size": [48, 64]}

    def add_crowd(document: dict[str, Any]) -> None:
        document["annotations"][1] |= {"iscrowd": 1, "segmentation": rle, "area": 10}

    index, report = inspected(tmp_path, coco_members(edit=add_crowd))
    assert index is not None
    assert report.valid
    assert report.findings == []
    assert [(category.id, category.name) for category in index.categories] == [(1, "cat"), (7, "dog")]
    first = index.images[0]
    assert (first.id, first.file_name, first.split) == (1, "train/000.jpg", "train")
    assert (first.width, first.height) == (64, 48)
    cat, dog = first.annotations
    assert (cat.id, cat.box, cat.area) == (2, (4.0, 4.0, 24.0, 20.0), 320.0)
    assert cat.segmentation == [[4, 4, 24, 4, 24, 20, 4, 20]]
    assert (dog.category_id, dog.box, dog.iscrowd, dog.segmentation) == (
        7,
        (30.5, 10.0, 50.5, 40.0),
        True,
        rle,
    )
    assert report.summary["crowds"] == 1
    assert report.summary["splits"] == {
        "train": {"images": 3, "annotations": 6},
        "val": {"images": 2, "annotations": 4},
    }


def test_the_area_of_a_mask_is_that_of_its_polygons_when_the_file_does_not_say(tmp_path: Path) -> None:
    def triangle(document: dict[str, Any]) -> None:
        document["annotations"][0] |= {"segmentation": [[4, 4, 24, 4, 4, 20]], "area": None}

    index, _ = inspected(tmp_path, coco_members(edit=triangle))
    assert index is not None
    assert [item.area for item in index.images[0].annotations] == [160.0, 600.0]


def test_a_file_beside_its_images_names_the_split_by_its_folder(tmp_path: Path) -> None:
    members: Members = {}
    for seed, folder in enumerate(("train", "valid", "test")):
        members[f"{folder}/_annotations.coco.json"] = json.dumps(coco_document(["a.jpg"])).encode()
        members[f"{folder}/a.jpg"] = jpeg(seed)
    index, report = inspected(tmp_path, members)
    assert index is not None
    assert [(image.file_name, image.split) for image in index.images] == [
        ("train/a.jpg", "train"),
        ("valid/a.jpg", "val"),
        ("test/a.jpg", "test"),
    ]
    # Each file counts from 1, so the ids are made anew.
    assert [image.id for image in index.images] == [1, 2, 3]
    assert [item.id for image in index.images for item in image.annotations] == [1, 2, 3, 4, 5, 6]
    assert only(report, "image_ids_renumbered").severity == "warning"


def test_captions_and_keypoints_beside_the_instances_are_left_alone(tmp_path: Path) -> None:
    members = coco_members()
    members["annotations/captions_train.json"] = b'{"images": [], "annotations": [{"caption": "a cat"}]}'
    index, report = inspected(tmp_path, members)
    assert index is not None
    assert report.findings == []


FAULTS: list[tuple[str, Edit, str]] = [
    ("wrong_type", lambda d: d["annotations"][1].update(bbox="4 4 20 16"), "/annotations/1/bbox"),
    ("wrong_type", lambda d: d["annotations"][1].update(bbox=[1, 2, "3", 4]), "/annotations/1/bbox/2"),
    ("wrong_type", lambda d: d["annotations"][1].update(bbox=[1, 2, 3]), "/annotations/1/bbox"),
    ("wrong_type", lambda d: d["annotations"][1].update(bbox=None), "/annotations/1/bbox"),
    ("wrong_type", lambda d: d["annotations"][1].update(category_id=1.5), "/annotations/1/category_id"),
    ("wrong_type", lambda d: d["annotations"][1].update(image_id=True), "/annotations/1/image_id"),
    ("wrong_type", lambda d: d["annotations"][1].update(image_id=10**30), "/annotations/1/image_id"),
    ("wrong_type", lambda d: d["annotations"].__setitem__(1, 17), "/annotations/1"),
    ("missing_field", lambda d: d["annotations"][1].pop("bbox"), "/annotations/1"),
    (
        "non_finite_box",
        lambda d: d["annotations"][1].update(bbox=[1, 2, float("nan"), 4]),
        "/annotations/1/bbox",
    ),
    (
        "non_finite_box",
        lambda d: d["annotations"][1].update(bbox=[float("-inf"), 2, 3, 4]),
        "/annotations/1/bbox",
    ),
    (
        "non_finite_box",
        lambda d: d["annotations"][1].update(bbox=[1e308, 2, 1e308, 4]),
        "/annotations/1/bbox",
    ),
    ("zero_size_box", lambda d: d["annotations"][1].update(bbox=[1, 2, 0, 4]), "/annotations/1/bbox"),
    ("negative_size_box", lambda d: d["annotations"][1].update(bbox=[9, 9, -5, 4]), "/annotations/1/bbox"),
    ("box_outside_image", lambda d: d["annotations"][1].update(bbox=[90, 2, 5, 4]), "/annotations/1/bbox"),
    ("box_exceeds_image", lambda d: d["annotations"][1].update(bbox=[50, 2, 50, 4]), "/annotations/1/bbox"),
    ("box_exceeds_image", lambda d: d["annotations"][1].update(bbox=[5, 2, 1e30, 4]), "/annotations/1/bbox"),
]


@pytest.mark.parametrize(("code", "edit", "pointer"), FAULTS)
def test_a_fault_of_one_annotation_is_pointed_to_and_leaves_the_others(
    tmp_path: Path, code: str, edit: Edit, pointer: str
) -> None:
    report = report_of(tmp_path, edit)
    finding = only(report, code)
    assert (finding.location, finding.action) == (f"{TRAIN}#{pointer}", Action.DROPPED)
    assert report.valid
    assert (report.summary["annotations"], report.summary["used"], report.summary["dropped"]) == (10, 9, 1)


@pytest.mark.parametrize(("code", "edit", "pointer"), FAULTS)
def test_the_same_fault_rejects_the_dataset_when_that_is_asked_for(
    tmp_path: Path, code: str, edit: Edit, pointer: str
) -> None:
    report = report_of(tmp_path, edit, on_invalid="reject")
    assert not report.valid
    assert (report.findings[0].code, report.findings[0].action) == (code, Action.REJECTED)
    assert report.findings[0].location == f"{TRAIN}#{pointer}"


@pytest.mark.parametrize(
    ("code", "edit", "pointer"),
    [
        (
            "unknown_category",
            lambda d: d["annotations"][1].update(category_id=2),
            "/annotations/1/category_id",
        ),
        ("unknown_image", lambda d: d["annotations"][1].update(image_id=99), "/annotations/1/image_id"),
        ("duplicate_image_id", lambda d: d["images"][1].update(id=1), "/images/1/id"),
        ("duplicate_category_id", lambda d: d["categories"][1].update(id=1), "/categories/1/id"),
        ("invalid_category_name", lambda d: d["categories"][1].update(name=" "), "/categories/1/name"),
        ("invalid_category_name", lambda d: d["categories"][1].update(name="a\0"), "/categories/1/name"),
        ("invalid_category_name", lambda d: d["categories"][1].update(name="\ud800"), "/categories/1/name"),
        ("wrong_type", lambda d: d["categories"][1].update(name=3), "/categories/1/name"),
        ("wrong_type", lambda d: d.update(images={}), "/images"),
        ("missing_field", lambda d: d.pop("categories"), "/categories"),
    ],
)
@pytest.mark.parametrize("on_invalid", ["drop", "fix", "reject"])
def test_a_fault_of_the_whole_makes_the_dataset_invalid_always(
    tmp_path: Path, code: str, edit: Edit, pointer: str, on_invalid: str
) -> None:
    index, report = inspected(tmp_path, coco_members(edit=edit), on_invalid=on_invalid)
    assert index is None
    assert not report.valid
    assert (code, f"{TRAIN}#{pointer}", "rejected") in {
        (f.code, f.location, f.action) for f in report.findings
    }


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    def several(document: dict[str, Any]) -> None:
        document["annotations"][0]["bbox"] = [float("nan")] * 4
        document["annotations"][1]["category_id"] = 99
        document["annotations"][2]["bbox"] = "none"
        document["images"][2]["file_name"] = "gone.jpg"

    codes = [finding.code for finding in report_of(tmp_path, several).findings]
    assert set(codes) >= {"non_finite_box", "unknown_category", "wrong_type", "image_missing"}
    assert codes[0] == "unknown_category"  # what makes it invalid comes first


def test_among_thousands_the_few_faults_are_told_in_order_and_the_rest_is_used(tmp_path: Path) -> None:
    def thousands(document: dict[str, Any]) -> None:
        document["annotations"] = [
            # Some 1,200 of each image, not one image's after another's; no two are alike.
            {"id": k, "image_id": k % 3 + 1, "category_id": 1, "bbox": [k % 50, k / 100, 2, 2]}
            for k in range(1, 3601)
        ]
        found = document["annotations"]
        found[2900]["bbox"] = "none"
        found[1500]["bbox"] = [1, 2, 0, 4]
        found[3100] |= {"id": 5}
        found[700]["category_id"] = 1.5
        found[44]["image_id"] = found[41]["image_id"]
        found[44]["bbox"] = found[41]["bbox"]

    members = coco_members(train=3, val=1, edit=thousands)
    index, report = inspected(tmp_path, members)
    assert index is not None
    assert [
        (finding.code, finding.location.removeprefix(f"{TRAIN}#/annotations/")) for finding in report.findings
    ] == [
        ("wrong_type", "700/category_id"),
        ("wrong_type", "2900/bbox"),
        ("zero_size_box", "1500/bbox"),
        ("duplicate_annotation_id", "3100/id"),
        ("duplicate_annotation", "44/bbox"),
    ]
    assert report.summary["used"] == 3600 + 2 - 3
    # Within its image every annotation is where the file has it.
    assert [item.box[1] for item in index.images[1].annotations] == sorted(
        item.box[1] for item in index.images[1].annotations
    )


@pytest.mark.parametrize("number", [2**53 + 1, 2**63, 10**25, -(10**25)])
def test_an_id_beyond_all_columns_is_told_when_it_is_used_twice(tmp_path: Path, number: int) -> None:
    def twice(document: dict[str, Any]) -> None:
        for place in (1, 4, 5):
            document["annotations"][place]["id"] = number
        document["annotations"][4]["id"] = number + 1

    index, report = inspected(tmp_path, coco_members(edit=twice))
    assert index is not None
    finding = only(report, "duplicate_annotation_id")
    assert finding.location == f"{TRAIN}#/annotations/5/id"
    assert finding.message == f"Annotation id {number} is used twice."
    assert [item.id for image in index.images for item in image.annotations] == list(range(1, 11))


def test_fixing_swaps_corners_and_clips_to_the_image(tmp_path: Path) -> None:
    def two(document: dict[str, Any]) -> None:
        document["annotations"][0]["bbox"] = [24, 20, -20, -16]
        document["annotations"][1]["bbox"] = [50, -5, 40, 20]

    index, report = inspected(tmp_path, coco_members(edit=two), on_invalid="fix")
    assert index is not None
    assert [item.box for item in index.images[0].annotations] == [(4, 4, 24, 20), (50, 0, 64, 15)]
    assert (report.summary["fixed"], report.summary["dropped"]) == (2, 0)
    assert {finding.action for finding in report.findings} == {Action.FIXED}


def test_half_a_pixel_over_the_edge_is_clipped_without_a_word(tmp_path: Path) -> None:
    index, report = inspected(
        tmp_path, coco_members(edit=lambda d: d["annotations"][0].update(bbox=[-0.5, 4, 65, 40]))
    )
    assert index is not None
    assert index.images[0].annotations[0].box == (0.0, 4.0, 64.0, 44.0)
    assert report.findings == []


def test_the_name_of_an_image_may_be_a_path_of_another_computer(tmp_path: Path) -> None:
    names = ["C:\\data\\train\\000.jpg", "/home/me/train/001.jpg", "../train/002.jpg"]

    def rename(document: dict[str, Any]) -> None:
        for image, name in zip(document["images"], names, strict=True):
            image["file_name"] = name

    index, report = inspected(tmp_path, coco_members(edit=rename))
    assert index is not None
    assert [image.file_name for image in index.images[:3]] == [f"train/00{n}.jpg" for n in range(3)]
    assert report.findings == []


def test_a_missing_image_is_left_out_with_its_boxes(tmp_path: Path) -> None:
    members = coco_members()
    del members["train/001.jpg"]
    index, report = inspected(tmp_path, members)
    assert index is not None
    finding = only(report, "image_missing")
    assert (finding.location, finding.action) == (f"{TRAIN}#/images/1/file_name", Action.DROPPED)
    assert "001.jpg" in finding.message
    assert (report.summary["images"], report.summary["dropped"]) == (4, 2)


def test_a_name_that_two_images_share_is_ambiguous(tmp_path: Path) -> None:
    members = coco_members(train=1, val=1)
    members["train/b/000.jpg"] = members["train/a/000.jpg"] = members.pop("train/000.jpg")
    assert only(inspected(tmp_path, members)[1], "image_ambiguous").location == f"{TRAIN}#/images/0/file_name"


def test_images_that_no_annotation_names_are_counted_once(tmp_path: Path) -> None:
    members = coco_members()
    members |= {"train/x.jpg": jpeg(90), "train/y.jpg": jpeg(91)}
    assert "2 image(s)" in only(inspected(tmp_path, members)[1], "image_not_listed").message


@pytest.mark.parametrize(
    ("data", "code", "location"),
    [
        (b'{"images": [], "annotations": [', "invalid_json", ":1:32"),
        (b'{"images": [],\n "annotations": x}', "invalid_json", ":2:17"),
        (b'{"images": [], "annotations": "\xff"}', "invalid_json", ""),
        (b'{"images": [], "annotations": ' + b"[" * 100_000, "json_too_deep", ""),
        (b'{"images": [], "annotations": ' + b"1" * 5000 + b"}", "invalid_json", ""),
        (b'["images", "annotations"]', "wrong_type", "#"),
    ],
)
def test_a_broken_file_says_where(tmp_path: Path, data: bytes, code: str, location: str) -> None:
    members = coco_members()
    members[TRAIN] = data
    report = inspected(tmp_path, members)[1]
    assert not report.valid
    assert only(report, code).location == TRAIN + location


def test_nan_anywhere_is_told(tmp_path: Path) -> None:
    report = report_of(tmp_path, lambda d: d.update(info={"version": float("nan")}))
    assert report.valid
    assert only(report, "non_finite_number").location == TRAIN


def test_an_image_whose_entry_cannot_be_read_does_not_make_its_boxes_unknown(tmp_path: Path) -> None:
    report = report_of(tmp_path, lambda d: d["images"][0].update(file_name=17))
    assert report.valid
    assert only(report, "wrong_type").location == f"{TRAIN}#/images/0/file_name"
    assert report.summary["dropped"] == 2


def test_files_that_disagree_on_a_category_are_refused(tmp_path: Path) -> None:
    report = report_of(tmp_path, lambda d: d["categories"][0].update(name="horse"))
    assert only(report, "category_conflict").location == "annotations/instances_val.json#/categories/0"


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 2, 3]],
        [[1, 2, 3, 4, 5, "6"]],
        [[1, 2, 3, 4, 5, float("nan")]],
        "mask",
        {"counts": [5], "size": [48, 64]},
        {"counts": [3072], "size": [64, 48]},
        {"counts": "\x01\x02", "size": [48, 64]},
        {"counts": "o" * 1000, "size": [48, 64]},
    ],
)
def test_a_segmentation_that_is_none_is_left_out_and_its_box_stays(
    tmp_path: Path, segmentation: object
) -> None:
    report = report_of(tmp_path, lambda d: d["annotations"][1].update(segmentation=segmentation))
    assert report.valid
    assert only(report, "invalid_segmentation").location == f"{TRAIN}#/annotations/1/segmentation"
    assert report.summary["used"] == 10


def test_compressed_run_lengths_are_read_as_pycocotools_writes_them(tmp_path: Path) -> None:
    import numpy as np
    from pycocotools import mask

    pixels = np.zeros((48, 64), np.uint8, order="F")
    pixels[10:30, 5:60:3] = 1
    rle = mask.encode(pixels)
    segmentation = {"size": [48, 64], "counts": rle["counts"].decode()}
    index, report = inspected(
        tmp_path,
        coco_members(edit=lambda d: d["annotations"][1].update(segmentation=segmentation, iscrowd=1)),
    )
    assert index is not None
    assert report.findings == []
    assert index.images[0].annotations[1].segmentation == segmentation


def rotated_members() -> Members:
    """One image stored lying, upright by EXIF, whose boxes were made on it lying."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    members = coco_members(train=2, val=1)
    members["train/000.jpg"] = encoded(picture(0), exif=exif.tobytes())
    return members


def test_boxes_made_on_the_image_as_stored_are_turned_upright_when_fixing(tmp_path: Path) -> None:
    index, report = inspected(tmp_path, rotated_members(), on_invalid="fix")
    assert index is not None
    image = index.images[0]
    assert (image.width, image.height) == (48, 64)
    # (4, 4, 24, 20) of 64 x 48, turned clockwise: x becomes 48 - y, y becomes x.
    assert image.annotations[0].box == (28.0, 4.0, 44.0, 24.0)
    assert image.annotations[0].segmentation == [[44, 4, 44, 24, 28, 24, 28, 4]]
    assert only(report, "exif_swapped").action is Action.FIXED


@pytest.mark.parametrize(
    ("segmentation", "told"),
    [
        ([[1, 2, 3]], True),
        ([[1, 2, 3, 4, 5, "6"]], True),
        ([7], True),
        ({"counts": [3072], "size": [48, 64]}, False),  # by columns of the image as stored
    ],
)
def test_a_mask_that_cannot_be_turned_upright_is_left_out_and_its_box_is_turned(
    tmp_path: Path, segmentation: object, told: bool
) -> None:
    members = rotated_members()
    document = json.loads(members[TRAIN])
    document["annotations"][0]["segmentation"] = segmentation
    members[TRAIN] = json.dumps(document).encode()
    index, report = inspected(tmp_path, members, on_invalid="fix")
    assert index is not None
    assert index.images[0].annotations[0].box == (28.0, 4.0, 44.0, 24.0)
    assert index.images[0].annotations[0].segmentation is None
    assert report.summary["findings"].get("invalid_segmentation", 0) == told


def test_an_image_with_boxes_on_its_side_is_left_out_otherwise(tmp_path: Path) -> None:
    index, report = inspected(tmp_path, rotated_members())
    assert index is not None
    assert only(report, "exif_swapped").action is Action.DROPPED
    assert report.summary["images"] == 2


def test_a_declared_size_that_is_not_the_real_one_is_told(tmp_path: Path) -> None:
    report = report_of(tmp_path, lambda d: d["images"][0].update(width=128, height=96))
    assert report.valid
    assert only(report, "size_differs").location == f"{TRAIN}#/images/0"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from([10**400, "\ud800", 1e308, -0.0]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
PLACES = ["images", "annotations", "categories"]
FIELDS = [
    "id",
    "image_id",
    "category_id",
    "bbox",
    "segmentation",
    "area",
    "iscrowd",
    "file_name",
    "width",
    "name",
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.sampled_from(PLACES), st.integers(0, 1), st.sampled_from(FIELDS), VALUES),
        min_size=1,
        max_size=4,
    )
)
def test_any_value_anywhere_gives_a_report(tmp_path: Path, changes: list[tuple[str, int, str, Any]]) -> None:
    def edit(document: dict[str, Any]) -> None:
        for place, index, name, value in changes:
            document[place][index][name] = value

    members = coco_members(train=2, val=1)
    document = json.loads(members[TRAIN])
    edit(document)
    members[TRAIN] = json.dumps(document).encode()
    index, report = inspected(tmp_path, members)
    assert (index is not None) == report.valid
    assert report.findings_total >= len(report.findings)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60), place=st.integers(0, 500))
def test_any_bytes_in_the_file_give_a_report(tmp_path: Path, data: bytes, place: int) -> None:
    members = coco_members(train=1, val=1)
    whole = members[TRAIN]
    members[TRAIN] = whole[:place] + data + whole[place + len(data) :]
    index, report = inspected(tmp_path, members)
    assert (index is not None) == report.valid
