"""Searches for hyper-parameters on the wire."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field

from api.schemas.common import Body, Example, Identified, JobProblem, ListView, Metadata, Name, Shape
from detector.config import TrainConfig
from detector.search.space import Space
from store import searches
from store.searches import Trial
from store.tables import FINISHED, JobStatus, Search

MOST_TRIALS = 200
MOST_PARALLEL = 20

_SEARCH_ID = "srch_01jz4p2c4e6g8j0m2p4r6t8v0x"
_DATASET_ID = "ds_01jz4m8x0v3s7q9k2b5c6d7e8f"
_JOB_ID = "job_01jz4p9a6hcy0p3t1w5x7z9b2d"

Metric = Literal[
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR1",
    "AR10",
    "AR100",
    "AR_small",
    "AR_medium",
    "AR_large",
]


class MedianPruning(Body):
    """Ends a trial whose best value so far is below the median of what the trials that have succeeded had at
    that epoch."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"startup_trials": 5, "warmup_epochs": 2}]})

    kind: Literal["median"] = "median"
    startup_trials: int = Field(5, ge=1, le=MOST_TRIALS)
    """How many trials must have succeeded before one is ended."""
    warmup_epochs: int = Field(0, ge=0, le=10_000)
    """Epochs in which no trial is ended."""


_SPACE: Example = {
    "optimizer.lr": {"kind": "float", "low": 0.001, "high": 0.1, "log": True},
    "loss.alpha": {"kind": "float", "low": 0.5, "high": 4.0},
}
_PRUNING: Example = {"kind": "median", "startup_trials": 5, "warmup_epochs": 0}


