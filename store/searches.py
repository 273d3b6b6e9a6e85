"""Searches for hyper-parameters: trainings one after another, each with values that those before suggest.

Its trials are ordinary jobs, and whatever may happen to a job may happen to them. What becomes of a search
when one of its jobs ends is in `store.search_ends`, which trials are ended early in `store.search_pruning`.
Whoever asks something of the whole holds its trials first, by id, then the job that draws, then the search.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy import delete as delete_from
from sqlalchemy.orm import Session

from store import jobs, quotas, search_ends
from store.errors import (
    SearchAlreadyFinished,
    SearchBeingCancelled,
    SearchNotFound,
    SearchNotPausable,
    SearchNotPaused,
    SearchNotRetryable,
    SearchRunning,
)
from store.ids import new_id
from store.jobs import Claim
from store.metadata import having
from store.paging import Order, Page, page
from store.search_ends import startable
from store.tables import (
    FINISHED,
    TRAINING_STEPS,
    Job,
    JobKind,
    JobMetric,
    JobStatus,
    Model,
    RequestedAction,
    Search,
    SearchTrial,
)

__all__ = ["startable"]  # of the module below
_NAME_LENGTH = 200
_WAITING = (JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass(frozen=True)
class NewTrial:
    """What to train with next."""

    params: dict[str, Any]
    config: dict[str, Any]  # whole


class Trial(NamedTuple):
    """One training of a search, as far as its reader wants to know."""

    search_id: str
    number: int
    params: dict[str, Any]
    pruned: bool
    value: float | None
    job_id: str
    status: JobStatus
    status_reason: str | None
    requested_action: RequestedAction | None
    attempt: int
    progress: dict[str, Any] | None
    error: dict[str, Any] | None
    started_at: Any
    model_id: str | None


@dataclass(frozen=True)
class Task:
    """What a job that draws has to do."""

    search: Search
    trials: list[Trial]
    courses: dict[str, list[tuple[float, float]]]
    """By job id of a pruned trial: (epoch, metric), by epoch."""
    count: int
    """How many trials to draw."""


@dataclass(frozen=True)
class RequestOutcome:
    """A search after something was asked of it: whether that changed anything, and (job, queue) of what can
    start now."""

    search: Search
    changed: bool
    startable: tuple[tuple[str, str], ...] = ()


# Making and reading


def create(
    session: Session,
    *,
    project_id: str,
    dataset_id: str,
    config: dict[str, Any],
    resolved_config: dict[str, Any],
    space: dict[str, Any],
    trials: int,
    parallel: int = 1,
    seed: int = 0,
    metric: str = "AP",
    pruning: dict[str, Any] | None = None,
    initial_model_id: str | None = None,
    name: str | None = None,
    priority: int = 0,
    metadata: dict[str, str] | None = None,
) -> tuple[Search, Job]:
    """A search and the job that draws its first trials.

    `pruning` has `startup_trials` and `warmup_epochs`; None: no trial is ended early. Raises
    `DatasetNotFound`, `DatasetNotUsable`, `ModelNotFound`, and `QuotaExceeded`, after which the transaction
    must not be committed.
    """
    search_id = new_id("srch")
    job = jobs.create(
        session,
        project_id=project_id,
        kind=JobKind.SEARCH,
        queue="evaluate",
        spec={"search_id": search_id},
        dataset_id=dataset_id,
        initial_model_id=initial_model_id,
        priority=priority,
        metadata=metadata,
    )
    row = Search(
        id=search_id,
        project_id=project_id,
        name=name,
        dataset_id=dataset_id,
        initial_model_id=initial_model_id,
        spec={
            "config": config,
            "resolved_config": resolved_config,
            "space": space,
            "trials": trials,
            "parallel": parallel,
            "seed": seed,
            "metric": metric,
            "pruning": pruning,
            "priority": priority,
        },
        job_id=job.id,
        outcome=None,
        result=None,
        error=None,
        extra=metadata or {},
        finished_at=None,
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row, job


def get(session: Session, project_id: str, search_id: str) -> Search:
    """Raises `SearchNotFound`."""
    row = session.scalar(select(Search).where(Search.id == search_id, Search.project_id == project_id))
    if row is None:
        raise SearchNotFound
    return row


def list_(
    session: Session,
    project_id: str,
    *,
    limit: int,
    after: str | None = None,
    order: Order = "desc",
    dataset_id: str | None = None,
    status: JobStatus | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Page[Search]:
    """Searches by age, the newest first unless `order` says otherwise; only those with this metadata."""
    statement = select(Search).where(Search.project_id == project_id)
    statement = statement.where(*having(session, Search.extra, metadata or {}))
    if dataset_id is not None:
        statement = statement.where(Search.dataset_id == dataset_id)
    if status is not None:
        statement = statement.where(_is(status))
    return page(session, statement, Search.id, limit=limit, after=after, order=order)


def trials(session: Session, search_ids: Iterable[str]) -> list[Trial]:
    """Those of these searches, by number."""
    found = session.execute(
        select(
            *(SearchTrial.search_id, SearchTrial.number, SearchTrial.params),
            *(SearchTrial.pruned, SearchTrial.value),
            *(Job.id, Job.status, Job.status_reason, Job.requested_action, Job.attempt),
            *(Job.progress, Job.error, Job.started_at),
            Model.id,
        )
        .join(Job, Job.id == SearchTrial.job_id)
        .outerjoin(Model, Model.job_id == Job.id)
        .where(SearchTrial.search_id.in_(list(search_ids)))
        .order_by(SearchTrial.search_id, SearchTrial.number)
    )
    return [Trial(*row) for row in found]


def best(of_it: Sequence[Trial]) -> Trial | None:
    """The trial of the largest value so far, of equal ones the first."""
    valued = [one for one in of_it if one.value is not None and one.status is JobStatus.SUCCEEDED]
    return max(valued, key=lambda one: (one.value or 0.0, -one.number), default=None)


def config_of(session: Session, one: Trial | None) -> dict[str, Any] | None:
    """The whole config of a trial."""
    return None if one is None else session.scalar(select(Job.resolved_config).where(Job.id == one.job_id))


def drawing(session: Session, rows: Iterable[Search]) -> dict[str, JobStatus]:
    """By search, how far the job is that draws its next trials; without those that have none."""
    found = session.execute(
        select(Search.id, Job.status)
        .join(Job, Job.id == Search.job_id)
        .where(Search.id.in_([row.id for row in rows]))
    )
    return {row.id: row.status for row in found}


def status(row: Search, of_it: Sequence[Trial], drawing: JobStatus | None) -> JobStatus:
    """How far a search is, given its trials and the job that draws: queued until the first begins, running
    until everything has ended, unless nothing can go on before it is resumed."""
    if row.outcome is not None:
        return row.outcome
    statuses = {one.status for one in of_it}
    waits = drawing in _WAITING or not statuses.isdisjoint(_WAITING)
    if not waits and (row.pausing or JobStatus.PAUSED in statuses):
        return JobStatus.PAUSED
    if all(one.status is JobStatus.QUEUED and one.attempt == 0 for one in of_it):
        return JobStatus.QUEUED
    return JobStatus.RUNNING


# What a worker does


def task(session: Session, claim: Claim) -> Task | None:
    """What this job has to draw from; None when that is no longer asked for."""
    row = session.scalar(select(Search).where(Search.job_id == claim.job_id))
    if row is None:
        return None
    tried = trials(session, [row.id])
    pruned = [one.job_id for one in tried if one.status is JobStatus.CANCELLED and one.pruned]
    courses: dict[str, list[tuple[float, float]]] = {}
    measured = session.execute(
        select(JobMetric.job_id, JobMetric.epoch, JobMetric.metrics)
        .where(JobMetric.job_id.in_(pruned), JobMetric.split != TRAINING_STEPS)
        .order_by(JobMetric.job_id, JobMetric.step)
    )
    for job_id, epoch, metrics in measured:
        value = metrics.get(row.spec["metric"])
        if value is not None:
            courses.setdefault(job_id, []).append((epoch, value))
    return Task(row, tried, courses, search_ends.room(row, search_ends.trials(session, row.id)))


def finish(
    session: Session, claim: Claim, *, drawn: Sequence[NewTrial], result: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Begin the trials that were drawn, as many as there is room for, and end the job, all or nothing. Where
    none was asked for the search has been summed up, and ends.

    (job, queue) of what can start now. Raises `Fenced`, and its kind `CancelRequested` when a cancel came
    first.
    """
    jobs.succeed(session, claim)
    row = search_ends.hold_of(session, claim.job_id)
    if row is None:
        return []
    search_ends.change(session, row.id, job_id=None, result=dict(result))
    tried = search_ends.trials(session, row.id)
    begun = _begin(session, row, len(tried), drawn[: search_ends.room(row, tried)])
    row = search_ends.reload(session, row.id)
    succeeded = any(one.status is JobStatus.SUCCEEDED for one in tried)
    if not drawn and succeeded and not row.cancelling and search_ends.is_complete(row, tried):
        search_ends.succeeded(session, row)
        return begun
    return [*begun, *_go_on(session, row)]


