"""The numbers of the whole service, on both databases."""

import threading

import pytest
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from store import census, context, jobs, workers
from store.census import Census, CensusTaker
from store.clock import database_now
from store.errors import Unavailable
from store.sessions import Database
from store.tables import DEFAULT_PROJECT, Dataset, Job, JobEvent, RequestedAction, WebhookDelivery, Worker
from tests.store.helpers import (
    PROBLEM,
    change,
    do,
    end_lease,
    job,
    make_due,
    queue_training,
    ready_dataset,
    take,
    upload,
)
from tests.store.test_workers import fall_silent, start


@pytest.fixture(autouse=True)
def nobody(database: Database) -> None:
    """The tests of PostgreSQL share one database."""

    def clear(session: Session) -> None:
        session.execute(delete(Worker))
        session.execute(delete(WebhookDelivery))

    database.run(clear)


def counted(database: Database) -> Census:
    with database.read() as session:
        return census.take(session, silent_seconds=30)


def age_event(database: Database, job_id: str, seconds: float) -> None:
    """As if the job's last event had been so long ago."""

    def write(session: Session) -> None:
        last = update(JobEvent).where(JobEvent.job_id == job_id)
        session.execute(last.values(created_at=database_now() - seconds))

    database.run(write)


def test_jobs_are_counted_by_what_they_do(database: Database) -> None:
    dataset = ready_dataset(database)
    running = take(database, queue_training(database, dataset).id)
    do(database, jobs.set_phase, running, "training")
    paused = queue_training(database, dataset).id
    do(database, jobs.request, DEFAULT_PROJECT, paused, RequestedAction.PAUSE)
    for _ in range(2):
        queue_training(database, dataset)
    upload(database)
    found = counted(database)
    assert found.jobs == {
        ("train", "train", "running", "training"): 1,
        ("train", "train", "paused", ""): 1,
        ("train", "train", "queued", ""): 2,
        ("ingest", "validate", "queued", ""): 1,
    }
    assert {queue: load.count for queue, load in found.due.items()} == {"train": 2, "ingest": 1}
    assert found.finished == {("validate", "succeeded", ""): 1}
    assert found.overdue == {}


def test_a_job_is_due_since_nothing_but_a_worker_is_missing(database: Database) -> None:
    dataset = ready_dataset(database)
    first = queue_training(database, dataset).id
    change(database, first, created_at=database_now() - 5000)
    age_event(database, first, 5000)
    # Its dataset is ready since a moment ago only.
    assert counted(database).due["train"].seconds < 100
    database.run(lambda session: _validated_long_ago(session, dataset.id))
    assert counted(database).due["train"].seconds == pytest.approx(5000, abs=100)
    # A pause of two hours is no waiting.
    do(database, jobs.request, DEFAULT_PROJECT, first, RequestedAction.PAUSE)
    assert "train" not in counted(database).due
    do(database, jobs.resume, DEFAULT_PROJECT, first)
    assert counted(database).due["train"].seconds < 100
    # Nor is the delay after a lost worker.
    change(database, first, not_before=database_now() + 60)
    assert "train" not in counted(database).due
    make_due(database, first)
    assert counted(database).due["train"].count == 1


def _validated_long_ago(session: Session, dataset_id: str) -> None:
    session.execute(
        update(Dataset).where(Dataset.id == dataset_id).values(validated_at=database_now() - 9000)
    )


def test_a_lease_that_has_ended_and_a_heart_that_is_quiet_are_seen(database: Database) -> None:
    claim = take(database, queue_training(database).id)
    found = counted(database)
    assert found.running["train"].count == 1
    assert found.running["train"].seconds < 20
    change(database, claim.job_id, heartbeat_at=database_now() - 500)
    end_lease(database, claim.job_id)
    found = counted(database)
    assert found.overdue == {"train": 1}
    assert found.running["train"].seconds == pytest.approx(500, abs=60)
    do(database, jobs.reap)
    assert counted(database).overdue == {}


def test_ends_are_counted_by_reason_for_an_hour(database: Database) -> None:
    dataset = ready_dataset(database)
    for _ in range(2):
        claim = take(database, queue_training(database, dataset).id)
        do(database, jobs.fail, claim, reason="out_of_memory", error=PROBLEM)
    assert counted(database).finished["train", "failed", "out_of_memory"] == 2
    change(database, claim.job_id, finished_at=database_now() - census.LATELY_SECONDS - 1)
    assert counted(database).finished["train", "failed", "out_of_memory"] == 1


def test_workers_are_counted_by_what_keeps_them_from_working(database: Database) -> None:
    for _ in range(2):
        start(database)
    busy = start(database)
    do(database, workers.beat, busy, job_id="job_x")
    drained = start(database)
    do(database, workers.drain, drained)
    blocked = start(database, queue="ingest")
    do(database, workers.beat, blocked, blocked="Only 3 MB are free.")
    silent = start(database)
    fall_silent(database, silent, 100)
    forgotten = start(database)
    fall_silent(database, forgotten, workers.FORGOTTEN_AFTER_SECONDS + 1)
    found = counted(database).workers
    assert {key: load.count for key, load in found.items()} == {
        ("train", "idle"): 2,
        ("train", "busy"): 1,
        ("train", "draining"): 1,
        ("train", "silent"): 1,
        ("ingest", "blocked"): 1,
    }
    assert found["train", "silent"].seconds == pytest.approx(100, abs=30)


def test_many_who_ask_at_once_cost_one_statement(database: Database) -> None:
    taker = CensusTaker(database, silent_seconds=30, seconds=3600)
    assert "train" not in taker.census().due
    queue_training(database)
    assert "train" not in taker.census().due
    assert CensusTaker(database, silent_seconds=30, seconds=0).census().due["train"].count == 1


def test_a_database_that_hangs_is_not_waited_for(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    asked: list[float] = []

    def hang(session: Session, *, silent_seconds: float) -> Census:
        asked.append(silent_seconds)
        released.wait(30)
        return answer

    answer = counted(database)
    monkeypatch.setattr(census, "take", hang)
    taker = CensusTaker(database, silent_seconds=30, seconds=0, patience_seconds=0.05)
    for _ in range(3):
        with pytest.raises(Unavailable):
            taker.census()
    assert asked == [30]  # nobody asks behind one who waits
    released.set()
    assert taker._future().result(30) is answer


def test_a_job_remembers_who_asked_for_it(database: Database) -> None:
    dataset = ready_dataset(database)
    request, trace = context.request_id.set("req_7"), context.traceparent.set("00-ab-cd-01")
    try:
        made = queue_training(database, dataset)
    finally:
        context.request_id.reset(request)
        context.traceparent.reset(trace)
    claim = take(database, made.id)
    assert (claim.request_id, claim.traceparent) == ("req_7", "00-ab-cd-01")
    unknown: Job = job(database, queue_training(database, dataset).id)
    assert (unknown.request_id, unknown.traceparent) == (None, None)