class SearchCreate(Body):
    """A search to make."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"dataset_id": _DATASET_ID, "config": {"epochs": 12}, "space": _SPACE, "max_trials": 30},
                {
                    "dataset_id": _DATASET_ID,
                    "name": "losses and batches",
                    "space": {
                        "loss": {"kind": "categorical", "choices": ["harmonic", "baseline"]},
                        "batch_size": {"kind": "int", "low": 4, "high": 32, "step": 4},
                    },
                    "max_trials": 12,
                    "max_parallel": 2,
                    "metric": "AP75",
                    "pruning": None,
                },
            ]
        }
    )

    dataset_id: str = Field(min_length=1, max_length=40)
    """The dataset to learn from and to measure on; while it is validating, the search waits for it."""
    config: TrainConfig = Field(default_factory=TrainConfig)
    """What all trials have in common: the config of a training."""
    space: Space
    """What differs: by its place in the config, such as `optimizer.lr`, what each parameter may be."""
    max_trials: int = Field(20, ge=1, le=MOST_TRIALS)
    """How many trainings there are at most, those that fail or are ended early included."""
    max_parallel: int = Field(1, ge=1, le=MOST_PARALLEL)
    """How many of them may wait or run at a time. One learns from all before it."""
    metric: Metric = "AP"
    """What is to be large: a COCO number of the trained model."""
    pruning: MedianPruning | None = Field(default_factory=MedianPruning)
    """Which trials are ended early; null: none."""
    seed: int = Field(0, ge=0, lt=2**32)
    """What the sampler draws from; that of the trainings is `config.seed`, the same for all."""
    name: Name | None = None
    """Name of the search."""
    metadata: Metadata = Field(default_factory=dict)
    """Up to 50 names and values of your own; the trainings have them, too."""
    priority: int = Field(0, ge=-100, le=100)
    """Of its jobs: larger ones start first; among equals the oldest."""


class SearchProgressView(Shape):
    """How far its trials are."""

    begun: int
    """How many there are so far."""
    succeeded: int
    pruned: int
    """Ended early, as others were better."""
    failed: int
    cancelled: int
    """By somebody."""
    running: int
    fraction: float
    """0 to 1, of all trials that there may be; what has ended counts whole."""

    @classmethod
    def of(cls, row: Search, trials: Sequence[Trial]) -> Self:
        counts = {status: sum(one.status is status for one in trials) for status in JobStatus}
        pruned = sum(_is_pruned(one) for one in trials)
        fraction = sum(map(_fraction, trials)) / row.spec["trials"]
        return cls(
            begun=len(trials),
            succeeded=counts[JobStatus.SUCCEEDED],
            pruned=pruned,
            failed=counts[JobStatus.FAILED],
            cancelled=counts[JobStatus.CANCELLED] - pruned,
            running=counts[JobStatus.RUNNING],
            fraction=1.0 if row.outcome is JobStatus.SUCCEEDED else round(fraction, 4),
        )


def _is_pruned(one: Trial) -> bool:
    return one.pruned and one.status is JobStatus.CANCELLED


def _fraction(one: Trial) -> float:
    return 1.0 if one.status in FINISHED else (one.progress or {}).get("fraction") or 0.0


class BestTrialView(Shape):
    """The trial of the largest value."""

    number: int
    params: dict[str, Any]
    value: float
    job_id: str
    model_id: str | None
    """Null once that is deleted."""

    @classmethod
    def of(cls, one: Trial) -> Self:
        return cls.model_validate({name: getattr(one, name) for name in cls.model_fields})


class TrialView(Shape):
    """One training of a search: an ordinary job."""

    number: int
    """From 0, in the order in which they were begun."""
    params: dict[str, Any]
    """What it was given of the space."""
    value: float | None
    """The metric of its model; null before it has succeeded, and for a number that nothing was there for."""
    job_id: str
    """Progress, events, metrics, logs and the whole config are there."""
    status: JobStatus
    status_reason: str | None
    """`pruned`: ended early, as others were better."""
    fraction: float
    """How far it is, 0 to 1."""
    model_id: str | None
    """The model it has made; null before, and once that is deleted."""
    error: JobProblem | None
    """Why it failed, without the log."""

    @classmethod
    def of(cls, one: Trial) -> Self:
        return cls(
            number=one.number,
            params=one.params,
            value=one.value,
            job_id=one.job_id,
            status=one.status,
            status_reason=one.status_reason,
            fraction=_fraction(one),
            model_id=one.model_id,
            error=None if one.error is None else JobProblem.model_validate(one.error | {"log_tail": None}),
        )


_PARAMS: Example = {"optimizer.lr": 0.0187, "loss.alpha": 1.31}
_BEST: Example = {
    "number": 17,
    "params": _PARAMS,
    "value": 0.371,
    "job_id": _JOB_ID,
    "model_id": "mdl_01jz4pp2q7r9s1t3v5w7x9y1z3",
}
EXAMPLE: Example = {
    "id": _SEARCH_ID,
    "object": "search",
    "name": None,
    "status": "succeeded",
    "requested_action": None,
    "dataset_id": _DATASET_ID,
    "config": {"epochs": 12},
    "space": _SPACE,
    "max_trials": 30,
    "max_parallel": 1,
    "metric": "AP",
    "pruning": _PRUNING,
    "seed": 0,
    "priority": 0,
    "progress": {
        "begun": 30,
        "succeeded": 19,
        "pruned": 10,
        "failed": 1,
        "cancelled": 0,
        "running": 0,
        "fraction": 1.0,
    },
    "job_id": None,
    "best": _BEST,
    "importances": {"optimizer.lr": 0.91, "loss.alpha": 0.09},
    "error": None,
    "metadata": {},
    "created_at": "2026-11-23T09:00:00.000Z",
    "started_at": "2026-11-23T09:00:02.412Z",
    "finished_at": "2026-11-23T12:41:07.318Z",
}
_TRIAL: Example = _BEST | {"status": "succeeded", "status_reason": None, "fraction": 1.0, "error": None}
_DETAIL: Example = EXAMPLE | {
    "best_config": {"epochs": 12, "batch_size": 8, "optimizer": {"kind": "sgd", "lr": 0.0187}},
    "trials": [_TRIAL],
}
NEW_EXAMPLE: Example = _DETAIL | {
    "status": "queued",
    "progress": {
        "begun": 0,
        "succeeded": 0,
        "pruned": 0,
        "failed": 0,
        "cancelled": 0,
        "running": 0,
        "fraction": 0.0,
    },
    "job_id": "job_01jz4p8b0d2f4h6k8n0q2s4u6w",
    "best": None,
    "best_config": None,
    "importances": None,
    "trials": [],
    "started_at": None,
    "finished_at": None,
}


class _Searched(Identified):
    id: str
    object: Literal["search"] = "search"
    name: str | None
    status: JobStatus
    """`queued` until its first trial begins, `running` until all its jobs have ended, `paused` while nothing
    goes on before it is resumed; `succeeded`, `failed` and `cancelled` are ends."""
    requested_action: Literal["cancel", "pause"] | None
    """What was asked of it and has not happened to all its jobs yet."""
    dataset_id: str | None
    """The dataset; null once that is deleted."""
    config: dict[str, Any]
    """What all trials have in common, as submitted."""
    space: dict[str, Any]
    """What differs."""
    max_trials: int
    max_parallel: int
    metric: Metric
    """What is to be large."""
    pruning: dict[str, Any] | None
    """Which trials are ended early; null: none."""
    seed: int
    """What the sampler draws from."""
    priority: int
    progress: SearchProgressView
    job_id: str | None
    """The job that draws the next trials or, at last, sums up; null while trials run and nothing is to be
    drawn."""
    best: BestTrialView | None
    """The best trial so far."""
    importances: dict[str, float] | None
    """By parameter its share in what made good values good, the largest first; null with fewer than 10
    values. Of the trials that had ended when the last ones were drawn."""
    error: JobProblem | None
    """Why it failed: without a trial that has succeeded, `errors` names each."""
    metadata: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    """When its first trial began."""
    finished_at: datetime | None


class SearchView(_Searched):
    """Trainings one after another, each with values that those before it suggest."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    @classmethod
    def of(cls, row: Search, trials: Sequence[Trial], drawing: JobStatus | None) -> Self:
        return cls.model_validate(_fields(row, trials, drawing))


