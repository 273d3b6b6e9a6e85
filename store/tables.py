"""The rows, named by bare nouns.

Every transition of a job is in `store.jobs`, the other verbs in the module of their noun.

Nothing a number is compared with is NULL: an absent lease is 0, an absent checkpoint step is -1.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Dialect,
    Double,
    Enum,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from store.clock import Timestamp, database_now

DEFAULT_PROJECT = "prj_default"
MAX_ATTEMPTS = 20  # of a job, unless it was given another limit
TRAINING_STEPS = "train"  # the split under which the numbers of training steps are kept
BLOB = {"blob": True}  # marks a column that holds keys of blobs: what it names is never collected as garbage


class DatasetStatus(StrEnum):
    VALIDATING = "validating"
    READY = "ready"
    INVALID = "invalid"


class JobKind(StrEnum):
    VALIDATE = "validate"  # made by the upload of a dataset
    TRAIN = "train"
    EVALUATE = "evaluate"
    COMPARE = "compare"  # made when the trainings of a comparison have ended
    SEARCH = "search"  # made when a search can go on, and when its last trial has ended


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class RequestedAction(StrEnum):
    CANCEL = "cancel"
    PAUSE = "pause"
    STOP = "stop"


class CleanText(TypeDecorator[str]):
    """Text that every database takes: NUL and lone surrogates, which PostgreSQL refuses, become U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return "".join("\ufffd" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in value)


def _by_value(enum: type[StrEnum]) -> Enum:
    return Enum(enum, native_enum=False, length=20, values_callable=lambda e: [m.value for m in e])


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        datetime: Timestamp,
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
        dict[str, str]: JSON(none_as_null=True),
        str: CleanText,
        float: Double,
        DatasetStatus: _by_value(DatasetStatus),
        JobKind: _by_value(JobKind),
        JobStatus: _by_value(JobStatus),
        RequestedAction: _by_value(RequestedAction),
    }


class Project(Base):
    """The tenant. `prj_default` exists from the first migration."""

    __tablename__ = "project"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    # Quotas; 0 is no limit. Validations are not counted: an upload never waits behind a training.
    max_queued_jobs: Mapped[int] = mapped_column(default=0, server_default="0")
    max_running_jobs: Mapped[int] = mapped_column(default=0, server_default="0")
    max_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")


