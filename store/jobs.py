"""Every transition of a job, and the event each one writes.

The row is the truth. Who changes a job holds its row: a worker by the fencing token it got with its claim
(`Fenced` when the token is no longer the row's), everybody else by a lock or by compare-and-swap. Times are
the database's. Messages leave after the commit, sent by the caller.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, case, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from store import checkpoints as checkpoints_kept
from store import comparison_ends, context, quotas, search_ends, search_pruning, webhooks, workers
from store.clock import database_now
from store.errors import (
    ActionNotPossible,
    CancelRequested,
    DatasetNotFound,
    DatasetNotUsable,
    EvaluationNotFound,
    Fenced,
    IdempotencyMismatch,
    JobAlreadyFinished,
    JobBeingCancelled,
    JobNotFound,
    JobNotPaused,
    JobNotRetryable,
    JobNotStarted,
    ModelNotFound,
)
from store.ids import new_id
from store.metadata import having
from store.paging import LARGEST, Order, Page, page
from store.rows import insert_into
from store.tables import (
    FINISHED,
    MAX_ATTEMPTS,
    TRAINING_STEPS,
    Checkpoint,
    Dataset,
    DatasetStatus,
    Evaluation,
    Job,
    JobEvent,
    JobKind,
    JobMetric,
    JobStatus,
    Model,
    RequestedAction,
    Worker,
)

STALLS_ALLOWED = 3
IDEMPOTENCY_SECONDS = 24 * 3600
LONGEST_HINT_INTERVAL = 16  # times the interval asked for
REQUEUE_SECONDS = 2.0  # doubled with every stall
# What tells one request with an Idempotency-Key from another.
_ASKED = (
    *("kind", "queue", "spec", "dataset_id", "priority", "extra"),
    *("max_attempts", "progress_timeout_seconds"),
)


@dataclass(frozen=True)
class Claim:
    """A job that is ours until its lease ends, and what to do. `token` goes with every write."""

    job_id: str
    project_id: str
    kind: JobKind
    queue: str
    spec: dict[str, Any]
    dataset_id: str | None
    resolved_config: dict[str, Any] | None
    token: int
    attempt: int
    worker: str
    lease_seconds: float
    checkpoint_key: str | None
    checkpoint_sha256: str | None
    checkpoint_step: int  # -1: from the start
    requested_action: RequestedAction | None  # what was asked for before the claim: a stop
    max_attempts: int
    progress_timeout_seconds: float  # no new step for so long is a stall; 0: as the worker's settings say
    request_id: str | None = None  # of the request that made the job
    traceparent: str | None = None


class Outcome(NamedTuple):
    """What has become of a job: `queued` again, or how it has ended, and why."""

    status: JobStatus
    reason: str


class MetricPlace(NamedTuple):
    """Where a row of metrics stands among those of its job; without a split, after all of that step."""

    step: int
    split: str | None


@dataclass(frozen=True)
class RequestOutcome:
    """A job after somebody asked something of it, and whether that changed anything."""

    job: Job
    changed: bool


# Making and reading


def create(
    session: Session,
    *,
    project_id: str,
    kind: JobKind,
    queue: str,
    spec: dict[str, Any],
    dataset_id: str | None = None,
    initial_model_id: str | None = None,
    resolved_config: dict[str, Any] | None = None,
    idempotency_key: str | None = None,
    priority: int = 0,
    metadata: dict[str, str] | None = None,
    max_attempts: int = MAX_ATTEMPTS,
    progress_timeout_seconds: float = 0.0,
    job_id: str | None = None,
) -> Job:
    """A queued job, or the one that the same `idempotency_key` made within the last day.

    Raises `IdempotencyMismatch` when that one was another request, `DatasetNotFound`, `DatasetNotUsable` for
    an invalid dataset (one that is still being validated is waited for), `ModelNotFound` for the model to
    start from or to measure, and `QuotaExceeded`, after which the transaction must not be committed.
    """
    if kind is not JobKind.VALIDATE:
        quotas.hold_queue(session, project_id)
    if dataset_id is not None:
        _share_dataset(session, project_id, dataset_id, kind)
    elif kind is not JobKind.VALIDATE:
        raise ValueError("a training and an evaluation need a dataset")
    if initial_model_id is not None:
        _share_model(session, project_id, initial_model_id)
    if idempotency_key is not None:
        _expire_key(session, project_id, idempotency_key)
    row = _new(
        id=job_id or new_id("job"),
        project_id=project_id,
        kind=kind,
        queue=queue,
        spec=spec,
        dataset_id=dataset_id,
        initial_model_id=initial_model_id,
        resolved_config=resolved_config,
        idempotency_key=idempotency_key,
        priority=priority,
        extra=metadata or {},
        max_attempts=max_attempts,
        progress_timeout_seconds=progress_timeout_seconds,
        # The caller sends the first hint after its commit.
        dispatched_at=database_now(),
    )
    created = session.scalar(
        insert_into(session, Job)
        .values(row)
        .on_conflict_do_nothing(index_elements=["project_id", "idempotency_key"])
        .returning(Job.id)
    )
    if created is None:
        job = find_idempotent(session, project_id, str(idempotency_key))
        asked = {name: row[name] for name in _ASKED}
        if job is None or asked != {name: getattr(job, name) for name in _ASKED}:
            raise IdempotencyMismatch
        return job
    if kind is not JobKind.VALIDATE:
        quotas.check_queue(session, project_id)
    _write_event(session, created, 1, 0, "job.queued", {})
    return _load(session, created)


def find_idempotent(session: Session, project_id: str, idempotency_key: str) -> Job | None:
    """The job that this key made, if any."""
    return session.scalar(
        select(Job).where(Job.project_id == project_id, Job.idempotency_key == idempotency_key)
    )


def get(session: Session, project_id: str, job_id: str) -> Job:
    """Raises `JobNotFound`."""
    job = session.scalar(select(Job).where(Job.id == job_id, Job.project_id == project_id))
    if job is None:
        raise JobNotFound
    return job


def outcome(session: Session, job_id: str) -> Outcome:
    """How an attempt has ended, asked in the transaction that ends it."""
    row = session.execute(select(Job.status, Job.status_reason).where(Job.id == job_id)).one()
    return Outcome(row.status, row.status_reason or "")


def list_(
    session: Session,
    project_id: str,
    *,
    limit: int,
    after: str | None = None,
    order: Order = "desc",
    status: JobStatus | None = None,
    kind: JobKind | None = None,
    dataset_id: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Page[Job]:
    """Jobs by age, the newest first unless `order` says otherwise; only those with this metadata."""
    statement = select(Job).where(Job.project_id == project_id)
    statement = statement.where(*having(session, Job.extra, metadata or {}))
    if status is not None:
        statement = statement.where(Job.status == status)
    if kind is not None:
        statement = statement.where(Job.kind == kind)
    if dataset_id is not None:
        statement = statement.where(Job.dataset_id == dataset_id)
    return page(session, statement, Job.id, limit=limit, after=after, order=order)


def events(
    session: Session, project_id: str, job_id: str, *, after: int = 0, limit: int = 100
) -> Page[JobEvent]:
    """What happened to a job after event number `after`, in order. Raises `JobNotFound`."""
    get(session, project_id, job_id)
    statement = select(JobEvent).where(JobEvent.job_id == job_id)
    return page(session, statement, JobEvent.number, limit=limit, after=after)


def metrics(
    session: Session,
    project_id: str,
    job_id: str,
    *,
    split: str | None = None,
    after: MetricPlace | None = None,
    limit: int = 1000,
) -> Page[JobMetric]:
    """Metrics after the row at `after`, by step; of one step, that of training first. Raises `JobNotFound`.

    So is the order in which they are stored: what is measured at a step comes after what was trained to it,
    and who has the one row is given the other when it is there.
    """
    get(session, project_id, job_id)
    measured = JobMetric.split != TRAINING_STEPS
    statement = select(JobMetric).where(JobMetric.job_id == job_id)
    if split is not None:
        statement = statement.where(JobMetric.split == split)
    if after is not None:
        later = JobMetric.step > after.step
        if after.split is not None:
            rest = (
                measured if after.split == TRAINING_STEPS else and_(measured, JobMetric.split > after.split)
            )
            later = or_(later, and_(JobMetric.step == after.step, rest))
        statement = statement.where(later)
    limit = max(1, min(limit, LARGEST))
    ordered = statement.order_by(JobMetric.step, measured, JobMetric.split).limit(limit + 1)
    rows = list(session.scalars(ordered))
    return Page(items=rows[:limit], has_more=len(rows) > limit)


def checkpoints(session: Session, project_id: str, job_id: str) -> list[Checkpoint]:
    """The checkpoints that are kept, by step. Raises `JobNotFound`."""
    get(session, project_id, job_id)
    return list(
        session.scalars(select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.step))
    )


def queue_position(session: Session, job: Job) -> int | None:
    """1 for the job that is claimed next in its queue; None for one that is not queued."""
    if job.status is not JobStatus.QUEUED:
        return None
    ahead = select(func.count()).where(
        Job.status == JobStatus.QUEUED,
        Job.queue == job.queue,
        or_(Job.priority > job.priority, and_(Job.priority == job.priority, Job.id < job.id)),
    )
    return 1 + (session.scalar(ahead) or 0)


def waiting_for(session: Session, job: Job) -> str | None:
    """What a queued job waits for; None if it is not queued.

    "dataset" while that is validated, "delay" after a lost worker, "quota" while its project has as many
    running jobs as it may, "worker_disk_full" while no worker of its queue has room on its disk, else
    "worker".
    """
    if job.status is not JobStatus.QUEUED:
        return None
    if job.kind is not JobKind.VALIDATE and job.dataset_id is not None:
        status = session.scalar(select(Dataset.status).where(Dataset.id == job.dataset_id))
        if status is DatasetStatus.VALIDATING:
            return "dataset"
    if job.not_before and (session.scalar(select(database_now())) or 0.0) < job.not_before:
        return "delay"
    if job.kind is not JobKind.VALIDATE and quotas.is_full(session, job.project_id):
        return "quota"
    return "worker_disk_full" if workers.all_blocked(session, job.queue) else "worker"


# What a worker does


def claim(
    session: Session, job_id: str, *, worker: str, lease_seconds: float, worker_id: str | None = None
) -> Claim | None:
    """Take a queued job; None when it is not to be had.

    That is when somebody else has it, it is not yet time, its dataset is not ready, its project has as many
    running jobs as it may, or the worker `worker_id` is to be drained. What the attempt before wrote after
    its last checkpoint is dropped: it will be written again.
    """
    quotas.hold_running(session, job_id)
    row = session.execute(
        update(Job)
        .where(Job.id == job_id, claimable(), *_not_draining(worker_id))
        .values(
            status=JobStatus.RUNNING,
            status_reason=None,
            error=None,
            phase="preparing",
            token=Job.token + 1,
            attempt=Job.attempt + 1,
            worker=worker[:200],
            lease_until=database_now() + lease_seconds,
            heartbeat_at=database_now(),
            started_at=func.coalesce(Job.started_at, database_now()),
            hints=0,
            next_event=Job.next_event + 1,
        )
        .returning(
            Job.project_id,
            Job.kind,
            Job.queue,
            Job.spec,
            Job.dataset_id,
            Job.resolved_config,
            Job.token,
            Job.attempt,
            Job.checkpoint_key,
            Job.checkpoint_sha256,
            Job.checkpoint_step,
            Job.requested_action,
            Job.max_attempts,
            Job.progress_timeout_seconds,
            Job.request_id,
            Job.traceparent,
            Job.next_event,
        )
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        return None
    _drop_metrics_after(session, job_id, row.checkpoint_step)
    started = {"worker": worker[:200], "resumed_from_step": max(row.checkpoint_step, 0)}
    _write_event(session, job_id, row.next_event - 1, row.attempt, "job.started", started)
    return Claim(
        job_id=job_id,
        project_id=row.project_id,
        kind=row.kind,
        queue=row.queue,
        spec=row.spec,
        dataset_id=row.dataset_id,
        resolved_config=row.resolved_config,
        token=row.token,
        attempt=row.attempt,
        worker=worker,
        lease_seconds=lease_seconds,
        checkpoint_key=row.checkpoint_key,
        checkpoint_sha256=row.checkpoint_sha256,
        checkpoint_step=row.checkpoint_step,
        requested_action=row.requested_action,
        max_attempts=row.max_attempts,
        progress_timeout_seconds=row.progress_timeout_seconds,
        request_id=row.request_id,
        traceparent=row.traceparent,
    )


def claim_next(
    session: Session, queue: str, *, worker: str, lease_seconds: float, worker_id: str | None = None
) -> Claim | None:
    """Take the job that is due in `queue`: the highest priority first, then the oldest. None: there is none.

    When another worker takes it meanwhile, the next one is tried.
    """
    while (job_id := next_due(session, queue, worker_id=worker_id)) is not None:
        taken = claim(session, job_id, worker=worker, lease_seconds=lease_seconds, worker_id=worker_id)
        if taken is not None:
            return taken
    return None


def next_due(session: Session, queue: str, *, worker_id: str | None = None) -> str | None:
    """The job that a free worker of `queue` should claim: the highest priority first, then the oldest."""
    statement = select(Job.id).where(Job.queue == queue, claimable(), *_not_draining(worker_id))
    return session.scalar(statement.order_by(Job.priority.desc(), Job.id).limit(1))


def heartbeat(session: Session, claim: Claim, lease_seconds: float | None = None) -> RequestedAction | None:
    """Extend the lease; what has been asked of the job. Raises `Fenced`: stop at once, nothing is ours."""
    seconds = claim.lease_seconds if lease_seconds is None else lease_seconds
    held = _fence(session, claim, lease_until=database_now() + seconds, heartbeat_at=database_now())
    return held.requested_action


def set_phase(session: Session, claim: Claim, phase: str) -> None:
    """Raises `Fenced`."""
    held = _fence(session, claim, events=1, phase=phase)
    _write_event(session, claim.job_id, held.event, claim.attempt, "job.phase", {"phase": phase})


def set_progress(session: Session, claim: Claim, progress: Mapping[str, Any]) -> None:
    """`progress` as in HOUSE.md; writes no event, for it changes often. Raises `Fenced`."""
    _fence(session, claim, progress=dict(progress))


def set_log_tail(session: Session, claim: Claim, text: str) -> None:
    """The last lines of the log. Raises `Fenced`."""
    _fence(session, claim, log_tail=text)


def append_event(session: Session, claim: Claim, type: str, data: Mapping[str, Any]) -> int:  # noqa: A002
    """Number of the event. Raises `Fenced`."""
    held = _fence(session, claim, events=1)
    _write_event(session, claim.job_id, held.event, claim.attempt, type, data)
    return held.event


def record_metrics(
    session: Session, claim: Claim, rows: Iterable[tuple[str, int, float, Mapping[str, Any]]]
) -> None:
    """Rows of (split, step, epoch, values); one measured again replaces what was there. Raises `Fenced`.

    A trial of a search is asked to end where they say that others were better.
    """
    _fence(session, claim)
    rows = list(rows)
    values = {
        (split, step): {
            "job_id": claim.job_id,
            "split": split,
            "step": step,
            "epoch": epoch,
            "metrics": dict(numbers),
            "created_at": database_now(),
        }
        for split, step, epoch, numbers in rows
    }
    if not values:
        return
    insert = insert_into(session, JobMetric).values(list(values.values()))
    session.execute(
        insert.on_conflict_do_update(
            index_elements=["job_id", "split", "step"],
            set_={"epoch": insert.excluded.epoch, "values": insert.excluded["values"]},
        )
    )
    verdict = search_pruning.judge(session, claim.job_id, rows) if "search" in claim.spec else None
    if verdict is not None:
        data = {"reason": "pruned", **verdict._asdict()}
        action = RequestedAction.CANCEL
        _transition(session, claim.job_id, f"job.{action}_requested", data, requested_action=action)


def record_checkpoint(
    session: Session,
    claim: Claim,
    *,
    key: str,
    sha256: str,
    bytes: int,  # noqa: A002
    step: int,
    epoch: float,
) -> None:
    """The job goes on from here when its worker is lost; its bytes are blobs already. Raises `Fenced`."""
    held = _fence(
        session,
        claim,
        events=1,
        checkpoint_key=key,
        checkpoint_sha256=sha256,
        checkpoint_step=step,
        stalls=0,
    )
    row = {
        "job_id": claim.job_id,
        "step": step,
        "token": claim.token,
        "epoch": epoch,
        "blob": key,
        "sha256": sha256,
        "bytes": bytes,
        "created_at": database_now(),
    }
    insert = insert_into(session, Checkpoint).values(row)
    replaced = {name: insert.excluded[name] for name in ("token", "epoch", "blob", "sha256", "bytes")}
    session.execute(insert.on_conflict_do_update(index_elements=["job_id", "step"], set_=replaced))
    data = {"step": step, "epoch": epoch, "bytes": bytes, "sha256": sha256}
    _write_event(session, claim.job_id, held.event, claim.attempt, "job.checkpoint", data)


def forget_checkpoint(session: Session, claim: Claim) -> Claim:
    """The last checkpoint cannot be read: go on from the one before, or from the start. Raises `Fenced`."""
    _fence(session, claim)
    session.execute(
        delete(Checkpoint).where(
            Checkpoint.job_id == claim.job_id, Checkpoint.step >= max(claim.checkpoint_step, 0)
        )
    )
    before = session.scalar(
        select(Checkpoint)
        .where(Checkpoint.job_id == claim.job_id)
        .order_by(Checkpoint.step.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    )
    key, sha256, step = (before.blob, before.sha256, before.step) if before else (None, None, -1)
    held = _fence(
        session, claim, events=1, checkpoint_key=key, checkpoint_sha256=sha256, checkpoint_step=step
    )
    _drop_metrics_after(session, claim.job_id, step)
    data = {"unreadable_step": claim.checkpoint_step, "resumed_from_step": max(step, 0)}
    _write_event(session, claim.job_id, held.event, claim.attempt, "job.checkpoint_forgotten", data)
    return Claim(
        **{**vars(claim), "checkpoint_key": key, "checkpoint_sha256": sha256, "checkpoint_step": step}
    )


def drop_checkpoints(session: Session, claim: Claim, *, keep: int = checkpoints_kept.KEPT) -> list[str]:
    """Forget all but the last `keep` checkpoints and the one of the best evaluation.

    Blob keys to delete after the commit. Raises `Fenced`.
    """
    _fence(session, claim)
    old = checkpoints_kept.superfluous(session, claim.job_id, keep=keep)
    if old:
        steps = [row.step for row in old]
        session.execute(
            delete(Checkpoint).where(Checkpoint.job_id == claim.job_id, Checkpoint.step.in_(steps))
        )
    return [row.blob for row in old]


# The ends of an attempt


def succeed(session: Session, claim: Claim, *, status_reason: str | None = None) -> None:
    """The work is done and stored in this same transaction.

    Raises `Fenced`, and its kind `CancelRequested` when a cancel came first: then call `cancel_now`.
    """
    held = _fence(
        session,
        claim,
        Job.requested_action.is_distinct_from(RequestedAction.CANCEL),
        events=1,
        **_ended(JobStatus.SUCCEEDED, status_reason, None),
    )
    _write_event(
        session,
        claim.job_id,
        held.event,
        claim.attempt,
        "job.succeeded",
        {"status_reason": status_reason},
    )
    if claim.kind is JobKind.TRAIN:
        settle_comparison(session, claim.job_id)
        settle_search(session, search_ends.training_ended(session, claim.job_id))


def fail(session: Session, claim: Claim, *, reason: str, error: Mapping[str, Any]) -> None:
    """The work cannot be done; `error` is a problem object. An earlier cancel wins. Raises `Fenced`."""
    held = _fence(session, claim)
    if held.requested_action is RequestedAction.CANCEL:
        _end(session, claim.job_id, JobStatus.CANCELLED, "user_cancelled", None)
    else:
        _end(session, claim.job_id, JobStatus.FAILED, reason, dict(error))


def cancel_now(session: Session, claim: Claim) -> None:
    """The work has been stopped because a cancel was asked for. Raises `Fenced`."""
    _fence(session, claim)
    _end(session, claim.job_id, JobStatus.CANCELLED, "user_cancelled", None)


def release(
    session: Session,
    claim: Claim,
    *,
    stalled: bool,
    reason: str | None = None,
    error: Mapping[str, Any] | None = None,
) -> JobStatus:
    """Give a job back: to the queue, or where a cancel or a pause was asked for, to that.

    `stalled` counts towards the limit of ends without progress, at which the job fails with `reason`.
    `error`, a problem object, says what ended the attempt: it stays with the job until the next claim, or for
    good if there is none. Raises `Fenced`.
    """
    _fence(session, claim)
    job = _load(session, claim.job_id)
    return _give_back(session, job, stalled=stalled, reason=reason, error=error)


# What the API asks for


def request(session: Session, project_id: str, job_id: str, action: RequestedAction) -> RequestOutcome:
    """Ask a job to be cancelled, paused or stopped early.

    At once where no worker has it; else its worker hears of it with the next heartbeat. Asking again changes
    nothing. Raises `JobNotFound`, `JobAlreadyFinished`, `JobBeingCancelled`, `JobNotStarted` (a stop before
    the first checkpoint), `ActionNotPossible` (all but trainings can only be cancelled, and those of a
    comparison or a search are not stopped early), `QuotaExceeded` (a stop of a paused job queues it).
    """
    if action is RequestedAction.STOP:
        quotas.hold_queue(session, project_id)
    job = _lock(session, project_id, job_id)
    repeated = {
        RequestedAction.CANCEL: job.status is JobStatus.CANCELLED,
        RequestedAction.PAUSE: job.status is JobStatus.PAUSED,
        RequestedAction.STOP: job.status is JobStatus.SUCCEEDED and job.status_reason == "stopped",
    }
    if repeated[action] or (job.requested_action is action and job.status not in FINISHED):
        return RequestOutcome(job, changed=False)
    if job.status in FINISHED:
        raise JobAlreadyFinished
    if job.requested_action is RequestedAction.CANCEL:
        raise JobBeingCancelled
    if action is not RequestedAction.CANCEL and job.kind is not JobKind.TRAIN:
        raise ActionNotPossible
    if action is RequestedAction.STOP and comparison_ends.is_compared(session, job_id):
        raise ActionNotPossible("What is compared is trained to its end, as the others are; or cancel it.")
    if action is RequestedAction.STOP and search_ends.is_tried(session, job_id):
        raise ActionNotPossible("A trial is trained to its end, as the others are; or cancel it.")
    if job.status is JobStatus.RUNNING:
        _transition(session, job_id, f"job.{action}_requested", {}, requested_action=action)
    elif action is RequestedAction.CANCEL:
        _end(session, job_id, JobStatus.CANCELLED, "user_cancelled", None)
    elif action is RequestedAction.PAUSE:
        _transition(session, job_id, "job.paused", {}, status=JobStatus.PAUSED, requested_action=None)
    elif job.checkpoint_step < 0:
        raise JobNotStarted
    else:
        values = _queued() | {"requested_action": action}
        if job.status is JobStatus.PAUSED:  # queued again by its owner, as by a resume
            values |= {"stalls": 0, "excused": Job.attempt}
        _transition(session, job_id, "job.stop_requested", {}, **values)
        if job.status is JobStatus.PAUSED:
            quotas.check_queue(session, project_id)
    return RequestOutcome(_load(session, job_id), changed=True)


def resume(session: Session, project_id: str, job_id: str) -> RequestOutcome:
    """Queue a paused job again from its checkpoint. Raises `JobNotFound`, `JobNotPaused`, `QuotaExceeded`."""
    quotas.hold_queue(session, project_id)
    job = _lock(session, project_id, job_id)
    if job.status is JobStatus.QUEUED:
        return RequestOutcome(job, changed=False)
    if job.status is not JobStatus.PAUSED:
        raise JobNotPaused
    _require_inputs(session, job)
    _transition(session, job_id, "job.resumed", {}, **_queued(), stalls=0, excused=Job.attempt)
    quotas.check_queue(session, project_id)
    return RequestOutcome(_load(session, job_id), changed=True)


def retry(session: Session, project_id: str, job_id: str) -> RequestOutcome:
    """Queue a failed or cancelled job again from its checkpoint.

    It may be attempted as often as a new one. Raises `JobNotFound`, `JobNotRetryable`, `DatasetNotFound`,
    `DatasetNotUsable`, `ModelNotFound`, `EvaluationNotFound`, `ComparisonNotFound`, `SearchNotFound`,
    `QuotaExceeded`.
    """
    quotas.hold_queue(session, project_id)
    job = _lock(session, project_id, job_id)
    if job.status is JobStatus.QUEUED:
        return RequestOutcome(job, changed=False)
    if job.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
        raise JobNotRetryable
    _require_inputs(session, job)
    values = _queued() | {"stalls": 0, "excused": Job.attempt, "error": None, "finished_at": None}
    _transition(session, job_id, "job.retried", {}, **values)
    comparison_ends.taken_up(session, job_id, job.kind)
    search_ends.taken_up(session, job_id, job.kind)
    if job.kind is not JobKind.VALIDATE:
        quotas.check_queue(session, project_id)
    else:
        session.execute(
            update(Dataset)
            .where(Dataset.id == job.dataset_id)
            .values(status=DatasetStatus.VALIDATING, error=None, validated_at=None)
            .execution_options(synchronize_session=False)
        )
    return RequestOutcome(_load(session, job_id), changed=True)


# What any process does for all of them


def reap(session: Session, *, limit: int = 100) -> list[str]:
    """Take running jobs whose lease has ended from their workers; their ids.

    Each goes back to the queue with a growing delay; to `failed` after three ends without a checkpoint or at
    its limit of attempts; to `cancelled` or `paused` where that was asked for.
    """
    lost = session.scalars(
        select(Job)
        .where(_overdue())
        .order_by(Job.lease_until)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    for job in lost:
        _give_back(session, job, stalled=True, reason="worker_lost")
    return [job.id for job in lost]


def due_for_hint(session: Session, *, interval_seconds: float, limit: int = 100) -> list[tuple[str, str]]:
    """(job, queue) of queued jobs to announce now, marked as announced.

    A job is announced again after the interval, then after 2, 4, 8 and every 16 times that.
    """
    due = session.execute(
        select(Job.id, Job.queue)
        .where(_hintable(interval_seconds))
        .order_by(Job.priority.desc(), Job.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    if due:
        session.execute(
            update(Job)
            .where(Job.id.in_([row.id for row in due]))
            .values(dispatched_at=database_now(), hints=Job.hints + 1)
            .execution_options(synchronize_session=False)
        )
    return [(row.id, row.queue) for row in due]


def hints_failed(session: Session, job_ids: Sequence[str]) -> None:
    """The hints for these jobs could not be sent: the next ones are not spaced out for it."""
    session.execute(
        update(Job)
        .where(Job.id.in_(job_ids), Job.status == JobStatus.QUEUED, Job.hints > 0)
        .values(hints=Job.hints - 1)
        .execution_options(synchronize_session=False)
    )


def anything_due(session: Session, *, interval_seconds: float) -> bool:
    """Whether `reap` or `due_for_hint` would find something: a look without a write transaction."""
    return bool(
        session.scalar(select(or_(exists().where(_overdue()), exists().where(_hintable(interval_seconds)))))
    )


def fail_waiting(session: Session, dataset_id: str, error: Mapping[str, Any]) -> list[str]:
    """Fail the queued and paused jobs that need a dataset which turned out invalid; their ids."""
    waiting = session.scalars(
        select(Job)
        .where(
            Job.dataset_id == dataset_id,
            Job.kind != JobKind.VALIDATE,
            Job.status.in_([JobStatus.QUEUED, JobStatus.PAUSED]),
        )
        .order_by(Job.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    for job in waiting:
        _end(session, job.id, JobStatus.FAILED, "dataset_invalid", dict(error))
    return [job.id for job in waiting]


def wake_waiting(session: Session, dataset_id: str) -> list[tuple[str, str]]:
    """(job, queue) of the queued jobs that waited for a dataset which is ready now."""
    waiting = session.execute(
        update(Job)
        .where(Job.dataset_id == dataset_id, Job.kind != JobKind.VALIDATE, Job.status == JobStatus.QUEUED)
        .values(dispatched_at=0.0, hints=0)
        .returning(Job.id, Job.queue)
        .execution_options(synchronize_session=False)
    ).all()
    return sorted((row.id, row.queue) for row in waiting)


# Helpers


@dataclass(frozen=True)
class _Held:
    event: int  # number of the event reserved by the fence
    requested_action: RequestedAction | None


def _fence(
    session: Session, claim: Claim, *conditions: ColumnElement[bool], events: int = 0, **values: Any
) -> _Held:
    """The first statement of every write of a worker: takes the row's lock, or raises `Fenced`."""
    ours = and_(Job.id == claim.job_id, Job.token == claim.token, Job.status == JobStatus.RUNNING)
    row = session.execute(
        update(Job)
        .where(ours, *conditions)
        .values(**values, next_event=Job.next_event + events)
        .returning(Job.next_event, Job.requested_action)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        if conditions and session.scalar(select(Job.id).where(ours)):
            raise CancelRequested
        raise Fenced
    return _Held(event=row.next_event - events, requested_action=row.requested_action)


def _transition(
    session: Session,
    job_id: str,
    type: str,  # noqa: A002
    data: Mapping[str, Any],
    **values: Any,
) -> JobKind:
    """Change a row that is held already, and write its event; the job's kind."""
    row = session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(**values, next_event=Job.next_event + 1)
        .returning(Job.next_event, Job.attempt, Job.kind)
        .execution_options(synchronize_session=False)
    ).one()
    _write_event(session, job_id, row.next_event - 1, row.attempt, type, data)
    kind: JobKind = row.kind
    return kind


def _end(
    session: Session,
    job_id: str,
    status: JobStatus,
    reason: str | None,
    error: dict[str, Any] | None,
    **values: Any,
) -> None:
    if status is JobStatus.CANCELLED and search_pruning.is_pruned(session, job_id):
        reason = "pruned"
    data = {"status_reason": reason} | ({"error": error} if error else {})
    kind = _transition(session, job_id, f"job.{status}", data, **_ended(status, reason, error), **values)
    if kind is JobKind.VALIDATE:
        _settle_validation(session, job_id, error)
    elif kind is JobKind.TRAIN:
        settle_comparison(session, job_id)
        settle_search(session, search_ends.training_ended(session, job_id))
    elif kind is JobKind.COMPARE:
        comparison_ends.comparing_ended(session, job_id, status, error)
    elif kind is JobKind.SEARCH:
        settle_search(session, search_ends.searching_ended(session, job_id, status, error))


def _settle_validation(session: Session, job_id: str, error: dict[str, Any] | None) -> None:
    """A validation that ended without a verdict leaves its dataset invalid, and what waits for it failed."""
    error = error or {
        "type": "about:blank",
        "title": "The validation was cancelled",
        "status": None,
        "code": "validation_cancelled",
        "detail": "The validation of the dataset was cancelled before it came to a verdict.",
        "hint": "Retry the validation job, or upload the dataset again.",
        "log_tail": "",
    }
    dataset_id = session.scalar(
        update(Dataset)
        .where(Dataset.validation_job_id == job_id, Dataset.status == DatasetStatus.VALIDATING)
        .values(status=DatasetStatus.INVALID, error=error, validated_at=database_now())
        .returning(Dataset.id)
        .execution_options(synchronize_session=False)
    )
    if dataset_id is not None:
        webhooks.tell_of_dataset(session, dataset_id)
        fail_waiting(session, dataset_id, error)


