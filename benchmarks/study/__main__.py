"""The study: trains what is missing, compares, and writes the tables.

    python -m benchmarks.study --out study --data bccd=bccd_voc.zip --data cards=playing_cards_voc.zip \\
        --backbone mobilenet_v2.pth --families ssdlite retinanet --arms ablation \\
        --records docs/study --page docs/study.md

What is there is kept: the same command goes on after Ctrl-C or a crash, and another one with more seeds,
arms, families, datasets or learning rates adds to it. A training of another config in the same place is
refused. The page is made from the records, so it has what was trained before and elsewhere, too.
"""

import argparse
import copy
import itertools
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmarks.harness import console
from benchmarks.study import records, tables
from benchmarks.study.plan import ARM_SETS, ARMS, FAMILIES, Cell, config_of, merged
from benchmarks.study.trainings import OtherConfig, Trainer, Training
from detector.compare.run import write_run
from detector.data.inspect import inspect
from detector.data.materialise import materialise
from detector.errors import ComparisonInvalid
from detector.events import EXIT_INTERRUPTED, EventWriter
from detector.files import write_json


def main(arguments: Sequence[str] | None = None, trainer: Trainer | None = None) -> int:
    options = _options(arguments)
    trainer = trainer or Trainer(parallel=options.parallel)
    try:
        plan = _plan(options)
        for one in plan:
            one.prepare(again=options.retry)
    except (OtherConfig, ValidationError, ValueError) as error:
        console.print(f"[red]{error}[/red]")
        return 2
    missing = sum(one.state is None for one in plan)
    console.print(f"{len(plan)} trainings, {missing} of them to do")
    interrupted = False
    try:
        states = trainer.run(plan)
        for one, state in zip(plan, states, strict=True):
            if state not in ("kept", "trained"):
                console.print(f"{one.run}: {state}")
        interrupted = "interrupted" in states
    except KeyboardInterrupt:
        interrupted = True
    if interrupted:
        console.print("interrupted; the same command goes on from here")
        return EXIT_INTERRUPTED
    kept = options.records or options.out / "records"
    failed = False
    for cell in _cells(options.out):
        if _compare(cell):
            records.write(cell, kept)
        else:
            failed = True
    if options.page is not None:
        tables.write(kept, options.page)
    else:
        print(tables.text(kept))
    return int(failed)


def _plan(options: argparse.Namespace) -> list[Training]:
    """Seed by seed, so that whatever is done when time is up has all arms."""
    names = ARM_SETS[options.arms] if options.arms in ARM_SETS else tuple(options.arms.split(","))
    arms = [arm for arm in ARMS if arm.name in names]
    unknown = set(names) - {arm.name for arm in arms}
    if unknown:
        raise ValueError(f"there is no arm {', '.join(sorted(unknown))}")
    changes = _changes(options.set)
    data = {name: _dataset(options.out / name / "data", Path(path)) for name, path in _pairs(options.data)}
    own = {
        family: merged(copy.deepcopy(changes.get("", {})), changes.get(family, {}))
        for family in options.families
    }
    return [
        Training(
            options.out / Cell(name, family, rate).folder / arm.name / str(seed),
            folder,
            config_of(FAMILIES[family], arm, seed, _at(rate, own[family])),
            options.backbone if FAMILIES[family].takes_backbone else None,
        )
        for seed in range(1, options.seeds + 1)
        for name, folder in data.items()
        for family, rate in itertools.product(options.families, options.rates or [None])
        for arm in arms
    ]


def _at(rate: float | None, patch: dict[str, Any]) -> dict[str, Any]:
    """The patch, with another learning rate where one is given."""
    return patch if rate is None else merged(copy.deepcopy(patch), {"optimizer": {"lr": rate}})


