"""Run by alembic: connects, keeps other processes out, and runs the revisions in one transaction."""

import os
import warnings
from typing import Any

from alembic import context
from sqlalchemy import make_url, text

from store.migrations import engine_for
from store.tables import Base

ONE_AT_A_TIME = 0x4861726D  # an arbitrary number for PostgreSQL's advisory lock

# Only the migrations know it: an index over an expression is not read back, or not as it was written.
BY_EXPRESSION = {"ix_job_metric_best"}


def of_the_tables(thing: Any, name: str | None, kind: str, *_: Any) -> bool:
    """Whether the database and `store.tables` are compared in this."""
    return kind != "index" or name not in BY_EXPRESSION


def run() -> None:
    url = context.config.attributes.get("url") or os.environ["HARMONICDET_DATABASE_URL"]
    engine = engine_for(make_url(url))
    try:
        with engine.begin() as connection:
            # SQLite has locked the file by its BEGIN IMMEDIATE.
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({ONE_AT_A_TIME})"))
            context.configure(
                connection=connection,
                target_metadata=Base.metadata,
                render_as_batch=connection.dialect.name == "sqlite",
                transactional_ddl=True,
                include_object=of_the_tables,
            )
            with context.begin_transaction(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Skipped unsupported reflection of expression-based index")
                context.run_migrations()
    finally:
        engine.dispose()


run()