def settle_comparison(session: Session, job_id: str) -> None:
    """The last training of a comparison, which is held, makes the job that compares them.

    Whatever the project's quota: a training that ends is never refused. The dispatcher announces it at once,
    unless whoever has ended the training does.
    """
    due = comparison_ends.training_ended(session, job_id)
    if due is None:
        return
    job_id = enqueue(
        session,
        project_id=due.project_id,
        kind=JobKind.COMPARE,
        queue="evaluate",
        spec={"comparison_id": due.comparison_id},
        dataset_id=due.dataset_id,
        priority=due.priority,
    )
    comparison_ends.compared_by(session, due.comparison_id, job_id)


def settle_search(session: Session, due: search_ends.Due | None) -> None:
    """A search that can go on, and is held, gets the job that draws its next trials or sums up.

    Whatever the project's quota, and announced as in `settle_comparison`.
    """
    if due is None:
        return
    job_id = enqueue(
        session,
        project_id=due.project_id,
        kind=JobKind.SEARCH,
        queue="evaluate",
        spec={"search_id": due.search_id},
        dataset_id=due.dataset_id,
        initial_model_id=due.initial_model_id,
        priority=due.priority,
    )
    search_ends.searched_by(session, due.search_id, job_id)


def enqueue(session: Session, *, job_id: str | None = None, **values: Any) -> str:
    """Id of a queued job that goes on with what was begun: no quota is asked, no dataset or model checked."""
    row = _new(**({"id": job_id or new_id("job"), "extra": {}} | values))
    session.execute(insert_into(session, Job).values(row))
    _write_event(session, row["id"], 1, 0, "job.queued", {})
    return str(row["id"])


