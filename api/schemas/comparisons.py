"""Comparisons on the wire."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from api.schemas.common import (
    Body,
    Example,
    Identified,
    JobProblem,
    ListView,
    Metadata,
    Name,
    Shape,
    printable,
)
from detector.config import TrainConfig
from store import comparisons
from store.comparisons import FEWEST_SEEDS, Run
from store.tables import FINISHED, Comparison, JobStatus

MOST_SEEDS = 50
MOST_ARMS = 20
MOST_TRAININGS = 100
_MOST_LEVELS = 8  # of a config's objects within objects

_COMPARISON_ID = "cmp_01jz4n2c4e6g8j0m2p4r6t8v0x"
_DATASET_ID = "ds_01jz4m8x0v3s7q9k2b5c6d7e8f"
_JOB_ID = "job_01jz4m9a6hcy0p3t1w5x7z9b2d"

Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _counted(value: object) -> object:
    """A number of seeds is the seeds from 1 to it."""
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    return list(range(1, value + 1)) if 0 < value <= MOST_SEEDS else [1] * min(max(value, 0), MOST_SEEDS + 1)


def _enough(seeds: list[int]) -> list[int]:
    if len(seeds) < FEWEST_SEEDS:
        raise PydanticCustomError(
            "too_few_seeds",
            "a comparison needs at least {fewest} seeds: with fewer nobody can tell a difference from chance",
            {"fewest": FEWEST_SEEDS},
        )
    if len(seeds) > MOST_SEEDS:
        raise PydanticCustomError(
            "too_many_seeds", "a comparison may have {most} seeds at most", {"most": MOST_SEEDS}
        )
    if len(set(seeds)) < len(seeds):
        raise PydanticCustomError("duplicate", "every seed may be there once")
    return seeds


Seeds = Annotated[
    list[Seed],
    BeforeValidator(
        _counted,
        json_schema_input_type=Annotated[int, Field(ge=FEWEST_SEEDS, le=MOST_SEEDS)]
        | Annotated[list[Seed], Field(min_length=FEWEST_SEEDS, max_length=MOST_SEEDS)],
    ),
    AfterValidator(_enough),
]


def _shallow(value: object) -> object:
    """Refuse what is deeper than any config, before anything walks through it."""
    level = [value]
    for _ in range(_MOST_LEVELS):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
        ]
        if not level:
            return value
    raise PydanticCustomError(
        "too_deep", "no config has more than {most} levels of objects", {"most": _MOST_LEVELS}
    )


class ArmCreate(Body):
    """One side of a comparison."""

    name: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(printable)]
    """What it is called in the report; every arm has its own."""
    config: Annotated[dict[str, Any], BeforeValidator(_shallow)] = Field(default_factory=dict)
    """What it changes in the base `config`, by the rules of a JSON Merge Patch (RFC 7396): objects field by
    field, null for the default. An object that names another `kind` replaces the one that was there."""


_ARMS: list[Any] = [
    {"name": "baseline", "config": {"loss": "baseline"}},
    {"name": "harmonic", "config": {"loss": "harmonic"}},
]


class ComparisonCreate(Body):
    """A comparison to make."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"dataset_id": _DATASET_ID, "config": {"epochs": 12}, "arms": _ARMS, "seeds": 3},
                {
                    "dataset_id": _DATASET_ID,
                    "name": "how much the factors do",
                    "config": {"epochs": 20, "loss": {"kind": "harmonic", "gamma": 0.8}},
                    "arms": [
                        {"name": "whole", "config": {}},
                        {"name": "no factors", "config": {"loss": {"harmonic_factors": False}}},
                        {"name": "no contrasting", "config": {"loss": {"task_contrasting": False}}},
                    ],
                    "seeds": [11, 12, 13, 14, 15],
                    "baseline": "whole",
                },
            ]
        }
    )

    dataset_id: str = Field(min_length=1, max_length=40)
    """The dataset to learn from and to measure on; while it is validating, the trainings wait for it."""
    config: TrainConfig = Field(default_factory=TrainConfig)
    """What all arms have in common: the config of a training, without a `seed`."""
    arms: list[ArmCreate] = Field(min_length=2, max_length=MOST_ARMS)
    """What is compared."""
    seeds: Seeds = Field(default_factory=lambda: list(range(1, FEWEST_SEEDS + 1)))
    """Seeds, or how many of them, from 1; at least 3. Every arm is trained with each: arms with the same seed
    begin with the same initial weights and see the images in the same order."""
    baseline: str | None = Field(None, max_length=100)
    """The arm that the others are compared with; the first one when left out."""
    name: Name | None = None
    """Name of the comparison."""
    metadata: Metadata = Field(default_factory=dict)
    """Up to 50 names and values of your own; the trainings have them, too."""
    priority: int = Field(0, ge=-100, le=100)
    """Of its jobs: larger ones start first; among equals the oldest."""

    @model_validator(mode="after")
    def _is_affordable(self) -> Self:
        trainings = len(self.arms) * len(self.seeds)
        if trainings > MOST_TRAININGS:
            raise PydanticCustomError(
                "too_many_trainings",
                "{arms} arms with {seeds} seeds are {trainings} trainings; a comparison may have {most}",
                {
                    "arms": len(self.arms),
                    "seeds": len(self.seeds),
                    "trainings": trainings,
                    "most": MOST_TRAININGS,
                },
            )
        return self


