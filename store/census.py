"""How much there is to do, and who does it: the numbers of the whole service, found by one statement.

It looks at rows that are alive or have ended lately, each by an index, so that its cost does not grow with
the history of the service.
"""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Double, Select, String, Subquery, case, func, literal, select, type_coerce, union_all
from sqlalchemy.orm import Session, aliased

from store import jobs
from store.clock import database_now
from store.errors import Unavailable
from store.sessions import Database
from store.tables import Dataset, Job, JobEvent, JobStatus, WebhookDelivery, Worker
from store.workers import FORGOTTEN_AFTER_SECONDS

LATELY_SECONDS = 3600.0
_ALIVE = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED)


@dataclass(frozen=True)
class Load:
    """So many of something, and the greatest age among them in seconds."""

    count: int
    seconds: float


@dataclass(frozen=True)
class Census:
    """Counts; what there is none of is absent."""

    jobs: Mapping[tuple[str, str, str, str], int]
    """Of queue, kind, status and phase: those that have not ended."""
    due: Mapping[str, Load]
    """By queue: jobs that a free worker would claim, and how long the first of them has been due."""
    running: Mapping[str, Load]
    """By queue, and how long ago the last heartbeat of the quietest was."""
    overdue: Mapping[str, int]
    """By queue: running jobs whose lease has ended."""
    finished: Mapping[tuple[str, str, str], int]
    """Of kind, status and reason: those that have ended within the last hour."""
    workers: Mapping[tuple[str, str], Load]
    """Of queue and state (`idle, busy, draining, blocked, silent`), and how long ago they were heard of."""
    deliveries: int
    """Messages to webhooks that are to be sent."""


def take(session: Session, *, silent_seconds: float) -> Census:
    """A worker that was not heard of for so long is silent; after ten minutes it is forgotten."""
    found: dict[str, list[Any]] = {}
    for row in session.execute(_statement(session, silent_seconds)):
        found.setdefault(row.what, []).append(row)
    return Census(
        jobs={(row.a, row.b, row.c, row.d): row.number for row in found.get("jobs", ())},
        due={row.a: Load(row.number, max(0.0, row.seconds)) for row in found.get("due", ())},
        running={row.a: Load(row.number, max(0.0, row.seconds)) for row in found.get("running", ())},
        overdue={row.a: row.number for row in found.get("overdue", ())},
        finished={(row.a, row.b, row.c): row.number for row in found.get("finished", ())},
        workers={(row.a, row.b): Load(row.number, max(0.0, row.seconds)) for row in found.get("workers", ())},
        deliveries=next((row.number for row in found.get("deliveries", ())), 0),
    )


class CensusTaker:
    """Asks the database at most every `seconds`, however many want to know. From any thread.

    Whoever wants to know waits no longer than `patience_seconds`: a database that hangs must not keep a
    process from telling the rest.
    """

    def __init__(
        self,
        database: Database,
        *,
        silent_seconds: float,
        seconds: float = 1.0,
        patience_seconds: float = 5.0,
    ) -> None:
        self._database = database
        self._silent_seconds = silent_seconds
        self._seconds = seconds
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._asked: Future[Census] | None = None
        self._asked_at = float("-inf")

    def census(self) -> Census:
        """Raises what the database raises, and `Unavailable` when it takes too long."""
        try:
            return self._future().result(self._patience_seconds)
        except TimeoutError as error:
            raise Unavailable from error

    def _future(self) -> "Future[Census]":
        """The answer, also while it is on its way."""
        with self._lock:
            fresh = time.monotonic() - self._asked_at < self._seconds
            if self._asked is None or (self._asked.done() and not fresh):
                self._asked, self._asked_at = Future(), time.monotonic()
                asking = threading.Thread(target=self._ask, args=(self._asked,), name="census", daemon=True)
                asking.start()
            return self._asked

    def _ask(self, answer: "Future[Census]") -> None:
        try:
            with self._database.read() as session:
                census = take(session, silent_seconds=self._silent_seconds)
        except Exception as error:
            answer.set_exception(error)
        else:
            answer.set_result(census)


