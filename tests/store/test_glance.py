"""A job at a glance is what its rows say, on SQLite and PostgreSQL."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any, TypeVar

import psycopg
import pytest
from sqlalchemy import update

from store import aliases, glance, jobs, keys, projects, workers
from store.glance import Glances, JobGlance, ModelGlance, NotNow, glances
from store.keys import Scope
from store.overview import Overview, Point, overview
from store.sessions import Database, migrate
from store.tables import DEFAULT_PROJECT, Artifact, Job, JobMetric
from tests.servers import PostgreSQL
from tests.store.every_job import every_job
from tests.store.helpers import do, queue_training, running_training
from tests.store.test_imported_models import imported

T = TypeVar("T")
SECRET = b"s" * 32


def glanced(database: Database, ask: Callable[[Glances], Awaitable[T]]) -> T:
    async def run() -> T:
        found = glances(database)
        try:
            return await ask(found)
        finally:
            await found.close()

    return asyncio.run(run())


def compare(database: Database, project_id: str, job_id: str) -> Overview:
    """What the rows say, which the glance must say too."""
    raw = glanced(database, lambda found: found.job(job_id))
    assert raw is not None
    assert (glance.project_of(raw), glance.name_of(raw)) == (project_id, job_id)
    seen, beside = glance.read(raw)
    with database.read() as session:
        row = jobs.get(session, project_id, job_id)
        expected = overview(session, row)
    assert seen._asdict() == {name: getattr(row, name) for name in JobGlance._fields}
    assert flat(beside) == flat(expected)
    return beside


def flat(found: Overview) -> dict[str, object]:
    def point(one: JobMetric | Point | None) -> object:
        return None if one is None else (one.step, one.epoch, one.metrics)

    points = {name: point(getattr(found, name)) for name in ("best", "last", "train")}
    return vars(found) | points


def test_every_job_is_seen_as_its_rows_say(database: Database) -> None:
    seen = {name: compare(database, *which) for name, which in every_job(database).items()}
    # Nothing that can be told is left untried.
    assert {one.waiting_for for one in seen.values()} == {None, "dataset", "delay", "quota", "worker"}
    assert seen["before them"].queue_position == 1
    assert sum(one.queue_position is not None for one in seen.values()) == 11
    assert seen["with a model"].model_id is not None
    assert seen["an evaluation that is done"].evaluation_id is not None
    best, last = seen["measured"].best, seen["measured"].last
    assert best is not None
    assert (best.step, best.metrics) == (20, {"AP": 0.5, "segm_AP": 1})  # of equal ones the first split
    assert last is not None
    assert last.step == 30
    assert seen["measured without AP"].best is not None


def test_a_queue_whose_workers_have_no_room_is_told(database: Database) -> None:
    job = queue_training(database)
    worker = "wrk_01jz4kzy3t5v7w9x1y3z5a7b9c"
    about: dict[str, Any] = {
        "name": "a",
        "queue": "train",
        "device": "cpu",
        "host": "h",
        "pid": 1,
        "version": "1",
    }
    do(database, workers.register, worker_id=worker, **about)
    try:
        assert compare(database, DEFAULT_PROJECT, job.id).waiting_for == "worker"
        do(database, workers.beat, worker, blocked="the disk is full")
        assert compare(database, DEFAULT_PROJECT, job.id).waiting_for == "worker_disk_full"
    finally:
        do(database, workers.leave, worker)


def test_an_absent_job_is_none(database: Database) -> None:
    assert glanced(database, lambda found: found.job("job_0")) is None


def test_a_change_is_seen_at_once(database: Database) -> None:
    claim = running_training(database)

    async def ask(found: Glances) -> list[str | None]:
        phases = []
        for phase in ("training", "evaluating", "exporting"):
            await asyncio.to_thread(do, database, jobs.set_phase, claim, phase)
            raw = await found.job(claim.job_id)
            assert raw is not None
            phases.append(glance.read(raw)[0].phase)
        return phases

    assert glanced(database, ask) == ["training", "evaluating", "exporting"]


def test_many_who_ask_at_once_get_each_their_own(database: Database) -> None:
    made = [queue_training(database).id for _ in range(5)]

    async def ask(found: Glances) -> list[str | None]:
        wanted = [*made, "job_0"] * 10
        rows = await asyncio.gather(*(found.job(one) for one in wanted))
        assert [None if row is None else glance.name_of(row) for row in rows] == [*made, None] * 10
        return []

    glanced(database, ask)


def test_who_goes_away_takes_nobody_along(database: Database) -> None:
    job = queue_training(database)

    async def ask(found: Glances) -> object:
        leaving, staying = (asyncio.create_task(found.job(job.id)) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        return await staying

    assert glanced(database, ask) is not None


def test_a_key_is_found_until_it_is_revoked(database: Database) -> None:
    with database.begin() as session:
        new = keys.create(
            session, secret=SECRET, project_id=DEFAULT_PROJECT, name="a", scopes=[Scope.READ, Scope.TRAIN]
        )
    prefix = keys.prefix_of(new.text)
    assert prefix is not None
    row = glanced(database, lambda found: found.key(prefix))
    assert row is not None
    assert (row.id, row.project_id, row.scopes) == (new.row.id, DEFAULT_PROJECT, ("read", "train"))
    assert keys.recognised(row, secret=SECRET, text=new.text) is row
    assert keys.recognised(row, secret=SECRET, text=new.text + "x") is None
    do(database, keys.revoke, DEFAULT_PROJECT, new.row.id)
    assert glanced(database, lambda found: found.key(prefix)) is None


def test_a_key_comes_with_the_job_that_it_asks_for(database: Database) -> None:
    job = queue_training(database)
    with database.begin() as session:
        made = [
            keys.create(session, secret=SECRET, project_id=DEFAULT_PROJECT, name=name, scopes=[Scope.READ])
            for name in "ab"
        ]
    first, second = (keys.prefix_of(new.text) or "" for new in made)
    do(database, keys.revoke, DEFAULT_PROJECT, made[1].row.id)

    async def ask(found: Glances) -> None:
        row = await found.job(job.id)
        key = await found.key(first)
        assert row is not None
        assert key is not None
        pairs = [(first, job.id), (first, "job_0"), (second, job.id), ("hd_0", job.id)]
        told = await asyncio.gather(*(found.key_and_job(*pair) for pair in pairs))
        assert told == [(key, row), (key, None), (None, None), (None, None)]

    glanced(database, ask)


def test_a_model_is_found_by_its_id_and_by_its_alias(database: Database) -> None:
    model = imported(database)
    do(database, aliases.put, DEFAULT_PROJECT, "production", model_id=model.id)
    with database.begin() as session:
        other = projects.ensure(session, "another team").id

    async def ask(found: Glances) -> list[ModelGlance | None]:
        wanted = [(DEFAULT_PROJECT, model.id), (DEFAULT_PROJECT, "production"), (DEFAULT_PROJECT, "mdl_0")]
        wanted += [(other, model.id), (other, "production"), (DEFAULT_PROJECT, "other")]
        return await asyncio.gather(*(found.model(*one) for one in wanted))

    known = ModelGlance(model.id, has_graph=False)
    assert glanced(database, ask) == [known, known, None, None, None, None]
    with database.begin() as session:
        session.add(
            Artifact(
                model_id=model.id,
                name="model.onnx",
                media_type="x",
                blob="sha256/ab/ab",
                sha256="ab",
                bytes=1,
            )
        )
    found = glanced(database, lambda found: found.model(DEFAULT_PROJECT, "production"))
    assert found == ModelGlance(model.id, has_graph=True)


def test_a_locked_file_is_not_waited_for(sqlite_database: Database) -> None:
    job = queue_training(sqlite_database)
    sqlite_database.dispose()
    with closing(sqlite3.connect(str(sqlite_database.url.database), isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(NotNow):
            glanced(sqlite_database, lambda found: found.job(job.id))


def test_a_writer_is_no_obstacle(sqlite_database: Database) -> None:
    job = queue_training(sqlite_database)
    with sqlite_database.begin() as session:
        session.execute(update(Job).values(priority=5))  # not committed yet
        raw = glanced(sqlite_database, lambda found: found.job(job.id))
    assert raw is not None
    assert glance.read(raw)[0].priority == 0


def test_after_the_server_was_away_it_answers_again(postgresql_server: PostgreSQL) -> None:
    url = postgresql_server.new_database()
    migrate(url)
    database = Database(url)

    async def ask(found: Glances) -> None:
        assert await found.job("job_0") is None
        postgresql_server.kill()
        try:
            for _ in range(2):  # with a broken connection, and with none
                with pytest.raises(NotNow):
                    await found.job("job_0")
        finally:
            postgresql_server.start()
        assert await found.job("job_0") is None

    glanced(database, ask)
    database.dispose()


@pytest.mark.parametrize("statement", glance.ON_SQLITE)
def test_nothing_but_the_workers_is_looked_through(sqlite_database: Database, statement: str) -> None:
    """Whatever grows with jobs, steps or keys is found by an index, and sorted by it."""
    with closing(sqlite3.connect(str(sqlite_database.url.database))) as connection:
        wanted = ("x",) * statement.count("?")
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", wanted)]
    what_is_asked = {"SCAN asked", "SCAN CONSTANT ROW"}
    assert {step for step in plan if step.startswith("SCAN")} <= {"SCAN worker"} | what_is_asked
    assert not [step for step in plan if "TEMP B-TREE" in step]


@pytest.mark.parametrize("name", glance.Statements._fields)
def test_postgresql_looks_nothing_through_either(migrated_postgresql: str, name: str) -> None:
    statement = getattr(glance.ON_POSTGRESQL, name)
    with psycopg.connect(migrated_postgresql) as connection:
        connection.execute("SET enable_seqscan = off")  # small tables are, whatever the indexes
        wanted = [["x"]] * statement.count("%s")
        plan = connection.execute("EXPLAIN " + statement, wanted).fetchall()
    steps = [row[0].strip() for row in plan]
    assert [step for step in steps if "Seq Scan" in step and "worker" not in step] == []
    assert [step for step in steps if step.startswith("Sort")] == []
    if "job" in name:
        assert any("ix_job_metric_best" in step for step in steps)
        assert any("ix_job_metric_last" in step for step in steps)