class ComparisonProgressView(Shape):
    """How far its trainings are."""

    trainings: int
    """How many there are."""
    succeeded: int
    failed: int
    cancelled: int
    running: int
    fraction: float
    """0 to 1: the mean of the trainings'; what has ended counts whole."""

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Self:
        counts = {status: sum(run.status is status for run in runs) for status in JobStatus}
        return cls(
            trainings=len(runs),
            succeeded=counts[JobStatus.SUCCEEDED],
            failed=counts[JobStatus.FAILED],
            cancelled=counts[JobStatus.CANCELLED],
            running=counts[JobStatus.RUNNING],
            fraction=round(sum(map(_fraction, runs)) / len(runs), 4) if runs else 0.0,
        )


def _fraction(run: Run) -> float:
    return 1.0 if run.status in FINISHED else (run.progress or {}).get("fraction") or 0.0


class ArmView(Shape):
    """One side of a comparison."""

    name: str
    config: dict[str, Any]
    """What it changes in the base config."""


class RunView(Shape):
    """One training of a comparison: an ordinary job."""

    seed: int
    job_id: str
    """Progress, events, metrics, logs and the manifest are there."""
    status: JobStatus
    status_reason: str | None
    fraction: float
    """How far it is, 0 to 1."""
    model_id: str | None
    """The model it has made; null before, and once that is deleted."""
    metrics: dict[str, float | None] | None
    """The 12 COCO numbers of its model."""
    error: JobProblem | None
    """Why it failed, without the log."""

    @classmethod
    def of(cls, run: Run) -> Self:
        return cls(
            seed=run.seed,
            job_id=run.job_id,
            status=run.status,
            status_reason=run.status_reason,
            fraction=_fraction(run),
            model_id=run.model_id,
            metrics=run.metrics,
            error=None if run.error is None else JobProblem.model_validate(run.error | {"log_tail": None}),
        )


class ArmDetailView(ArmView):
    """One side of a comparison, and its trainings."""

    resolved_config: dict[str, Any]
    """The config with every default filled in, before any seed."""
    runs: list[RunView]
    """In the order of the seeds."""


_VERDICT: Example = {"harmonic": "better"}
_HEAD: Example = {
    "object": "comparison_result",
    "baseline": "baseline",
    "primary": "AP",
    "confidence": 0.95,
    "seeds": [1, 2, 3],
    "verdict": _VERDICT,
    "reason": None,
    "paired": {"data_order": True, "initial_weights": True},
    "arms": [
        {"name": "baseline", "mean": {"AP": 0.352}, "sd": {"AP": 0.004}},
        {"name": "harmonic", "mean": {"AP": 0.371}, "sd": {"AP": 0.003}},
    ],
}
EXAMPLE: Example = {
    "id": _COMPARISON_ID,
    "object": "comparison",
    "name": "losses",
    "status": "succeeded",
    "requested_action": None,
    "dataset_id": _DATASET_ID,
    "config": {"epochs": 12},
    "arms": _ARMS,
    "baseline": "baseline",
    "seeds": [1, 2, 3],
    "priority": 0,
    "progress": {
        "trainings": 6,
        "succeeded": 6,
        "failed": 0,
        "cancelled": 0,
        "running": 0,
        "fraction": 1.0,
    },
    "job_id": "job_01jz4n8b0d2f4h6k8n0q2s4u6w",
    "verdict": _VERDICT,
    "result": _HEAD,
    "error": None,
    "metadata": {},
    "created_at": "2026-11-23T09:00:00.000Z",
    "started_at": "2026-11-23T09:00:00.412Z",
    "finished_at": "2026-11-23T09:41:07.318Z",
}
_RUN: Example = {
    "seed": 1,
    "job_id": _JOB_ID,
    "status": "succeeded",
    "status_reason": None,
    "fraction": 1.0,
    "model_id": "mdl_01jz4mp2q7r9s1t3v5w7x9y1z3",
    "metrics": {"AP": 0.349, "AP50": 0.655, "AP75": 0.341},
    "error": None,
}
_DETAIL: Example = EXAMPLE | {
    "arms": [arm | {"resolved_config": {"epochs": 12, "batch_size": 8}, "runs": [_RUN]} for arm in _ARMS]
}
_UNSTARTED: Example = {
    "status": "queued",
    "progress": {
        "trainings": 6,
        "succeeded": 0,
        "failed": 0,
        "cancelled": 0,
        "running": 0,
        "fraction": 0.0,
    },
    "job_id": None,
    "verdict": None,
    "result": None,
    "started_at": None,
    "finished_at": None,
}
_NEW_RUN: Example = _RUN | {"status": "queued", "fraction": 0.0, "model_id": None, "metrics": None}
NEW_EXAMPLE: Example = (
    _DETAIL
    | _UNSTARTED
    | {
        "arms": [
            arm | {"resolved_config": {"epochs": 12, "batch_size": 8}, "runs": [_NEW_RUN]} for arm in _ARMS
        ]
    }
)


