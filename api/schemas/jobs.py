"""Jobs on the wire."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field

from api.schemas.common import (
    Body,
    Example,
    Identified,
    JobProblem,
    ListView,
    Metadata,
    Name,
    NumberedListView,
    Shape,
)
from api.schemas.evaluations import EvaluationCreate
from api.schemas.plans import (
    DISK_EXAMPLE,
    MEMORY_EXAMPLE,
    TIME_EXAMPLE,
    WARNINGS_EXAMPLE,
    DiskView,
    MemoryView,
    PlanWarning,
    TimeView,
)
from detector.config import TrainConfig
from store import jobs
from store.glance import JobGlance
from store.overview import Overview, Point
from store.tables import (
    MAX_ATTEMPTS,
    Artifact,
    Checkpoint,
    Dataset,
    Job,
    JobEvent,
    JobKind,
    JobMetric,
    JobStatus,
    RequestedAction,
)

_DATASET_ID = "ds_01jz4m8x0v3s7q9k2b5c6d7e8f"
_JOB_ID = "job_01jz4m9a6hcy0p3t1w5x7z9b2d"


class TrainJobCreate(Body):
    """A training to start."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "train", "dataset_id": _DATASET_ID, "config": {"epochs": 12, "batch_size": 8}},
                {
                    "kind": "train",
                    "dataset_id": _DATASET_ID,
                    "name": "cells, two stages",
                    "config": {
                        "architecture": "fasterrcnn_mobilenet_v3_large_320_fpn",
                        "loss": {"kind": "harmonic", "gamma": 0.8},
                        "optimizer": {"kind": "adamw", "lr": 0.0005},
                        "epochs": 20,
                    },
                    "metadata": {"experiment": "17"},
                },
                {
                    "kind": "train",
                    "dataset_id": _DATASET_ID,
                    "name": "cells, fine-tuned",
                    "config": {
                        "architecture": {
                            "kind": "ssdlite320_mobilenet_v3_large",
                            "initial_weights": {"kind": "model", "model": "mdl_01jz4mp2q7r9s1t3v5w7x9y1z3"},
                        },
                        "optimizer": {"kind": "sgd", "lr": 0.005},
                    },
                },
            ]
        }
    )

    kind: Literal["train"]
    """Train a detector on a dataset."""
    dataset_id: str = Field(min_length=1, max_length=40)
    """The dataset to learn from; while it is still validating, the job waits for it."""
    config: TrainConfig = Field(default_factory=TrainConfig)
    """Everything that decides the training; what is left out has the default of the architecture's schema."""
    name: Name | None = None
    """Name of the model that comes out; made up from the architecture's when left out."""
    metadata: Metadata = Field(default_factory=dict)
    """Up to 50 names and values of your own."""
    priority: int = Field(0, ge=-100, le=100)
    """Larger ones start first; among equals the oldest."""
    max_attempts: int = Field(MAX_ATTEMPTS, ge=1, le=1000)
    """How often a lost worker may be replaced before the job fails. Attempts that were given back in good
    order (a pause, a deploy) do not count, and a retry begins to count anew."""
    progress_timeout_seconds: float | None = Field(None, gt=0, le=7 * 24 * 3600)
    """A training without a new step for so long is taken for hung and tried again; without it the worker's
    setting counts."""


class EvaluateJobCreate(EvaluationCreate):
    """A model to measure: what `POST /v1/evaluations` makes, answered as its job."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "evaluate", "model": "production", "dataset_id": _DATASET_ID, "split": "test"}
            ]
        }
    )

    kind: Literal["evaluate"]
    """Measure a model on a split of a dataset."""


JobCreate = Annotated[TrainJobCreate | EvaluateJobCreate, Field(discriminator="kind")]


class ProgressView(Shape):
    """How far a job is. Steps and epochs count over all attempts."""

    model_config = ConfigDict(extra="allow")

    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    fraction: float | None = None
    """0 to 1."""
    eta_seconds: float | None = None


class MetricPoint(Shape):
    """Numbers at a step by their names: `loss`, `lr` of the training, `AP` and its kin of an evaluation."""

    model_config = ConfigDict(extra="allow")

    step: int
    epoch: float


class JobMetricsView(Shape):
    """The head of a job's metrics; `/metrics` has all of them."""

    best: MetricPoint | None
    """The evaluation with the highest AP so far."""
    last: MetricPoint | None
    """The latest numbers: of the training step last logged, and of the last evaluation."""

    @classmethod
    def of(cls, found: Overview) -> Self:
        best = None if found.best is None else {**found.best.metrics, **_when(found.best)}
        latest = sorted(
            (row for row in (found.train, found.last) if row is not None), key=lambda row: row.step
        )
        last = {name: value for row in latest for name, value in (row.metrics | _when(row)).items()}
        return cls.model_validate({"best": best, "last": last or None})