class Key(Base):
    """An API key: a visible prefix to look it up, and the HMAC-SHA-256 of the whole, which is not kept."""

    __tablename__ = "key"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(20), unique=True)
    digest: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Dataset(Base):
    """An immutable, validated set of images and boxes, known by the hash of its archive."""

    __tablename__ = "dataset"
    __table_args__ = (Index("ix_dataset_project_id_id", "project_id", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str] = mapped_column(String(200))
    status: Mapped[DatasetStatus]
    # What was asked of the validation: format ("auto", "coco", "voc", "yolo"), on_invalid, split.
    options: Mapped[dict[str, Any]]
    archive: Mapped[str] = mapped_column(String(100), info=BLOB)  # the zip as uploaded
    archive_sha256: Mapped[str] = mapped_column(String(64), index=True)
    archive_bytes: Mapped[int] = mapped_column(BigInteger)
    # The job that validates it; no foreign key, for the two rows would point at each other.
    validation_job_id: Mapped[str] = mapped_column(String(40))
    # Set by the validation: the index (detector.data.records.DatasetIndex), report's head.
    index: Mapped[str | None] = mapped_column(String(100), info=BLOB)
    format: Mapped[str | None] = mapped_column(String(20))
    summary: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    extra: Mapped[dict[str, str]] = mapped_column("metadata")
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    validated_at: Mapped[datetime | None]


class DatasetImage(Base):
    """One image of a dataset, as the index lists it; `position` counts from 0 within the dataset."""

    __tablename__ = "dataset_image"

    dataset_id: Mapped[str] = mapped_column(ForeignKey("dataset.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    file_name: Mapped[str]  # the member of the archive
    split: Mapped[str] = mapped_column(String(20))
    width: Mapped[int]
    height: Mapped[int]
    boxes: Mapped[int]


class DatasetFinding(Base):
    """One thing the validation found; `position` counts from 0 within the dataset."""

    __tablename__ = "dataset_finding"

    dataset_id: Mapped[str] = mapped_column(ForeignKey("dataset.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    severity: Mapped[str] = mapped_column(String(10))  # error | warning
    code: Mapped[str] = mapped_column(String(60))
    location: Mapped[str]  # member#/json/pointer or member:line
    message: Mapped[str]
    action: Mapped[str] = mapped_column(String(20))  # none | fixed | dropped | rejected
    image: Mapped[int | None]  # position of the image it is about, where the dataset has kept that one


class Upload(Base):
    """An archive that arrives in parts. Its bytes are a file of `store.uploads`, whose size says how far."""

    __tablename__ = "upload"
    __table_args__ = (Index("ix_upload_project_id_id", "project_id", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"))
    length: Mapped[int] = mapped_column(BigInteger)
    told: Mapped[str]  # what its client says about it, in the words of tus' Upload-Metadata
    # What it has become. No foreign key: it stays used when that dataset is deleted.
    dataset_id: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Job(Base):
    """One piece of asynchronous work. The row is the truth; a message is only a hint to look at it."""

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("project_id", "idempotency_key"),
        Index("ix_job_project_id_id", "project_id", "id"),
        Index("ix_job_status_queue_not_before", "status", "queue", "not_before"),
        Index("ix_job_status_lease_until", "status", "lease_until"),
        Index("ix_job_status_queue_priority_id", "status", "queue", "priority", "id"),
        Index("ix_job_finished_at", "finished_at"),
        CheckConstraint("token >= attempt", name="token_covers_attempt"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"))
    kind: Mapped[JobKind]
    queue: Mapped[str] = mapped_column(String(20))  # train | evaluate | ingest
    # As submitted. Kept as JSON and validated where it is used, so that an old row stays readable.
    spec: Mapped[dict[str, Any]]
    resolved_config: Mapped[dict[str, Any] | None]
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("dataset.id", ondelete="SET NULL"), index=True)
    # The model whose weights it starts from, or that it measures; no foreign key, for it is history once the
    # job has ended.
    initial_model_id: Mapped[str | None] = mapped_column(String(40), index=True)
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    priority: Mapped[int] = mapped_column(default=0)  # larger first

    status: Mapped[JobStatus] = mapped_column(default=JobStatus.QUEUED)
    status_reason: Mapped[str | None] = mapped_column(String(40))
    requested_action: Mapped[RequestedAction | None]
    phase: Mapped[str | None] = mapped_column(String(20))  # preparing | training | evaluating | exporting
    progress: Mapped[dict[str, Any] | None]  # epoch, epochs, step, steps, fraction, eta_seconds
    error: Mapped[dict[str, Any] | None]  # problem object

    token: Mapped[int] = mapped_column(default=0)  # the fencing token: grows with every claim, never shrinks
    attempt: Mapped[int] = mapped_column(default=0)
    stalls: Mapped[int] = mapped_column(default=0)  # ends without progress; a checkpoint sets it to 0
    max_attempts: Mapped[int] = mapped_column(default=MAX_ATTEMPTS, server_default=str(MAX_ATTEMPTS))
    # Attempts that do not count towards the limit: given back in good order, or before the last retry.
    excused: Mapped[int] = mapped_column(default=0, server_default="0")
    # No new step for so long is a stall; 0: as long as the worker's settings say.
    progress_timeout_seconds: Mapped[float] = mapped_column(default=0.0, server_default="0")
    worker: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[float] = mapped_column(default=0.0)
    heartbeat_at: Mapped[datetime | None]
    not_before: Mapped[float] = mapped_column(default=0.0)
    dispatched_at: Mapped[float] = mapped_column(default=0.0)
    hints: Mapped[int] = mapped_column(default=0)  # sent since it was last queued; spaces the next one out

    checkpoint_key: Mapped[str | None] = mapped_column(String(200), info=BLOB)
    checkpoint_sha256: Mapped[str | None] = mapped_column(String(64))
    checkpoint_step: Mapped[int] = mapped_column(default=-1)

    next_event: Mapped[int] = mapped_column(default=1)  # number of the next event
    log_tail: Mapped[str] = mapped_column(default="")
    # Of the request that made it, for whoever reads logs and traces; see store.context.
    request_id: Mapped[str | None] = mapped_column(String(64))
    traceparent: Mapped[str | None] = mapped_column(String(64))
    extra: Mapped[dict[str, str]] = mapped_column("metadata")
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobEvent(Base):
    """What happened to a job, written by the transitions. `number` counts from 1 and never repeats."""

    __tablename__ = "job_event"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    type: Mapped[str] = mapped_column(String(40))
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class JobMetric(Base):
    """The metrics of one step: `{"loss": …, "lr": …}` of training, `{"AP": …}` of an evaluation."""

    __tablename__ = "job_metric"
    # There is one more, `ix_job_metric_best`, in the order of AP: SQLAlchemy has no word for it on both
    # databases, so that only the migrations know it.
    __table_args__ = (
        Index(
            "ix_job_metric_last",
            "job_id",
            "step",
            "split",
            sqlite_where=text("split <> 'train'"),
            postgresql_where=text("split <> 'train'"),
        ),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    # "train" for training steps, else the split measured
    split: Mapped[str] = mapped_column(String(20), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[float]
    metrics: Mapped[dict[str, Any]] = mapped_column("values")
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class Checkpoint(Base):
    """A saved state of a training, from which it goes on bit by bit."""

    __tablename__ = "checkpoint"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[int]
    epoch: Mapped[float]
    blob: Mapped[str] = mapped_column(String(200), info=BLOB)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class Model(Base):
    """A trained detector, or imported weights to train from: of a detector, or of a bare backbone.

    Imported ones have no job and no metrics; a bare backbone has its name as `architecture`, and no classes.
    """

    __tablename__ = "model"
    __table_args__ = (Index("ix_model_project_id_id", "project_id", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"))
    job_id: Mapped[str | None] = mapped_column(ForeignKey("job.id"), unique=True)
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("dataset.id", ondelete="SET NULL"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    architecture: Mapped[str] = mapped_column(String(80))
    loss: Mapped[str] = mapped_column(String(40))
    classes: Mapped[list[Any]]  # [{"id": 3, "name": "car"}, …], the dataset's own ids
    config: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]  # of the evaluation made at the end of training
    extra: Mapped[dict[str, str]] = mapped_column("metadata")
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class Artifact(Base):
    """A file of a model: `model.onnx`, `model.safetensors`, `model.json`, `detections.json`."""

    __tablename__ = "artifact"

    model_id: Mapped[str] = mapped_column(ForeignKey("model.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    media_type: Mapped[str] = mapped_column(String(100))
    blob: Mapped[str] = mapped_column(String(200), index=True, info=BLOB)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)


class ModelAlias(Base):
    """A name that means one model now and may mean another one later, such as `production`."""

    __tablename__ = "model_alias"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str] = mapped_column(String(100))
    model_id: Mapped[str] = mapped_column(ForeignKey("model.id"), index=True)
    version: Mapped[int] = mapped_column(default=1)  # grows with every change
    extra: Mapped[dict[str, str]] = mapped_column("metadata")
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    updated_at: Mapped[datetime] = mapped_column(default=database_now())


class Evaluation(Base):
    """Detections measured on a split of a dataset: a model's, at the end of its training or by a job of its
    own, or those of a file that was uploaded, which has no model.

    It is as far as its job; until that has succeeded there are no metrics.
    """

    __tablename__ = "evaluation"
    __table_args__ = (Index("ix_evaluation_project_id_id", "project_id", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"))
    model_id: Mapped[str | None] = mapped_column(ForeignKey("model.id", ondelete="CASCADE"), index=True)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("job.id"), index=True)
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("dataset.id", ondelete="SET NULL"), index=True)
    split: Mapped[str] = mapped_column(String(20))
    # What was asked of the report: score_threshold, precision, voc_inclusive.
    options: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    metrics: Mapped[dict[str, Any]]  # AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl
    per_class: Mapped[list[Any]]
    extra: Mapped[dict[str, str]] = mapped_column("metadata", default=dict, server_default="{}")
    created_at: Mapped[datetime] = mapped_column(default=database_now())


class EvaluationFile(Base):
    """A file of an evaluation: `report.json`, `detections.json`, `ground_truth.json`, `images.jsonl`."""

    __tablename__ = "evaluation_file"

    evaluation_id: Mapped[str] = mapped_column(
        ForeignKey("evaluation.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    media_type: Mapped[str] = mapped_column(String(100))
    blob: Mapped[str] = mapped_column(String(200), index=True, info=BLOB)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)


class Comparison(Base):
    """Trainings that differ in their config only, each with the same seeds, and what came of comparing them.

    While it is open it is as far as its jobs; `outcome` says how it has ended.
    """

    __tablename__ = "comparison"
    __table_args__ = (Index("ix_comparison_project_id_id", "project_id", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str | None] = mapped_column(String(200))
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("dataset.id", ondelete="SET NULL"), index=True)
    # config, arms [{name, config, resolved_config}], seeds, baseline, priority.
    spec: Mapped[dict[str, Any]]
    # The job that compares; none before the last training has ended.
    job_id: Mapped[str | None] = mapped_column(ForeignKey("job.id"), index=True)
    outcome: Mapped[JobStatus | None]  # succeeded, failed or cancelled
    cancelling: Mapped[bool] = mapped_column(default=False)  # asked for, and not all jobs have ended
    result: Mapped[dict[str, Any] | None]  # head of what was found; stays until it is compared again
    error: Mapped[dict[str, Any] | None]  # problem object
    extra: Mapped[dict[str, str]] = mapped_column("metadata")
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    finished_at: Mapped[datetime | None]


class ComparisonRun(Base):
    """Which training is that of an arm, by its position from 0, and a seed."""

    __tablename__ = "comparison_run"

    comparison_id: Mapped[str] = mapped_column(
        ForeignKey("comparison.id", ondelete="CASCADE"), primary_key=True
    )
    arm: Mapped[int] = mapped_column(primary_key=True)
    seed: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), unique=True)


class ComparisonFile(Base):
    """A file of a comparison: `comparison.json`, `comparison.md`, `comparison.html`."""

    __tablename__ = "comparison_file"

    comparison_id: Mapped[str] = mapped_column(
        ForeignKey("comparison.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    media_type: Mapped[str] = mapped_column(String(100))
    blob: Mapped[str] = mapped_column(String(200), index=True, info=BLOB)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)


class Search(Base):
    """Trainings, one or a few at a time, each with values that those before it suggest.

    While it is open it is as far as its jobs; `outcome` says how it has ended.
    """

    __tablename__ = "search"
    __table_args__ = (Index("ix_search_project_id_id", "project_id", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str | None] = mapped_column(String(200))
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("dataset.id", ondelete="SET NULL"), index=True)
    # The model whose weights all trials start from; no foreign key, as with jobs.
    initial_model_id: Mapped[str | None] = mapped_column(String(40), index=True)
    # config, resolved_config, space, trials, parallel, seed, metric, pruning, priority.
    spec: Mapped[dict[str, Any]]
    # The job that draws the next trials or sums up; none while there is nothing to draw.
    job_id: Mapped[str | None] = mapped_column(ForeignKey("job.id"), index=True)
    outcome: Mapped[JobStatus | None]  # succeeded, failed or cancelled
    cancelling: Mapped[bool] = mapped_column(default=False)  # asked for, and not all jobs have ended
    pausing: Mapped[bool] = mapped_column(default=False)  # no further trial is begun
    result: Mapped[dict[str, Any] | None]  # importances; stays until it is summed up again
    error: Mapped[dict[str, Any] | None]  # problem object; before the outcome: why nothing is drawn any more
    extra: Mapped[dict[str, str]] = mapped_column("metadata")
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    finished_at: Mapped[datetime | None]


class SearchTrial(Base):
    """A training of a search, and what it was begun with. Written by who holds its job."""

    __tablename__ = "search_trial"

    search_id: Mapped[str] = mapped_column(ForeignKey("search.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)  # from 0
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"), unique=True)
    params: Mapped[dict[str, Any]]
    pruned: Mapped[bool] = mapped_column(default=False)  # its end was asked for, as others were better
    value: Mapped[float | None]  # of its model, which may be deleted


class Worker(Base):
    """A worker process, as it has last told about itself."""

    __tablename__ = "worker"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)  # wrk_…, chosen by the process
    name: Mapped[str] = mapped_column(String(200))
    queue: Mapped[str] = mapped_column(String(20))
    device: Mapped[str]
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    version: Mapped[str] = mapped_column(String(40))
    draining: Mapped[bool] = mapped_column(default=False)
    blocked: Mapped[str | None]  # why it claims nothing now, a sentence: its disk is nearly full
    # No foreign key: what a worker says of itself must never keep a job's row from changing.
    job_id: Mapped[str | None] = mapped_column(String(40))
    started_at: Mapped[datetime] = mapped_column(default=database_now())
    heartbeat_at: Mapped[datetime] = mapped_column(default=database_now())


class Chore(Base):
    """Something that any process does from time to time, but only one at once."""

    __tablename__ = "chore"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder: Mapped[str] = mapped_column(String(200), default="")  # who does it now
    held_until: Mapped[float] = mapped_column(default=0.0)
    due_at: Mapped[float] = mapped_column(default=0.0)
    outcome: Mapped[dict[str, Any] | None]  # of the last time
    done_at: Mapped[datetime | None]


class Webhook(Base):
    """Where a project wants to be told about its jobs and datasets."""

    __tablename__ = "webhook"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"), index=True)
    url: Mapped[str]
    events: Mapped[list[Any]]  # types such as "dataset.ready"; "job.*" is every type of a job
    secret: Mapped[str] = mapped_column(String(100))  # signs what is sent, so it has to be kept as it is
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    disabled_at: Mapped[datetime | None]  # when its receiver answered 410 Gone


class WebhookDelivery(Base):
    """One message to one webhook: written with what it tells of, sent until it is taken or given up."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (Index("ix_webhook_delivery_pending_next_at", "pending", "next_at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)  # msg_…, the same in every attempt
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhook.id", ondelete="CASCADE"), index=True)
    type: Mapped[str] = mapped_column(String(40))
    body: Mapped[str]  # as it is sent and signed, byte by byte
    pending: Mapped[bool] = mapped_column(default=True)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[float] = mapped_column(default=0.0)
    held_until: Mapped[float] = mapped_column(default=0.0)  # by the process that sends it now
    status: Mapped[int] = mapped_column(default=0)  # HTTP status of the last answer; 0: there was none
    error: Mapped[str | None]  # why the last attempt got no answer
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    delivered_at: Mapped[datetime | None]


class Idempotency(Base):
    """A request with an Idempotency-Key: who answers it now, and what the answer was.

    While `status` is 0 it is being answered, by `holder` and for as long as its lease lives.
    """

    __tablename__ = "idempotency"

    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"), primary_key=True)
    operation: Mapped[str] = mapped_column(String(40), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))  # of what was asked; empty until that is known
    holder: Mapped[str] = mapped_column(String(40))
    held_until: Mapped[float]
    expires_at: Mapped[float] = mapped_column(index=True)
    status: Mapped[int] = mapped_column(default=0)
    headers: Mapped[dict[str, str]]
    body: Mapped[str] = mapped_column(default="")
