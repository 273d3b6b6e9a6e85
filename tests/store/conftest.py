"""A migrated database of each kind, and settings under a temporary directory."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from store.sessions import Database, migrate
from store.settings import StoreSettings
from tests.servers import PostgreSQL


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "harmonicdet.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql_server: PostgreSQL) -> str:
    """URL of a migrated database that tests share one after the other."""
    url = postgresql_server.new_database()
    migrate(url)
    return url


@pytest.fixture
def sqlite_url(tmp_path: Path, migrated_sqlite: Path) -> str:
    """A migrated SQLite database of its own for each test."""
    path = tmp_path / "data" / "harmonicdet.db"
    path.parent.mkdir()
    shutil.copy(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database without rows but the default project, once of each kind."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    url = str(request.getfixturevalue("migrated_postgresql"))
    with psycopg.connect(url) as connection:
        for table in (
            "idempotency",
            "model_alias",
            "comparison",
            "search",
            "evaluation",
            "model",
            "job",
            "dataset",
        ):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Database]:
    database = Database(sqlite_url)
    yield database
    database.dispose()


@pytest.fixture
def settings(tmp_path: Path) -> StoreSettings:
    """Embedded settings."""
    return StoreSettings(data=tmp_path / "data")