def _give_back(
    session: Session,
    job: Job,
    *,
    stalled: bool,
    reason: str | None,
    error: Mapping[str, Any] | None = None,
) -> JobStatus:
    stalls = job.stalls + int(stalled)
    # An attempt that was given back in good order, such as for a deploy, does not count towards the limit.
    excused = job.excused + int(not stalled)
    if job.requested_action is RequestedAction.CANCEL:
        _end(session, job.id, JobStatus.CANCELLED, "user_cancelled", None)
        return JobStatus.CANCELLED
    if job.requested_action is RequestedAction.PAUSE:
        values = _queued() | {"status": JobStatus.PAUSED, "stalls": stalls, "excused": excused}
        _transition(session, job.id, "job.paused", {}, **values)
        return JobStatus.PAUSED
    attempts = job.attempt - excused
    if stalled and (stalls >= STALLS_ALLOWED or attempts >= job.max_attempts):
        reason = reason or "worker_lost"
        if stalls >= STALLS_ALLOWED:
            problem = _gave_up(job, reason, error)
        else:
            problem = _too_often(job, attempts, error)
        _end(session, job.id, JobStatus.FAILED, reason, problem, stalls=stalls)
        return JobStatus.FAILED
    delay = REQUEUE_SECONDS * 2 ** (stalls - 1) if stalled else 0.0
    values = _queued() | {
        "status_reason": reason,
        "stalls": stalls,
        "excused": excused,
        "not_before": database_now() + delay,
        "error": dict(error) if error else None,
        # A stop that was asked for is still to be honoured by the next attempt.
        "requested_action": job.requested_action,
    }
    data = {"reason": reason, "stalls": stalls, "attempts": attempts, "delay_seconds": delay}
    if error:
        data["detail"] = error["detail"]
    _transition(session, job.id, "job.requeued", data, **values)
    return JobStatus.QUEUED


