"""`python -m detector compare`: what it writes, and what it says of input that it cannot use."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.__main__ import main
from detector.compare.result import head
from detector.evaluate.report import full_report
from detector.events import ErrorEvent, EventReader, NoticeEvent, PhaseEvent, ProgressEvent
from tests.detector.compare.builders import changed, truth, write_comparison

ARMS = {"plain": (8.0, 8.0, 8.0), "sharp": (3.0, 3.0, 3.0)}


def run(path: Path) -> tuple[int, Path]:
    """Exit code and run directory."""
    folder = path.with_name("run")
    return main(["compare", "--comparison", str(path), "--run", str(folder)]), folder


def error(folder: Path) -> ErrorEvent:
    (one,) = [event for event in EventReader(folder).read() if isinstance(event, ErrorEvent)]
    assert not (folder / "result.json").exists()
    return one


def test_a_comparison_is_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, folder = run(write_comparison(tmp_path, ARMS))
    assert code == 0
    result = json.loads((folder / "result.json").read_text())
    whole = json.loads((folder / "artifacts/comparison.json").read_text())
    assert result["comparison"] == head(whole) == json.loads(capsys.readouterr().out)
    assert result["comparison"]["verdict"] == {"sharp": "better"}
    for one in result["artifacts"]:
        data = (folder / one["path"]).read_bytes()
        assert (one["sha256"], one["bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
    events = EventReader(folder).read()
    assert PhaseEvent(phase="evaluating") in events
    steps = [(one.step, one.steps) for one in events if isinstance(one, ProgressEvent)]
    assert steps == [(k, 6) for k in range(7)]
    assert not [one for one in events if isinstance(one, NoticeEvent)]


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    path = write_comparison(tmp_path, ARMS)
    written = []
    for _ in range(2):
        _, folder = run(path)
        written.append((folder / "artifacts/comparison.json").read_bytes())
    assert written[0] == written[1]


def _without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.pop(key)


def _set(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.update({key: value})


def _first_run(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["arms"][0]["runs"][0].update(values)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without("baseline"), "baseline: Field required"),
        (_set("baseline", "best"), "'best' is none of the arms"),
        (_set("more", 1), "more: Extra inputs are not permitted"),
        (_set("confidence", 1.0), "confidence: Input should be less than or equal to 0.999"),
        (_set("resamples", 10), "resamples: Input should be greater than or equal to 100"),
        (_set("arms", []), "arms: List should have at least 2 items"),
        (_first_run(seed=2), "seed 2 is there twice in arm 'plain'"),
        (_first_run(folder="plain/2"), "two runs have the same folder, plain/2"),
        (_first_run(folder=None), "either a folder or a reason why it failed"),
        (_first_run(failed="out_of_memory"), "either a folder or a reason why it failed"),
        (lambda content: content["arms"][1].update(name="plain"), "two arms are called 'plain'"),
        (_first_run(folder="elsewhere"), "arm 'plain', seed 1: ground_truth.json cannot be read"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    code, folder = run(changed(write_comparison(tmp_path, ARMS), change))
    assert code == 1
    assert error(folder).code == "comparison_invalid"
    assert said in error(folder).message


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("detections.json", "[{", "arm 'plain', seed 1: detections.json is no JSON"),
        (
            "detections.json",
            '[{"image_id": 99, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]',
            "The ground truth has no image 99",
        ),
        ("ground_truth.json", '{"images": []}', "The ground truth is no COCO dataset"),
        (
            "ground_truth.json",
            '{"images": [], "annotations": [], "categories": []}',
            "The ground truth has no image",
        ),
        (
            "report.json",
            '{"images": 3}',
            "report.json is none of this program: Object missing required field",
        ),
        ("report.json", "[]", "report.json is none of this program: Expected `object`"),
        ("manifest.json", "{", "manifest.json is none of this program"),
        ("manifest.json", '{"data_order_sha256": []}', "Expected `str | null`, got `array`"),
        ("metrics.jsonl", '{"split": "train"}', "metrics.jsonl cannot be read"),
    ],
)
def test_a_run_that_cannot_be_measured_is_named(tmp_path: Path, file: str, content: str, said: str) -> None:
    path = write_comparison(tmp_path, ARMS)
    (tmp_path / "plain/1" / file).write_text(content)
    code, folder = run(path)
    assert code == 1
    assert error(folder).message.startswith("arm 'plain', seed 1: ")
    assert said in error(folder).message


def test_runs_on_different_ground_truth_are_refused(tmp_path: Path) -> None:
    path = write_comparison(tmp_path, ARMS)
    file = tmp_path / "sharp/2/ground_truth.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["bbox"][0] += 1
    file.write_text(json.dumps(content))
    code, folder = run(path)
    assert code == 1
    assert "arm 'sharp', seed 2: It was measured on other images or objects" in error(folder).message


def test_reports_about_other_slices_are_refused(tmp_path: Path) -> None:
    path = write_comparison(tmp_path, ARMS)
    found = json.loads((tmp_path / "sharp/2/detections.json").read_text())
    report = full_report(truth(), found)
    report["slices"].pop()
    (tmp_path / "sharp/2/report.json").write_text(json.dumps(report))
    code, folder = run(path)
    assert code == 1
    assert error(folder).message.startswith("arm 'sharp', seed 2: Its report is about other images or slices")


def test_a_histogram_must_fit_its_edges(tmp_path: Path) -> None:
    path = write_comparison(tmp_path, ARMS)
    report = full_report(truth(), [])
    report["consistency"]["histogram"].pop()
    (tmp_path / "plain/1/report.json").write_text(json.dumps(report))
    code, folder = run(path)
    assert code == 1
    assert "histogram does not fit its edges" in error(folder).message


def test_without_any_training_there_is_nothing_to_compare(tmp_path: Path) -> None:
    def fail(content: dict[str, Any]) -> None:
        for arm in content["arms"]:
            arm["runs"] = [{"seed": 1, "failed": "out_of_memory"}]

    code, folder = run(changed(write_comparison(tmp_path, ARMS), fail))
    assert code == 1
    assert "No training of this comparison has succeeded" in error(folder).message


def test_a_run_directory_of_a_training_is_taken_as_it_is(tmp_path: Path) -> None:
    path = write_comparison(tmp_path, ARMS)
    _, folder = run(path)
    expected = json.loads((folder / "artifacts/comparison.json").read_text())
    for one in tmp_path.glob("*/[123]"):
        rows = [json.loads(line) for line in (one / "metrics.jsonl").read_text().splitlines()]
        (one / "metrics.jsonl").unlink()
        events = ({"type": "metric", **row, "values": row.pop("metrics")} for row in rows)
        lines = "".join(json.dumps(event) + "\n" for event in events)
        (one / "artifacts").mkdir()
        for file in list(one.glob("*.json")):
            file.rename(one / "artifacts" / file.name)
        (one / "events.jsonl").write_text(lines)
    code, folder = run(path)
    assert code == 0
    assert json.loads((folder / "artifacts/comparison.json").read_text()) == expected
