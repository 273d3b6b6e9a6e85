"""docs/comparisons.md explains what is in comparison.json, and its example is one."""

import json
import re
from pathlib import Path
from typing import Any

from scipy import stats

from detector.compare.result import compare
from detector.compare.specification import Specification, read_specification
from tests.detector.compare.builders import write_comparison

PAGE = (Path(__file__).parents[3] / "docs/comparisons.md").read_text()
WORDS = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
EXPLAINED = {word for code in re.findall(r"`([^`]+)`", WORDS) for word in re.findall(r"\w+", code)}


def test_every_field_of_a_result_is_explained(tmp_path: Path) -> None:
    path = write_comparison(tmp_path, {"plain": (8, 8, 8), "sharp": (3, 3, 3)})
    result = compare(read_specification(path), tmp_path)
    assert set(result) - {"object", "format"} <= EXPLAINED
    assert set(result["figures"]) <= EXPLAINED
    assert set(result["arms"][0]) - {"name", "config"} <= EXPLAINED
    (difference,) = result["differences"]
    assert set(difference) <= EXPLAINED
    assert set(difference["metrics"]["AP"]) <= EXPLAINED
    assert {"data_order", "initial_weights", "hashes", "lacking"} <= EXPLAINED


def test_the_example_is_a_comparison() -> None:
    by_hand = PAGE.partition("## On the command line")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```json\n(.*?)```", by_hand, flags=re.DOTALL)
    assert Specification.model_validate(json.loads(example)).baseline == "baseline"


def test_the_table_of_seeds_is_student_s() -> None:
    seeds, widths = (
        re.findall(r"[\d.]+", line) for line in PAGE.splitlines() if line.startswith(("| seeds |", "| ± "))
    )
    expected: list[Any] = [f"{stats.t.ppf(0.975, int(n) - 1) / int(n) ** 0.5:.2f}" for n in seeds]
    assert widths == expected