class _Compared(Identified):
    id: str
    object: Literal["comparison"] = "comparison"
    name: str | None
    status: JobStatus
    """`queued` until its first training begins, `running` until all its jobs have ended, `paused` while
    nothing goes on before it is resumed; `succeeded`, `failed` and `cancelled` are ends."""
    requested_action: Literal["cancel", "pause"] | None
    """What was asked of it and has not happened to all its jobs yet."""
    dataset_id: str | None
    """The dataset; null once that is deleted."""
    config: dict[str, Any]
    """What all arms have in common, as submitted."""
    baseline: str
    """The arm that the others are compared with."""
    seeds: list[int]
    priority: int
    progress: ComparisonProgressView
    job_id: str | None
    """The job that compares, made when the last training has ended: its progress, events and logs."""
    verdict: dict[str, str] | None
    """By arm, against the baseline: `better`, `worse`, `inconclusive`, or `refused` where too few seeds are
    there."""
    result: dict[str, Any] | None
    """The head of the report: COCO's numbers per arm and the differences of AP. What was found before a retry
    stays until it is compared again."""
    error: JobProblem | None
    """Why it failed: of trainings that are missing, `errors` names each."""
    metadata: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    """When its first training began."""
    finished_at: datetime | None


class ComparisonView(_Compared):
    """Trainings that differ in their config only, and what came of comparing them."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    arms: list[ArmView]

    @classmethod
    def of(cls, row: Comparison, runs: Sequence[Run]) -> Self:
        return cls.model_validate(_fields(row, runs) | {"arms": row.spec["arms"]})


class ComparisonDetailView(_Compared):
    """A comparison with the trainings of every arm."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DETAIL]})

    arms: list[ArmDetailView]

    @classmethod
    def of(cls, row: Comparison, runs: Sequence[Run]) -> Self:
        arms = [
            arm | {"runs": [RunView.of(run) for run in runs if run.arm == place]}
            for place, arm in enumerate(row.spec["arms"])
        ]
        return cls.model_validate(_fields(row, runs) | {"arms": arms})


class ComparisonList(ListView[ComparisonView]):
    """A page of comparisons."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [EXAMPLE],
                    "first_id": _COMPARISON_ID,
                    "last_id": _COMPARISON_ID,
                    "has_more": False,
                }
            ]
        }
    )


_FIGURE: Example = {
    "data": [{"type": "bar", "x": ["baseline", "harmonic"], "y": [0.352, 0.371]}],
    "layout": {"title": {"text": "AP"}},
}


class ComparisonFigure(Shape):
    """A figure as Plotly draws it: `Plotly.newPlot(element, data, layout)`."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [_FIGURE]})

    data: list[dict[str, Any]]
    layout: dict[str, Any]


class ComparisonReport(Shape):
    """Everything that was found; docs/comparisons.md says what each field is."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "object": "comparison_result",
                    "name": "losses",
                    "dataset": _DATASET_ID,
                    "baseline": "baseline",
                    "primary": "AP",
                    "confidence": 0.95,
                    "resamples": 1000,
                    "seeds": [1, 2, 3],
                    "verdict": _VERDICT,
                    "arms": [{"name": "baseline", "mean": {"AP": 0.352}, "sd": {"AP": 0.004}, "runs": []}],
                    "differences": [{"arm": "harmonic", "against": "baseline", "verdict": "better"}],
                    "figures": {"differences": _FIGURE},
                }
            ]
        },
    )

    object: Literal["comparison_result"]
    baseline: str
    seeds: list[int]
    """With which every arm was trained."""
    verdict: dict[str, str]
    arms: list[dict[str, Any]]
    """Of each: its runs, mean and standard deviation over the seeds, per class, size and slice."""
    differences: list[dict[str, Any]]
    """Of each arm and the baseline, with an interval over seeds, one over images, and one over both."""
    figures: dict[str, ComparisonFigure]
    """By name, as `/figures/{figure}` has them."""


def _fields(row: Comparison, runs: Sequence[Run]) -> dict[str, Any]:
    started = [run.started_at for run in runs if run.started_at is not None]
    pausing = any(run.requested_action == "pause" for run in runs)
    return {
        "id": row.id,
        "name": row.name,
        "status": comparisons.status(row, runs),
        "requested_action": "cancel" if row.cancelling else "pause" if pausing else None,
        "dataset_id": row.dataset_id,
        **{name: row.spec[name] for name in ("config", "baseline", "seeds", "priority")},
        "progress": ComparisonProgressView.of(runs),
        "job_id": row.job_id,
        "verdict": (row.result or {}).get("verdict"),
        "result": row.result,
        "error": row.error,
        "metadata": row.extra,
        "created_at": row.created_at,
        "started_at": min(started, default=None),
        "finished_at": row.finished_at,
    }
