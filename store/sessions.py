"""Engines for SQLite and PostgreSQL, and the transactions made of them."""

import logging
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from psycopg.types.string import StrDumperUnknown
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from store import migrations
from store.documents import to_json
from store.errors import OutcomeUnknown, SettingsInvalid, Unavailable

logger = logging.getLogger(__name__)
T = TypeVar("T")

BUSY_SECONDS = 30
# Locks and shared memory of SQLite do not work over these.
NETWORK_FILESYSTEMS = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "glusterfs", "lustre"}
    | {"ncpfs", "nfs", "nfs4", "smb3", "smbfs"}
)
# PostgreSQL: serialization failure, deadlock, lock timeout, disk full.
TRY_AGAIN = frozenset({"40001", "40P01", "55P03", "53100"})
# PostgreSQL: connection lost, shut down, starting up, too many connections.
GONE = frozenset({"08000", "08001", "08003", "08004", "08006", "57P01", "57P02", "57P03", "53300"})


# Of every connection to PostgreSQL.
POSTGRESQL_ARGUMENTS: dict[str, Any] = {
    "connect_timeout": 5,
    "application_name": "harmonicdet",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # ms; a partition shows as an error, not as silence
    # A frozen process must not hold the lock of its job's row for ever.
    "options": "-c idle_in_transaction_session_timeout=20s -c lock_timeout=10s -c statement_timeout=60s",
}


class Database:
    """The database at `url`: short write transactions, and reads on an engine that cannot write.

    `patience_seconds` bounds how long `run` tries again.
    """

    def __init__(self, url: str, *, patience_seconds: float = 5.0) -> None:
        self.url = make_url(url)
        self.patience_seconds = patience_seconds
        if self.url.get_backend_name() == "sqlite":
            self._writing = _sqlite_engine(self.url)
            self._reading = _sqlite_engine(self.url, read_only=True)
        else:
            self._writing = _postgresql_engine(self.url)
            self._reading = self._writing.execution_options(postgresql_readonly=True)

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A write transaction, committed at the end, rolled back on any exception."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the database and cannot change it."""
        with Session(self._reading, expire_on_commit=False) as session:
            yield session

    def run(self, function: Callable[[Session], T], *, repeatable: bool = False) -> T:
        """`function` in a write transaction, from the start again when the database was locked or went away.

        When it went away during the commit itself, nobody knows whether that happened: such a transaction is
        tried again only if it is `repeatable`. Raises `Unavailable` when patience is over, `OutcomeUnknown`
        for a lost commit, and whatever `function` raises.
        """
        give_up = time.monotonic() + self.patience_seconds
        attempt = 0
        while True:
            committing = False
            try:
                with Session(self._writing, expire_on_commit=False) as session:
                    result = function(session)
                    committing = True
                    session.commit()
                    return result
            except (DBAPIError, PoolTimeout) as error:
                attempt += 1
                gone = is_gone(error)
                if not gone and not is_locked(error):
                    raise
                if gone and committing and not repeatable:
                    raise OutcomeUnknown from error
                pause = min(1.0, 0.02 * 2**attempt) * random.uniform(0.5, 1.5)
                if time.monotonic() + pause > give_up and attempt > 1:
                    raise Unavailable from error
                logger.info("database busy or away, attempt %d: %s", attempt, type(error).__name__)
                time.sleep(pause)

    def check(self) -> None:
        """Raises `Unavailable` unless the database answers."""
        try:
            with self._reading.connect() as connection:
                connection.execute(text("SELECT 1"))
        except (DBAPIError, PoolTimeout) as error:
            raise Unavailable from error

    def dispose(self) -> None:
        """Close every connection."""
        self._writing.dispose()
        self._reading.dispose()


def migrate(url: str) -> None:
    """Bring the database at `url` to the newest schema; processes doing so at once wait for each other."""
    if make_url(url).get_backend_name() == "sqlite":
        path = Path(str(make_url(url).database))
        refuse_network_filesystem(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
    migrations.upgrade(url)


def is_current(url: str) -> bool:
    """Whether the database at `url` has the newest schema."""
    engine = migrations.engine_for(make_url(url))
    try:
        return migrations.is_current(engine)
    finally:
        engine.dispose()


def is_locked(error: BaseException) -> bool:
    """Whether the same transaction may succeed later: somebody was in the way, or the disk was full."""
    original = getattr(error, "orig", None)
    if isinstance(original, sqlite3.OperationalError):
        # SQLITE_BUSY, SQLITE_LOCKED; SQLITE_IOERR, SQLITE_FULL of a full disk. The upper bytes say more.
        return getattr(original, "sqlite_errorcode", 0) & 0xFF in (5, 6, 10, 13)
    return getattr(original, "sqlstate", None) in TRY_AGAIN


def is_gone(error: BaseException) -> bool:
    """Whether the database could not be reached, or the connection to it was lost."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError) or isinstance(error.orig, sqlite3.Error):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated or state in GONE:
        return True
    # psycopg raises these without a state when no connection can be made.
    return state is None and isinstance(error, OperationalError | InterfaceError)


def new_engine(url: URL, **options: Any) -> Engine:
    """An engine whose JSON holds no NaN."""
    # What is written, secrets included, is no part of an error's message: those are logged.
    return create_engine(url, json_serializer=to_json, hide_parameters=True, **options)


class _WithoutNul(StrDumperUnknown):
    """A NUL, which PostgreSQL refuses, becomes U+FFFD: no row has it in its name, and none is found."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\ufffd"))


def _postgresql_engine(url: URL) -> Engine:
    engine = new_engine(
        postgresql_driver(url),
        pool_pre_ping=True,
        pool_size=5,
        max_overflow=20,
        pool_timeout=10,
        connect_args=POSTGRESQL_ARGUMENTS,
    )

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: ConnectionPoolEntry) -> None:
        connection.adapters.register_dumper(str, _WithoutNul)

    return engine


def postgresql_driver(url: URL) -> URL:
    """`postgresql://` with the driver this service brings."""
    return url.set(drivername="postgresql+psycopg")


def _sqlite_engine(url: URL, *, read_only: bool = False) -> Engine:
    path = Path(str(url.database))
    refuse_network_filesystem(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = new_engine(
        url,
        pool_size=5,
        max_overflow=20,
        pool_timeout=BUSY_SECONDS,
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": None},
    )
    prepare_sqlite(engine, read_only=read_only)
    return engine


def prepare_sqlite(engine: Engine, *, read_only: bool = False, foreign_keys: bool = True) -> None:
    """The driver in autocommit, and BEGIN sent by us.

    The driver's own default begins a transaction at the first write only, so that what was read before may
    have changed; a deferred BEGIN fails at once when two transactions want to write.
    """
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute(f"PRAGMA foreign_keys = {int(foreign_keys)}")
        if read_only:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def refuse_network_filesystem(directory: Path) -> None:
    """Raises `SettingsInvalid` where `directory` is on a network filesystem, as far as the system tells."""
    kind = filesystem_of(directory)
    if kind in NETWORK_FILESYSTEMS:
        raise SettingsInvalid(
            f"HARMONICDET_DATA ({directory}) is on a network filesystem ({kind}), where SQLite loses writes; "
            "use a local disk, or PostgreSQL"
        )


def filesystem_of(directory: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """Type of the filesystem that holds `directory`, such as "ext4"; None when the system does not say."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return None
    directory = directory.resolve()
    best, kind = -1, None
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        # A later mount on the same point covers the earlier one.
        if (point == directory or point in directory.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind
