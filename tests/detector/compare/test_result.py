"""What a comparison says: of equal arms, of different ones, of too few seeds, of runs that are missing."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from detector.compare.result import PRIMARY, compare
from detector.compare.specification import read_specification
from detector.evaluate.coco import METRICS, evaluate
from detector.evaluate.report import full_report
from tests.detector.compare.builders import changed, detections, truth, write_comparison


def compared(path: Path) -> dict[str, Any]:
    return compare(read_specification(path), path.parent)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A clearly better arm, and one like the baseline."""
    folder = tmp_path_factory.mktemp("comparison")
    blurs = {"plain": (8, 8, 8, 8), "sharp": (3, 3, 3, 3), "alike": (8, 8, 8, 8)}
    return compared(write_comparison(folder, blurs))


def test_equal_arms_differ_by_exactly_0_and_are_inconclusive(tmp_path: Path) -> None:
    result = compared(write_comparison(tmp_path, {"one": (5, 6, 7), "other": (5, 6, 7)}, same=True))
    assert result["verdict"] == {"other": "inconclusive"}
    (difference,) = result["differences"]
    for name in METRICS:
        one = difference["metrics"][name]
        assert one["mean"] == 0
        assert one["per_seed"] == [0, 0, 0]
        for interval in ("interval_over_seeds", "interval_over_images", "interval"):
            assert one[interval] == [0, 0]
        assert one["verdict"] == "inconclusive"
    assert "Arm 'other' found exactly the same as 'one', with every seed." in result["warnings"]
    assert result["paired"]["data_order"] is True
    assert result["paired"]["initial_weights"] is True


def test_a_clear_difference_is_found_in_either_direction(result: dict[str, Any], tmp_path: Path) -> None:
    assert result["verdict"] == {"sharp": "better", "alike": "inconclusive"}
    turned = compared(write_comparison(tmp_path, {"sharp": (3, 3, 3), "plain": (8, 8, 8)}))
    assert turned["verdict"] == {"plain": "worse"}


def test_means_and_intervals_are_those_of_the_runs(result: dict[str, Any]) -> None:
    plain = [evaluate(truth(), detections(truth(), seed, 8)).metrics for seed in (1, 2, 3, 4)]
    sharp = [evaluate(truth(), detections(truth(), 100 + seed, 3)).metrics for seed in (1, 2, 3, 4)]
    for name in METRICS:
        values = [float(one[name] or 0) for one in plain]
        assert result["arms"][0]["mean"][name] == pytest.approx(np.mean(values), rel=1e-12)
        assert result["arms"][0]["sd"][name] == pytest.approx(np.std(values, ddof=1), rel=1e-12)
        others = [float(one[name] or 0) for one in sharp]
        expected = stats.ttest_rel(others, values).confidence_interval(0.95)
        told = result["differences"][0]["metrics"][name]
        assert told["interval_over_seeds"] == pytest.approx([expected.low, expected.high], rel=1e-9)
        assert told["per_seed"] == pytest.approx(np.subtract(others, values), abs=1e-12)
        low, high = told["interval_over_images"]
        assert low - 1e-12 <= told["mean"] <= high + 1e-12


def test_slices_and_diagnostics_are_those_of_the_report(result: dict[str, Any]) -> None:
    reports = [full_report(truth(), detections(truth(), seed, 8)) for seed in (1, 2, 3, 4)]
    arm = result["arms"][0]
    spearman = [one["consistency"]["spearman"] for one in reports]
    assert arm["consistency"]["spearman"]["mean"] == pytest.approx(np.mean(spearman))
    for k, one in enumerate(reports[0]["slices"]):
        assert (arm["per_slice"][k]["group"], arm["per_slice"][k]["name"]) == (one["group"], one["name"])
        values = [report["slices"][k]["AP"] for report in reports]
        assert arm["per_slice"][k]["AP"]["mean"] == pytest.approx(np.mean(values))
    assert arm["per_class"][0]["AP"]["mean"] == pytest.approx(
        np.mean([one["bbox"]["per_class"][0]["AP"] for one in reports])
    )


def test_what_suppression_costs_is_of_the_report(tmp_path: Path) -> None:
    path = write_comparison(tmp_path, {"plain": (8, 8, 8), "sharp": (3, 3, 3)})
    assert compared(path)["arms"][0]["consistency"]["lost_to_worse"]["mean"] is None
    for folder in tmp_path.glob("*/[123]"):
        found = json.loads((folder / "detections.json").read_text())
        report = full_report(truth(), found, candidates=found)
        report["suppression"] |= {"with_candidate": 40, "lost_to_worse": 3 * int(folder.name)}
        (folder / "report.json").write_text(json.dumps(report))
    result = compared(path)
    assert result["arms"][0]["consistency"]["lost_to_worse"]["mean"] == pytest.approx(6 / 40)
    assert result["differences"][0]["consistency"]["lost_to_worse"]["mean"] == 0


def test_several_claims_are_each_made_at_a_higher_confidence(result: dict[str, Any]) -> None:
    assert result["claims"] == 2
    for one in result["differences"]:
        assert one["decided_by"]["metric"] == PRIMARY
        assert one["decided_by"]["confidence"] == pytest.approx(0.975)
        wide, plain = one["decided_by"]["interval_over_seeds"], one["metrics"][PRIMARY]["interval_over_seeds"]
        factor = stats.t.ppf(0.9875, 3) / stats.t.ppf(0.975, 3)
        assert (wide[1] - wide[0]) / (plain[1] - plain[0]) == pytest.approx(factor)


