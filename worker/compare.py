"""The `compare` job: what the trainings of a comparison have left in, one report of them out.

It starts anew when its worker is lost: there are no checkpoints, and the trainings stay as they are.
"""

import json
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from store import comparisons, models
from store.comparisons import Run
from store.errors import BlobCorrupt, BlobNotFound, ModelNotFound
from store.jobs import Claim
from store.tables import Artifact, Comparison, JobStatus
from worker.curves import stored
from worker.failures import JobFailed
from worker.files import shipped
from worker.kinds import Ending, Kind, Workshop

# Of each training: what is compared, and what else is told of it where it is there.
_NEEDED = ("detections.json", "ground_truth.json")
_WANTED = ("report.json", models.MANIFEST, "model.json")


class Compare(Kind):
    """`python -m detector compare`."""

    def prepare(self, shop: Workshop, claim: Claim, run: Path) -> list[str]:
        with shop.database.read() as session:
            row = comparisons.of_job(session, claim)
            runs = [] if row is None else comparisons.runs(session, [row.id])
        if row is None:
            raise JobFailed("superseded", "What this job was to compare is gone, or another job compares it.")
        arms: list[dict[str, Any]] = [
            {"name": arm["name"], "config": arm["config"], "runs": []} for arm in row.spec["arms"]
        ]
        for one in runs:
            arms[one.arm]["runs"].append(self._run(shop, claim, one, run))
        file = run / "COMPARISON.json"
        file.write_text(json.dumps(_specification(row, arms)))
        return ["compare", "--comparison", str(file), "--run", str(run)]

    def result(self, shop: Workshop, claim: Claim, run: Path) -> Ending:
        result: dict[str, Any] = json.loads((run / "result.json").read_bytes())
        files = shipped(shop, run, result)

        def finish(session: Session) -> list[tuple[str, str]]:
            comparisons.finish(session, claim, result=result["comparison"], files=files)
            return []

        return finish

    def _run(self, shop: Workshop, claim: Claim, one: Run, run: Path) -> dict[str, Any]:
        """A training as COMPARISON.json names it, its files fetched; one without them has failed."""
        told = {"seed": one.seed, "job": one.job_id}
        if one.status is not JobStatus.SUCCEEDED:
            return told | {"failed": one.status_reason or str(one.status)}
        folder = Path("runs") / str(one.arm) / str(one.seed)  # names of arms are no names of files
        try:
            for row in _artifacts(shop, claim, one):
                shop.blobs.fetch(row.blob, run / folder / row.name, row.sha256)
        except ModelNotFound:
            return told | {"failed": "model_deleted"}
        except (BlobNotFound, BlobCorrupt):
            return told | {"failed": "files_lost"}
        _write_metrics(shop, claim, one, run / folder / "metrics.jsonl")
        return told | {"folder": str(folder)}


def _artifacts(shop: Workshop, claim: Claim, one: Run) -> list[Artifact]:
    """Raises `ModelNotFound`, and `BlobNotFound` where it has nothing to compare."""
    with shop.database.read() as session:
        found = {row.name: row for row in models.artifacts(session, claim.project_id, one.model_id or "")}
    if not found.keys() >= {*_NEEDED}:
        raise BlobNotFound
    return [found[name] for name in (*_NEEDED, *_WANTED) if name in found]


def _write_metrics(shop: Workshop, claim: Claim, one: Run, path: Path) -> None:
    """The numbers of training steps and of evaluations, a row per line."""
    with path.open("w") as file:
        for row in stored(shop.database, claim.project_id, one.job_id):
            numbers = {
                name: value for name, value in row.metrics.items() if isinstance(value, int | float | None)
            }
            line = {"split": row.split, "step": row.step, "epoch": row.epoch, "metrics": numbers}
            file.write(json.dumps(line) + "\n")


def _specification(row: Comparison, arms: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": row.name or row.id,
        "dataset": row.dataset_id,
        "baseline": row.spec["baseline"],
        "arms": arms,
    }