def _when(row: JobMetric | Point) -> dict[str, Any]:
    return {"step": row.step, "epoch": row.epoch}


EXAMPLE: Example = {
    "id": _JOB_ID,
    "object": "job",
    "kind": "train",
    "status": "running",
    "status_reason": None,
    "phase": "training",
    "progress": {"epoch": 3, "epochs": 12, "step": 91, "steps": 312, "fraction": 0.29, "eta_seconds": 140.0},
    "requested_action": None,
    "attempt": 1,
    "max_attempts": 20,
    "progress_timeout_seconds": None,
    "queue_position": None,
    "waiting_for": None,
    "heartbeat_at": "2026-11-22T15:06:01.000Z",
    "worker": "train@host-1",
    "spec": {"dataset_id": _DATASET_ID, "config": {"epochs": 12, "batch_size": 8}},
    "resolved_config": {"epochs": 12, "batch_size": 8, "seed": 0},
    "metrics": {
        "best": {"step": 78, "epoch": 3.0, "AP": 0.212, "AP50": 0.431},
        "last": {"step": 90, "epoch": 3.46, "loss": 3.21, "lr": 0.018, "AP": 0.212, "AP50": 0.431},
    },
    "model_id": None,
    "evaluation_id": None,
    "error": None,
    "priority": 0,
    "created_at": "2026-11-22T15:05:05.123Z",
    "started_at": "2026-11-22T15:05:05.901Z",
    "finished_at": None,
    "metadata": {},
}
NEW_EXAMPLE: Example = EXAMPLE | {
    "status": "queued",
    "phase": None,
    "progress": None,
    "attempt": 0,
    "queue_position": 1,
    "waiting_for": "worker",
    "heartbeat_at": None,
    "worker": None,
    "metrics": {"best": None, "last": None},
    "started_at": None,
}


class JobView(Identified):
    """One piece of asynchronous work."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: str
    object: Literal["job"] = "job"
    kind: JobKind
    """`train`; `evaluate`, made by an evaluation; `compare`, made when the trainings of a comparison have
    ended; `search`, made when a search draws its next trials; or `validate`, made by the upload of a
    dataset."""
    status: JobStatus
    """Closed set; `succeeded`, `failed` and `cancelled` are final."""
    status_reason: str | None
    """Why it ended or waits, such as `user_cancelled`, `pruned`, `early_stopped`, `worker_lost`,
    `out_of_memory`."""
    phase: str | None
    """What it is doing: `preparing`, `training`, `evaluating`, `exporting`."""
    progress: ProgressView | None
    requested_action: RequestedAction | None
    """What was asked of it and has not happened yet."""
    attempt: int
    """Grows when a worker was lost and another goes on from the last checkpoint."""
    max_attempts: int
    """How often a lost worker may be replaced before the job fails."""
    progress_timeout_seconds: float | None
    """No new step for so long is a hang; null: as the worker's setting says."""
    queue_position: int | None
    """1 is the next; null when it does not wait in the queue."""
    waiting_for: Literal["worker", "worker_disk_full", "dataset", "delay", "quota"] | None
    """What a queued job waits for: a free worker, the validation of its dataset, the delay after a lost
    worker, or until its project has fewer running jobs than its quota."""
    heartbeat_at: datetime | None
    """When its worker was last heard of."""
    worker: str | None
    """Who works on it."""
    spec: dict[str, Any]
    """As submitted."""
    resolved_config: dict[str, Any] | None
    """The config with every default filled in."""
    metrics: JobMetricsView
    model_id: str | None
    """The model it has made."""
    evaluation_id: str | None
    """The evaluation it makes, or of a training has made."""
    error: JobProblem | None
    """Why it failed; of a queued job, why its last attempt ended."""
    priority: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    metadata: dict[str, str]