def test_under_3_seeds_there_is_no_verdict_but_everything_else(tmp_path: Path) -> None:
    result = compared(write_comparison(tmp_path, {"plain": (8, 8), "sharp": (3, 3)}))
    assert result["verdict"] == {"sharp": "refused"}
    assert "at least 3 seeds" in result["reason"]
    told = result["differences"][0]["metrics"]["AP"]
    assert told["mean"] > 0
    assert told["verdict"] == "refused"
    assert result["differences"][0]["decided_by"]["interval"] is not None


def test_one_seed_has_no_interval_over_seeds(tmp_path: Path) -> None:
    result = compared(write_comparison(tmp_path, {"plain": (8,), "sharp": (3,)}))
    told = result["differences"][0]["metrics"]["AP"]
    assert told["interval_over_seeds"] is told["interval"] is told["sd"] is None
    assert told["interval_over_images"][0] > 0
    assert result["verdict"] == {"sharp": "refused"}


def test_a_failed_training_leaves_its_seed_out_for_every_arm(tmp_path: Path) -> None:
    path = write_comparison(tmp_path, {"plain": (8, 8, 8, 8), "sharp": (3, 3, 3)})

    def fail(content: dict[str, Any]) -> None:
        content["arms"][1]["runs"][1] = {"seed": 2, "job": "job_x", "failed": "out_of_memory"}

    result = compared(changed(path, fail))
    assert result["seeds"] == [1, 3]
    assert result["seeds_left_out"] == [
        {"seed": 2, "lacking": {"sharp": "out_of_memory"}},
        {"seed": 4, "lacking": {"sharp": "not trained"}},
    ]
    assert result["verdict"] == {"sharp": "refused"}
    assert [run["used"] for run in result["arms"][0]["runs"]] == [True, False, True, False]
    assert result["arms"][1]["runs"][1] == {
        "seed": 2,
        "job": "job_x",
        "failed": "out_of_memory",
        "used": False,
    }
    assert "Seed 2 is left out for every arm" in result["warnings"][0]


def test_an_arm_whose_trainings_all_failed_is_refused_and_the_other_told(tmp_path: Path) -> None:
    path = write_comparison(tmp_path, {"plain": (8, 8, 8), "sharp": (3, 3, 3)})

    def fail(content: dict[str, Any]) -> None:
        content["arms"][1]["runs"] = [{"seed": seed, "failed": "non_finite_loss"} for seed in (1, 2, 3)]

    result = compared(changed(path, fail))
    assert result["seeds"] == []
    assert result["verdict"] == {"sharp": "refused"}
    assert result["differences"] == []
    assert result["arms"][0]["runs"][0]["metrics"]["AP"] > 0


def test_whether_trainings_are_paired_is_told_by_their_manifests(tmp_path: Path) -> None:
    path = write_comparison(tmp_path, {"plain": (8, 8, 8), "sharp": (3, 3, 3)})
    manifest = tmp_path / "sharp/2/manifest.json"
    manifest.write_text(manifest.read_text().replace("b2", "other weights"))
    result = compared(path)
    assert (result["paired"]["data_order"], result["paired"]["initial_weights"]) == (True, False)
    assert any("began with the same weights" in one for one in result["warnings"])
    (tmp_path / "sharp/3/manifest.json").unlink()
    assert compared(path)["paired"]["data_order"] is None


def test_seeds_without_an_effect_are_told(tmp_path: Path) -> None:
    path = write_comparison(tmp_path, {"plain": (8, 8, 8), "sharp": (3, 3, 3)})
    for seed in (2, 3):
        (tmp_path / f"sharp/{seed}/detections.json").write_bytes(
            (tmp_path / "sharp/1/detections.json").read_bytes()
        )
    assert any("no independent trainings" in one for one in compared(path)["warnings"])


def test_what_no_image_has_is_null(result: dict[str, Any], tmp_path: Path) -> None:
    path = write_comparison(tmp_path, {"plain": (8, 8, 8), "sharp": (3, 3, 3)})
    for file in tmp_path.glob("*/*/ground_truth.json"):
        content = json.loads(file.read_text())
        for one in content["annotations"]:
            one["area"] = 2000.0
        file.write_text(json.dumps(content))
    told = compared(path)["differences"][0]["metrics"]["AP_small"]
    assert told["mean"] is told["interval"] is told["verdict"] is None
    assert told["resamples"] == 0
    assert not any(math.isnan(one) for one in _numbers(result))


def _numbers(value: Any) -> list[float]:
    match value:
        case dict():
            return [one for part in value.values() for one in _numbers(part)]
        case list():
            return [one for part in value for one in _numbers(part)]
        case float():
            return [value]
    return []


def test_a_class_that_no_training_finds_is_named(tmp_path: Path) -> None:
    path = write_comparison(tmp_path, {"plain": (8, 8, 8), "sharp": (3, 3, 3)})
    assert not any("No training finds" in one for one in compared(path)["warnings"])
    second = truth()["categories"][1]

    def miss(runs: Sequence[Path]) -> list[str]:
        for run in runs:
            kept = [
                one
                for one in json.loads((run / "detections.json").read_text())
                if one["category_id"] != second["id"]
            ]
            (run / "detections.json").write_text(json.dumps(kept))
        return [one for one in compared(path)["warnings"] if "No training finds" in one]

    # Found by one arm, it is a difference, which the tables tell.
    assert miss(sorted(tmp_path.glob("plain/*"))) == []
    (said,) = miss(sorted(tmp_path.glob("sharp/*")))
    assert said.startswith(f"No training finds {second['name']!r} (AP50 below 1 in all of them).")
    assert "the mean over 2 classes" in said
