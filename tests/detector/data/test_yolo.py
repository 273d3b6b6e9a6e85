"""YOLO: classes and splits from YAML, classes.txt or folders; labels by a strict grammar."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from detector.data.inspect import inspect
from detector.data.numbers import number
from detector.data.records import Action, DatasetIndex, Finding, Report
from tests.detector.data.builders import Members, jpeg, write_zip, yolo_members

FIRST = "train/labels/0.txt"


def inspected(tmp_path: Path, members: Members, **options: Any) -> tuple[DatasetIndex | None, Report]:
    return inspect(write_zip(tmp_path / "a.zip", members), **options)


def only(report: Report, code: str) -> Finding:
    (finding,) = [finding for finding in report.findings if finding.code == code]
    return finding


def with_first(labels: bytes) -> Members:
    return yolo_members() | {FIRST: labels}


def test_relative_boxes_become_pixels(tmp_path: Path) -> None:
    index, report = inspected(tmp_path, yolo_members())
    assert index is not None
    assert report.findings == []
    assert (report.format, index.splits()) == ("yolo", {"train": 3, "val": 2})
    assert [(category.id, category.name) for category in index.categories] == [(0, "cat"), (1, "dog")]
    assert [item.box for item in index.images[0].annotations] == [(8, 6, 24, 18), (32, 12, 48, 36)]
    assert [item.area for item in index.images[0].annotations] == [192, 384]


def test_a_polygon_is_a_box_and_a_mask(tmp_path: Path) -> None:
    index, _ = inspected(tmp_path, with_first(b"1 0.25 0.25 0.75 0.25 0.5 0.75\n"))
    assert index is not None
    (item,) = index.images[0].annotations
    assert (item.box, item.area) == ((16, 12, 48, 36), 384)
    assert item.segmentation == [[16, 12, 48, 12, 32, 36]]


def beside(names: str = "classes.txt") -> Members:
    return {
        names: b"cat\ndog\n",
        "a/1.jpg": jpeg(1),
        "a/1.txt": b"1 .5 .5 .5 .5",
        "a/2.jpg": jpeg(2),
        "a/2.txt": b"",
    }


@pytest.mark.parametrize("names", ["classes.txt", "obj.names", "a/classes.txt"])
def test_a_plain_list_of_classes_will_do_with_labels_beside_the_images(tmp_path: Path, names: str) -> None:
    index, report = inspected(tmp_path, beside(names))
    assert index is not None
    assert [category.name for category in index.categories] == ["cat", "dog"]
    assert (report.summary["images"], report.summary["negatives"]) == (2, 1)


@pytest.mark.parametrize(
    ("yaml", "names"),
    [
        ("names: [cat, dog]", {0: "cat", 1: "dog"}),
        ("names:\n  0: cat\n  5: dog", {0: "cat", 5: "dog"}),
        ("names:\n- no\n- 1_0", {0: "no", 1: "1_0"}),  # not False and 10
    ],
)
def test_classes_are_a_list_or_a_map(tmp_path: Path, yaml: str, names: dict[int, str]) -> None:
    members = beside("a/data.yaml") | {"a/data.yaml": yaml.encode(), "a/1.txt": b"0 .5 .5 .5 .5"}
    index, _ = inspected(tmp_path, members)
    assert index is not None
    assert {category.id: category.name for category in index.categories} == names


@pytest.mark.parametrize(
    "yaml",
    [
        "path: /home/me/set\ntrain: images/train\nval: images/val",
        "train: /content/set/images/train/\nval: C:\\set\\images\\val",
        "train: [./images/train]\nvalid: ../images/val",
        "train: train.txt\nval: lists/val.txt",
        "",
    ],
)
def test_splits_are_found_however_the_yaml_writes_them(tmp_path: Path, yaml: str) -> None:
    members: Members = {"data.yaml": f"{yaml}\nnames: [cat]".encode()}
    for seed, split in enumerate(("train", "train", "val")):
        members[f"images/{split}/{seed}.jpg"] = jpeg(seed)
        members[f"labels/{split}/{seed}.txt"] = b"0 .5 .5 .5 .5"
    members["train.txt"] = b"./images/train/0.jpg\n/data/images/train/1.jpg\n"
    members["lists/val.txt"] = b"images/val/2.jpg\r\n"
    index, report = inspected(tmp_path, members)
    assert index is not None
    assert index.splits() == {"train": 2, "val": 1}
    assert report.findings == []


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("0 0.5 0.5 0.5", "label_syntax"),
        ("0 0.5 0.5 0.5 0.5 0.9", "label_syntax"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "label_syntax"),
        ("0,0.5,0.5,0.5,0.5", "label_syntax"),
        ("0 0.5 0.5 0.5 0x1", "label_syntax"),
        ("0 0.5 0.5 0.5 1_0", "label_syntax"),
        ("0 0.5 0.5 0.5 \u0661", "label_syntax"),
        ("0.0 0.5 0.5 0.5 0.5", "label_syntax"),
        ("-1 0.5 0.5 0.5 0.5", "label_syntax"),
        ("cat 0.5 0.5 0.5 0.5", "label_syntax"),
        ("\x00", "label_syntax"),
        ("0 0.5 0.5 0.5 nan", "non_finite_box"),
        ("0 0.5 0.5 1e999 0.5", "non_finite_box"),
        ("0 0.5 0.5 0 0.5", "zero_size_box"),
        ("0 0.5 0.5 -0.2 0.5", "negative_size_box"),
        ("0 0.9 0.5 0.9 0.5", "box_exceeds_image"),
        ("0 100 200 50 80", "box_outside_image"),
    ],
)
def test_a_fault_of_one_line_is_pointed_to(tmp_path: Path, line: str, code: str) -> None:
    report = inspected(tmp_path, with_first(f"0 .5 .5 .5 .5\r\n\n{line}\n".encode()))[1]
    finding = only(report, code)
    assert (finding.location, finding.action) == (f"{FIRST}:3", Action.DROPPED)
    assert (report.summary["annotations"], report.summary["dropped"]) == (10, 1)


def test_a_class_that_does_not_exist_makes_the_dataset_invalid(tmp_path: Path) -> None:
    report = inspected(tmp_path, with_first(b"2 .5 .5 .5 .5\n"))[1]
    assert not report.valid
    finding = only(report, "unknown_category")
    assert (finding.location, finding.action) == (f"{FIRST}:1", Action.REJECTED)
    assert "0 to 1" in finding.message


def test_an_image_without_a_label_file_is_a_negative_and_told(tmp_path: Path) -> None:
    members = yolo_members()
    del members[FIRST]
    index, report = inspected(tmp_path, members)
    assert index is not None
    assert report.summary["negatives"] == 1
    assert only(report, "label_file_missing").location == "train/images/0.jpg"


def test_labels_without_an_image_are_told(tmp_path: Path) -> None:
    members = yolo_members()
    del members["train/images/0.jpg"]
    assert only(inspected(tmp_path, members)[1], "image_missing").location == FIRST


@pytest.mark.parametrize(
    ("yaml", "code"),
    [
        (b"names: [cat, dog", "invalid_yaml"),
        (b"all: &a [x, y]\nnames: [*a, *a]", "wrong_type"),
        (b"names: {a: b}", "wrong_type"),
        (b"names:\n", "wrong_type"),
        (b"names: " + b"[" * 20_000, "invalid_yaml"),
        (b"names: ['']", "invalid_category_name"),
        (b"names: [\xff]", "invalid_text"),
        (b"names: !!python/object/apply:os.system [echo]", "unknown_category"),
    ],
)
def test_broken_yaml_makes_the_dataset_invalid(tmp_path: Path, yaml: bytes, code: str) -> None:
    index, report = inspected(tmp_path, yolo_members() | {"data.yaml": yaml})
    assert index is None
    assert code in {finding.code for finding in report.findings if finding.action is Action.REJECTED}


def test_a_wrong_count_of_classes_is_told(tmp_path: Path) -> None:
    members = yolo_members()
    members["data.yaml"] = members["data.yaml"].replace(b"nc: 2", b"nc: 3")
    assert only(inspected(tmp_path, members)[1], "class_count_differs").severity == "warning"


@given(st.text(max_size=30))
def test_a_number_is_what_the_grammar_says_and_float_agrees(text: str) -> None:
    value = number(text)
    assert value is None or (text.isascii() and value == float(text))


@pytest.mark.parametrize("text", ["1", "-1.5", "+.5", "5.", "1e-3", "1E+9"])
def test_numbers(text: str) -> None:
    assert number(text) == float(text)


@pytest.mark.parametrize(
    "text", ["", ".", "e5", "nan", "inf", "1_0", "0x1", " 1", "1\n", "\u0661", "1e", "1" * 61]
)
def test_not_numbers(text: str) -> None:
    assert number(text) is None


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.binary(max_size=80), yaml=st.text(max_size=60))
@example(labels=b"\x1c", yaml="")  # a space for str.split, none for bytes.split
def test_any_bytes_in_labels_and_yaml_give_a_report(tmp_path: Path, labels: bytes, yaml: str) -> None:
    members = with_first(b"0 .5 .5 .5 .5\n" + labels)
    members["data.yaml"] += yaml.encode("utf-8", "replace")
    index, report = inspected(tmp_path, members)
    assert (index is not None) == report.valid