class JobList(ListView[JobView]):
    """A page of jobs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [EXAMPLE],
                    "first_id": _JOB_ID,
                    "last_id": _JOB_ID,
                    "has_more": False,
                }
            ]
        }
    )


class JobPlan(Shape):
    """What a job would be, without making it (`dry_run`)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "job_plan",
                    "kind": "train",
                    "dataset_id": _DATASET_ID,
                    "dataset_status": "ready",
                    "resolved_config": {"epochs": 12, "batch_size": 8, "seed": 0},
                    "steps_per_epoch": 26,
                    "steps": 312,
                    "warnings": WARNINGS_EXAMPLE,
                    "disk": DISK_EXAMPLE,
                    "memory": MEMORY_EXAMPLE,
                    "time": TIME_EXAMPLE,
                }
            ]
        }
    )

    object: Literal["job_plan"] = "job_plan"
    kind: JobKind
    dataset_id: str
    dataset_status: str
    resolved_config: dict[str, Any]
    """The config with every default filled in."""
    steps_per_epoch: int | None
    """Null while the dataset is validating."""
    steps: int | None
    """Of the whole training; null while the dataset is validating."""
    warnings: list[PlanWarning] | None
    """Why it may disappoint or fail, as far as the data tell; null while the dataset is validating."""
    disk: DiskView | None
    """What it will write; null while the dataset is validating."""
    memory: MemoryView | None
    """What it will hold; null while the dataset is validating."""
    time: TimeView | None
    """How long it will take; null while the dataset is validating, and where the project has no training like
    it that has succeeded in one attempt and was long enough to be timed."""


