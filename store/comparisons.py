"""Comparisons: the same trainings with several configs and seeds, and what a job makes of their results.

Its trainings are ordinary jobs, and whatever may happen to a job may happen to them. Those of a seed differ
in their config only, so that they see the same images in the same order from the same initial weights. What
becomes of a comparison when one of its jobs ends is in `store.comparison_ends`. Whoever asks something of the
whole holds its trainings first, by id, then the job that compares, then the comparison.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, exists, or_, select, update
from sqlalchemy import delete as delete_from
from sqlalchemy.orm import Session

from store import comparison_ends, jobs, quotas
from store.comparison_ends import FEWEST_SEEDS, startable
from store.errors import (
    ComparisonAlreadyFinished,
    ComparisonBeingCancelled,
    ComparisonNotFound,
    ComparisonNotPausable,
    ComparisonNotPaused,
    ComparisonNotReady,
    ComparisonNotRetryable,
    ComparisonRunning,
)
from store.ids import new_id
from store.jobs import Claim
from store.metadata import having
from store.models import NewArtifact
from store.paging import Order, Page, page
from store.tables import (
    FINISHED,
    Comparison,
    ComparisonFile,
    ComparisonRun,
    Job,
    JobKind,
    JobStatus,
    Model,
    RequestedAction,
)

__all__ = ["FEWEST_SEEDS", "startable"]  # of the module below
REPORT, MARKDOWN, PAGE = "comparison.json", "comparison.md", "comparison.html"
_NAME_LENGTH = 200
_AGAIN = (JobStatus.FAILED, JobStatus.CANCELLED)


@dataclass(frozen=True)
class NewArm:
    """What one side of a comparison trains with: `config` is what differs, the others have all of it."""

    name: str
    config: dict[str, Any]
    whole_config: dict[str, Any]  # as it would have been submitted
    resolved_config: dict[str, Any]
    initial_model_id: str | None = None


class Run(NamedTuple):
    """One training of a comparison, as far as its reader wants to know."""

    comparison_id: str
    arm: int
    seed: int
    job_id: str
    status: JobStatus
    status_reason: str | None
    requested_action: RequestedAction | None
    attempt: int
    progress: dict[str, Any] | None
    error: dict[str, Any] | None
    started_at: Any
    model_id: str | None
    metrics: dict[str, Any] | None


@dataclass(frozen=True)
class RequestOutcome:
    """A comparison after something was asked of it: whether that changed anything, and (job, queue) of what
    can start now."""

    comparison: Comparison
    changed: bool
    startable: tuple[tuple[str, str], ...] = ()


# Making and reading


def create(
    session: Session,
    *,
    project_id: str,
    dataset_id: str,
    config: dict[str, Any],
    arms: Sequence[NewArm],
    seeds: Sequence[int],
    baseline: str,
    name: str | None = None,
    priority: int = 0,
    metadata: dict[str, str] | None = None,
) -> tuple[Comparison, list[Job]]:
    """A comparison and its queued trainings: of the first seed those of every arm, then of the next.

    Raises `DatasetNotFound`, `DatasetNotUsable`, `ModelNotFound`, and `QuotaExceeded`, after which the
    transaction must not be committed.
    """
    row = Comparison(
        id=new_id("cmp"),
        project_id=project_id,
        name=name,
        dataset_id=dataset_id,
        spec={
            "config": config,
            "arms": [
                {"name": arm.name, "config": arm.config, "resolved_config": arm.resolved_config}
                for arm in arms
            ],
            "seeds": list(seeds),
            "baseline": baseline,
            "priority": priority,
        },
        job_id=None,
        outcome=None,
        result=None,
        error=None,
        extra=metadata or {},
        finished_at=None,
    )
    made = []
    # What is claimed first is the lesser id, and those of one millisecond are in no order by themselves.
    ids = iter(sorted(new_id("job") for _ in range(len(seeds) * len(arms))))
    for seed in seeds:
        for position, arm in enumerate(arms):
            job = jobs.create(
                session,
                job_id=next(ids),
                project_id=project_id,
                kind=JobKind.TRAIN,
                queue="train",
                spec={
                    "dataset_id": dataset_id,
                    "config": arm.whole_config | {"seed": seed},
                    "name": f"{name or row.id}: {arm.name}, seed {seed}"[:_NAME_LENGTH],
                    "comparison": {"id": row.id, "arm": arm.name, "seed": seed},
                },
                dataset_id=dataset_id,
                initial_model_id=arm.initial_model_id,
                resolved_config=arm.resolved_config | {"seed": seed},
                priority=priority,
                metadata=metadata,
            )
            made.append((position, seed, job))
    session.add(row)
    session.flush()
    session.add_all(
        ComparisonRun(comparison_id=row.id, arm=arm, seed=seed, job_id=job.id) for arm, seed, job in made
    )
    session.flush()
    session.refresh(row)
    return row, [job for _, _, job in made]


def get(session: Session, project_id: str, comparison_id: str) -> Comparison:
    """Raises `ComparisonNotFound`."""
    row = session.scalar(
        select(Comparison).where(Comparison.id == comparison_id, Comparison.project_id == project_id)
    )
    if row is None:
        raise ComparisonNotFound
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
) -> Page[Comparison]:
    """Comparisons by age, the newest first unless `order` says otherwise; only those with this metadata."""
    statement = select(Comparison).where(Comparison.project_id == project_id)
    statement = statement.where(*having(session, Comparison.extra, metadata or {}))
    if dataset_id is not None:
        statement = statement.where(Comparison.dataset_id == dataset_id)
    if status is not None:
        statement = statement.where(_is(status))
    return page(session, statement, Comparison.id, limit=limit, after=after, order=order)


def runs(session: Session, comparison_ids: Iterable[str]) -> list[Run]:
    """The trainings of these comparisons, by arm and then in the order of the seeds."""
    found = session.execute(
        select(
            ComparisonRun.comparison_id,
            ComparisonRun.arm,
            ComparisonRun.seed,
            *(Job.id, Job.status, Job.status_reason, Job.requested_action),
            *(Job.attempt, Job.progress, Job.error, Job.started_at),
            Model.id,
            Model.metrics,
        )
        .join(Job, Job.id == ComparisonRun.job_id)
        .outerjoin(Model, Model.job_id == Job.id)
        .where(ComparisonRun.comparison_id.in_(list(comparison_ids)))
        # Their ids are in the order of the seeds.
        .order_by(ComparisonRun.comparison_id, ComparisonRun.arm, Job.id)
    )
    return [Run(*row) for row in found]


def status(row: Comparison, of_it: Sequence[Run]) -> JobStatus:
    """How far a comparison is, given its runs: queued until the first training begins, running until
    everything has ended, unless nothing can go on before it is resumed."""
    if row.outcome is not None:
        return row.outcome
    statuses = {run.status for run in of_it}
    if statuses.isdisjoint((JobStatus.QUEUED, JobStatus.RUNNING)) and JobStatus.PAUSED in statuses:
        return JobStatus.PAUSED
    if all(run.status is JobStatus.QUEUED and run.attempt == 0 for run in of_it):
        return JobStatus.QUEUED
    return JobStatus.RUNNING


def file(session: Session, project_id: str, comparison_id: str, name: str) -> ComparisonFile:
    """Of the last time that it was compared. Raises `ComparisonNotFound`, `ComparisonNotReady`."""
    get(session, project_id, comparison_id)
    found = session.get(ComparisonFile, (comparison_id, name))
    if found is None:
        raise ComparisonNotReady
    return found


# What a worker does


def of_job(session: Session, claim: Claim) -> Comparison | None:
    """What this job is to compare; None when that is no longer asked for."""
    return session.scalar(select(Comparison).where(Comparison.job_id == claim.job_id))


def finish(
    session: Session, claim: Claim, *, result: Mapping[str, Any], files: Sequence[NewArtifact]
) -> None:
    """Store what was found in place of what was found before, and end the job, all or nothing.

    Where the comparison has been taken up again meanwhile nothing is stored: another job will compare.
    Raises `Fenced`, and its kind `CancelRequested` when a cancel came first.
    """
    jobs.succeed(session, claim)
    comparison_id = comparison_ends.compared(session, claim.job_id, result)
    if comparison_id is None:
        return
    session.execute(delete_from(ComparisonFile).where(ComparisonFile.comparison_id == comparison_id))
    for one in files:
        session.add(ComparisonFile(comparison_id=comparison_id, **vars(one)))
    session.flush()


# What the API asks for


def cancel(session: Session, project_id: str, comparison_id: str) -> RequestOutcome:
    """End every job of it that has not ended. Raises `ComparisonNotFound`, `ComparisonAlreadyFinished`."""
    row, its_jobs = _hold(session, project_id, comparison_id)
    if row.outcome is JobStatus.CANCELLED or row.cancelling:
        return RequestOutcome(row, changed=False)
    if row.outcome is not None:
        raise ComparisonAlreadyFinished
    session.execute(
        update(Comparison)
        .where(Comparison.id == row.id)
        .values(cancelling=True)
        .execution_options(synchronize_session=False)
    )
    for job in its_jobs:
        if job.status not in FINISHED:
            jobs.request(session, project_id, job.id, RequestedAction.CANCEL)
    _settle(session, its_jobs)
    return RequestOutcome(_load(session, row.id), changed=True)


def pause(session: Session, project_id: str, comparison_id: str) -> RequestOutcome:
    """Pause every training that has not ended.

    Raises `ComparisonNotFound`, `ComparisonAlreadyFinished`, `ComparisonBeingCancelled`, and
    `ComparisonNotPausable` once all trainings have ended.
    """
    row, its_jobs = _hold_open(session, project_id, comparison_id)
    trainings = [job for job in its_jobs if job.kind is JobKind.TRAIN and job.status not in FINISHED]
    if not trainings:
        raise ComparisonNotPausable
    changed = [
        jobs.request(session, project_id, job.id, RequestedAction.PAUSE).changed
        for job in trainings
        if job.requested_action is not RequestedAction.CANCEL
    ]
    return RequestOutcome(row, any(changed))


def resume(session: Session, project_id: str, comparison_id: str) -> RequestOutcome:
    """Queue its paused trainings again.

    Raises `ComparisonNotFound`, `ComparisonAlreadyFinished`, `ComparisonBeingCancelled`,
    `ComparisonNotPaused` where none is or one is only about to be, and what `jobs.resume` raises.
    """
    quotas.hold_queue(session, project_id)
    row, its_jobs = _hold_open(session, project_id, comparison_id)
    if any(job.requested_action is RequestedAction.PAUSE for job in its_jobs):
        raise ComparisonNotPaused("Some of its trainings still save a checkpoint: ask again in a moment.")
    paused = [job for job in its_jobs if job.status is JobStatus.PAUSED]
    if not paused:
        if all(job.status is JobStatus.QUEUED for job in its_jobs):
            return RequestOutcome(row, changed=False)
        raise ComparisonNotPaused
    queued = [jobs.resume(session, project_id, job.id).job for job in paused]
    return RequestOutcome(row, True, _hints(queued))


def retry(session: Session, project_id: str, comparison_id: str) -> RequestOutcome:
    """Queue again what has failed or was cancelled: trainings, each from its last checkpoint, or else the job
    that compares. What has succeeded is kept.

    Raises `ComparisonNotFound`, `ComparisonBeingCancelled`, `ComparisonNotRetryable` where all has succeeded,
    and what `jobs.retry` raises.
    """
    quotas.hold_queue(session, project_id)
    row, its_jobs = _hold(session, project_id, comparison_id)
    if row.cancelling:
        raise ComparisonBeingCancelled
    again = [job for job in its_jobs if job.status in _AGAIN and job.kind is JobKind.TRAIN]
    again = again or [job for job in its_jobs if job.status in _AGAIN]
    if not again and row.outcome is None:  # all of it is under way
        _settle(session, its_jobs)
        return RequestOutcome(_load(session, row.id), changed=False)
    if not again:
        raise ComparisonNotRetryable
    queued = [jobs.retry(session, project_id, job.id).job for job in again]
    return RequestOutcome(_load(session, row.id), True, _hints(queued))


def delete(session: Session, project_id: str, comparison_id: str) -> None:
    """Its jobs and their models stay. Raises `ComparisonNotFound`, `ComparisonRunning`."""
    row, _ = _hold(session, project_id, comparison_id)
    if row.outcome is None:
        raise ComparisonRunning
    session.execute(delete_from(Comparison).where(Comparison.id == row.id))


# Helpers


def _hold_open(session: Session, project_id: str, comparison_id: str) -> tuple[Comparison, list[Job]]:
    row, its_jobs = _hold(session, project_id, comparison_id)
    if row.outcome is not None:
        raise ComparisonAlreadyFinished
    if row.cancelling:
        raise ComparisonBeingCancelled
    return row, its_jobs


def _hold(session: Session, project_id: str, comparison_id: str) -> tuple[Comparison, list[Job]]:
    """The comparison and all its jobs, locked in the order in which their ends lock them."""
    get(session, project_id, comparison_id)
    trainings = select(ComparisonRun.job_id).where(ComparisonRun.comparison_id == comparison_id)
    held = _lock_jobs(session, Job.id.in_(trainings))
    # While they are held none of them ends, so that this stays the job that compares.
    comparing = session.scalar(select(Comparison.job_id).where(Comparison.id == comparison_id))
    if comparing is not None:
        held += _lock_jobs(session, Job.id == comparing)
    row = session.scalar(
        select(Comparison)
        .where(Comparison.id == comparison_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if row is None:
        raise ComparisonNotFound
    return row, held


def _lock_jobs(session: Session, condition: ColumnElement[bool]) -> list[Job]:
    statement = select(Job).where(condition).order_by(Job.id).with_for_update()
    return list(session.scalars(statement.execution_options(populate_existing=True)))


def _settle(session: Session, its_jobs: Sequence[Job]) -> None:
    """What the end of the last training should have done. Usually it has; a worker of the version before
    knows nothing of comparisons."""
    jobs.settle_comparison(session, its_jobs[0].id)


def _load(session: Session, comparison_id: str) -> Comparison:
    return session.scalars(
        select(Comparison).where(Comparison.id == comparison_id).execution_options(populate_existing=True)
    ).one()


def _hints(queued: Iterable[Job]) -> tuple[tuple[str, str], ...]:
    return tuple((job.id, job.queue) for job in queued)


def _is(wanted: JobStatus) -> ColumnElement[bool]:
    """A condition on `Comparison`: that `status` is this."""
    if wanted in FINISHED:
        return Comparison.outcome == wanted

    def some(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
        ours = ComparisonRun.comparison_id == Comparison.id
        return exists().where(ours, Job.id == ComparisonRun.job_id, *conditions)

    waits = some(Job.status.in_([JobStatus.QUEUED, JobStatus.RUNNING]))
    paused = and_(~waits, some(Job.status == JobStatus.PAUSED))
    queued = ~some(or_(Job.status != JobStatus.QUEUED, Job.attempt > 0))
    conditions = {
        JobStatus.PAUSED: paused,
        JobStatus.QUEUED: queued,
        JobStatus.RUNNING: and_(~paused, ~queued),
    }
    return and_(Comparison.outcome.is_(None), conditions[wanted])
