"""The `search` job: what the trials of a search have come to in, the next trials or the sum of it out.

It starts anew when its worker is lost: what it draws is a function of the trials, which stay as they are.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from store import searches
from store.jobs import Claim
from store.searches import NewTrial, Task, Trial
from store.tables import JobStatus
from worker.failures import JobFailed
from worker.kinds import Ending, Kind, Workshop

# Failures of a training that are its values' fault; of the others they cannot be blamed.
_UNFIT = frozenset({"non_finite_loss", "out_of_memory"})


class Search(Kind):
    """`python -m detector suggest`."""

    def prepare(self, shop: Workshop, claim: Claim, run: Path) -> list[str]:
        with shop.database.read() as session:
            task = searches.task(session, claim)
        if task is None:
            raise JobFailed(
                "superseded", "What this job was to draw for is gone, or another job draws for it."
            )
        file = run / "SEARCH.json"
        file.write_text(json.dumps(_specification(task)))
        return ["suggest", "--search", str(file), "--run", str(run)]

    def result(self, shop: Workshop, claim: Claim, run: Path) -> Ending:
        result: dict[str, Any] = json.loads((run / "result.json").read_bytes())
        drawn = [NewTrial(one["params"], one["config"]) for one in result["trials"]]

        def finish(session: Session) -> list[tuple[str, str]]:
            found = {"importances": result["importances"]}
            return searches.finish(session, claim, drawn=drawn, result=found)

        return finish


def _specification(task: Task) -> dict[str, Any]:
    """As SEARCH.json says it."""
    spec = task.search.spec
    return {
        "space": spec["space"],
        "config": spec["resolved_config"],
        "seed": spec["seed"],
        "count": task.count,
        "trials": [_told(one, task.courses) for one in task.trials],
    }


def _told(one: Trial, courses: Mapping[str, list[tuple[float, float]]]) -> dict[str, Any]:
    told: dict[str, Any] = {"params": one.params}
    if one.status is JobStatus.SUCCEEDED and one.value is not None:
        return told | {"state": "complete", "value": one.value}
    if one.status is JobStatus.CANCELLED and one.pruned:
        return told | {"state": "pruned", "course": courses.get(one.job_id, [])}
    if one.status is JobStatus.FAILED and (one.error or {}).get("code") in _UNFIT:
        return told | {"state": "unfit"}
    is_over = one.status in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)
    return told | {"state": "failed" if is_over else "running"}
