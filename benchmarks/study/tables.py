"""The study's tables, out of the comparisons that are there."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.study.plan import ARMS, FAMILIES
from detector.compare.report import MISSING, interval_of, points, signed, spread

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
_TITLES = {arm.name: arm.title for arm in ARMS}

Cell = tuple[str, str, dict[str, Any]]
"""Dataset, family, and comparison.json."""


def write(out: Path, page: Path) -> None:
    """Puts the tables between the marks of a page, or makes a page of them; other words there stay."""
    tables = f"{BEGIN}\n\n{text(out)}\n{END}\n"
    if not page.exists():
        page.write_text(f"# The study\n\n{tables}", encoding="utf-8")
        return
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no {BEGIN} and {END} to write between")
    page.write_text(before + tables + after.removeprefix("\n"), encoding="utf-8")


def text(out: Path) -> str:
    """All tables, as Markdown."""
    cells = [
        (path.parts[-5], path.parts[-4], json.loads(path.read_text()))
        for path in sorted(out.glob("*/*/comparison/artifacts/comparison.json"))
    ]
    parts = [_beside_the_paper(cells), _ablation(cells)]
    parts += [_cell(out, *cell) for cell in cells]
    parts.append(_costs(out, cells))
    return "\n".join(part for part in parts if part)


def _beside_the_paper(cells: Sequence[Cell]) -> str:
    """The paper's gain beside ours."""
    rows = []
    for dataset, family, result in cells:
        found = _difference(result, "harmonic")
        if found is None:
            continue
        paper = FAMILIES[family].paper if family in FAMILIES else None
        theirs = (
            MISSING if paper is None else f"{paper[0]}: {paper[1]} to {paper[2]} (+{paper[2] - paper[1]:.1f})"
        )
        metrics, diagnostics = found["metrics"], found["consistency"]["spearman"]
        rows.append(
            [
                f"{dataset}, {_title(family)}",
                theirs,
                str(len(result["seeds"])),
                points(_arm(result, "baseline")["mean"]["AP"]),
                points(_arm(result, "harmonic")["mean"]["AP"]),
                f"{signed(metrics['AP']['mean'])} ({interval_of(metrics['AP']['interval'])})",
                f"{signed(metrics['AP75']['mean'])} ({interval_of(metrics['AP75']['interval'])})",
                f"{signed(diagnostics['mean'], plain=True)}"
                f" ({interval_of(diagnostics['interval_over_seeds'], plain=True)})",
                found["verdict"],
            ]
        )
    head = ["dataset, detector", "the paper's, on COCO", "seeds", "baseline", "harmonic", "AP", "AP75"]
    head += ["Spearman of score and IoU", "verdict"]
    return _part(
        "Beside the paper",
        "AP in points. Differences with the 95 % interval over seeds and images; of Spearman's over seeds.",
        head,
        rows,
    )


def _ablation(cells: Sequence[Cell]) -> str:
    """The paper's rows, with what each gains over the baseline there and here."""
    ours = [cell for cell in cells if any(_difference(cell[2], name) for name in ("factors", "plain-iou"))]
    rows = []
    base = next(arm.paper for arm in ARMS if arm.name == "baseline") or 0.0
    for arm in ARMS:
        if not any(_arm_or_none(result, arm.name) for _, _, result in ours):
            continue
        row = [arm.title]
        row.append(MISSING if arm.paper is None else f"{arm.paper} ({arm.paper - base:+.1f})")
        for _, _, result in ours:
            own, found = _arm_or_none(result, arm.name), _difference(result, arm.name)
            told = MISSING if own is None else points(own["mean"]["AP"])
            if found is not None:
                metric = found["metrics"]["AP"]
                told += f" ({signed(metric['mean'])}, {interval_of(metric['interval'])})"
            row.append(told)
        rows.append(row)
    head = ["loss", "the paper: Faster R-CNN R50-FPN", *(f"{cell[0]}, {_title(cell[1])}" for cell in ours)]
    return _part("The ablation", "AP, and its difference from the baseline.", head, rows)


def _cell(out: Path, dataset: str, family: str, result: Mapping[str, Any]) -> str:
    """Everything of one dataset and family."""
    rows = []
    for arm in result["arms"]:
        found = _difference(result, arm["name"])
        mean, sd, diagnostics = arm["mean"], arm["sd"], arm["consistency"]
        seconds = [_seconds(out / dataset / family / arm["name"] / str(one["seed"])) for one in arm["runs"]]
        known = [one for one in seconds if one is not None]
        rows.append(
            [
                _TITLES.get(arm["name"], arm["name"]),
                *(spread(mean.get(name), sd.get(name)) for name in ("AP", "AP50", "AP75")),
                spread(diagnostics["spearman"]["mean"], diagnostics["spearman"]["sd"], plain=True),
                MISSING if found is None else signed(found["metrics"]["AP"]["mean"]),
                *(
                    MISSING if found is None else interval_of(found["decided_by"][name])
                    for name in ("interval_over_seeds", "interval_over_images", "interval")
                ),
                MISSING if found is None else found["verdict"],
                f"{sum(known) / len(known) / 60:.1f}" if known else MISSING,
            ]
        )
    head = ["loss", "AP", "AP50", "AP75", "Spearman", "difference", "over seeds", "over images", "over both"]
    words = f"{result['images']} images, seeds {', '.join(map(str, result['seeds'])) or 'none'}."
    words += " " + " ".join(result["warnings"])
    return _part(f"{dataset}, {_title(family)}", words.strip(), [*head, "verdict", "CPU minutes"], rows)


def _costs(out: Path, cells: Sequence[Cell]) -> str:
    runs = [path.parent for path in out.glob("*/*/*/*/cost.json")]
    hours = sum(_seconds(run) or 0.0 for run in runs) / 3600
    machines = sorted(
        {
            str(run["manifest"]["device"]["name"])
            for _, _, result in cells
            for arm in result["arms"]
            for run in arm["runs"]
            if (run.get("manifest") or {}).get("device")
        }
    )
    where = ", ".join(machines) or "no machine"
    return f"{len(runs)} trainings, {hours:.1f} CPU hours of training on {where}.\n"


def _part(title: str, words: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [f"### {title}", "", words, "", _row(head), _row([":--", *("--:" for _ in head[1:])])]
    return "\n".join([*lines, *(_row(row) for row in rows), ""])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _title(family: str) -> str:
    return FAMILIES[family].title if family in FAMILIES else family


def _seconds(run: Path) -> float | None:
    path = run / "cost.json"
    return float(json.loads(path.read_text())["cpu_seconds"]) if path.exists() else None


def _arm(result: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = _arm_or_none(result, name)
    if found is None:
        raise KeyError(name)
    return found


def _arm_or_none(result: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    return next((one for one in result["arms"] if one["name"] == name), None)


def _difference(result: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    return next((one for one in result["differences"] if one["arm"] == name), None)
