import json
import math
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from detector.__main__ import main
from detector.errors import ResultsInvalid
from detector.evaluate.evaluators import EVALUATORS
from detector.evaluate.report import full_report
from tests.detector.evaluate.builders import Results, Truth, dataset, found, random_case, shifted, thing

BOX = (100.0, 100.0, 200.0, 200.0)


def written(folder: Path, name: str, value: Any) -> str:
    path = folder / name
    path.write_text(json.dumps(value))
    return str(path)


@pytest.fixture(scope="module")
def case() -> tuple[Truth, Results]:
    return random_case(0)


@pytest.fixture(scope="module")
def report(case: tuple[Truth, Results]) -> dict[str, Any]:
    truth, detections = case
    return full_report(truth, detections, choose_on=random_case(1), candidates=detections)


def test_the_report_is_json_without_nan(report: dict[str, Any]) -> None:
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_report_has_every_measure(report: dict[str, Any], case: tuple[Truth, Results]) -> None:
    truth, detections = case
    assert list(report) == [
        "format",
        "evaluator",
        "images",
        "objects",
        "crowds",
        "detections",
        "classes",
        "bbox",
        "segm",
        "voc",
        "confusion",
        "thresholds",
        "operating_points",
        "consistency",
        "suppression",
        "slices",
    ]
    assert report["evaluator"] == {"name": "harmonicdet", "version": version("harmonicdet")}
    assert (report["images"], report["detections"]) == (12, len(detections))
    assert report["objects"] + report["crowds"] == len(truth["annotations"])
    assert len(report["bbox"]["metrics"]) == 12
    assert list(report["bbox"]["AP_by_iou"])[::9] == ["0.50", "0.95"]
    curves = report["bbox"]["curves"]
    assert list(curves["per_class"][0]["by_iou"]) == ["0.50", "0.75", "0.90"]
    assert len(curves["per_class"][0]["by_iou"]["0.50"]["precision"]) == len(curves["recall"]) == 101
    assert len(report["thresholds"]["all"]["f1"]) == len(report["thresholds"]["thresholds"]) == 101
    assert report["segm"] is None
    assert set(report["voc"]) == {"11_points", "area"}


def test_the_parts_agree_with_each_other(report: dict[str, Any]) -> None:
    assert report["consistency"]["ap"] == pytest.approx(report["bbox"]["metrics"]["AP"])
    assert report["confusion"]["score_threshold"] == report["bbox"]["score_threshold"]
    assert report["suppression"]["with_candidate"] == report["suppression"]["kept_best"]
    chosen = report["operating_points"]["best_f1"]["all"]
    assert chosen["chosen"]["threshold"] == chosen["reported"]["threshold"]
    assert chosen["reported"]["objects"] == report["objects"]
    assert report["operating_points"]["chosen_on"] == "other images"


def test_chosen_where_reported_is_said(case: tuple[Truth, Results]) -> None:
    points = full_report(*case)["operating_points"]
    assert points["chosen_on"] == "the same images"
    for point in points["best_f1"]["per_class"]:
        assert point["chosen"] == point["reported"]


def test_points_chosen_here_are_reported_elsewhere(
    case: tuple[Truth, Results], report: dict[str, Any]
) -> None:
    """The other way round of choosing elsewhere and reporting here."""
    elsewhere = random_case(1)
    assert full_report(*elsewhere, report_on=case)["operating_points"] == report["operating_points"]
    with pytest.raises(ValueError, match="exclude"):
        full_report(*case, choose_on=elsewhere, report_on=elsewhere)


def test_no_detections_and_no_objects_make_a_report(case: tuple[Truth, Results]) -> None:
    truth, detections = case
    for empty in (full_report(truth, []), full_report({**truth, "annotations": []}, detections)):
        json.dumps(empty, allow_nan=False)
        assert empty["bbox"]["metrics"]["AP"] in (0.0, None)
        assert empty["operating_points"]["best_f1"]["all"]["chosen"] is None
    bare = full_report({"images": [], "annotations": [], "categories": []}, [])
    assert bare["bbox"]["metrics"]["AP"] is None
    assert bare["confusion"]["matrix"] == [[0]]


def test_masks_make_a_part_of_their_own() -> None:
    rle = {"size": [480, 640], "counts": [100, 50, 640 * 480 - 150]}
    truth = dataset(thing(0, (0, 100, 1, 150), segmentation=rle))
    part = full_report(truth, [found(0, (0, 100, 1, 150), 0.9) | {"segmentation": rle}])["segm"]
    assert part["metrics"]["AP"] == pytest.approx(1.0)
    assert part["consistency"]["matched"] == 1
    assert {one["group"] for one in part["slices"]} == {"size", "elongation", "fill"}


