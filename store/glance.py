"""A job at a glance: all that a poll tells of it, by one statement and without the ORM.

`store.overview` finds the same through the rows; the tests hold one against the other. Here it is for a
process that is asked again and again, on its event loop: what cannot be had at once raises `NotNow`, and the
caller takes the way through the rows, in a thread that can wait.
"""

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import psycopg
from sqlalchemy import URL

from store.overview import Overview, Point
from store.sessions import POSTGRESQL_ARGUMENTS, Database, postgresql_driver
from store.workers import FORGOTTEN_AFTER_SECONDS

Raw = tuple[Any, ...]
"""A row as the database gives it: JSON is text, times are seconds."""
_PATIENCE_SECONDS = 5.0


class NotNow(Exception):
    """The database does not answer at once: it is busy, or away."""


class JobGlance(NamedTuple):
    """What a reader wants of the job's row; the names are those of `store.tables.Job`."""

    id: str
    kind: str
    status: str
    status_reason: str | None
    phase: str | None
    progress: dict[str, Any] | None
    requested_action: str | None
    attempt: int
    max_attempts: int
    progress_timeout_seconds: float
    heartbeat_at: datetime | None
    worker: str | None
    spec: dict[str, Any]
    resolved_config: dict[str, Any] | None
    error: dict[str, Any] | None
    priority: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    extra: dict[str, str]


class KeyGlance(NamedTuple):
    """A key that is neither revoked nor expired, as far as it takes to recognise it."""

    id: str
    project_id: str
    digest: str
    scopes: tuple[str, ...]


class ModelGlance(NamedTuple):
    """A model as far as it takes to predict with it."""

    id: str
    has_graph: bool
    """Whether it has an ONNX graph; imported weights have none."""


class Glances(Protocol):
    """Answers on the event loop. Every answer is as new as the question."""

    async def job(self, job_id: str) -> Raw | None:
        """The row of this job, of whatever project: `project_of`, `read`. Raises `NotNow`."""

    async def key(self, prefix: str) -> KeyGlance | None:
        """The valid key with this prefix. Raises `NotNow`."""

    async def key_and_job(self, prefix: str, job_id: str) -> tuple[KeyGlance | None, Raw | None]:
        """Both by one statement; the job, of whatever project, is None where the key is. Raises `NotNow`."""

    async def model(self, project_id: str, reference: str) -> ModelGlance | None:
        """The project's model of this id, or the one that this alias means. Raises `NotNow`."""

    async def close(self) -> None:
        """Let go of every connection."""


def glances(database: Database) -> Glances:
    """For the event loop on which it is used first."""
    if database.is_sqlite:
        return _OnSQLite(str(database.url.database))
    return _OnPostgreSQL(database.url)


def project_of(row: Raw) -> str:
    """Whose job it is."""
    return str(row[0])


def name_of(row: Raw) -> str:
    """The job's id."""
    return str(row[1])


def read(row: Raw) -> tuple[JobGlance, Overview]:
    """What the row says."""
    (
        _,
        id_,
        kind,
        status,
        status_reason,
        phase,
        progress,
        requested_action,
        attempt,
        max_attempts,
        progress_timeout_seconds,
        heartbeat_at,
        worker,
        spec,
        resolved_config,
        error,
        priority,
        created_at,
        started_at,
        finished_at,
        extra,
        queue_position,
        waiting_for,
        model_id,
        evaluation_id,
        *points,
    ) = row
    glance = JobGlance(
        id_,
        kind,
        status,
        status_reason,
        phase,
        _document(progress),
        requested_action,
        attempt,
        max_attempts,
        progress_timeout_seconds,
        _time(heartbeat_at),
        worker,
        json.loads(spec),
        _document(resolved_config),
        _document(error),
        priority,
        datetime.fromtimestamp(created_at, UTC),
        _time(started_at),
        _time(finished_at),
        json.loads(extra),
    )
    best, last, train = (_point(*points[start : start + 3]) for start in (0, 3, 6))
    return glance, Overview(queue_position, waiting_for, model_id, evaluation_id, best, last, train)


