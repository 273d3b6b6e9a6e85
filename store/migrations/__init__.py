"""The schema's history, and the functions that walk it. A new revision of a change to `store.tables`:

    HARMONICDET_DATABASE_URL=sqlite:////some/current.db alembic -c store/migrations/alembic.ini revision \
        --autogenerate -m "Add what was added"
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Engine, NullPool, create_engine, event

HERE = Path(__file__).parent


def upgrade(url: str, revision: str = "head") -> None:
    """Walk forward to `revision`."""
    command.upgrade(_config(url), revision)


def downgrade(url: str, revision: str = "base") -> None:
    """Walk back to `revision`."""
    command.downgrade(_config(url), revision)


def check(url: str) -> None:
    """Raises `alembic.util.CommandError` where the database differs from `store.tables`."""
    command.check(_config(url))


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


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.attributes["url"] = url
    return config