# What the API asks for


def cancel(session: Session, project_id: str, search_id: str) -> RequestOutcome:
    """End every job of it that has not ended. Raises `SearchNotFound`, `SearchAlreadyFinished`."""
    row, its_jobs = _hold(session, project_id, search_id)
    if row.outcome is JobStatus.CANCELLED or row.cancelling:
        return RequestOutcome(row, changed=False)
    if row.outcome is not None:
        raise SearchAlreadyFinished
    search_ends.change(session, row.id, cancelling=True)
    for job in its_jobs:
        if job.status not in FINISHED:
            jobs.request(session, project_id, job.id, RequestedAction.CANCEL)
    _go_on(session, search_ends.reload(session, row.id))
    return RequestOutcome(search_ends.reload(session, row.id), changed=True)


def pause(session: Session, project_id: str, search_id: str) -> RequestOutcome:
    """Pause every trial that has not ended, and begin no further one.

    Raises `SearchNotFound`, `SearchAlreadyFinished`, `SearchBeingCancelled`, and `SearchNotPausable` once all
    trials have ended.
    """
    row, its_jobs = _hold_open(session, project_id, search_id)
    tried = [job for job in its_jobs if job.kind is JobKind.TRAIN]
    running = [job for job in tried if job.status not in FINISHED]
    if not running and len(tried) >= row.spec["trials"]:
        raise SearchNotPausable
    search_ends.change(session, row.id, pausing=True)
    changed = [
        jobs.request(session, project_id, job.id, RequestedAction.PAUSE).changed
        for job in running
        if job.requested_action is not RequestedAction.CANCEL
    ]
    return RequestOutcome(search_ends.reload(session, row.id), any(changed) or not row.pausing)


