"""Short words for what the tests of the store do again and again."""

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import update
from sqlalchemy.orm import Session

from store import datasets, jobs
from store.clock import database_now
from store.jobs import Claim
from store.sessions import Database
from store.tables import DEFAULT_PROJECT, Dataset, Job, JobKind

P = ParamSpec("P")
T = TypeVar("T")

PROBLEM = {
    "type": "about:blank",
    "title": "It broke",
    "status": None,
    "code": "internal_error",
    "detail": "It broke in a test.",
    "hint": None,
    "log_tail": "",
}
BOX = {"file_name": "a.jpg", "split": "train", "width": 8, "height": 6, "boxes": 1}


def do(
    database: Database,
    verb: Callable[Concatenate[Session, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """A verb of the store in a transaction of its own."""
    return database.run(lambda session: verb(session, *args, **kwargs))


def upload(database: Database, **changes: Any) -> tuple[Dataset, Job]:
    """A dataset that is being validated, and its job."""
    values: dict[str, Any] = {
        "project_id": DEFAULT_PROJECT,
        "name": "cells",
        "options": {"format": "auto"},
        "archive": "sha256/ab/ab",
        "archive_sha256": "ab",
        "archive_bytes": 10,
        "metadata": {},
    }
    return database.run(lambda session: datasets.create(session, **(values | changes)))


def take(database: Database, job_id: str, worker: str = "worker-1") -> Claim:
    """Claim a job that must be there for the taking."""
    claim = database.run(lambda session: jobs.claim(session, job_id, worker=worker, lease_seconds=30))
    assert claim is not None
    return claim


def ready_dataset(database: Database) -> Dataset:
    """A validated dataset."""
    dataset, job = upload(database)
    claim = take(database, job.id)
    database.run(
        lambda session: datasets.mark_ready(
            session, claim, index="sha256/cd/cd", format="coco", summary={}, images=[BOX], findings=[]
        )
    )
    return dataset


def queue_training(database: Database, dataset: Dataset | None = None, **changes: Any) -> Job:
    """A queued training, on a ready dataset unless another is given."""
    values: dict[str, Any] = {
        "project_id": DEFAULT_PROJECT,
        "kind": JobKind.TRAIN,
        "queue": "train",
        "spec": {"config": {"epochs": 3}},
        "dataset_id": (dataset or ready_dataset(database)).id,
    }
    return database.run(lambda session: jobs.create(session, **(values | changes)))


def running_training(database: Database) -> Claim:
    """A training that a worker has claimed."""
    return take(database, queue_training(database).id)


def change(database: Database, job_id: str, **values: Any) -> None:
    """Write into a row behind the back of the transitions, where a test would otherwise have to wait."""

    def write(session: Session) -> None:
        session.execute(update(Job).where(Job.id == job_id).values(**values))

    database.run(write)


def end_lease(database: Database, job_id: str) -> None:
    """As if the worker had not been heard of for a while."""
    change(database, job_id, lease_until=database_now() - 1)


def make_due(database: Database, job_id: str) -> None:
    """As if the delay after a lost worker were over."""
    change(database, job_id, not_before=0.0)


def job(database: Database, job_id: str) -> Job:
    with database.read() as session:
        return jobs.get(session, DEFAULT_PROJECT, job_id)


def event_types(database: Database, job_id: str) -> list[str]:
    """Types of a job's events; their numbers must be 1, 2, 3, …."""
    with database.read() as session:
        events = jobs.events(session, DEFAULT_PROJECT, job_id, limit=1000).items
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    return [event.type for event in events]


def steps(database: Database, job_id: str, split: str = "train") -> list[int]:
    """Steps whose metrics are kept."""
    with database.read() as session:
        return [m.step for m in jobs.metrics(session, DEFAULT_PROJECT, job_id, split=split).items]


def checkpoint(database: Database, claim: Claim, step: int) -> None:
    database.run(
        lambda session: jobs.record_checkpoint(
            session,
            claim,
            key=f"jobs/{claim.job_id}/{claim.token}/step-{step:08d}.pt",
            sha256=f"{step:064x}",
            bytes=100,
            step=step,
            epoch=step / 10,
        )
    )


def measure(database: Database, claim: Claim, *at: int) -> None:
    """Metrics of training steps."""
    rows = [("train", step, step / 10, {"loss": 1.0 / step, "attempt": claim.attempt}) for step in at]
    database.run(lambda session: jobs.record_metrics(session, claim, rows))