def test_masks_are_measured_by_themselves() -> None:
    """The right box around the wrong mask."""
    there = {"size": [480, 640], "counts": [100, 50, 640 * 480 - 150]}
    elsewhere = {"size": [480, 640], "counts": [200, 50, 640 * 480 - 250]}
    truth = dataset(thing(0, (0, 100, 1, 150), segmentation=there))
    report = full_report(truth, [found(0, (0, 100, 1, 150), 0.9) | {"segmentation": elsewhere}])
    assert report["bbox"]["metrics"]["AP"] == pytest.approx(1.0)
    assert report["segm"]["metrics"]["AP"] == 0.0


def test_the_report_refuses_what_cannot_be_measured() -> None:
    with pytest.raises(ResultsInvalid, match="no finite number"):
        full_report(dataset(thing(0, BOX)), [found(0, BOX, math.nan)])


# --- the command line ---


def test_evaluate_measures_any_coco_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: tuple[Truth, Results]
) -> None:
    truth, detections = case
    arguments = ["--ground-truth", written(tmp_path, "gt.json", truth)]
    arguments += ["--detections", written(tmp_path, "dets.json", detections)]
    assert main(["evaluate", *arguments, "--report", str(tmp_path / "report.json")]) == 0
    said = json.loads(capsys.readouterr().out)
    report = json.loads((tmp_path / "report.json").read_text())
    assert said["metrics"] == report["bbox"]["metrics"]
    assert [one["id"] for one in said["per_class"]] == [1, 2]
    assert report["operating_points"]["chosen_on"] == "the same images"


def test_pycocotools_itself_gives_the_same_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: tuple[Truth, Results]
) -> None:
    truth, detections = case
    arguments = ["--ground-truth", written(tmp_path, "gt.json", truth)]
    arguments += ["--detections", written(tmp_path, "dets.json", detections)]
    said, reports = [], []
    for evaluator in EVALUATORS:
        report = tmp_path / f"{evaluator}.json"
        assert main(["evaluate", *arguments, "--report", str(report), "--evaluator", evaluator]) == 0
        said.append(capsys.readouterr().out)
        reports.append(json.loads(report.read_text()))
    assert said[0] == said[1]
    assert [report.pop("evaluator")["name"] for report in reports] == list(EVALUATORS)
    assert reports[0] == reports[1]


def test_evaluate_chooses_on_another_split_and_follows_candidates(tmp_path: Path) -> None:
    worse, best = found(0, shifted(BOX, 0.7), 0.9), found(0, BOX, 0.5)
    files = {
        "gt": dataset(thing(0, BOX)),
        "dets": [worse],
        "candidates": [worse, best],
        "other": [found(0, BOX, 0.4)],
    }
    at = {name: written(tmp_path, f"{name}.json", value) for name, value in files.items()}
    arguments = ["--ground-truth", at["gt"], "--detections", at["dets"], "--candidates", at["candidates"]]
    arguments += ["--choose-on", at["gt"], at["other"], "--report", str(tmp_path / "report.json")]
    assert main(["evaluate", *arguments, "--voc-inclusive"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["suppression"]["lost_to_worse"] == 1
    point = report["operating_points"]["best_f1"]["per_class"][0]
    assert (point["chosen"]["threshold"], point["reported"]["hits"]) == (0.4, 1)
    assert report["voc"]["area"]["inclusive"] is True


def test_evaluate_says_what_is_wrong_with_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arguments = ["--ground-truth", written(tmp_path, "gt.json", dataset(thing(0, BOX)))]
    arguments += ["--detections", written(tmp_path, "dets.json", [{"image_id": 99, "category_id": 1}])]
    assert main(["evaluate", *arguments]) == 1
    assert "results_invalid" in caplog.text
    assert "detections#/0/image_id: The ground truth has no image 99." in caplog.text


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--model", "m"],
        ["--ground-truth", "g"],
        ["--detections", "d"],
        ["--model", "m", "--data", "d", "--ground-truth", "g", "--detections", "d"],
    ],
)
def test_evaluate_needs_a_model_or_a_pair_of_files(
    arguments: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["evaluate", *arguments]) == 1
    assert "config_invalid" in caplog.text


def test_foreign_results_are_measured_without_torch() -> None:
    code = "import sys, detector.evaluate.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