def _gave_up(job: Job, reason: str, last: Mapping[str, Any] | None) -> dict[str, Any]:
    detail = f"{STALLS_ALLOWED} attempts in a row ended without a checkpoint; the last on {job.worker}"
    if last:
        return dict(last) | {"detail": f"{detail}: {last['detail']}"}
    return {
        "type": "about:blank",
        "title": "The job was given up",
        "status": None,
        "code": reason,
        "detail": f"{detail}.",
        "hint": "Read the last lines of the log; if the host ran out of memory, make the batch smaller.",
        "log_tail": job.log_tail,
    }


def _too_often(job: Job, attempts: int, last: Mapping[str, Any] | None) -> dict[str, Any]:
    detail = f"{attempts} attempts were lost, all that max_attempts allows; the last on {job.worker}"
    return {
        "type": "about:blank",
        "title": "The job was attempted too often",
        "status": None,
        "code": "max_attempts_reached",
        "detail": f"{detail}: {last['detail']}" if last else f"{detail}.",
        "hint": "Find out why its workers are lost, then retry the job: it goes on from its last checkpoint.",
        "log_tail": job.log_tail,
    }


def _new(**values: Any) -> dict[str, Any]:
    """The row of a queued job, whose first event is about to be written."""
    asked = {"request_id": context.request_id.get(), "traceparent": context.traceparent.get()}
    return asked | {"next_event": 2} | values


def _queued() -> dict[str, Any]:
    return {
        "status": JobStatus.QUEUED,
        "status_reason": None,
        "requested_action": None,
        "phase": None,
        "lease_until": 0.0,
        "not_before": 0.0,
        "dispatched_at": 0.0,
        "hints": 0,
    }


def _ended(status: JobStatus, reason: str | None, error: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "status": status,
        "status_reason": reason,
        "error": error,
        "requested_action": None,
        "phase": None,
        "lease_until": 0.0,
        "finished_at": database_now(),
    }


def _ready() -> ColumnElement[bool]:
    """A validation may start at any time, everything else once its dataset is valid."""
    valid = exists().where(Dataset.id == Job.dataset_id, Dataset.status == DatasetStatus.READY)
    return or_(Job.kind == JobKind.VALIDATE, Job.dataset_id.is_(None), valid)


def claimable() -> ColumnElement[bool]:
    """Queued, and nothing to wait for but a worker."""
    return and_(Job.status == JobStatus.QUEUED, Job.not_before <= database_now(), _ready(), quotas.may_run())


def _not_draining(worker_id: str | None) -> list[ColumnElement[bool]]:
    """As close to the claim as can be: a worker that was told to drain a moment ago may not know it yet."""
    if worker_id is None:
        return []
    return [~exists().where(Worker.id == worker_id, Worker.draining)]


def _overdue() -> ColumnElement[bool]:
    return and_(Job.status == JobStatus.RUNNING, Job.lease_until <= database_now())


def _hintable(interval_seconds: float) -> ColumnElement[bool]:
    times = case({0: 1, 1: 1, 2: 2, 3: 4, 4: 8}, value=Job.hints, else_=LONGEST_HINT_INTERVAL)
    return and_(
        claimable(),
        Job.dispatched_at + times * interval_seconds <= database_now(),
    )


def _lock(session: Session, project_id: str, job_id: str) -> Job:
    statement: Select[Job] = select(Job).where(Job.id == job_id, Job.project_id == project_id)
    job = session.scalar(statement.with_for_update().execution_options(populate_existing=True))
    if job is None:
        raise JobNotFound
    return job


def _load(session: Session, job_id: str) -> Job:
    return session.scalars(
        select(Job).where(Job.id == job_id).execution_options(populate_existing=True)
    ).one()


def _share_dataset(session: Session, project_id: str, dataset_id: str, kind: JobKind) -> None:
    """Check a dataset and keep it from being deleted or found invalid before this transaction ends."""
    status = session.scalar(
        select(Dataset.status)
        .where(Dataset.id == dataset_id, Dataset.project_id == project_id)
        .with_for_update(read=True)
    )
    if status is None:
        raise DatasetNotFound
    if status is DatasetStatus.INVALID and kind is not JobKind.VALIDATE:
        raise DatasetNotUsable


