"""The study's tables, out of its records."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.study import records
from benchmarks.study.plan import ARMS, FAMILIES, Cell
from benchmarks.study.records import Record
from detector.compare.report import MISSING, interval_of, points, signed, spread

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
_TITLES = {arm.name: arm.title for arm in ARMS}


def write(folder: Path, page: Path) -> None:
    """Puts the tables between the marks of a page, or makes a page of them; other words there stay."""
    tables = f"{BEGIN}\n\n{text(folder)}\n{END}\n"
    if not page.exists():
        page.write_text(f"# The study\n\n{tables}", encoding="utf-8")
        return
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no {BEGIN} and {END} to write between")
    page.write_text(before + tables + after.removeprefix("\n"), encoding="utf-8")


def text(folder: Path) -> str:
    """All tables of the records there, as Markdown."""
    found = records.read(folder)
    cells = [one for one in found if one.cell.rate is None]
    parts = [_beside_the_paper(cells), _ablation(cells), _rates(found), _trained(cells)]
    parts += [part for one in cells for part in _cell(one)]
    parts.append(_costs(found))
    return "\n".join(part for part in parts if part)


def _beside_the_paper(cells: Sequence[Record]) -> str:
    """The paper's gain beside ours."""
    rows = []
    for one in cells:
        result, found = one.result, _difference(one.result, "harmonic")
        if found is None:
            continue
        paper = FAMILIES[one.cell.family].paper
        theirs = (
            MISSING if paper is None else f"{paper[0]}: {paper[1]} to {paper[2]} (+{paper[2] - paper[1]:.1f})"
        )
        metrics, diagnostics = found["metrics"], found["consistency"]["spearman"]
        rows.append(
            [
                _title(one.cell),
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


def _ablation(cells: Sequence[Record]) -> str:
    """The paper's rows, with what each gains over the baseline there and here."""
    compared = [(_title(one.cell), one.of_all or one.result) for one in cells]
    ours = [
        (f"{title}, seeds {_seeds(result)}", result)
        for title, result in compared
        if any(_difference(result, name) for name in ("factors", "plain-iou"))
    ]
    rows = []
    base = next(arm.paper for arm in ARMS if arm.name == "baseline") or 0.0
    for arm in ARMS:
        if not any(_arm_or_none(result, arm.name) for _, result in ours):
            continue
        row = [arm.title]
        row.append(MISSING if arm.paper is None else f"{arm.paper} ({arm.paper - base:+.1f})")
        for _, result in ours:
            own, found = _arm_or_none(result, arm.name), _difference(result, arm.name)
            told = MISSING if own is None else points(own["mean"]["AP"])
            if found is not None:
                metric = found["metrics"]["AP"]
                told += f" ({signed(metric['mean'])}, {interval_of(metric['interval'])})"
            row.append(told)
        rows.append(row)
    head = ["loss", "the paper: Faster R-CNN R50-FPN", *(title for title, _ in ours)]
    return _part("The ablation", "AP, and its difference from the baseline.", head, rows)


def _rates(found: Sequence[Record]) -> str:
    """AP of each loss at each learning rate, of the seeds that all rates of a detector have."""
    tried = {(one.cell.dataset, one.cell.family) for one in found if one.cell.rate is not None}
    rows = []
    for dataset, family in sorted(tried):
        own = [one for one in found if (one.cell.dataset, one.cell.family) == (dataset, family)]
        seeds = set.intersection(*(set(one.result["seeds"]) for one in own))
        rows += [
            [
                f"{dataset}, {FAMILIES[family].title}",
                _optimizer(one) + (", the study's" if one.cell.rate is None else ""),
                ", ".join(map(str, sorted(seeds))) or MISSING,
                *(_of_seeds(one.result, arm, seeds) for arm in ("baseline", "harmonic")),
            ]
            for one in sorted(own, key=lambda one: (one.config["optimizer"]["kind"], _rate(one)))
        ]
    head = [
        "dataset, detector",
        "optimiser, learning rate",
        "seeds",
        "baseline: AP, AP75",
        "harmonic: AP, AP75",
    ]
    return _part(
        "Learning rates", "Each loss at its best rate, or near it, is what may be compared.", head, rows
    )


def _of_seeds(result: Mapping[str, Any], arm: str, seeds: set[int]) -> str:
    """Means of these seeds."""
    own = _arm_or_none(result, arm)
    runs = [run["metrics"] for run in own["runs"] if run["seed"] in seeds] if own is not None else []
    if not runs:
        return MISSING
    return ", ".join(points(sum(run[name] for run in runs) / len(runs)) for name in ("AP", "AP75"))


def _trained(cells: Sequence[Record]) -> str:
    """What each was trained with."""
    rows = []
    for one in cells:
        config, result = one.config, one.result
        architecture = config["architecture"]
        sides = [str(architecture[name]) for name in ("image_size", "max_size") if name in architecture]
        rows.append(
            [
                _title(one.cell),
                " to ".join(sides),
                str(config["epochs"]),
                str(config["batch_size"]),
                _optimizer(one),
                {"bf16": "bfloat16", "fp16": "float16"}.get(config["amp"], "float32"),
                str(result["images"]),
                str(result["objects"]),
            ]
        )
    head = ["dataset, detector", "image size", "epochs", "batch", "optimiser, learning rate", "arithmetic"]
    words = "Everything else is as a config has it where nothing is said."
    return _part("What was trained", words, [*head, "images measured on", "objects there"], rows)


def _cell(record: Record) -> list[str]:
    """Everything of one dataset and family; where some arms have fewer seeds, twice."""
    parts = [_compared(_title(record.cell), record.result, record.cpu_seconds)]
    if record.of_all is not None:
        parts.append(_compared(f"{_title(record.cell)}: all arms", record.of_all, record.cpu_seconds))
    return parts


def _compared(title: str, result: Mapping[str, Any], cpu: Mapping[str, Mapping[str, float]]) -> str:
    """Every arm of a comparison."""
    rows = []
    for arm in result["arms"]:
        found = _difference(result, arm["name"])
        mean, sd, diagnostics = arm["mean"], arm["sd"], arm["consistency"]
        known = cpu.get(arm["name"], {}).values()
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
    words = f"{result['images']} images, seeds {_seeds(result)}."
    words += " " + " ".join(result["warnings"])
    return _part(title, words.strip(), [*head, "verdict", "CPU minutes"], rows)


def _costs(found: Sequence[Record]) -> str:
    seconds = [each for one in found for seeds in one.cpu_seconds.values() for each in seeds.values()]
    machines = sorted(
        {
            str(run["manifest"]["device"]["name"])
            for one in found
            for arm in one.result["arms"]
            for run in arm["runs"]
            if (run.get("manifest") or {}).get("device")
        }
    )
    where = ", ".join(machines) or "no machine"
    return f"{len(seconds)} trainings, {sum(seconds) / 3600:.1f} CPU hours of training on {where}.\n"


def _part(title: str, words: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [f"### {title}", "", words, "", _row(head), _row([":--", *("--:" for _ in head[1:])])]
    return "\n".join([*lines, *(_row(row) for row in rows), ""])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _seeds(result: Mapping[str, Any]) -> str:
    return ", ".join(map(str, result["seeds"])) or "none"


def _title(cell: Cell) -> str:
    return f"{cell.dataset}, {FAMILIES[cell.family].title}"


def _optimizer(record: Record) -> str:
    """Its name and its learning rate."""
    name = {"sgd": "SGD", "adamw": "AdamW"}[record.config["optimizer"]["kind"]]
    return f"{name} {_rate(record):g}"


def _rate(record: Record) -> float:
    return float(record.config["optimizer"]["lr"])


def _arm(result: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = _arm_or_none(result, name)
    if found is None:
        raise KeyError(name)
    return found


def _arm_or_none(result: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    return next((one for one in result["arms"] if one["name"] == name), None)


def _difference(result: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    return next((one for one in result["differences"] if one["arm"] == name), None)
