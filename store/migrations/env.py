"""Run by alembic: connects, keeps other processes out, and runs the revisions in one transaction."""

import os

from alembic import context
from sqlalchemy import make_url, text

from store.migrations import engine_for
from store.tables import Base

ONE_AT_A_TIME = 0x4861726D  # an arbitrary number for PostgreSQL's advisory lock


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
            )
            with context.begin_transaction():
                context.run_migrations()
    finally:
        engine.dispose()


run()