def resume(session: Session, project_id: str, search_id: str) -> RequestOutcome:
    """Queue its paused trials again, and begin further ones.

    Raises `SearchNotFound`, `SearchAlreadyFinished`, `SearchBeingCancelled`, `SearchNotPaused` where nothing
    is paused or a trial is only about to be, and what `jobs.resume` raises.
    """
    quotas.hold_queue(session, project_id)
    row, its_jobs = _hold_open(session, project_id, search_id)
    if any(job.requested_action is RequestedAction.PAUSE for job in its_jobs):
        raise SearchNotPaused("Some of its trials still save a checkpoint: ask again in a moment.")
    paused = [job for job in its_jobs if job.status is JobStatus.PAUSED]
    if not paused and not row.pausing:
        if any(job.status is JobStatus.QUEUED for job in its_jobs):
            return RequestOutcome(row, changed=False)
        raise SearchNotPaused
    queued = [jobs.resume(session, project_id, job.id).job for job in paused]
    search_ends.change(session, row.id, pausing=False)
    begun = _go_on(session, search_ends.reload(session, row.id))
    return RequestOutcome(search_ends.reload(session, row.id), True, (*_hints(queued), *begun))


def retry(session: Session, project_id: str, search_id: str) -> RequestOutcome:
    """Queue again the trials that have failed or were cancelled, each from its last checkpoint, and go on
    with those that were not begun. What has succeeded is kept, and what was pruned stays so.

    Raises `SearchNotFound`, `SearchBeingCancelled`, `SearchNotRetryable` where nothing is left to do, and
    what `jobs.retry` raises.
    """
    quotas.hold_queue(session, project_id)
    row, its_jobs = _hold(session, project_id, search_id)
    if row.cancelling:
        raise SearchBeingCancelled
    again = [
        job
        for job in its_jobs
        if job.kind is JobKind.TRAIN
        and job.status in (JobStatus.FAILED, JobStatus.CANCELLED)
        and job.status_reason != "pruned"
    ]
    if not again and row.outcome is None and row.error is None:  # all of it is under way
        begun = _go_on(session, row)
        return RequestOutcome(search_ends.reload(session, row.id), bool(begun), begun)
    if not again and row.outcome is JobStatus.SUCCEEDED:
        raise SearchNotRetryable
    queued = [jobs.retry(session, project_id, job.id).job for job in again]
    ended = {"outcome": None, "error": None, "finished_at": None, "job_id": None}
    if row.outcome is not None or row.error is not None:
        search_ends.change(session, row.id, **ended)
    begun = _go_on(session, search_ends.reload(session, row.id))
    return RequestOutcome(search_ends.reload(session, row.id), True, (*_hints(queued), *begun))


