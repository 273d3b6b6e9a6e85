"""The schema's history, and the functions that walk it. A new revision of a change to `store.tables`:

    HARMONICDET_DATABASE_URL=sqlite:////some/current.db alembic -c store/migrations/alembic.ini revision \
        --autogenerate -m "Add what was added"
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Engine, NullPool, create_engine, event, make_url

HERE = Path(__file__).parent
# What alembic is doing is kept in globals. Processes are kept apart by the database, in env.py.
_one_thread = threading.Lock()


def upgrade(url: str, revision: str = "head") -> None:
    """Walk forward to `revision`."""
    _run(command.upgrade, url, revision)
    if make_url(url).get_backend_name() == "sqlite":
        _keep_write_ahead_log(url)


def downgrade(url: str, revision: str = "base") -> None:
    """Walk back to `revision`."""
    _run(command.downgrade, url, revision)


def revisions() -> list[str]:
    """All there are, the newest first."""
    return [one.revision for one in ScriptDirectory(str(HERE)).walk_revisions()]


def check(url: str) -> None:
    """Raises `alembic.util.CommandError` where the database differs from `store.tables`."""
    _run(command.check, url)


def is_current(engine: Engine) -> bool:
    """Whether the newest revision has been applied."""
    heads = ScriptDirectory(str(HERE)).get_heads()
    with engine.connect() as connection:
        applied = MigrationContext.configure(connection).get_current_heads()
    return set(applied) == set(heads)


def engine_for(url: URL) -> Engine:
    """An engine for migrations: one connection, no time limits, and on SQLite foreign keys off.

    SQLite changes a table by copying it; with foreign keys on, dropping the old one would delete what refers
    to it.
    """
    if url.get_backend_name() != "sqlite":
        return create_engine(url.set(drivername="postgresql+psycopg"), poolclass=NullPool)
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": 60, "isolation_level": None})
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _run(action: Callable[..., object], url: str, *arguments: str) -> None:
    with _one_thread:
        action(_config(url), *arguments)


def _keep_write_ahead_log(url: str) -> None:
    """The change of mode, kept in the file, needs it for itself for a moment and does not wait for that."""
    give_up = time.monotonic() + 30
    with closing(sqlite3.connect(str(make_url(url).database), isolation_level=None)) as connection:
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                    raise
                time.sleep(0.05)
            else:
                return


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.attributes["url"] = url
    return config
