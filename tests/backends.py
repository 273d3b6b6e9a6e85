"""The suite on the database, broker and blobs that the environment names: each test on its own part of them.

`HARMONICDET_DATABASE_URL` at a PostgreSQL where databases may be made, `HARMONICDET_BROKER_URL` at a Redis
that may be emptied, `HARMONICDET_BLOBS` at a bucket: any of them. Without them nothing here does anything.
What a test says explicitly, such as a SQLite file, it gets as ever, and so does what is marked `embedded`:
it looks into files that only an embedded service has. `python -m tests.production` starts such
servers and runs the suite on them.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
import redis
from sqlalchemy import make_url

from store.blobs import open_blobs
from store.sessions import migrate
from store.settings import StoreSettings

_NAMES = ("HARMONICDET_DATABASE_URL", "HARMONICDET_BROKER_URL", "HARMONICDET_BLOBS")


def _taken(name: str) -> str | None:
    """Out of the environment, where the fixtures below put parts of it; kept for the processes of xdist."""
    if value := os.environ.pop(name, None):
        os.environ[f"GIVEN_{name}"] = value
    return os.environ.get(f"GIVEN_{name}")


GIVEN = {name: value for name in _NAMES if (value := _taken(name))}
_SECRET = _taken("HARMONICDET_SECRET")  # an embedded service makes its own
# One service for the tests of a file, and one for each test.
_FOR_A_FILE = ("tests/acceptance/", "tests/hostile/")  # `tests/faults` deploys what it breaks itself
_FOR_A_TEST = ("tests/store/", "tests/api/", "tests/worker/")


@pytest.fixture(scope="module", autouse=True)
def backends_of_a_file(request: pytest.FixtureRequest) -> Iterator[None]:
    """The environment leads to fresh backends for the tests of this file."""
    with _own(request, _FOR_A_FILE):
        yield


@pytest.fixture(autouse=True)
def backends_of_a_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """The environment leads to fresh backends for this test."""
    with _own(request, _FOR_A_TEST):
        yield


@contextmanager
def _own(request: pytest.FixtureRequest, folders: tuple[str, ...]) -> Iterator[None]:
    embedded = request.node.get_closest_marker("embedded") is not None
    if not GIVEN or embedded or not request.node.nodeid.startswith(folders):
        yield
        return
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for name, make in zip(_NAMES, (_database, _broker, _blobs), strict=True):
            if name in GIVEN:
                patch.setenv(name, stack.enter_context(make(GIVEN[name])))
        if _SECRET is not None:
            patch.setenv("HARMONICDET_SECRET", _SECRET)
        yield


@contextmanager
def _database(given: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    _execute(given, f"CREATE DATABASE {name} TEMPLATE {_migrated(given)}")
    try:
        yield _of(given, name)
    finally:
        _execute(given, f"DROP DATABASE {name} WITH (FORCE)")


@cache
def _migrated(given: str) -> str:
    """A database to be copied, made once by each process."""
    name = f"template_{uuid.uuid4().hex[:12]}"
    _execute(given, f"CREATE DATABASE {name}")
    migrate(_of(given, name))
    return name


def _of(given: str, name: str) -> str:
    return make_url(given).set(database=name).render_as_string(hide_password=False)


def _execute(url: str, statement: str) -> None:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(statement.encode())


@contextmanager
def _broker(given: str) -> Iterator[str]:
    """A number of its own for each process of the suite."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    url = f"{given.rpartition('/')[0]}/{1 + int(worker)}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    yield url


@contextmanager
def _blobs(given: str) -> Iterator[str]:
    url = f"{given.rstrip('/')}/{uuid.uuid4().hex[:12]}"
    yield url
    with TemporaryDirectory() as data:
        blobs = open_blobs(StoreSettings(data=Path(data), blobs=url))
        for key in list(blobs.iter()):
            blobs.delete(key)