def _statement(session: Session, silent_seconds: float) -> Select[Any]:
    parts = (
        _jobs(),
        _due(session),
        _running(),
        _overdue(),
        _finished(),
        _workers(silent_seconds),
        _deliveries(),
    )
    rows: Subquery = union_all(*parts).subquery()
    return select(rows)


def _part(what: str, *labels: Any, number: Any, seconds: Any = 0.0) -> Any:
    """A row for each group: what it counts, up to four labels, how many, an age."""
    padded = [*labels, *[literal("")] * (4 - len(labels))]
    columns = [type_coerce(one, String).label(name) for one, name in zip(padded, "abcd", strict=True)]
    age = literal(seconds, Double) if isinstance(seconds, float) else seconds
    return select(
        literal(what).label("what"),
        *columns,
        number.label("number"),
        type_coerce(age, Double).label("seconds"),
    )


def _jobs() -> Any:
    phase = func.coalesce(Job.phase, "")
    part = _part("jobs", Job.queue, Job.kind, Job.status, phase, number=func.count())
    return part.where(Job.status.in_(_ALIVE)).group_by(Job.queue, Job.kind, Job.status, phase)


def _due(session: Session) -> Any:
    """A job is due since it was queued the last time, which is its last event, its delay is over and its
    dataset ready."""
    waited_for = aliased(Dataset)  # the condition of being due looks at datasets too
    greatest = func.max if session.get_bind().dialect.name == "sqlite" else func.greatest
    since = greatest(
        func.coalesce(type_coerce(JobEvent.created_at, Double), type_coerce(Job.created_at, Double)),
        Job.not_before,
        func.coalesce(type_coerce(waited_for.validated_at, Double), 0.0),
    )
    return (
        _part("due", Job.queue, number=func.count(), seconds=database_now() - func.min(since))
        .outerjoin(JobEvent, (JobEvent.job_id == Job.id) & (JobEvent.number == Job.next_event - 1))
        .outerjoin(waited_for, waited_for.id == Job.dataset_id)
        .where(jobs.claimable())
        .group_by(Job.queue)
    )


def _running() -> Any:
    heard = func.min(type_coerce(Job.heartbeat_at, Double))
    age = func.coalesce(database_now() - heard, 0.0)
    part = _part("running", Job.queue, number=func.count(), seconds=age)
    return part.where(Job.status == JobStatus.RUNNING).group_by(Job.queue)


def _overdue() -> Any:
    part = _part("overdue", Job.queue, number=func.count())
    ended = Job.lease_until <= database_now()
    return part.where(Job.status == JobStatus.RUNNING, ended).group_by(Job.queue)


def _finished() -> Any:
    reason = func.coalesce(Job.status_reason, "")
    part = _part("finished", Job.kind, Job.status, reason, number=func.count())
    lately = type_coerce(Job.finished_at, Double) > database_now() - LATELY_SECONDS
    return part.where(lately).group_by(Job.kind, Job.status, reason)


def _workers(silent_seconds: float) -> Any:
    heard = type_coerce(Worker.heartbeat_at, Double)
    state = case(
        (heard <= database_now() - silent_seconds, "silent"),
        (Worker.job_id.is_not(None), "busy"),
        (Worker.draining, "draining"),
        (Worker.blocked.is_not(None), "blocked"),
        else_="idle",
    )
    counted = (
        select(Worker.queue.label("queue"), state.label("state"), heard.label("heard"))
        .where(heard > database_now() - FORGOTTEN_AFTER_SECONDS)
        .subquery()
    )
    return _part(
        "workers",
        counted.c.queue,
        counted.c.state,
        number=func.count(),
        seconds=database_now() - func.min(counted.c.heard),
    ).group_by(counted.c.queue, counted.c.state)


def _deliveries() -> Any:
    return _part("deliveries", number=func.count()).where(WebhookDelivery.pending)