def _share_model(session: Session, project_id: str, model_id: str) -> None:
    """Check a model and keep it from being deleted before this transaction ends."""
    held = select(Model.id).where(Model.id == model_id, Model.project_id == project_id)
    if session.scalar(held.with_for_update(read=True)) is None:
        raise ModelNotFound


def _require_inputs(session: Session, job: Job) -> None:
    if job.kind is JobKind.COMPARE:
        return  # it reads what its trainings have left, and whether that is there is seen when it does
    if job.dataset_id is not None:
        _share_dataset(session, job.project_id, job.dataset_id, job.kind)
    else:
        raise DatasetNotFound
    if job.initial_model_id is not None and job.checkpoint_key is None:
        _share_model(session, job.project_id, job.initial_model_id)
    if job.kind is JobKind.EVALUATE and not session.scalar(
        select(exists().where(Evaluation.job_id == job.id))
    ):
        raise EvaluationNotFound


def _expire_key(session: Session, project_id: str, idempotency_key: str) -> None:
    session.execute(
        update(Job)
        .where(
            Job.project_id == project_id,
            Job.idempotency_key == idempotency_key,
            Job.created_at <= database_now() - IDEMPOTENCY_SECONDS,
        )
        .values(idempotency_key=None)
        .execution_options(synchronize_session=False)
    )


def _drop_metrics_after(session: Session, job_id: str, step: int) -> None:
    session.execute(delete(JobMetric).where(JobMetric.job_id == job_id, JobMetric.step > step))


def _write_event(
    session: Session,
    job_id: str,
    number: int,
    attempt: int,
    type: str,  # noqa: A002
    data: Mapping[str, Any],
) -> None:
    row = {"job_id": job_id, "number": number, "attempt": attempt, "type": type, "data": dict(data)}
    session.execute(insert_into(session, JobEvent).values(row))
    webhooks.tell_of_job(session, job_id, number, type, data)
