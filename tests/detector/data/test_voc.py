"""Pascal VOC: with lists of splits or folders, XML beside its image or apart."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.data.inspect import inspect
from detector.data.records import Action, DatasetIndex, Finding, Report
from tests.detector.data.builders import Members, jpeg, voc_members, voc_object, voc_xml, write_zip

FIRST = "VOC/Annotations/img_0.xml"


def inspected(tmp_path: Path, members: Members, **options: Any) -> tuple[DatasetIndex | None, Report]:
    return inspect(write_zip(tmp_path / "a.zip", members), **options)


def only(report: Report, code: str) -> Finding:
    (finding,) = [finding for finding in report.findings if finding.code == code]
    return finding


def with_first(xml: bytes) -> Members:
    return voc_members() | {FIRST: xml}


def test_image_sets_make_the_splits_and_classes_are_numbered_by_name(tmp_path: Path) -> None:
    index, report = inspected(tmp_path, voc_members())
    assert index is not None
    assert report.findings == []
    assert (report.format, index.splits()) == ("voc", {"train": 3, "val": 2})
    assert [(category.id, category.name) for category in index.categories] == [(1, "cat"), (2, "dog")]
    first = index.images[0]
    assert (first.file_name, first.width, first.height) == ("VOC/JPEGImages/img_0.jpg", 64, 48)
    assert [item.box for item in first.annotations] == [(4, 4, 24, 20), (30, 10, 50, 40)]
    assert [item.area for item in first.annotations] == [320, 600]
    ids = [item.id for image in index.images for item in image.annotations]
    assert ids == list(range(1, 11))


def test_folders_make_the_splits_where_xml_lies_beside_its_image(tmp_path: Path) -> None:
    members: Members = {}
    for seed, folder in enumerate(("train", "train", "test")):
        members[f"images/{folder}/IMG_{seed}.JPG"] = jpeg(seed)
        members[f"images/{folder}/IMG_{seed}.xml"] = voc_xml(f"IMG_{seed}.JPG", voc_object())
    index, report = inspected(tmp_path, members)
    assert index is not None
    assert report.findings == []
    assert index.splits() == {"train": 2, "test": 1}


def test_the_same_file_name_in_two_folders_is_two_images(tmp_path: Path) -> None:
    members: Members = {}
    for seed, folder in enumerate(("train", "val")):
        members[f"{folder}/images/a.jpg"] = jpeg(seed)
        members[f"{folder}/annotations/a.xml"] = voc_xml("a.jpg", voc_object())
    index, report = inspected(tmp_path, members)
    assert index is not None
    assert report.findings == []
    assert [(image.file_name, image.split) for image in index.images] == [
        ("train/images/a.jpg", "train"),
        ("val/images/a.jpg", "val"),
    ]


def test_without_splits_a_fifth_becomes_val_the_same_each_time(tmp_path: Path) -> None:
    members = voc_members(train=10, val=0, image_sets=False)
    index, report = inspected(tmp_path, members)
    again, _ = inspected(tmp_path, members)
    assert index is not None
    assert again is not None
    assert index.splits() == {"train": 8, "val": 2}
    assert [image.split for image in index.images] == [image.split for image in again.images]
    assert only(report, "split_made").severity == "warning"


def test_the_flags_of_an_object_are_kept(tmp_path: Path) -> None:
    flags = "<difficult>1</difficult><truncated>1</truncated><occluded>0</occluded>"
    index, _ = inspected(tmp_path, with_first(voc_xml("img_0.jpg", voc_object(extra=flags))))
    assert index is not None
    item = index.images[0].annotations[0]
    assert (item.difficult, item.truncated, item.occluded) == (True, True, False)


def test_an_image_without_objects_is_a_negative(tmp_path: Path) -> None:
    index, report = inspected(tmp_path, with_first(voc_xml("img_0.jpg")))
    assert index is not None
    assert report.findings == []
    assert report.summary["negatives"] == 1


def test_the_parts_of_an_object_are_not_objects(tmp_path: Path) -> None:
    part = voc_object(name="head", box=(1, 1, 5, 5)).replace("object>", "part>")
    index, report = inspected(tmp_path, with_first(voc_xml("img_0.jpg", voc_object(extra=part))))
    assert index is not None
    assert report.summary["annotations"] == 9
    assert [category.name for category in index.categories] == ["cat", "dog"]


def test_coordinates_may_be_fractions(tmp_path: Path) -> None:
    index, _ = inspected(
        tmp_path, with_first(voc_xml("img_0.jpg", voc_object(box=("1.5", " 2e0 ", 9.25, "+8"))))
    )
    assert index is not None
    assert index.images[0].annotations[0].box == (1.5, 2.0, 9.25, 8.0)


@pytest.mark.parametrize(
    ("box", "code", "line"),
    [
        ((5, 5, 5, 9), "zero_size_box", 6),
        ((9, 5, 5, 9), "negative_size_box", 6),
        (("nan", 5, 6, 9), "non_finite_box", 6),
        ((1, 5, "1e999", 9), "non_finite_box", 6),
        ((-20, 5, 20, 9), "box_exceeds_image", 6),
        ((80, 5, 90, 9), "box_outside_image", 6),
        ((1, 5, "1_0", 9), "wrong_type", 9),
        ((1, "\u0665", 5, 9), "wrong_type", 8),
        ((1, 5, "", 9), "wrong_type", 9),
    ],
)
def test_a_fault_of_one_object_is_pointed_to_by_its_line(
    tmp_path: Path, box: tuple[Any, ...], code: str, line: int
) -> None:
    report = inspected(tmp_path, with_first(voc_xml("img_0.jpg", voc_object(box=box) + voc_object())))[1]
    finding = only(report, code)
    assert (finding.location, finding.action) == (f"{FIRST}:{line}", Action.DROPPED)
    assert (report.summary["annotations"], report.summary["dropped"]) == (10, 1)
    assert report.valid
    assert not inspected(
        tmp_path, with_first(voc_xml("img_0.jpg", voc_object(box=box))), on_invalid="reject"
    )[1].valid


@pytest.mark.parametrize(
    ("thing", "code"),
    [
        ("<object><name>cat</name></object>", "missing_field"),
        ("<object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object>", "missing_field"),
        (voc_object(name=" "), "invalid_category_name"),
        (voc_object(name="x" * 300), "invalid_category_name"),
    ],
)
def test_an_object_that_lacks_something_is_left_out(tmp_path: Path, thing: str, code: str) -> None:
    report = inspected(tmp_path, with_first(voc_xml("img_0.jpg", thing + voc_object())))[1]
    assert only(report, code).location.startswith(f"{FIRST}:")
    assert report.summary["dropped"] == 1


BOMB = b'<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>'


@pytest.mark.parametrize(
    ("xml", "code", "line"),
    [
        (BOMB, "xml_dtd_forbidden", ":1"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "xml_dtd_forbidden", ":1"),
        (b"<annotation>\n<object>\n</annotation>", "invalid_xml", ":3"),
        (b"", "invalid_xml", ":1"),
        (b"<annotation>" + b"<a>" * 5000 + b"</a>" * 5000 + b"</annotation>", "xml_too_deep", ":1"),
        (b"<annotations/>", "invalid_xml", ":1"),
        (b'<?xml version="1.0" encoding="no-such"?><annotation/>', "invalid_xml", ""),
        (b"<annotation>" + b" " * 10_000_001 + b"</annotation>", "xml_too_large", ""),
    ],
)
def test_a_broken_or_hostile_file_costs_only_its_image(
    tmp_path: Path, xml: bytes, code: str, line: str
) -> None:
    members = with_first(xml)
    path = tmp_path / "a.zip"
    write_zip(path, members)
    if len(xml) > 1_000_000:
        import zipfile

        with zipfile.ZipFile(path, "w") as archive:  # stored, or its ratio would be refused first
            for name, data in members.items():
                archive.writestr(name, data)
    index, report = inspect(path)
    assert index is not None
    finding = only(report, code)
    assert finding.location.startswith(FIRST + line)
    assert finding.action is Action.DROPPED
    assert report.summary["images"] == 4
    assert [f.code for f in report.findings if f.severity == "error"] == [code]


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    members = voc_members()
    del members["VOC/JPEGImages/img_1.jpg"]
    finding = only(inspected(tmp_path, members)[1], "image_missing")
    assert finding.location == "VOC/Annotations/img_1.xml"
    assert "img_1.jpg" in finding.message


def test_an_image_is_found_by_its_file_name_where_its_stem_differs(tmp_path: Path) -> None:
    members = {"labels/1.xml": voc_xml("a.jpg", voc_object()), "pictures/A.JPG": jpeg()}
    index, _ = inspected(tmp_path, members)
    assert index is not None
    assert index.images[0].file_name == "pictures/A.JPG"


def test_what_the_lists_name_must_be_annotated(tmp_path: Path) -> None:
    members = voc_members()
    members["VOC/ImageSets/Main/train.txt"] += b"\nimg_9"
    finding = only(inspected(tmp_path, members)[1], "annotation_missing")
    assert finding.location == "VOC/ImageSets/Main/train.txt:4"


def test_what_no_list_names_is_left_out(tmp_path: Path) -> None:
    members = voc_members()
    members["VOC/ImageSets/Main/val.txt"] = b"img_3.jpg\n"
    index, report = inspected(tmp_path, members)
    assert index is not None
    assert index.splits() == {"train": 3, "val": 1}
    assert "1 file(s)" in only(report, "not_in_image_sets").message


def test_an_image_in_two_lists_stays_in_the_first(tmp_path: Path) -> None:
    members = voc_members()
    members["VOC/ImageSets/Main/val.txt"] += b"\nimg_0"
    index, report = inspected(tmp_path, members)
    assert index is not None
    assert index.splits() == {"train": 3, "val": 2}
    assert only(report, "image_in_two_splits").location == "VOC/ImageSets/Main/val.txt:3"


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=40), place=st.integers(0, 600), text=st.text(max_size=20))
def test_any_bytes_in_a_file_give_a_report(tmp_path: Path, noise: bytes, place: int, text: str) -> None:
    whole = voc_xml(
        "img_0.jpg", voc_object() + voc_object(box=(text.encode("utf-8", "replace").decode(), 1, 2, 3))
    )
    index, report = inspected(tmp_path, with_first(whole[:place] + noise + whole[place + len(noise) :]))
    assert (index is not None) == report.valid