class EvaluateJobPlan(Shape):
    """What an evaluation would be, without making it (`dry_run`)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "job_plan",
                    "kind": "evaluate",
                    "dataset_id": _DATASET_ID,
                    "dataset_status": "ready",
                    "model_id": "mdl_01jz4mp2q7r9s1t3v5w7x9y1z3",
                    "split": "val",
                    "images": 73,
                }
            ]
        }
    )

    object: Literal["job_plan"] = "job_plan"
    kind: Literal[JobKind.EVALUATE] = JobKind.EVALUATE
    dataset_id: str
    dataset_status: str
    model_id: str
    """Of the model that was named, by its alias or its id."""
    split: str
    """What `auto` stands for."""
    images: int
    """Of the split."""


class EventView(Shape):
    """Something that happened to a job."""

    id: int
    """Its number within the job, from 1; never repeats."""
    object: Literal["event"] = "event"
    type: str
    """Such as `job.started`, `job.requeued`, `job.succeeded`, `checkpoint`, `notice`."""
    data: dict[str, Any]
    attempt: int
    created_at: datetime

    @classmethod
    def of(cls, row: JobEvent) -> Self:
        return cls(
            id=row.number, type=row.type, data=row.data, attempt=row.attempt, created_at=row.created_at
        )


class EventList(NumberedListView[EventView]):
    """A page of events, oldest first."""

    @classmethod
    def of(cls, events: Sequence[EventView], *, has_more: bool) -> Self:
        return cls(
            data=list(events),
            first_id=events[0].id if events else None,
            last_id=events[-1].id if events else None,
            has_more=has_more,
        )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [
                        {
                            "id": 1,
                            "object": "event",
                            "type": "job.queued",
                            "data": {},
                            "attempt": 0,
                            "created_at": "2026-11-22T15:05:05.123Z",
                        }
                    ],
                    "first_id": 1,
                    "last_id": 1,
                    "has_more": True,
                }
            ]
        }
    )


class CheckpointView(Shape):
    """A saved state of a training."""

    object: Literal["checkpoint"] = "checkpoint"
    step: int
    """Steps done when it was saved."""
    epoch: float
    attempt: int
    """The attempt that saved it."""
    sha256: str
    bytes: int
    created_at: datetime

    @classmethod
    def of(cls, row: Checkpoint) -> Self:
        return cls(
            step=row.step,
            epoch=row.epoch,
            attempt=row.token,  # both grow with each claim, and only then
            sha256=row.sha256,
            bytes=row.bytes,
            created_at=row.created_at,
        )


class CheckpointList(NumberedListView[CheckpointView]):
    """Checkpoints by rising step; `first_id` and `last_id` are steps."""

    @classmethod
    def of(cls, found: Sequence[CheckpointView]) -> Self:
        return cls(
            data=list(found),
            first_id=found[0].step if found else None,
            last_id=found[-1].step if found else None,
            has_more=False,
        )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [
                        {
                            "object": "checkpoint",
                            "step": 312,
                            "epoch": 12.0,
                            "attempt": 2,
                            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                            "bytes": 28123456,
                            "created_at": "2026-11-22T15:08:05.123Z",
                        }
                    ],
                    "first_id": 312,
                    "last_id": 312,
                    "has_more": False,
                }
            ]
        }
    )


_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


class ManifestDatasetView(Shape):
    """What was learned from, or measured on."""

    id: str
    archive_sha256: str
    """Of the zip as it was uploaded."""
    index_sha256: str | None
    """Of what the validation made of it; null until it has."""
    options: dict[str, Any]
    """How it was read: its format, what became of invalid boxes, and how it was split, with the seed."""


class ManifestModelView(Shape):
    """The model that came out."""

    id: str
    artifacts: dict[str, str]
    """SHA-256 of each file."""


class ManifestView(Shape):
    """What it takes to do the same again, and to tell whether two trainings began alike."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "manifest",
                    "job_id": _JOB_ID,
                    "kind": "train",
                    "status": "succeeded",
                    "attempts": 1,
                    "spec": {"dataset_id": _DATASET_ID, "config": {"epochs": 12, "batch_size": 8}},
                    "resolved_config": {"epochs": 12, "batch_size": 8, "seed": 0},
                    "seeds": {"training": 0, "split": 0},
                    "dataset": {
                        "id": _DATASET_ID,
                        "archive_sha256": _SHA256,
                        "index_sha256": _SHA256,
                        "options": {"format": "auto", "split": {"val_fraction": 0.2, "seed": 0}},
                    },
                    "initial_weights": "imagenet",
                    "trainer": {
                        "format": 1,
                        "versions": {"harmonicdet": "0.1.0", "python": "3.11.7", "torch": "2.9.1"},
                        "device": {"type": "cuda", "name": "NVIDIA H100 80GB HBM3"},
                        "processes": 1,
                        "threads": 16,
                        "seed": 0,
                        "config_sha256": _SHA256,
                        "dataset_sha256": _SHA256,
                        "data_order_sha256": _SHA256,
                        "initial_state_sha256": _SHA256,
                    },
                    "model": {"id": "mdl_01jz4mp2q7r9s1t3v5w7x9y1z3", "artifacts": {"model.onnx": _SHA256}},
                }
            ]
        }
    )

    object: Literal["manifest"] = "manifest"
    job_id: str
    kind: JobKind
    status: JobStatus
    attempts: int
    """How often it was begun. A training that was interrupted ends, on a CPU, with the same bits."""
    spec: dict[str, Any]
    """As submitted."""
    resolved_config: dict[str, Any] | None
    """With every default filled in."""
    seeds: dict[str, int | None]
    """`training`: of its config; `split`: of the division of the dataset, where that was made here."""
    dataset: ManifestDatasetView | None
    """Null once it is deleted."""
    initial_weights: str | dict[str, Any] | None
    """`random`, `imagenet`, `coco`; or the model, with the SHA-256 of its weights."""
    trainer: dict[str, Any] | None
    """What the trainer has found: versions, device, and hashes of the order of its data and of the network
    before its first step; null until there is a model, and once that is deleted."""
    model: ManifestModelView | None
    """Null until there is one, and once it is deleted."""