def _pairs(given: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for one in given:
        name, equals, path = one.partition("=")
        if not equals or not name or "/" in name:
            raise ValueError(f"--data is NAME=ARCHIVE, not {one!r}")
        pairs.append((name, path))
    return pairs


def _changes(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Merge patches by family; of all families under the empty name."""
    changes: dict[str, dict[str, Any]] = {}
    for one in given:
        family, equals, patch = ("", "", one) if one.lstrip().startswith("{") else one.partition("=")
        if family and (not equals or family not in FAMILIES):
            raise ValueError(f"--set is JSON or FAMILY=JSON, not {one!r}")
        changes[family] = merged(changes.get(family, {}), json.loads(patch))
    return changes


def _dataset(folder: Path, source: Path) -> Path:
    """Unpacked once for all trainings."""
    if source.is_dir():
        return source
    if not folder.exists():
        index, report = inspect(source)
        if index is None or not report.valid:
            raise ValueError(f"{source} is no valid dataset: python -m detector inspect says why")
        materialise(source, index, folder)
    return folder


def _cells(out: Path) -> list[Path]:
    """The folders `dataset/family` that have trainings."""
    return sorted({path.parents[2] for path in out.glob("*/*/*/*/config.json")})


def _compare(cell: Path) -> bool:
    """Compares all that is there; whether there was anything.

    Only seeds that all arms of a comparison have are counted. So that an arm with fewer of them costs the
    others none, those that have all of the baseline's are compared by themselves, and then all of them.
    """
    arms = _arms(cell)
    wanted = _seeds(arms[0]) if arms and arms[0]["name"] == "baseline" else set()
    whole = [arm for arm in arms if _seeds(arm) >= wanted]
    shutil.rmtree(cell / records.OF_ALL, ignore_errors=True)
    if len(whole) in (1, len(arms)):
        return _compared(cell, records.COMPARISON, arms)
    return _compared(cell, records.COMPARISON, whole) and _compared(cell, records.OF_ALL, arms)


def _arms(cell: Path) -> list[dict[str, Any]]:
    """Those that have been trained, as a comparison is told of them."""
    arms = []
    for arm in ARMS:
        runs = []
        for run in sorted((cell / arm.name).glob("*"), key=lambda path: int(path.name)):
            if (run / "result.json").exists():
                runs.append({"seed": int(run.name), "folder": f"{arm.name}/{run.name}"})
            elif (run / "failed.json").exists():
                code = json.loads((run / "failed.json").read_text())["code"]
                runs.append({"seed": int(run.name), "failed": code})
        if runs:
            arms.append({"name": arm.name, "config": {"loss": arm.loss}, "runs": runs})
    return arms


def _seeds(arm: dict[str, Any]) -> set[int]:
    return {run["seed"] for run in arm["runs"]}


def _compared(cell: Path, name: str, arms: list[dict[str, Any]]) -> bool:
    """Leaves the comparison in the cell's folder of this name; whether there was anything to compare."""
    specification = {"name": f"{cell.parent.name}, {cell.name}", "dataset": cell.parent.name}
    asked, run = cell / f"{name}.json", cell / name
    write_json(asked, specification | {"baseline": "baseline", "arms": arms})
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    writer = EventWriter(run)
    try:
        write_run(asked, run, writer)
    except ComparisonInvalid as error:
        console.print(f"{cell}: {error.message}")
        return False
    finally:
        writer.close()
    return True


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="where trainings and comparisons are kept")
    parser.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="NAME=ARCHIVE",
        help="a dataset; several times for several",
    )
    parser.add_argument("--backbone", type=Path, help="weights for the families that take a MobileNetV2")
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument(
        "--arms",
        default="main",
        help=f"{', '.join(ARM_SETS)}, or names: {','.join(arm.name for arm in ARMS)}",
    )
    parser.add_argument("--seeds", type=int, default=5, help="1 to so many (default: 5)")
    parser.add_argument(
        "--rates",
        nargs="+",
        type=float,
        metavar="RATE",
        help="learning rates to try in place of the family's own, each compared by itself",
    )
    parser.add_argument("--parallel", type=int, default=1, help="trainings side by side (default: 1)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="[FAMILY=]JSON",
        help='changes of the config, such as {"epochs": 24} or retinanet={"optimizer": {"lr": 0.005}}',
    )
    parser.add_argument("--retry", action="store_true", help="train anew what has failed")
    parser.add_argument("--records", type=Path, help="where records are kept (default: OUT/records)")
    parser.add_argument("--page", type=Path, help="page to write the tables into (default: standard output)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
