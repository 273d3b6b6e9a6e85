"""An inspection: which layout, which splits, and what its report counts."""

import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from detector.data import index_file, pictures
from detector.data.archive import Archive
from detector.data.findings import Findings
from detector.data.inspect import SplitOptions, inspect
from detector.data.records import Action, DatasetIndex, Finding, Report
from detector.errors import ConfigInvalid
from detector.images import decode
from tests.detector.data.builders import (
    Members,
    coco_members,
    encoded,
    jpeg,
    picture,
    voc_members,
    write_zip,
    yolo_members,
)


def inspected(tmp_path: Path, members: Members, **options: Any) -> tuple[DatasetIndex | None, Report]:
    return inspect(write_zip(tmp_path / "a.zip", members), **options)


def only(report: Report, code: str) -> Finding:
    (finding,) = [finding for finding in report.findings if finding.code == code]
    return finding


@pytest.mark.parametrize(
    ("layout", "members"), [("coco", coco_members()), ("voc", voc_members()), ("yolo", yolo_members())]
)
def test_each_layout_is_recognised_by_its_content(tmp_path: Path, layout: str, members: Members) -> None:
    nested = {f"some/folder/{name}": data for name, data in members.items()}
    for tree in (members, nested):
        index, report = inspected(tmp_path, tree)
        assert index is not None
        assert (report.format, index.format) == (layout, layout)
        assert report.findings == []
        assert report.summary["annotations"] == report.summary["used"] == 10
        assert list(report.summary["splits"]) == ["train", "val"]


def test_the_index_and_the_report_survive_being_written(tmp_path: Path) -> None:
    index, report = inspected(tmp_path, coco_members(edit=lambda d: d["annotations"].append(None)))
    assert index is not None
    assert index_file.decode(index_file.encode(index)) == index
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def test_the_summary_counts_what_was_used_fixed_and_dropped(tmp_path: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["annotations"][0]["bbox"] = [0, 0, 0, 0]
        document["annotations"][1]["bbox"] = [60, 40, 40, 40]
        document["annotations"][2]["image_id"] = 3

    _, report = inspected(tmp_path, coco_members(edit=edit), on_invalid="fix")
    summary = report.summary
    assert (summary["annotations"], summary["used"], summary["fixed"], summary["dropped"]) == (10, 9, 1, 1)
    assert summary["categories"] == [
        {"id": 1, "name": "cat", "annotations": 4, "images": 3},
        {"id": 7, "name": "dog", "annotations": 5, "images": 5},
    ]
    assert summary["findings"] == {"box_exceeds_image": 1, "duplicate_annotation": 1, "zero_size_box": 1}


def test_a_layout_may_be_named(tmp_path: Path) -> None:
    members = coco_members() | voc_members()
    assert only(inspected(tmp_path, members)[1], "several_formats").message.startswith("The archive has voc")
    _, report = inspected(tmp_path, members, format="voc")
    assert (report.format, report.summary["images"]) == ("voc", 5)
    _, report = inspected(tmp_path, coco_members(), format="yolo")
    assert "YOLO" in only(report, "no_annotations").message


@pytest.mark.parametrize("members", [{"readme.txt": b"hello"}, {"a.jpg": jpeg()}, {"a.json": b"{}"}])
def test_an_archive_without_annotations_is_invalid(tmp_path: Path, members: Members) -> None:
    index, report = inspected(tmp_path, members)
    assert index is None
    assert (report.valid, report.format) == (False, None)
    assert only(report, "no_annotations").action is Action.REJECTED


def test_a_refused_archive_is_a_report_with_every_reason(tmp_path: Path) -> None:
    members = coco_members() | {"/etc/passwd": b"x", "a/../../b": b"y"}
    index, report = inspected(tmp_path, members)
    assert index is None
    assert [(finding.code, finding.location) for finding in report.findings] == [
        ("archive_absolute_path", "/etc/passwd"),
        ("archive_path_traversal", "a/../../b"),
    ]
    (tmp_path / "b.zip").write_bytes(b"no zip")
    assert only(inspect(tmp_path / "b.zip")[1], "archive_unreadable").location == "archive"


BROKEN = [
    ("image_corrupt", jpeg()[:-200]),
    ("image_unreadable", b"a text file"),
    ("image_unreadable", encoded(picture(), "GIF")),
]


@pytest.mark.parametrize(("code", "data"), BROKEN)
def test_a_broken_image_is_left_out_or_rejects(tmp_path: Path, code: str, data: bytes) -> None:
    members = coco_members() | {"train/001.jpg": data}
    index, report = inspected(tmp_path, members)
    assert index is not None
    finding = only(report, code)
    assert (finding.location, finding.action) == ("train/001.jpg", Action.DROPPED)
    assert (report.summary["images"], report.summary["dropped"]) == (4, 2)
    assert not inspected(tmp_path, members, on_invalid="reject")[1].valid


def test_without_strict_decoding_only_the_header_is_read(tmp_path: Path) -> None:
    members = coco_members() | {"train/001.jpg": jpeg()[:-200]}
    assert inspected(tmp_path, members, strict_decode=False)[1].findings == []


def test_a_member_with_a_wrong_checksum_costs_only_its_image(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", coco_members())
    data = bytearray(path.read_bytes())
    place = data.index(b"train/001.jpg") + 200
    data[place] ^= 0xFF
    path.write_bytes(data)
    index, report = inspect(path)
    assert index is not None
    assert only(report, "archive_member_corrupt").location == "train/001.jpg"


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda d: d.update(annotations=[]), "no_annotations"),
        (lambda d: [a.update(bbox=[1, 1, 0, 0]) for a in d["annotations"]], "no_usable_annotation"),
        (lambda d: [i.update(file_name="gone.jpg") for i in d["images"]], "no_usable_image"),
        (lambda d: d.update(images=[], annotations=[]), "no_usable_image"),
    ],
)
def test_a_dataset_that_nothing_can_be_learnt_from_is_invalid(tmp_path: Path, edit: Any, code: str) -> None:
    members = coco_members(val=0, edit=edit)
    del members["annotations/instances_val.json"]
    index, report = inspected(tmp_path, members)
    assert index is None
    assert only(report, code).action is Action.REJECTED