def manifest(
    job: Job,
    dataset: Dataset | None,
    model_id: str | None,
    artifacts: Sequence[Artifact],
    trainer: dict[str, Any] | None,
) -> ManifestView:
    """What is known of a job."""
    config = job.resolved_config or {}
    architecture = config.get("architecture")
    split = (dataset.options.get("split") or {}) if dataset is not None else {}
    return ManifestView(
        job_id=job.id,
        kind=job.kind,
        status=job.status,
        attempts=job.attempt,
        spec=job.spec,
        resolved_config=job.resolved_config,
        seeds={"training": config.get("seed"), "split": split.get("seed")},
        dataset=None
        if dataset is None
        else ManifestDatasetView(
            id=dataset.id,
            archive_sha256=dataset.archive_sha256,
            # Its key is its hash.
            index_sha256=None if dataset.index is None else dataset.index.rpartition("/")[2],
            options=dataset.options,
        ),
        initial_weights=architecture.get("initial_weights") if isinstance(architecture, dict) else None,
        trainer=trainer,
        model=None
        if model_id is None
        else ManifestModelView(id=model_id, artifacts={one.name: one.sha256 for one in artifacts}),
    )


METRIC_ID = r"^[0-9]{1,9}(\.[^\x00-\x1f\x7f]{1,20})?$"
"""A step, or a step and a split: `312.train`."""


def metric_place(text: str) -> jobs.MetricPlace:
    """What an id of a `MetricView` says, or a bare step."""
    step, dot, split = text.partition(".")
    return jobs.MetricPlace(int(step), split if dot else None)


class MetricView(Identified):
    """Numbers of one step of training (`split` is `train`) or of one evaluation (the split measured)."""

    id: str
    """Step and split; its place among those of its job."""
    object: Literal["metric"] = "metric"
    split: str
    step: int
    """Steps done so far, over all attempts."""
    epoch: float
    values: dict[str, Any]
    """Of training: loss, its parts, lr. Of an evaluation: the 12 COCO numbers, 0 to 1, or null."""
    created_at: datetime

    @classmethod
    def of(cls, row: JobMetric) -> Self:
        return cls(
            id=f"{row.step}.{row.split}",
            split=row.split,
            step=row.step,
            epoch=row.epoch,
            values=row.metrics,
            created_at=row.created_at,
        )


class MetricList(ListView[MetricView]):
    """A page of metrics by rising step. `last_id` is also where a later poll goes on."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [
                        {
                            "id": "312.val",
                            "object": "metric",
                            "split": "val",
                            "step": 312,
                            "epoch": 12.0,
                            "values": {"AP": 0.412, "AP50": 0.731},
                            "created_at": "2026-11-22T15:08:05.123Z",
                        }
                    ],
                    "first_id": "312.val",
                    "last_id": "312.val",
                    "has_more": False,
                }
            ]
        }
    )


def view(row: Job | JobGlance, found: Overview) -> JobView:
    """The job as it goes out."""
    return JobView.model_validate(
        {
            "id": row.id,
            "kind": row.kind,
            "status": row.status,
            "status_reason": row.status_reason,
            "phase": row.phase,
            "progress": row.progress,
            "requested_action": row.requested_action,
            "attempt": row.attempt,
            "max_attempts": row.max_attempts,
            "progress_timeout_seconds": row.progress_timeout_seconds or None,
            "queue_position": found.queue_position,
            "waiting_for": found.waiting_for,
            "heartbeat_at": row.heartbeat_at,
            "worker": row.worker,
            "spec": row.spec,
            "resolved_config": row.resolved_config,
            "metrics": JobMetricsView.of(found),
            "model_id": found.model_id,
            "evaluation_id": found.evaluation_id,
            "error": row.error,
            "priority": row.priority,
            "created_at": row.created_at,
            "started_at": row.started_at,
            "finished_at": row.finished_at,
            "metadata": row.extra,
        }
    )
