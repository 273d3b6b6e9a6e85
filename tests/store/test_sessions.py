"""Transactions: none lost, none half done, tried again where that is safe, and only there."""

import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from store import sessions
from store.errors import OutcomeUnknown, SettingsInvalid, Unavailable
from store.sessions import Database, filesystem_of, refuse_network_filesystem
from store.tables import DEFAULT_PROJECT, Job, Project
from tests.servers import PostgreSQL, free_port
from tests.store.helpers import job, queue_training

INCREMENTS = """
import sys
from sqlalchemy import select
from store.sessions import Database
from store.tables import Job

database = Database(sys.argv[1])

def increment(session):
    job = session.scalars(select(Job)).one()
    session.refresh(job)
    job.priority = job.priority + 1

for _ in range(40):
    database.run(increment)
"""


def test_read_modify_write_by_several_processes_loses_nothing(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    with database.begin() as session:
        session.add(
            Job(id="job_1", project_id=DEFAULT_PROJECT, kind="validate", queue="q", spec={}, extra={})
        )
    workers = [subprocess.Popen([sys.executable, "-c", INCREMENTS, sqlite_url]) for _ in range(3)]
    assert [worker.wait(60) for worker in workers] == [0] * 3
    assert job(database, "job_1").priority == 120
    database.dispose()


def test_sqlite_runs_with_the_settings_it_needs(sqlite_database: Database) -> None:
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "query_only")
    with sqlite_database.begin() as session:
        writing = [session.scalar(text(f"PRAGMA {name}")) for name in names]
    with sqlite_database.read() as session:
        reading = [session.scalar(text(f"PRAGMA {name}")) for name in names]
    assert writing == ["wal", 2, 1, 30_000, 0]
    assert reading == ["wal", 2, 1, 30_000, 1]


def test_a_read_session_cannot_write(database: Database) -> None:
    with database.read() as session, pytest.raises(DBAPIError):
        session.execute(update(Project).values(name="x"))


def test_a_read_session_sees_one_state(sqlite_database: Database) -> None:
    with sqlite_database.read() as reading:
        reading.scalar(select(Project.name))
        with sqlite_database.begin() as writing:
            writing.execute(update(Project).values(name="renamed"))
        assert reading.scalar(select(Project.name)) == "default"
    with sqlite_database.read() as reading:
        assert reading.scalar(select(Project.name)) == "renamed"


def test_an_exception_rolls_back(database: Database) -> None:
    queued = queue_training(database)

    def write(session: Session) -> None:
        session.execute(update(Job).values(priority=9))
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        database.run(write)
    with pytest.raises(RuntimeError), database.begin() as session:
        write(session)
    assert job(database, queued.id).priority == 0


def test_a_locked_database_is_tried_again(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "BUSY_SECONDS", 0)
    database = Database(sqlite_url)
    database.check()
    holder = sqlite3.connect(
        sqlite_url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False
    )
    holder.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, lambda: holder.execute("ROLLBACK"))
    release.start()
    started = time.monotonic()
    database.run(lambda session: session.execute(update(Project).values(name="after")))
    assert time.monotonic() - started > 0.2
    release.join()
    holder.close()
    database.dispose()


def test_patience_with_a_locked_database_ends(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "BUSY_SECONDS", 0)
    database = Database(sqlite_url, patience_seconds=0.2)
    database.check()
    holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        database.run(lambda session: session.execute(update(Project).values(name="after")))
    holder.close()
    database.dispose()


def test_an_error_of_the_statement_is_not_tried_again(database: Database) -> None:
    calls = []

    def wrong(session: Session) -> None:
        calls.append(1)
        session.execute(text("SELECT * FROM nowhere"))

    with pytest.raises(DBAPIError):
        database.run(wrong)
    assert len(calls) == 1


def test_nobody_home_is_unavailable() -> None:
    database = Database(f"postgresql://nobody@127.0.0.1:{free_port()}/x", patience_seconds=0.1)
    with pytest.raises(Unavailable):
        database.check()
    with pytest.raises(Unavailable):
        database.run(lambda session: session.execute(text("SELECT 1")))


# Other tests share the server's database, and leave projects of their own in it.
_touch = update(Project).where(Project.id == DEFAULT_PROJECT).values(name="default")