def _document(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _point(step: int | None, epoch: float, values: str) -> Point | None:
    return None if step is None else Point(step, epoch, json.loads(values))


# The statements


def _metrics(order: str, condition: str) -> str:
    """Step, epoch and values of the first of a job's metrics in this order, null where it has none."""
    first = f"FROM job_metric WHERE job_id = job.id AND {condition} ORDER BY {order} LIMIT 1"
    wanted = ("step", "epoch", 'CAST("values" AS TEXT)')
    return ", ".join(
        f"CASE WHEN job.kind = 'train' AND job.attempt > 0 THEN (SELECT {column} {first}) END"
        for column in wanted
    )


_JOB_COLUMNS = f"""
  job.project_id, job.id, job.kind, job.status, job.status_reason, job.phase, CAST(job.progress AS TEXT),
  job.requested_action, job.attempt, job.max_attempts, job.progress_timeout_seconds, job.heartbeat_at,
  job.worker, CAST(job.spec AS TEXT), CAST(job.resolved_config AS TEXT), CAST(job.error AS TEXT),
  job.priority, job.created_at, job.started_at, job.finished_at, CAST(job.metadata AS TEXT),
  CASE WHEN job.status = 'queued' THEN 1
    + (SELECT count(*) FROM job AS ahead WHERE ahead.status = 'queued' AND ahead.queue = job.queue
       AND ahead.priority > job.priority)
    + (SELECT count(*) FROM job AS ahead WHERE ahead.status = 'queued' AND ahead.queue = job.queue
       AND ahead.priority = job.priority AND ahead.id < job.id)
  END,
  CASE
    WHEN job.status <> 'queued' THEN NULL
    WHEN job.kind <> 'validate'
      AND (SELECT status FROM dataset WHERE dataset.id = job.dataset_id) = 'validating' THEN 'dataset'
    WHEN job.not_before <> 0 AND {{now}} < job.not_before THEN 'delay'
    WHEN job.kind <> 'validate' AND EXISTS (
      SELECT 1 FROM project WHERE project.id = job.project_id AND max_running_jobs > 0
      AND max_running_jobs <= (SELECT count(*) FROM job AS other WHERE other.status = 'running'
        AND other.project_id = job.project_id AND other.kind <> 'validate')) THEN 'quota'
    WHEN EXISTS (SELECT 1 FROM worker WHERE {{there}} AND blocked IS NOT NULL)
      AND NOT EXISTS (SELECT 1 FROM worker WHERE {{there}} AND blocked IS NULL) THEN 'worker_disk_full'
    ELSE 'worker'
  END,
  CASE WHEN job.kind = 'train' AND job.status = 'succeeded'
    THEN (SELECT id FROM model WHERE model.job_id = job.id) END,
  CASE WHEN job.kind = 'evaluate' OR (job.kind = 'train' AND job.status = 'succeeded')
    THEN (SELECT id FROM evaluation WHERE evaluation.job_id = job.id LIMIT 1) END,
  {_metrics("{best}", "split <> 'train'")},
  {_metrics("step DESC, split DESC", "split <> 'train'")},
  {_metrics("step DESC", "split = 'train'")}
"""  # noqa: S608 - nobody's input
_KEY_COLUMNS = "key.id, key.project_id, key.digest, CAST(key.scopes AS TEXT)"
_KEY_WIDTH = 4
_VALID = "key.revoked_at IS NULL AND (key.expires_at IS NULL OR key.expires_at > {now})"
_THERE = f"queue = job.queue AND NOT draining AND heartbeat_at > {{now}} - {FORGOTTEN_AFTER_SECONDS}"
_MODEL = """
SELECT {name} model.id,
  EXISTS (SELECT 1 FROM artifact WHERE artifact.model_id = model.id AND artifact.name = 'model.onnx')
FROM ({asked}) AS asked
JOIN model ON model.project_id = asked.one AND model.id = CASE
  WHEN substr(asked.other, 1, 4) = 'mdl_' THEN asked.other
  ELSE (SELECT alias.model_id FROM model_alias AS alias
        WHERE alias.project_id = asked.one AND alias.name = asked.other) END
"""


class Statements(NamedTuple):
    """Of one database."""

    job: str
    key: str
    key_and_job: str
    model: str


def _statements(*, now: str, best: str, one: str, asked: str, key_and_job: str, named: bool) -> Statements:
    """`one` holds of what is asked for, `asked` is a table of pairs of it; each row begins with the name by
    which it was asked for where it is `named`."""
    job = _JOB_COLUMNS.format(now=now, best=best, there=_THERE.format(now=now))
    valid = _VALID.format(now=now)
    pair = "asked.one, asked.other," if named else ""
    return Statements(
        f"SELECT {'job.id,' if named else ''} {job} FROM job WHERE job.id {one}",  # noqa: S608
        f"SELECT {'key.prefix,' if named else ''} {_KEY_COLUMNS} FROM key "  # noqa: S608
        f"WHERE key.prefix {one} AND {valid}",
        f"SELECT {pair} {_KEY_COLUMNS}, {job} FROM {key_and_job.format(valid=valid)}",  # noqa: S608
        _MODEL.format(name=pair, asked=asked).strip(),
    )


_PAIRS = "SELECT * FROM unnest(%s::text[], %s::text[]) AS pair(one, other)"
# `store.clock` has the same clocks, `store.tables` the index in the order of the best.
ON_SQLITE = _statements(
    now="((julianday('now') - 2440587.5) * 86400.0)",
    best="""json_extract("values", '$.AP') DESC, step, split""",
    one="= ?",
    asked="SELECT ? AS one, ? AS other",
    # Without a table of what is asked for: 2 µs of 19.
    key_and_job="key LEFT JOIN job ON job.id = ? WHERE key.prefix = ? AND {valid}",
    named=False,
)
ON_POSTGRESQL = _statements(
    now="extract(epoch from clock_timestamp())::double precision",
    best="""(("values" ->> 'AP')::double precision) DESC NULLS LAST, step, split""",
    one="= ANY(%s)",
    asked=_PAIRS,
    key_and_job=f"({_PAIRS}) AS asked JOIN key ON key.prefix = asked.one AND {{valid}} "
    "LEFT JOIN job ON job.id = asked.other",
    named=True,
)


class _OnSQLite:
    """Asks where it is called: a thread in between would cost more than the answer.

    In WAL mode a reader waits for nobody, but for moments such as the recovery after a crash: those are not
    waited for. A SELECT that is read to its end holds nothing up.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    async def job(self, job_id: str) -> Raw | None:
        return self._first(ON_SQLITE.job, job_id)

    async def key(self, prefix: str) -> KeyGlance | None:
        row = self._first(ON_SQLITE.key, prefix)
        return None if row is None else _key(row)

    async def key_and_job(self, prefix: str, job_id: str) -> tuple[KeyGlance | None, Raw | None]:
        return _key_and_job(self._first(ON_SQLITE.key_and_job, job_id, prefix))

    async def model(self, project_id: str, reference: str) -> ModelGlance | None:
        return _model(self._first(ON_SQLITE.model, project_id, reference))

    async def close(self) -> None:
        self._drop()

    def _first(self, statement: str, *wanted: str) -> Raw | None:
        try:
            if self._connection is None:
                self._connection = self._connect()
            rows = self._connection.execute(statement, wanted).fetchall()
        except sqlite3.Error as error:
            self._drop()
            raise NotNow from error
        return rows[0] if rows else None

    def _connect(self) -> sqlite3.Connection:
        # One loop uses it at a time, but it may be closed by another thread than opened it.
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


class _OnPostgreSQL:
    def __init__(self, url: URL) -> None:
        connect = _connector(url)
        self._jobs = _Together(connect, ON_POSTGRESQL.job)
        self._keys = _Together(connect, ON_POSTGRESQL.key)
        self._keys_and_jobs = _Together(connect, ON_POSTGRESQL.key_and_job)
        self._models = _Together(connect, ON_POSTGRESQL.model)

    async def job(self, job_id: str) -> Raw | None:
        return await self._jobs.get(job_id)

    async def key(self, prefix: str) -> KeyGlance | None:
        row = await self._keys.get(prefix)
        return None if row is None else _key(row)

    async def key_and_job(self, prefix: str, job_id: str) -> tuple[KeyGlance | None, Raw | None]:
        return _key_and_job(await self._keys_and_jobs.get(prefix, job_id))

    async def model(self, project_id: str, reference: str) -> ModelGlance | None:
        return _model(await self._models.get(project_id, reference))

    async def close(self) -> None:
        for one in (self._jobs, self._keys, self._keys_and_jobs, self._models):
            await one.close()


def _key(row: Raw) -> KeyGlance:
    id_, project_id, digest, scopes = row
    return KeyGlance(id_, project_id, digest, _scopes(scopes))


def _key_and_job(row: Raw | None) -> tuple[KeyGlance | None, Raw | None]:
    if row is None:
        return None, None
    job = row[_KEY_WIDTH:]
    return _key(row[:_KEY_WIDTH]), None if job[0] is None else job


def _model(row: Raw | None) -> ModelGlance | None:
    return None if row is None else ModelGlance(row[0], bool(row[1]))


@lru_cache(maxsize=64)
def _scopes(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


_Connect = Callable[[], Awaitable[psycopg.AsyncConnection[Raw]]]


def _connector(url: URL) -> _Connect:
    with_driver = postgresql_driver(url)
    _, told = with_driver.get_dialect()().create_connect_args(with_driver)
    arguments = {**told, **POSTGRESQL_ARGUMENTS}

    async def connect() -> psycopg.AsyncConnection[Raw]:
        return await psycopg.AsyncConnection.connect(**arguments, autocommit=True, prepare_threshold=0)

    return connect


class _Together:
    """One connection and one question at a time.

    Whoever asks while it is on its way is asked for in the next one, together with all others: so many cost
    little more than one, and no answer is older than its question.
    """

    def __init__(self, connect: _Connect, statement: str) -> None:
        """The statement takes a list for each part of a name, and its rows begin with the name."""
        self._connect = connect
        self._statement = statement
        self._connection: psycopg.AsyncConnection[Raw] | None = None
        self._waiting: list[tuple[Raw, asyncio.Future[Raw | None]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def get(self, *name: str) -> Raw | None:
        """The row of this name, without it. Raises `NotNow`."""
        future: asyncio.Future[Raw | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((name, future))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return await future

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            with suppress(asyncio.CancelledError):
                await self._asking
        await self._drop()

    async def _ask(self) -> None:
        waiting: Sequence[tuple[Raw, asyncio.Future[Raw | None]]] = ()
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                rows = await self._rows(list({name for name, _ in waiting}))
                for name, future in waiting:
                    if not future.done():  # who has gone away has cancelled it
                        future.set_result(rows.get(name))
        except (Exception, asyncio.CancelledError) as error:
            await self._drop()
            for _, future in (*waiting, *self._waiting):
                if not future.done():
                    future.set_exception(NotNow(type(error).__name__))
            self._waiting = []
        finally:
            self._asking = None

    async def _rows(self, names: list[Raw]) -> dict[Raw, Raw]:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            if self._connection is None:
                self._connection = await self._connect()
            parts = [list(part) for part in zip(*names, strict=True)]
            cursor = await self._connection.execute(self._statement.encode(), parts)
            width = len(parts)
            return {row[:width]: row[width:] for row in await cursor.fetchall()}

    async def _drop(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error, OSError):
                await self._connection.close()
            self._connection = None
