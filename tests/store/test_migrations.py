"""The schema walks up to what the tables say, and down to nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import inspect

from store import migrations, projects
from store.errors import ProjectNotFound
from store.sessions import Database, is_current, migrate
from store.tables import DEFAULT_PROJECT, Base


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/harmonicdet.db"
    return str(request.getfixturevalue("postgresql_url"))


def tables(url: str) -> set[str]:
    database = Database(url)
    with database.read() as session:
        found = set(inspect(session.connection()).get_table_names())
    database.dispose()
    return found


def test_up_check_down_up(empty_url: str) -> None:
    migrate(empty_url)
    assert is_current(empty_url)
    assert tables(empty_url) == set(Base.metadata.tables) | {"alembic_version"}
    migrations.check(empty_url)  # raises where autogenerate finds a difference
    migrations.downgrade(empty_url)
    assert tables(empty_url) == {"alembic_version"}
    assert not is_current(empty_url)
    migrate(empty_url)
    assert is_current(empty_url)


def test_the_default_project_is_there(empty_url: str) -> None:
    migrate(empty_url)
    database = Database(empty_url)
    with database.read() as session:
        project = projects.get(session, DEFAULT_PROJECT)
        assert project.name == "default"
        assert project.created_at.year >= 2025
        with pytest.raises(ProjectNotFound):
            projects.get(session, "prj_other")
    database.dispose()


def test_a_database_never_migrated_is_not_current(empty_url: str, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert not is_current(empty_url)


def test_processes_that_migrate_at_once_wait_for_each_other(empty_url: str) -> None:
    script = "import sys; from store.sessions import migrate; migrate(sys.argv[1])"
    processes = [subprocess.Popen([sys.executable, "-c", script, empty_url]) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0] * 2
    assert is_current(empty_url)


def test_migrating_twice_changes_nothing(sqlite_url: str) -> None:
    before = tables(sqlite_url)
    migrate(sqlite_url)
    assert tables(sqlite_url) == before
