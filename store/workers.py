"""Worker processes: who they are, whether they are heard of, and the order to take nothing more.

The rows are for people and for draining. No job depends on them: who holds a job is in the job's row.
"""

from dataclasses import dataclass

from sqlalchemy import and_, delete, exists, select, update
from sqlalchemy.orm import Session

from store.clock import database_now
from store.errors import WorkerNotFound
from store.paging import Page, page
from store.rows import insert_into
from store.tables import Worker

FORGOTTEN_AFTER_SECONDS = 600.0
_LONGEST_PERIOD_SECONDS = 10.0
_HEARTBEATS = 5  # of a job to one report of its worker


@dataclass(frozen=True)
class WorkerOrder:
    """What a worker is told when it reports."""

    draining: bool  # finish what you have, claim nothing more


def report_period(heartbeat_seconds: float) -> float:
    """Seconds between two reports of a worker whose jobs have so many between two heartbeats."""
    return min(heartbeat_seconds * _HEARTBEATS, _LONGEST_PERIOD_SECONDS)


def register(
    session: Session,
    *,
    worker_id: str,
    name: str,
    queue: str,
    device: str,
    host: str,
    pid: int,
    version: str,
    draining: bool = False,
    job_id: str | None = None,
) -> Worker:
    """A worker has started, or comes back after it was forgotten; then `draining` is what it was told last.

    Registering again changes what it says of itself, never the order to drain.
    """
    told = {
        "name": name[:200],
        "queue": queue,
        "device": device,
        "host": host[:255],
        "pid": pid,
        "version": version[:40],
        "job_id": job_id,
        "heartbeat_at": database_now(),
    }
    insert = insert_into(session, Worker).values(
        id=worker_id, draining=draining, started_at=database_now(), **told
    )
    session.execute(insert.on_conflict_do_update(index_elements=["id"], set_=told))
    return get(session, worker_id)


def beat(
    session: Session, worker_id: str, *, job_id: str | None = None, blocked: str | None = None
) -> WorkerOrder:
    """The worker is there, and works on `job_id`; `blocked` says why it claims nothing now.

    Raises `WorkerNotFound` when it was silent for so long that it was forgotten: register again.
    """
    draining = session.scalar(
        update(Worker)
        .where(Worker.id == worker_id)
        .values(heartbeat_at=database_now(), job_id=job_id, blocked=blocked)
        .returning(Worker.draining)
        .execution_options(synchronize_session=False)
    )
    if draining is None:
        raise WorkerNotFound
    return WorkerOrder(draining=draining)


def drain(session: Session, worker_id: str, draining: bool = True) -> tuple[Worker, bool]:
    """The worker finishes what it has and takes nothing more, or may take jobs again.

    The worker, and whether that changed anything. Raises `WorkerNotFound`.
    """
    changed = session.scalar(
        update(Worker)
        .where(Worker.id == worker_id, Worker.draining.is_not(draining))
        .values(draining=draining)
        .returning(Worker.id)
        .execution_options(synchronize_session=False)
    )
    return get(session, worker_id), changed is not None


def leave(session: Session, worker_id: str) -> None:
    """The worker ends. No matter if it was forgotten already."""
    session.execute(delete(Worker).where(Worker.id == worker_id))


def get(session: Session, worker_id: str) -> Worker:
    """Raises `WorkerNotFound`."""
    worker = session.scalar(
        select(Worker).where(Worker.id == worker_id).execution_options(populate_existing=True)
    )
    if worker is None:
        raise WorkerNotFound
    return worker


def list_(
    session: Session, *, limit: int = 100, after: str | None = None, queue: str | None = None
) -> Page[Worker]:
    """Workers that were heard of lately, by id."""
    statement = select(Worker).where(Worker.heartbeat_at > database_now() - FORGOTTEN_AFTER_SECONDS)
    if queue is not None:
        statement = statement.where(Worker.queue == queue)
    return page(session, statement, Worker.id, limit=limit, after=after)


def all_blocked(session: Session, queue: str) -> bool:
    """Whether there are workers of this queue, and none of those that may claim has room on its disk."""
    there = [
        Worker.queue == queue,
        Worker.draining.is_(False),
        Worker.heartbeat_at > database_now() - FORGOTTEN_AFTER_SECONDS,
    ]
    blocked = exists().where(*there, Worker.blocked.is_not(None))
    free = exists().where(*there, Worker.blocked.is_(None))
    return bool(session.scalar(select(and_(blocked, ~free))))


def forget_silent(session: Session) -> list[str]:
    """Drop the workers that were not heard of for ten minutes; their ids."""
    return list(
        session.scalars(
            delete(Worker)
            .where(Worker.heartbeat_at <= database_now() - FORGOTTEN_AFTER_SECONDS)
            .returning(Worker.id)
            .execution_options(synchronize_session=False)
        )
    )
