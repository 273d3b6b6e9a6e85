"""Real PostgreSQL and Redis servers for tests; what is not installed skips the tests that need it."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

READY_SECONDS = 30


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def postgresql_programs() -> Path | None:
    """The folder of `initdb` and `postgres`: on the path, or Debian's."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return max((path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None)


class PostgreSQL:
    """A cluster in a temporary directory. It refuses to run as root, so root runs it as somebody else.

    It listens on loopback, and on `address` for the network `allow` if they are given.
    """

    def __init__(self, programs: Path, *, address: str | None = None, allow: str | None = None) -> None:
        self._programs = programs
        self._listen = ["127.0.0.1"] + ([address] if address else [])
        self._root = Path(tempfile.mkdtemp(prefix="harmonicdet-postgresql-"))
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = _unprivileged()
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self._root, user.pw_uid, user.pw_gid)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        options = ["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C"]
        subprocess.run(
            [str(programs / "initdb"), "-D", str(self._root / "data"), *options],
            check=True,
            capture_output=True,
            cwd=self._root,
            **self._as,
        )
        if allow is not None:
            with (self._root / "data" / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {allow} trust\n")

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start and wait until it takes connections."""
        options = {
            "fsync": "off",
            "listen_addresses": ",".join(self._listen),
            "max_connections": "200",
            "port": str(self.port),
            "unix_socket_directories": str(self._root),
        }
        settings = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self._root / "data"), *settings],
                stdout=log,
                stderr=log,
                cwd=self._root,
                **self._as,
            )
        _wait_for(self._process, lambda: psycopg.connect(self.url()).close(), self._root / "log")

    def kill(self) -> None:
        """Take it away without a goodbye; `start` brings it back."""
        self._stop(signal.SIGQUIT)

    def new_database(self, template: str = "template1") -> str:
        """URL of a fresh database, a copy of `template`."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return self.url(name)

    def close(self) -> None:
        self._stop(signal.SIGQUIT)  # nobody will want its last checkpoint
        shutil.rmtree(self._root, ignore_errors=True)

    def _stop(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(READY_SECONDS)
            self._process = None


class RedisServer:
    """A Redis that keeps nothing on disk. It listens on loopback, and on `address` if that is given."""

    def __init__(self, program: str, *, address: str | None = None) -> None:
        self._program = program
        self._listen = ["--bind", "127.0.0.1"] + ([address, "--protected-mode", "no"] if address else [])
        self._root = Path(tempfile.mkdtemp(prefix="harmonicdet-redis-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start and wait until it answers."""
        options = ["--port", str(self.port), *self._listen, "--save", "", "--appendonly", "no"]
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *options, "--dir", str(self._root)], stdout=log, stderr=log
            )
        _wait_for(self._process, self._ping, self._root / "log")

    def flush(self) -> None:
        """Forget every message."""
        with redis.Redis(port=self.port) as client:
            client.flushall()

    def kill(self) -> None:
        """Take it away without a goodbye; `start` brings it back, empty."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(READY_SECONDS)
            self._process = None

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._root, ignore_errors=True)

    def _ping(self) -> None:
        with redis.Redis(port=self.port) as client:
            client.ping()


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("no unprivileged user to run PostgreSQL as")


def _wait_for(process: subprocess.Popen[bytes], attempt: Callable[[], None], log: Path) -> None:
    give_up = time.monotonic() + READY_SECONDS
    while True:
        try:
            attempt()
            return
        except (psycopg.OperationalError, redis.ConnectionError):
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(log.read_text()) from None
            time.sleep(0.05)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    """A PostgreSQL for the whole session. A test that kills it starts it again."""
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: no initdb on the path or in /usr/lib/postgresql")
    server = PostgreSQL(programs)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def postgresql_url(postgresql_server: PostgreSQL) -> str:
    """URL of a fresh, empty database: not migrated."""
    return postgresql_server.new_database()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis for the whole session. A test that kills it starts it again."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("Redis is not installed: neither redis-server nor valkey-server is on the path")
    server = RedisServer(program)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of an empty Redis."""
    redis_server.flush()
    return redis_server.url
