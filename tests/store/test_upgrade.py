"""From the version before to this one, while its processes work."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text

from store import backup, jobs, migrations
from store.sessions import Database, is_current, migrate
from store.tables import DEFAULT_PROJECT, Base, JobStatus
from tests.store.helpers import do, measure, queue_training, running_training, take


@pytest.fixture
def old_rows(sqlite_database: Database) -> dict[str, list[dict[str, Any]]]:
    """Rows of every sort that the version before knew, made by this one; its job runs."""
    queue_training(sqlite_database)
    claim = running_training(sqlite_database)
    measure(sqlite_database, claim, 100, 200)
    return rows_of(sqlite_database)


@pytest.fixture(params=["sqlite", "postgresql"])
def old_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with the tables of the version before."""
    (tmp_path / "old").mkdir()
    url = f"sqlite:///{tmp_path}/old/harmonicdet.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    migrations.upgrade(url, migrations.revisions()[1])
    return url


@pytest.fixture
def old(old_url: str, old_rows: dict[str, list[dict[str, Any]]]) -> Iterator[Database]:
    """That database, with as much of the rows as it has columns for."""
    database = Database(old_url)
    with database.begin() as session:
        connection = session.connection()
        tables = backup._tables(connection)
        for table in reversed(tables):
            connection.execute(table.delete())
        for table in tables:
            rows = [{key: row[key] for key in row if key in table.c} for row in old_rows.get(table.name, [])]
            if rows:
                connection.execute(insert(table), rows)
    yield database
    database.dispose()


def test_nothing_is_lost_while_a_process_of_the_version_before_works(
    old: Database, old_url: str, old_rows: dict[str, list[dict[str, Any]]]
) -> None:
    (running,) = [row["id"] for row in old_rows["job"] if row["status"] == "running"]
    with old.begin() as session:
        session.execute(text("DELETE FROM job_event WHERE job_id = :id"), {"id": running})
    before = rows_of(old)
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.store.previous_version", old_url, running],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        assert worker.stdout.readline() == "at work\n"
        assert not is_current(old_url)
        migrate(old_url)
        assert is_current(old_url)
        done = jobs_done(old, running)
        while jobs_done(old, running) < done + 5:  # it goes on with the tables as they are now
            assert worker.poll() is None
        told, _ = worker.communicate(timeout=60)
    finally:
        worker.kill()
    assert worker.returncode == 0
    beats = int(told)
    after = rows_of(old)
    for name, rows in before.items():
        kept = [{key: row[key] for key in rows[0]} for row in after[name]] if rows else []
        if name == "job":
            changed = ("lease_until", "log_tail", "next_event")
            rows, kept = (
                [{k: v for k, v in one.items() if k not in changed} for one in some] for some in (rows, kept)
            )
        assert [row for row in rows if row not in kept] == [], name
        if name not in ("job_event", "job_metric"):
            assert len(kept) == len(rows), name
    events = [row["number"] for row in after["job_event"] if row["job_id"] == running]
    assert events == list(range(1, beats + 1)), "what it has committed is there, once"
    assert set(after) == set(Base.metadata.tables) - {"worker"}


def test_the_jobs_of_the_version_before_go_on_in_this_one(
    old: Database, old_url: str, old_rows: dict[str, list[dict[str, Any]]]
) -> None:
    (queued,) = [row["id"] for row in old_rows["job"] if row["status"] == "queued"]
    (running,) = [row["id"] for row in old_rows["job"] if row["status"] == "running"]
    migrate(old_url)
    claim = take(old, queued)
    measure(old, claim, 1, 2)
    with old.begin() as session:
        session.execute(text("UPDATE job SET lease_until = 1 WHERE id = :id"), {"id": running})
    do(old, jobs.reap)
    with old.read() as session:
        lost = jobs.get(session, DEFAULT_PROJECT, running)
        assert (lost.status, lost.stalls) == (JobStatus.QUEUED, 1)
        steps = jobs.metrics(session, DEFAULT_PROJECT, running, split="train").items
        assert [one.step for one in steps] == [100, 200]


def rows_of(database: Database) -> dict[str, list[dict[str, Any]]]:
    with database.read() as session:
        connection = session.connection()
        return {table.name: list(backup._rows(connection, table)) for table in backup._tables(connection)}


def jobs_done(database: Database, job_id: str) -> int:
    with database.read() as session:
        count = text("SELECT count(*) FROM job_event WHERE job_id = :id")
        return int(session.execute(count, {"id": job_id}).scalar_one())