def test_the_same_image_twice_is_told(tmp_path: Path) -> None:
    members = coco_members()
    members["train/001.jpg"] = members["train/000.jpg"]
    members["val/004.jpg"] = members["val/003.jpg"] = members["train/002.jpg"]
    _, report = inspected(tmp_path, members)
    assert report.valid
    assert only(report, "duplicate_image").location == "train/001.jpg"
    across = [finding.location for finding in report.findings if finding.code == "image_in_two_splits"]
    assert across == ["val/003.jpg", "val/004.jpg"]


def test_images_of_one_size_and_checksum_are_told_apart_by_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Archive, "size_and_crc", lambda *_: (1, 1))
    members = coco_members()
    assert not inspected(tmp_path, members)[1].findings
    members["train/001.jpg"] = members["train/000.jpg"]
    assert only(inspected(tmp_path, members)[1], "duplicate_image").location == "train/001.jpg"


def test_a_category_without_boxes_is_told(tmp_path: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["categories"].append({"id": 9, "name": "bird"})

    assert (
        "'bird' (id 9)"
        in only(inspected(tmp_path, coco_members(edit=edit))[1], "category_without_boxes").message
    )


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.5, 0.99])
def test_the_share_of_val_is_as_asked(tmp_path: Path, fraction: float) -> None:
    members = voc_members(train=10, val=0, image_sets=False)
    index, _ = inspected(tmp_path, members, split=SplitOptions(val_fraction=fraction))
    assert index is not None
    assert index.splits().get("val", 0) == {0.0: 0, 0.2: 2, 0.5: 5, 0.99: 9}[fraction]


def test_another_seed_divides_in_another_way(tmp_path: Path) -> None:
    members = voc_members(train=12, val=0, image_sets=False)
    divisions = set()
    for seed in range(5):
        index, _ = inspected(tmp_path, members, split=SplitOptions(0.5, seed))
        assert index is not None
        divisions.add(tuple(image.split for image in index.images))
    assert len(divisions) > 1


def test_a_train_split_alone_is_divided_too(tmp_path: Path) -> None:
    members = coco_members(train=5, val=1)
    del members["annotations/instances_val.json"], members["val/005.jpg"]
    index, report = inspected(tmp_path, members)
    assert index is not None
    assert index.splits() == {"train": 4, "val": 1}
    assert "only a train split" in only(report, "split_made").message


def test_images_of_no_split_join_train_when_others_have_one(tmp_path: Path) -> None:
    members = coco_members()
    members["annotations/more.json"] = members.pop("annotations/instances_train.json")
    members["annotations/val.json"] = members.pop("annotations/instances_val.json")
    for number in range(3):
        members[f"more/00{number}.jpg"] = members.pop(f"train/00{number}.jpg")
    index, report = inspected(tmp_path, members)
    assert index is not None
    assert index.splits() == {"train": 3, "val": 2}
    assert "3 image(s)" in only(report, "split_missing").message


@pytest.mark.parametrize("options", [{"format": "csv"}, {"on_invalid": "ignore"}])
def test_options_that_do_not_exist_are_refused(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(ConfigInvalid, match="must be one of"):
        inspected(tmp_path, coco_members(), **options)


@pytest.mark.parametrize("options", [{"val_fraction": 1.0}, {"val_fraction": "0.2"}, {"seed": 1.5}])
def test_split_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigInvalid, match=next(iter(options))):
        SplitOptions(**options)


def test_findings_beyond_the_cap_are_counted_and_the_worst_are_kept() -> None:
    findings = Findings(most_kept=3)
    for number in range(10):
        findings.warn("w", str(number), "")
        findings.drop("e", str(number), "")
    findings.reject("r", "0", "")
    assert findings.total == 21
    assert [finding.code for finding in findings.kept()] == ["r", "e", "e"]


def test_foreign_names_in_a_report_can_be_shown_and_stored() -> None:
    findings = Findings()
    findings.warn("w", "a\0b\ud800" + "x" * 1000, "line\nbreak \x1b[31m")
    (finding,) = findings.kept()
    assert finding.location.startswith("a\\x00b\\ud800xxx")
    assert len(finding.location) < 520
    assert finding.message == "line\\nbreak \\x1b[31m"


def test_images_are_decoded_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def counted(data: bytes, *, max_pixels: int) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.001)
        with lock:
            now -= 1
        return decode(data, max_pixels=max_pixels)

    monkeypatch.setattr(pictures, "decode", counted)
    inspected(tmp_path, coco_members(train=60, val=2))
    assert 1 <= most <= 8
