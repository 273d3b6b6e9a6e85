"""The report says what comparison.json says, as Markdown and as a page that runs no other script."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects
import pytest

from detector.compare.markdown import markdown
from detector.compare.page import page
from detector.compare.report import interval_of, sections, signed, spread
from detector.compare.result import compare
from detector.compare.specification import read_specification
from detector.evaluate.coco import METRICS
from tests.detector.compare.builders import changed, write_comparison

HOSTILE = "</script><img src=x onerror=alert(1)> | *arm*"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("comparison")
    path = write_comparison(folder, {"plain": (8, 8, 8), "sharp": (3, 3, 3)})
    return compare(read_specification(path), folder)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A name that would be markup, three arms, and a seed that failed."""
    folder = tmp_path_factory.mktemp("comparison")
    path = write_comparison(folder, {"plain": (8, 8, 8), "sharp": (3, 3, 3), "third": (5, 5, 5)})

    def change(content: dict[str, Any]) -> None:
        content["arms"][1]["name"] = content["name"] = HOSTILE
        content["arms"][2]["runs"][0] = {"seed": 1, "failed": "<b>out</b>"}

    return compare(read_specification(changed(path, change)), folder)


class Page(HTMLParser):
    """The cells of all tables, the scripts, and whatever attribute could run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self._in: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self._in.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        tag, attributes = self._in[-1] if self._in else ("", {})
        if tag in ("td", "th"):
            self.rows[-1].append(data)
        if tag == "script":
            self.scripts[-1] = (attributes, self.scripts[-1][1] + data)

    def handle_endtag(self, tag: str) -> None:
        while self._in and self._in.pop()[0] != tag:
            pass


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|") and ":--" not in line]
    return [
        [re.sub(r"\\(.)", r"\1", cell).strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
    ]


def test_the_report_has_the_numbers_of_the_json(result: dict[str, Any]) -> None:
    plain, sharp = result["arms"]
    (difference,) = result["differences"]
    expected = [
        [
            name,
            spread(plain["mean"][name], plain["sd"][name]),
            spread(sharp["mean"][name], sharp["sd"][name]),
            signed(difference["metrics"][name]["mean"]),
            interval_of(difference["metrics"][name]["interval_over_seeds"]),
            interval_of(difference["metrics"][name]["interval_over_images"]),
            interval_of(difference["metrics"][name]["interval"]),
        ]
        for name in METRICS
    ]
    written = rows_of(markdown(result))
    for row in expected:
        assert row in written
    assert f"{100 * plain['mean']['AP']:.2f}" in expected[0][1]
    runs = [["sharp", str(run["seed"]), f"{100 * run['metrics']['AP']:.2f}"] for run in sharp["runs"]]
    assert [row[:3] for row in written if row[0] == "sharp"] == runs
    for k, one in enumerate(plain["per_slice"]):
        (row,) = [row for row in written if row[0] == f"{one['group']}: {one['name'].replace('_', ' ')}"]
        assert row[1] == str(one["objects"])
        assert row[4] == signed(difference["per_slice"][k]["AP"]["mean"])


def test_the_page_has_the_same_tables_as_the_markdown(
    result: dict[str, Any], hostile: dict[str, Any]
) -> None:
    for one in (result, hostile):
        assert Page(page(one)).rows == rows_of(markdown(one))


def test_the_verdict_comes_first(result: dict[str, Any]) -> None:
    assert markdown(result).splitlines()[2].startswith("**sharp is better than plain: AP differs by +")
    assert '<div class="answer better"><span class="verdict">better</span>' in page(result)


def test_a_page_runs_its_own_two_scripts_and_nothing_else(hostile: dict[str, Any]) -> None:
    text = page(hostile)
    found = Page(text)
    assert not found.handlers
    assert found.tags.isdisjoint({"img", "iframe", "object", "link", "base", "form"})
    (_, data), (_, charts), (_, own) = found.scripts
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    (allowed,) = [part.split()[1:] for part in policy.split("; ") if part.startswith("script-src")]
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (charts, own)]
    assert allowed == [f"'sha256-{one}'" for one in digests]
    assert policy.startswith("default-src 'none'; ")
    assert json.loads(data) == hostile["figures"]


def test_the_chart_script_may_be_elsewhere(result: dict[str, Any]) -> None:
    text = page(result, script_url="/static/plotly.min.js")
    assert len(text) < 200_000
    assert '<script src="/static/plotly.min.js"></script>' in text
    assert "script-src /static/plotly.min.js 'sha256-" in text


def test_names_are_no_markup(hostile: dict[str, Any]) -> None:
    text = markdown(hostile)
    assert text.startswith(r"# \</script\>\<img src=x onerror=alert(1)\> \| \*arm\*")
    assert "<b>" not in text.replace(r"\<b\>", "")
    for figure in hostile["figures"].values():
        assert "<img" not in json.dumps(figure)


def test_every_figure_is_one_of_plotly(result: dict[str, Any], hostile: dict[str, Any]) -> None:
    named = {one.figure for one in sections(result) if one.figure is not None}
    assert named == set(result["figures"])
    for one in (result, hostile):
        for figure in one["figures"].values():
            plotly.graph_objects.Figure(figure)  # refuses what Plotly does not know


def test_figures_show_the_numbers(result: dict[str, Any]) -> None:
    drawn = result["figures"]
    interval = next(
        one for one in drawn["differences"]["data"] if one["name"] == "sharp: over seeds and images"
    )
    told = result["differences"][0]["metrics"]["AP"]
    # The primary metric is on top, so last of all rows.
    assert interval["x"][-3:-1] == pytest.approx([100 * limit for limit in told["interval"]], abs=1e-6)
    assert drawn["differences"]["layout"]["yaxis"]["ticktext"][-1] == "AP"
    by_iou = drawn["ap_over_iou"]["data"][1]["y"]
    assert sum(by_iou) / 10 == pytest.approx(100 * result["arms"][1]["mean"]["AP"], abs=1e-5)
    shares = drawn["score_against_iou"]["data"][0]["z"]
    assert sum(map(sum, shares)) == pytest.approx(1, abs=1e-4)
    curve = drawn["pr"]["data"][0]["y"]
    assert 100 * sum(curve) / 101 == pytest.approx(100 * result["arms"][0]["mean"]["AP50"], abs=1e-3)
    loss = drawn["loss_curves"]["data"][0]
    assert loss["x"] == [k / 4 for k in range(1, 9)]
    assert loss["y"] == pytest.approx([8 / k for k in range(1, 9)], abs=1e-6)


def test_a_comparison_without_common_seeds_has_a_report(tmp_path: Path) -> None:
    path = write_comparison(tmp_path, {"plain": (8, 8, 8), "sharp": (3, 3, 3)})

    def fail(content: dict[str, Any]) -> None:
        content["arms"][1]["runs"] = [{"seed": seed, "failed": "non_finite_loss"} for seed in (1, 2, 3)]

    result = compare(read_specification(changed(path, fail)), tmp_path)
    text = markdown(result)
    assert "No verdict on sharp: it has no seed in common with the other arms." in text
    assert "non\\_finite\\_loss" in text
    assert Page(page(result)).rows == rows_of(text)
    assert [one["name"] for one in result["figures"]["ap_over_iou"]["data"]] == ["plain"]


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.0112, "+1.12"), (-0.3, "\N{MINUS SIGN}30.00"), (0.0, "0.00"), (None, "\N{EN DASH}")],
)
def test_points_are_hundredths(value: float | None, told: str) -> None:
    assert signed(value) == told
