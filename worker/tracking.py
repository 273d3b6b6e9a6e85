"""Tells MLflow of a training that has succeeded: its config, its numbers, and which model it has become.

In a process of its own (`python -m worker.tracking`, which reads a `Run` from its input), with a time limit:
whatever MLflow does, and however long it takes, is nothing to the job, which has ended already.
"""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

from store.jobs import Claim
from store.tables import JobMetric
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)

_MOST_METRICS, _MOST_PARAMS = 1000, 100  # that MLflow takes at once
_LONGEST_PARAM = 500
_LOGIN = re.compile(r"://[^@/\s]+@")  # in an address


class Run(TypedDict):
    """A training, in MLflow's words; a metric is (name, value, milliseconds since 1970, step)."""

    tracking_uri: str
    experiment: str
    name: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: list[tuple[str, float, int, int]]
    began: int
    ended: int


def tell(
    settings: WorkerSettings, claim: Claim, config: Mapping[str, Any], rows: Sequence[JobMetric]
) -> bool:
    """Whether MLflow has taken it. Never raises; why not is in the log."""
    if settings.mlflow_tracking_uri is None or not rows:
        return False
    run = as_run(settings, settings.mlflow_tracking_uri, claim, config, rows)
    # Its own settings are MLflow's; ours are none of its business.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HARMONICDET_")}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "worker.tracking"],
            input=json.dumps(run).encode(),
            capture_output=True,
            env=environment,
            timeout=settings.mlflow_seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("MLflow was not told of %s: %s", claim.job_id, type(error).__name__)
        return False
    if done.returncode != 0:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        said = _LOGIN.sub("://", " ".join(last))[:500]
        log.warning("MLflow was not told of %s: %s", claim.job_id, said)
        return False
    log.info("MLflow knows of %s", claim.job_id)
    return True


def as_run(
    settings: WorkerSettings, uri: str, claim: Claim, config: Mapping[str, Any], rows: Sequence[JobMetric]
) -> Run:
    """What is told. `rows` are in the order of their steps, and there is one at least."""
    times = [int(row.created_at.timestamp() * 1000) for row in rows]
    return {
        "tracking_uri": uri,
        "experiment": settings.mlflow_experiment,
        "name": str(claim.spec.get("name") or claim.job_id),
        "tags": {
            "harmonicdet.job": claim.job_id,
            "harmonicdet.dataset": claim.dataset_id or "",
            "harmonicdet.project": claim.project_id,
            "harmonicdet.attempt": str(claim.attempt),
        },
        "params": dict(_flat("", config)),
        "metrics": [
            (f"{row.split}/{name}", float(value), time, row.step)
            for row, time in zip(rows, times, strict=True)
            for name, value in row.metrics.items()
            if isinstance(value, int | float)
        ],
        "began": min(times),
        "ended": max(times),
    }


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """`{"a": {"b": 1}}` as `a.b`: `1`."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else str(name), one)
    else:
        yield prefix, json.dumps(value)[:_LONGEST_PARAM]


def main() -> int:
    """Reads a `Run` from the input and gives it to MLflow."""
    run: Run = json.load(sys.stdin)
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=run["tracking_uri"])
    experiment = client.get_experiment_by_name(run["experiment"])
    identifier = experiment.experiment_id if experiment else client.create_experiment(run["experiment"])
    made = client.create_run(identifier, start_time=run["began"], run_name=run["name"])
    name = made.info.run_id
    client.log_batch(name, tags=[RunTag(key, value) for key, value in run["tags"].items()])
    params = [Param(key, value) for key, value in run["params"].items()]
    for start in range(0, len(params), _MOST_PARAMS):
        client.log_batch(name, params=params[start : start + _MOST_PARAMS])
    metrics = [Metric(*one) for one in run["metrics"]]
    for start in range(0, len(metrics), _MOST_METRICS):
        client.log_batch(name, metrics=metrics[start : start + _MOST_METRICS])
    client.set_terminated(name, "FINISHED", run["ended"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
