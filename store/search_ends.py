"""What the end of a job means for the search that it is of, and so does taking it up again.

`store.jobs` calls this in the transaction that ends the job, and holds that job's row; the search's is held
after it, here and everywhere else. So of two trials that end at once the second one waits, and sees what the
first has done: one job at most is there to draw what comes next.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, exists, select, update
from sqlalchemy.orm import Session

from store import webhooks
from store.clock import database_now
from store.errors import SearchNotFound
from store.tables import FINISHED, Job, JobKind, JobStatus, Search, SearchTrial

FAILURES_ALLOWED = 5  # trials that fail before any has succeeded: then it is not their values
_MOST_TOLD = 100


class Due(NamedTuple):
    """A search that can go on, or whose last trial has ended."""

    search_id: str
    project_id: str
    dataset_id: str | None
    initial_model_id: str | None
    priority: int


class Trial(NamedTuple):
    """A training of a search, as its ends see it."""

    number: int
    job_id: str
    status: JobStatus
    error: dict[str, Any] | None


def training_ended(session: Session, job_id: str) -> Due | None:
    """The search that this training was a trial of, to be given a job that draws the next one or sums up; or
    it is closed here: when it is being cancelled, or when no trial has succeeded."""
    row = _hold(session, _tries(job_id))
    return None if row is None else due(session, row)


def searching_ended(
    session: Session, job_id: str, status: JobStatus, error: Mapping[str, Any] | None
) -> Due | None:
    """The job that draws has failed or was cancelled: what runs still ends, and then the search with it."""
    row = _hold(session, Search.job_id == job_id)
    if row is None or row.outcome is not None:
        return None
    if status is JobStatus.CANCELLED:
        change(session, row.id, cancelling=True, job_id=None)
    else:
        change(session, row.id, error=dict(error or {}))
    return due(session, reload(session, row.id))


def due(session: Session, row: Search) -> Due | None:
    """What is to be done for a search that is held: a job to make; or it is closed, or nothing is."""
    if row.outcome is not None:
        return None
    tried = trials(session, row.id)
    is_open = any(one.status not in FINISHED for one in tried)
    if row.error is not None:
        if not is_open:
            _close(session, row, JobStatus.FAILED, row.error)
        return None
    if row.job_id is not None:
        return None
    if row.cancelling:
        if not is_open:
            _close(session, row, JobStatus.CANCELLED)
        return None
    if room(row, tried) == 0 and not is_complete(row, tried):
        return None
    if is_complete(row, tried) and all(one.status is not JobStatus.SUCCEEDED for one in tried):
        if all(one.status is JobStatus.CANCELLED for one in tried):
            _close(session, row, JobStatus.CANCELLED)
        else:
            _close(session, row, JobStatus.FAILED, _none_succeeded(tried))
        return None
    return Due(row.id, row.project_id, row.dataset_id, row.initial_model_id, row.spec["priority"])


def room(row: Search, tried: Sequence[Trial]) -> int:
    """How many trials may be begun now."""
    if row.outcome is not None or row.error is not None or row.cancelling or row.pausing:
        return 0
    if _is_hopeless(tried):
        return 0
    begun = sum(one.status not in FINISHED for one in tried)
    return max(0, min(int(row.spec["parallel"]) - begun, int(row.spec["trials"]) - len(tried)))


def is_complete(row: Search, tried: Sequence[Trial]) -> bool:
    """Whether all its trials have ended, and no further one will be begun."""
    ended = all(one.status in FINISHED for one in tried)
    return ended and (len(tried) >= row.spec["trials"] or _is_hopeless(tried))


def trials(session: Session, search_id: str) -> list[Trial]:
    """By number."""
    found = session.execute(
        select(SearchTrial.number, Job.id, Job.status, Job.error)
        .join(Job, Job.id == SearchTrial.job_id)
        .where(SearchTrial.search_id == search_id)
        .order_by(SearchTrial.number)
    )
    return [Trial(*one) for one in found]


def is_tried(session: Session, job_id: str) -> bool:
    """Whether this is a training of a search."""
    return bool(session.scalar(select(exists().where(SearchTrial.job_id == job_id))))


def searched_by(session: Session, search_id: str, job_id: str) -> None:
    """This job draws for it now."""
    change(session, search_id, job_id=job_id)


def measured(session: Session, job_id: str, metrics: Mapping[str, Any]) -> None:
    """The model of this training, which has succeeded, has these metrics: those of a trial are kept, however
    long the model is."""
    found = session.execute(
        select(SearchTrial.search_id, SearchTrial.number, Search.spec)
        .join(Search, Search.id == SearchTrial.search_id)
        .where(SearchTrial.job_id == job_id)
    ).one_or_none()
    if found is not None:
        change_trial(session, job_id, value=metrics.get(found.spec["metric"]))


def taken_up(session: Session, job_id: str, kind: JobKind) -> None:
    """A job of a search is queued again after its end: the search is open again.

    Raises `SearchNotFound` for a job that draws for what is gone, or what another one draws for now.
    """
    if kind is JobKind.SEARCH:
        row = _hold(session, Search.job_id == job_id)
        if row is None:
            raise SearchNotFound("What this job was to draw for is gone, or another one has drawn.")
    elif kind is JobKind.TRAIN:
        row = _hold(session, _tries(job_id))
        change_trial(session, job_id, pruned=False, value=None)
    else:
        return
    if row is None:
        return
    # A job that has failed to draw is of no use any more; one that is at work still is.
    has_ended = row.error is not None or row.outcome is not None
    superseded = {"job_id": None} if has_ended and kind is JobKind.TRAIN else {}
    change(session, row.id, outcome=None, error=None, cancelling=False, finished_at=None, **superseded)


def startable(session: Session, job_id: str) -> list[tuple[str, str]]:
    """(job, queue) of the job that the end of this training has made, if it has: to be hinted."""
    found = session.execute(
        select(Job.id, Job.queue)
        .join(Search, Search.job_id == Job.id)
        .join(SearchTrial, SearchTrial.search_id == Search.id)
        .where(SearchTrial.job_id == job_id, Job.status == JobStatus.QUEUED, Job.attempt == 0)
    )
    return [(row.id, row.queue) for row in found]


# For the verbs of `store.searches`, which hold the search's row


def succeeded(session: Session, row: Search) -> None:
    """What was found has been summed up."""
    _close(session, row, JobStatus.SUCCEEDED)


def change(session: Session, search_id: str, **values: Any) -> None:
    """Of a search that is held."""
    session.execute(
        update(Search)
        .where(Search.id == search_id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )


def change_trial(session: Session, job_id: str, **values: Any) -> None:
    """Of the trial whose training this is, if it is one; its job is held."""
    session.execute(
        update(SearchTrial)
        .where(SearchTrial.job_id == job_id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )


def reload(session: Session, search_id: str) -> Search:
    """As it is now."""
    return session.scalars(
        select(Search).where(Search.id == search_id).execution_options(populate_existing=True)
    ).one()


def hold_of(session: Session, job_id: str) -> Search | None:
    """The search that this job draws for, locked; None when that is no longer asked for."""
    return _hold(session, Search.job_id == job_id)


# Helpers


def _tries(job_id: str) -> ColumnElement[bool]:
    of = select(SearchTrial.search_id).where(SearchTrial.job_id == job_id)
    return Search.id == of.scalar_subquery()


def _hold(session: Session, condition: ColumnElement[bool]) -> Search | None:
    """The one search of which this is true, its row locked until the transaction ends."""
    statement = select(Search).where(condition).with_for_update()
    return session.scalar(statement.execution_options(populate_existing=True))


def _is_hopeless(tried: Sequence[Trial]) -> bool:
    return len(tried) >= FAILURES_ALLOWED and all(one.status is JobStatus.FAILED for one in tried)


def _close(session: Session, row: Search, outcome: JobStatus, error: Mapping[str, Any] | None = None) -> None:
    change(
        session,
        row.id,
        outcome=outcome,
        error=None if error is None else dict(error),
        cancelling=False,
        pausing=False,
        finished_at=database_now(),
    )
    webhooks.tell_of_search(session, row.id)


def _none_succeeded(tried: Sequence[Trial]) -> dict[str, Any]:
    """Why there is nothing to choose from, trial by trial."""
    errors = []
    for one in tried[:_MOST_TOLD]:
        failure = one.error or {}
        told = failure.get("detail") or f"the training was {one.status}"
        errors.append(
            {
                "pointer": f"/trials/{one.number}",
                "code": failure.get("code", str(one.status)),
                "detail": f"trial {one.number} ({one.job_id}): {told}",
            }
        )
    return {
        "type": "about:blank",
        "title": "No trial has succeeded",
        "status": None,
        "code": "no_trial_succeeded",
        "detail": f"None of {len(tried)} trials has succeeded. The first: {errors[0]['detail']}",
        "hint": "Try one training with this config alone; then narrow the space to values that it survives.",
        "log_tail": "",
        "errors": errors,
    }
