"""An evaluation as a run: its files agree with each other and with pycocotools, and it says how far it is."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from detector.__main__ import main
from detector.data.records import Annotation, Category, DatasetIndex, ImageRecord
from detector.errors import EvaluationTooLarge, ResultsInvalid
from detector.evaluate import results
from detector.evaluate.coco import evaluate
from detector.evaluate.run import MOST_CLASSES, check_classes
from detector.events import ErrorEvent, EventReader, PhaseEvent, ProgressEvent

INDEX = DatasetIndex(
    "coco",
    [Category(7, "red"), Category(9, "green")],
    [
        ImageRecord(1, "a.png", "train", 64, 64, [Annotation(1, 7, (0, 0, 9, 9), 81)]),
        ImageRecord(4, "b.png", "val", 64, 64, [Annotation(2, 7, (8, 8, 40, 40), 1024)]),
        ImageRecord(5, "c.png", "val", 64, 64, [Annotation(3, 9, (0, 0, 20, 20), 400)]),
    ],
)
RIGHT = {"image_id": 4, "category_id": 7, "bbox": [8, 8, 32, 32], "score": 0.9}
WRONG = {"image_id": 5, "category_id": 7, "bbox": [0, 0, 20, 20], "score": 0.4}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    path = tmp_path / "index.json"
    path.write_bytes(msgspec.json.encode(INDEX))
    return path


def run(index: Path, detections: Any, *more: str) -> tuple[int, Path]:
    """Exit code and run directory."""
    file = index.with_name("detections.json")
    file.write_text(detections if isinstance(detections, str) else json.dumps(detections))
    folder = index.with_name("run")
    arguments = ["--index", str(index), "--detections", str(file), "--run", str(folder), *more]
    return main(["evaluate", *arguments]), folder


def faults(folder: Path) -> list[tuple[str, str]]:
    (error,) = [event for event in EventReader(folder).read() if isinstance(event, ErrorEvent)]
    return [(fault.pointer, fault.code) for fault in error.faults]


def test_the_files_agree_with_each_other_and_with_pycocotools(index: Path) -> None:
    code, folder = run(index, [RIGHT, WRONG], "--score-threshold", "0.3", "--precision", "0.4")
    assert code == 0
    result = json.loads((folder / "result.json").read_text())
    report = json.loads((folder / "artifacts/report.json").read_text())
    truth = json.loads((folder / "artifacts/ground_truth.json").read_text())
    images = [json.loads(line) for line in (folder / "artifacts/images.jsonl").read_text().splitlines()]
    assert result["metrics"] == report["bbox"]["metrics"] == evaluate(truth, [RIGHT, WRONG]).metrics
    assert result["metrics"]["AP"] == pytest.approx(0.5)
    assert [one["name"] for one in result["artifacts"]] == [
        "report.json",
        "ground_truth.json",
        "images.jsonl",
    ]
    assert (report["split"], report["images"], report["warnings"]) == ("val", 2, [])
    assert report["confusion"]["score_threshold"] == 0.3
    assert report["operating_points"]["precision"]["at_least"] == 0.4
    assert [one["id"] for one in images] == [4, 5]
    events = EventReader(folder).read()
    assert PhaseEvent(phase="evaluating") in events
    assert any(isinstance(event, ProgressEvent) and event.epoch is None for event in events)


def test_every_fault_of_the_results_has_its_pointer(index: Path) -> None:
    broken = [
        RIGHT | {"image_id": 1},
        RIGHT | {"category_id": "7"},
        RIGHT | {"score": "high"},
        RIGHT | {"bbox": [1, 2, 3]},
        {"image_id": 4, "category_id": 7},
    ]
    code, folder = run(index, broken)
    assert code == 1
    assert not (folder / "result.json").exists()
    assert faults(folder) == [
        ("/0/image_id", "unknown_image"),
        ("/1/category_id", "unknown_category"),
        ("/2/score", "invalid_score"),
        ("/3/bbox", "invalid_box"),
        ("/4", "missing_score"),
        ("/4", "missing_box"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "",
        "{}",
        "nul",
        '[{"image_id": 1e',
        '"' + "a" * 100,
        "\x00",
        "[1, NaN]",
        "[" + "9" * 9999,
    ],
)
def test_what_is_no_list_of_results_is_refused(index: Path, text: str) -> None:
    code, folder = run(index, text)
    (error,) = [event for event in EventReader(folder).read() if isinstance(event, ErrorEvent)]
    assert (code, error.code) == (1, "results_invalid")
    assert str(index.parent) not in error.message


def test_not_a_number_is_named_though_it_is_no_json(index: Path) -> None:
    text = json.dumps([RIGHT, RIGHT | {"score": float("nan")}, RIGHT | {"bbox": [0, 0, float("inf"), 1]}])
    assert "NaN" in text
    _, folder = run(index, text)
    assert faults(folder) == [("/1/score", "invalid_score"), ("/2/bbox", "invalid_box")]


def test_a_large_faulty_file_is_not_parsed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_MOST_FAULTY_BYTES", 10)
    path = tmp_path / "detections.json"
    path.write_text(json.dumps([RIGHT, RIGHT | {"score": "high"}, 3]))
    with pytest.raises(ResultsInvalid) as caught:
        results.read_detections(path)
    (finding,) = caught.value.findings
    assert (finding.location, finding.code) == ("detections#/1/score", "wrong_type")


def test_there_is_a_limit_of_results_and_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "detections.json"
    path.write_text(json.dumps([RIGHT] * 3))
    assert len(results.read_detections(path, most=3)) == 3
    with pytest.raises(EvaluationTooLarge, match="3 detections; at most 2"):
        results.read_detections(path, most=2)
    with pytest.raises(EvaluationTooLarge, match="2001 classes"):
        check_classes([Category(i, str(i)) for i in range(MOST_CLASSES + 1)])


def test_what_is_left_out_of_results_is_what_nobody_looks_at(tmp_path: Path) -> None:
    path = tmp_path / "detections.json"
    mask = {"counts": "a", "size": [1, 2]}
    path.write_text(json.dumps([RIGHT | {"id": 9, "area": 3, "segmentation": mask}]))
    assert results.read_detections(path) == [RIGHT | {"segmentation": mask}]


def test_a_split_that_is_not_there_names_those_that_are(index: Path) -> None:
    _, folder = run(index, [], "--split", "test")
    (error,) = [event for event in EventReader(folder).read() if isinstance(event, ErrorEvent)]
    assert "train, val" in error.message


@pytest.mark.parametrize("given", [[], ["--model"], ["--index"], ["--model", "--detections"]])
def test_one_way_to_evaluate_has_to_be_said(given: list[str], caplog: pytest.LogCaptureFixture) -> None:
    assert main(["evaluate", *(part for option in given for part in (option, "x"))]) == 1
    assert "Say what to evaluate" in caplog.text
