"""What is kept of the study: one small file for each cell, from which the page's tables are made.

Trainings take hours and are thrown away; a record stays in the repository, so that another cell can be added
on another day, and whoever doubts a table finds the figures of each seed behind it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.study.plan import Cell
from detector.files import write_text

COMPARISON = "comparison"  # of the arms that have all seeds, in a cell's folder
OF_ALL = "comparison-of-all"  # of all arms, by the seeds that all have, where some have fewer
_LEFT_OUT = ("figures", "noise")
_LEFT_OUT_OF_ARMS = ("per_slice",)


@dataclass(frozen=True)
class Record:
    """A cell that was compared."""

    cell: Cell
    config: dict[str, Any]
    """What all its trainings have in common."""
    cpu_seconds: dict[str, dict[str, float]]
    """Of each training, by arm and seed, all attempts added up."""
    result: dict[str, Any]
    """Its comparison, without figures and slices."""
    of_all: dict[str, Any] | None = None
    """Where some arms have fewer seeds: the like of all arms, by the seeds that all have."""


def write(folder: Path, records: Path) -> None:
    """Keeps what was compared in a cell's folder."""
    runs = sorted(folder.glob("*/*/config.json"))
    config = json.loads(runs[0].read_text())
    cell = Cell.of(folder)
    records.mkdir(parents=True, exist_ok=True)
    record = Record(
        cell=cell,
        config={name: value for name, value in config.items() if name not in ("loss", "seed")},
        cpu_seconds=_costs(folder),
        result=_kept(folder / COMPARISON),
        of_all=_kept(folder / OF_ALL) if (folder / OF_ALL).exists() else None,
    )
    write_text(records / cell.file, json.dumps(asdict(record), indent=1, allow_nan=False) + "\n")


def _kept(comparison: Path) -> dict[str, Any]:
    """What is kept of a comparison."""
    result = json.loads((comparison / "artifacts/comparison.json").read_text())
    kept = {name: value for name, value in result.items() if name not in _LEFT_OUT}
    for part in ("arms", "differences"):
        kept[part] = [
            {name: value for name, value in one.items() if name not in _LEFT_OUT_OF_ARMS}
            for one in kept[part]
        ]
    return kept


def read(records: Path) -> list[Record]:
    """All that are there, by dataset and family, the family's own learning rate first."""
    found = []
    for path in records.glob("*.json"):
        told = json.loads(path.read_text())
        found.append(Record(**told | {"cell": Cell(**told["cell"])}))
    return sorted(found, key=lambda one: (one.cell.dataset, one.cell.family, one.cell.rate or 0.0))


def _costs(folder: Path) -> dict[str, dict[str, float]]:
    costs: dict[str, dict[str, float]] = {}
    for path in sorted(folder.glob("*/*/cost.json")):
        arm, seed = path.parts[-3:-1]
        costs.setdefault(arm, {})[seed] = json.loads(path.read_text())["cpu_seconds"]
    return costs