class TestPostgreSQL:
    @pytest.fixture
    def database(self, migrated_postgresql: str) -> Database:
        return Database(migrated_postgresql, patience_seconds=20)

    def cut(self, server_url: str, session: Session) -> None:
        """Take the session's connection away, as a restart of the server would."""
        own = session.scalar(text("SELECT pg_backend_pid()"))
        other = Database(server_url)
        with other.begin() as killer:
            killer.execute(text("SELECT pg_terminate_backend(:own)"), {"own": own})
        other.dispose()

    def test_a_nul_out_of_a_request_is_no_error(self, database: Database) -> None:
        found = database.run(lambda s: s.scalar(text("SELECT CAST(:told AS text)"), {"told": "a\0b"}))
        assert found == "a\ufffdb"
        database.dispose()

    def test_a_connection_lost_before_the_commit_is_tried_again(
        self, database: Database, migrated_postgresql: str
    ) -> None:
        calls = []

        def write(session: Session) -> None:
            calls.append(1)
            session.execute(_touch)
            if len(calls) == 1:
                self.cut(migrated_postgresql, session)
                session.execute(text("SELECT 1"))

        database.run(write)
        assert len(calls) == 2
        database.dispose()

    def test_a_connection_lost_in_the_commit_leaves_the_outcome_unknown(
        self, database: Database, migrated_postgresql: str
    ) -> None:
        calls = []

        def write(session: Session) -> None:
            calls.append(1)
            session.execute(_touch)
            if len(calls) == 1:
                self.cut(migrated_postgresql, session)

        with pytest.raises(OutcomeUnknown):
            database.run(write)
        calls.clear()
        database.run(write, repeatable=True)
        assert len(calls) == 2
        database.dispose()

    def test_a_server_killed_and_started_again_is_waited_for(
        self, database: Database, postgresql_server: PostgreSQL
    ) -> None:
        database.check()
        postgresql_server.kill()
        try:
            threading.Timer(0.3, postgresql_server.start).start()
            database.run(lambda session: session.execute(_touch))
        finally:
            give_up = time.monotonic() + 30
            while time.monotonic() < give_up:
                try:
                    database.check()
                    break
                except Unavailable:
                    time.sleep(0.1)
        database.dispose()

    def test_a_deadlock_is_tried_again(self, database: Database) -> None:
        first, second = queue_training(database).id, queue_training(database).id
        both_hold = threading.Barrier(2)
        errors: list[BaseException] = []

        def writer(order: tuple[str, str]) -> None:
            tries = []

            def write(session: Session) -> None:
                tries.append(1)
                session.execute(update(Job).where(Job.id == order[0]).values(priority=Job.priority + 1))
                if len(tries) == 1:
                    both_hold.wait(10)
                session.execute(update(Job).where(Job.id == order[1]).values(priority=Job.priority + 1))

            try:
                database.run(write)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=writer, args=(o,)) for o in ((first, second), (second, first))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert errors == []
        assert [job(database, j).priority for j in (first, second)] == [2, 2]
        database.dispose()


def test_a_data_directory_on_a_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    shared = tmp_path / "shared"
    lines = ["/dev/a / ext4 rw 0 0", f"nas:/x {shared} nfs4 rw 0 0", f"/dev/b {shared}/local xfs rw 0 0"]
    mounts.write_text("\n".join(lines))
    assert filesystem_of(tmp_path, mounts) == "ext4"
    assert filesystem_of(shared / "data", mounts) == "nfs4"
    assert filesystem_of(shared / "local", mounts) == "xfs"
    assert filesystem_of(tmp_path, tmp_path / "absent") is None
    monkeypatch.setattr(sessions, "filesystem_of", lambda directory: "nfs4")
    with pytest.raises(SettingsInvalid, match="network filesystem"):
        refuse_network_filesystem(tmp_path)
    with pytest.raises(SettingsInvalid):
        Database(f"sqlite:///{tmp_path}/x.db")


def test_sqlite_errors_other_than_locks_are_not_taken_for_locks() -> None:
    error = OperationalError("", {}, sqlite3.OperationalError("no such table"))
    assert not sessions.is_locked(error)
    assert not sessions.is_gone(error)