def delete(session: Session, project_id: str, search_id: str) -> None:
    """Its jobs and their models stay. Raises `SearchNotFound`, `SearchRunning`."""
    row, _ = _hold(session, project_id, search_id)
    if row.outcome is None:
        raise SearchRunning
    session.execute(delete_from(Search).where(Search.id == row.id))


# Helpers


def _begin(session: Session, row: Search, number: int, drawn: Sequence[NewTrial]) -> list[tuple[str, str]]:
    """Queue the trainings of these trials, of which the first is this one."""
    # What is claimed first is the lesser id, and those of one millisecond are in no order by themselves.
    ids = sorted(new_id("job") for _ in drawn)
    for offset, (job_id, one) in enumerate(zip(ids, drawn, strict=True)):
        place = number + offset
        jobs.enqueue(
            session,
            job_id=job_id,
            project_id=row.project_id,
            kind=JobKind.TRAIN,
            queue="train",
            spec={
                "dataset_id": row.dataset_id,
                "config": one.config,
                "name": f"{row.name or row.id}: trial {place}"[:_NAME_LENGTH],
                "search": {"id": row.id, "trial": place, "params": one.params},
            },
            dataset_id=row.dataset_id,
            initial_model_id=row.initial_model_id,
            resolved_config=one.config,
            priority=row.spec["priority"],
            extra=row.extra,
        )
        session.add(SearchTrial(search_id=row.id, number=place, job_id=job_id, params=one.params, value=None))
    session.flush()
    return [(job_id, "train") for job_id in ids]


def _go_on(session: Session, row: Search) -> tuple[tuple[str, str], ...]:
    """What the end of a job would do for this search, which is held: (job, queue) of the one that is made."""
    due = search_ends.due(session, row)
    if due is None:
        return ()
    jobs.settle_search(session, due)
    return ((str(search_ends.reload(session, row.id).job_id), "evaluate"),)


def _hold_open(session: Session, project_id: str, search_id: str) -> tuple[Search, list[Job]]:
    row, its_jobs = _hold(session, project_id, search_id)
    if row.outcome is not None:
        raise SearchAlreadyFinished
    if row.cancelling:
        raise SearchBeingCancelled
    return row, its_jobs


def _hold(session: Session, project_id: str, search_id: str) -> tuple[Search, list[Job]]:
    """The search and all its jobs, locked in the order in which their ends lock them.

    Between the first lock and the last a trial may have been begun. It is locked out of order: where that
    meets its end, the database lets one of the two try again.
    """
    get(session, project_id, search_id)
    its_trials = Job.id.in_(select(SearchTrial.job_id).where(SearchTrial.search_id == search_id))
    draws = Job.id == select(Search.job_id).where(Search.id == search_id).scalar_subquery()
    held = {job.id for job in [*_lock_jobs(session, its_trials), *_lock_jobs(session, draws)]}
    row = session.scalar(
        select(Search)
        .where(Search.id == search_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if row is None:
        raise SearchNotFound
    _lock_jobs(session, and_(or_(its_trials, draws), Job.id.not_in(held)))
    return row, list(session.scalars(select(Job).where(or_(its_trials, draws)).order_by(Job.id)))


def _lock_jobs(session: Session, condition: ColumnElement[bool]) -> list[Job]:
    statement = select(Job).where(condition).order_by(Job.id).with_for_update()
    return list(session.scalars(statement.execution_options(populate_existing=True)))


def _hints(queued: Iterable[Job]) -> tuple[tuple[str, str], ...]:
    return tuple((job.id, job.queue) for job in queued)


def _is(wanted: JobStatus) -> ColumnElement[bool]:
    """A condition on `Search`: that `status` is this."""
    if wanted in FINISHED:
        return Search.outcome == wanted

    def some(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
        ours = SearchTrial.search_id == Search.id
        return exists().where(ours, Job.id == SearchTrial.job_id, *conditions)

    draws = exists().where(Job.id == Search.job_id, Job.status.in_(_WAITING))
    waits = or_(draws, some(Job.status.in_(_WAITING)))
    paused = and_(~waits, or_(Search.pausing, some(Job.status == JobStatus.PAUSED)))
    queued = and_(~paused, ~some(or_(Job.status != JobStatus.QUEUED, Job.attempt > 0)))
    conditions = {
        JobStatus.PAUSED: paused,
        JobStatus.QUEUED: queued,
        JobStatus.RUNNING: and_(~paused, ~queued),
    }
    return and_(Search.outcome.is_(None), conditions[wanted])
