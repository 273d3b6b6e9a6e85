"""What the end of a job means for the comparison that it is of, and so does taking it up again.

`store.jobs` calls this in the transaction that ends the job, and holds that job's row; the comparison's is
held after it, here and everywhere else. So of two trainings that end at once the second one waits, and sees
that the first has ended.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, exists, select, update
from sqlalchemy.orm import Session

from store import webhooks
from store.clock import database_now
from store.errors import ComparisonNotFound
from store.tables import FINISHED, Comparison, ComparisonRun, Job, JobKind, JobStatus

FEWEST_SEEDS = 3  # that every arm must have been trained with: fewer say nothing about the noise
_MOST_TOLD = 100


class Due(NamedTuple):
    """A comparison all of whose trainings have ended, enough of them well."""

    comparison_id: str
    project_id: str
    dataset_id: str | None
    priority: int


class _Ended(NamedTuple):
    arm: int
    seed: int
    job_id: str
    status: JobStatus
    error: dict[str, Any] | None


def training_ended(session: Session, job_id: str) -> Due | None:
    """The comparison whose last training this was, to be given a job that compares; or it is closed here:
    when it is being cancelled, or when too few seeds were trained in every arm."""
    row = _hold(session, _trains(job_id))
    if row is None or row.outcome is not None or row.job_id is not None:
        return None
    found = session.execute(
        select(ComparisonRun.arm, ComparisonRun.seed, Job.id, Job.status, Job.error)
        .join(Job, Job.id == ComparisonRun.job_id)
        .where(ComparisonRun.comparison_id == row.id)
        .order_by(ComparisonRun.arm, ComparisonRun.seed)
    )
    runs = [_Ended(*one) for one in found]
    if any(run.status not in FINISHED for run in runs):
        return None
    lost = [run for run in runs if run.status is not JobStatus.SUCCEEDED]
    seeds = len({run.seed for run in runs} - {run.seed for run in lost})
    if row.cancelling:
        _close(session, row, JobStatus.CANCELLED)
    elif seeds >= FEWEST_SEEDS:
        return Due(row.id, row.project_id, row.dataset_id, row.spec["priority"])
    elif all(run.status is JobStatus.CANCELLED for run in lost):
        _close(session, row, JobStatus.CANCELLED)
    else:
        _close(session, row, JobStatus.FAILED, _too_few(row, seeds, lost))
    return None


def is_compared(session: Session, job_id: str) -> bool:
    """Whether this is a training of a comparison."""
    return bool(session.scalar(select(exists().where(ComparisonRun.job_id == job_id))))


def compared_by(session: Session, comparison_id: str, job_id: str) -> None:
    """This job compares it now."""
    _change(session, comparison_id, job_id=job_id)


def comparing_ended(
    session: Session, job_id: str, status: JobStatus, error: Mapping[str, Any] | None
) -> None:
    """The job that compares has failed or was cancelled."""
    row = _hold(session, Comparison.job_id == job_id)
    if row is not None and row.outcome is None:
        _close(session, row, status, error)


def compared(session: Session, job_id: str, result: Mapping[str, Any]) -> str | None:
    """The comparison has succeeded; its id. None where a training was taken up again meanwhile, so that this
    job's result is no longer asked for."""
    row = _hold(session, Comparison.job_id == job_id)
    if row is None:
        return None
    _change(session, row.id, result=dict(result))
    _close(session, row, JobStatus.SUCCEEDED)
    return row.id


def taken_up(session: Session, job_id: str, kind: JobKind) -> None:
    """A job of a comparison is queued again after its end: the comparison is open again. After a training,
    another job will compare.

    Raises `ComparisonNotFound` for a job that compares what is gone, or what another one compares now.
    """
    if kind is JobKind.COMPARE:
        row = _hold(session, Comparison.job_id == job_id)
        if row is None:
            raise ComparisonNotFound("What this job was to compare is gone, or has been compared by another.")
    elif kind is JobKind.TRAIN:
        row = _hold(session, _trains(job_id))
    else:
        return
    if row is not None:
        superseded = {"job_id": None} if kind is JobKind.TRAIN else {}
        _change(session, row.id, outcome=None, error=None, cancelling=False, finished_at=None, **superseded)


def startable(session: Session, job_id: str) -> list[tuple[str, str]]:
    """(job, queue) of the job that the end of this training has made, if it has: to be hinted."""
    found = session.execute(
        select(Job.id, Job.queue)
        .join(Comparison, Comparison.job_id == Job.id)
        .join(ComparisonRun, ComparisonRun.comparison_id == Comparison.id)
        .where(ComparisonRun.job_id == job_id, Job.status == JobStatus.QUEUED, Job.attempt == 0)
    )
    return [(row.id, row.queue) for row in found]


# Helpers


def _trains(job_id: str) -> ColumnElement[bool]:
    of = select(ComparisonRun.comparison_id).where(ComparisonRun.job_id == job_id)
    return Comparison.id == of.scalar_subquery()


def _hold(session: Session, condition: ColumnElement[bool]) -> Comparison | None:
    """The one comparison of which this is true, its row locked until the transaction ends."""
    statement = select(Comparison).where(condition).with_for_update()
    return session.scalar(statement.execution_options(populate_existing=True))


def _close(
    session: Session, row: Comparison, outcome: JobStatus, error: Mapping[str, Any] | None = None
) -> None:
    _change(
        session,
        row.id,
        outcome=outcome,
        error=None if error is None else dict(error),
        cancelling=False,
        finished_at=database_now(),
    )
    webhooks.tell_of_comparison(session, row.id)


def _change(session: Session, comparison_id: str, **values: Any) -> None:
    session.execute(
        update(Comparison)
        .where(Comparison.id == comparison_id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )


def _too_few(row: Comparison, seeds: int, lost: Sequence[_Ended]) -> dict[str, Any]:
    """Why it was not compared, training by training."""
    arms = [arm["name"] for arm in row.spec["arms"]]
    errors = []
    for run in lost[:_MOST_TOLD]:
        failure = run.error or {}
        told = failure.get("detail") or f"the training was {run.status}"
        errors.append(
            {
                "pointer": f"/arms/{run.arm}",
                "code": failure.get("code", str(run.status)),
                "detail": f"{arms[run.arm]}, seed {run.seed} ({run.job_id}): {told}",
            }
        )
    return {
        "type": "about:blank",
        "title": "Too few seeds to compare",
        "status": None,
        "code": "too_few_seeds",
        "detail": f"{seeds} of {len(row.spec['seeds'])} seeds were trained in every arm, and a comparison "
        f"needs {FEWEST_SEEDS}: {len(lost)} trainings have not succeeded. The first: {errors[0]['detail']}",
        "hint": "Retry the comparison: what has succeeded is kept, the other trainings go on from their last "
        "checkpoints.",
        "log_tail": "",
        "errors": errors,
    }