class SearchDetailView(_Searched):
    """A search with all its trials."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DETAIL]})

    best_config: dict[str, Any] | None
    """The whole config of the best trial: what to train with from now on."""
    trials: list[TrialView]
    """By number."""

    @classmethod
    def of(
        cls,
        row: Search,
        trials: Sequence[Trial],
        drawing: JobStatus | None,
        best_config: dict[str, Any] | None,
    ) -> Self:
        more = {"best_config": best_config, "trials": [TrialView.of(one) for one in trials]}
        return cls.model_validate(_fields(row, trials, drawing) | more)


class SearchList(ListView[SearchView]):
    """A page of searches."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [EXAMPLE],
                    "first_id": _SEARCH_ID,
                    "last_id": _SEARCH_ID,
                    "has_more": False,
                }
            ]
        }
    )


def _fields(row: Search, trials: Sequence[Trial], drawing: JobStatus | None) -> dict[str, Any]:
    started = [one.started_at for one in trials if one.started_at is not None]
    status = searches.status(row, trials, drawing)
    pausing = row.pausing or any(one.requested_action == "pause" for one in trials)
    best = searches.best(trials)
    return {
        "id": row.id,
        "name": row.name,
        "status": status,
        "requested_action": "cancel"
        if row.cancelling
        else "pause"
        if pausing and status is not JobStatus.PAUSED and row.outcome is None
        else None,
        "dataset_id": row.dataset_id,
        **{name: row.spec[name] for name in ("config", "space", "metric", "pruning", "seed", "priority")},
        "max_trials": row.spec["trials"],
        "max_parallel": row.spec["parallel"],
        "progress": SearchProgressView.of(row, trials),
        "job_id": row.job_id,
        "best": None if best is None else BestTrialView.of(best),
        "importances": (row.result or {}).get("importances"),
        "error": row.error,
        "metadata": row.extra,
        "created_at": row.created_at,
        "started_at": min(started, default=None),
        "finished_at": row.finished_at,
    }
