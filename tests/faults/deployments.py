"""The real service as processes, embedded and distributed, with handles to break every part of it."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import psutil
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from detector.data.synthetic import write_synthetic
from store.blobs import open_blobs
from store.errors import StoreError
from store.queue import Hints
from store.sessions import Database, migrate
from store.settings import StoreSettings
from tests.servers import PostgreSQL, RedisServer, free_port, postgresql_programs

T = TypeVar("T")

RUN_VARIABLE = "HARMONICDET_FAULTS_RUN"  # in the environment of every process of a deployment
TIMES = {
    "HARMONICDET_HEARTBEAT_SECONDS": "1",
    "HARMONICDET_LEASE_SECONDS": "12",
    "HARMONICDET_LEASE_MARGIN_SECONDS": "4",
    "HARMONICDET_DISPATCH_SECONDS": "1",
    "HARMONICDET_APPLY_SECONDS": "0.2",
    "HARMONICDET_POLL_SECONDS": "0.05",
}
PACE_SECONDS = 0.05  # of a trainer's step
START_SECONDS = 600.0  # a busy machine takes its time


class Deployment(ABC):
    """Use as a context manager. `root` holds everything, and is removed at the end."""

    name: str

    def __init__(self, *, workers: int, environment: Mapping[str, str] | None = None) -> None:
        self.workers = workers
        self.root = Path(tempfile.mkdtemp(prefix=f"harmonicdet-faults-{self.name}-"))
        self.data = self.root / "data"
        self.marks = self.root / "marks"
        self.orders = self.root / "orders"
        self.run_id = uuid.uuid4().hex
        self.marks.touch()
        self.orders.mkdir()
        self.data.mkdir()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HARMONICDET_")}
        self.environment = (
            inherited
            | TIMES
            | {
                "HARMONICDET_DATA": str(self.data),
                "HARMONICDET_DETECTOR_COMMAND": json.dumps([sys.executable, "-m", "tests.faults.trainer"]),
                # The disk of a test machine may be fuller than a service would like.
                "HARMONICDET_MIN_FREE_BYTES": "0",
                "FAULTS_PACE": str(PACE_SECONDS),
                "FAULTS_MARKS": str(self.marks),
                "FAULTS_ORDERS": str(self.orders),
                "OMP_NUM_THREADS": "1",
                RUN_VARIABLE: self.run_id,
            }
            | dict(environment or {})
        )

    def __enter__(self) -> Self:
        try:
            self._start()
            settings = self.settings()
            self.blobs = open_blobs(settings)
            self.hints = Hints(settings)
            self.database = Database(settings.database_url)
            self.until(self._is_ready, START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if hasattr(self, "database"):
            self.database.dispose()
            self.hints.close()
        self._close()
        shutil.rmtree(self.root, ignore_errors=True)

    def stop(self) -> list[str]:
        """Ends the service as an operator would; the command lines of what is left of it 5 s later."""
        self._stop()
        deadline = time.monotonic() + 5
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return [_command(process) for process in left]

    def settings(self) -> StoreSettings:
        """What the service reads from its environment, as far as the store is concerned."""
        values = {
            name.removeprefix("HARMONICDET_").lower(): value
            for name, value in self.environment.items()
            if name.startswith("HARMONICDET_") and value
        }
        return StoreSettings(**{k: v for k, v in values.items() if k in StoreSettings.model_fields})  # type: ignore[arg-type]  # pydantic converts

    # What is there

    @property
    @abstractmethod
    def addresses(self) -> list[str]:
        """Base URLs of the APIs."""

    @property
    @abstractmethod
    def apis(self) -> list[int]:
        """Process ids of the APIs that run."""

    @property
    @abstractmethod
    def train_workers(self) -> list[int]:
        """Process ids of the workers of the train queue that run."""

    def processes(self) -> list[psutil.Process]:
        """Every process that this deployment has started and that still runs, however it came to be."""
        mine = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if (
                    process.pid != os.getpid()
                    and process.status() != psutil.STATUS_ZOMBIE
                    and process.environ().get(RUN_VARIABLE) == self.run_id
                ):
                    mine.append(process)
        return mine

    def trainer_of(self, worker: int, job_id: str) -> int | None:
        """Process id of the trainer that a worker runs for a job."""
        with suppress(psutil.Error):
            for child in psutil.Process(worker).children():
                with suppress(psutil.Error):
                    if any(f"/{job_id}-" in argument for argument in child.cmdline()):
                        return child.pid
        return None

    # Asking

    def ask(self, statement: str, **values: Any) -> list[Any]:
        """Rows of a SQL query, asked again for a minute while the database is away."""
        give_up = time.monotonic() + 60
        while True:
            try:
                with self.database.read() as session:
                    return list(session.execute(text(statement), values).all())
            except SQLAlchemyError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.1)

    def ask_once(self, statement: str, **values: Any) -> list[Any]:
        """Rows of a SQL query, none while the database is away."""
        try:
            with self.database.read() as session:
                return list(session.execute(text(statement), values).all())
        except (SQLAlchemyError, StoreError):
            return []

    def answers(self, address: str) -> bool:
        try:
            return httpx.get(f"{address}/readyz", timeout=15).status_code == 200
        except httpx.TransportError:
            return False

    def until(self, condition: Callable[[], T | None], seconds: float) -> T:
        """The first result of `condition` that is true."""
        deadline = time.monotonic() + seconds
        while not (result := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not so within {seconds:g} s\n{self.logs()}")
            time.sleep(0.1)
        return result

    def logs(self, last: int = 3000) -> str:
        files = sorted((self.data / "logs").glob("*.log"))
        return "\n".join(f"== {file.name}\n{file.read_text(errors='replace')[-last:]}" for file in files)

    def _is_ready(self) -> bool:
        if not self._lives():
            raise AssertionError(f"the service does not start\n{self.logs()}")
        return all(self.answers(address) for address in self.addresses)

    def _lives(self) -> bool:
        """False when waiting is in vain."""
        return True

    def upload(self) -> str:
        """Id of a small dataset, ready."""
        archive = self.root / "shapes.zip"
        write_synthetic(archive, images=4, val_images=2, size=64)
        answer = httpx.post(
            f"{self.addresses[0]}/v1/datasets",
            files={"file": (archive.name, archive.read_bytes(), "application/zip")},
            data={"name": "shapes"},
            timeout=60,
        )
        assert answer.status_code == 202, answer.text
        dataset: str = answer.json()["id"]
        path = f"{self.addresses[0]}/v1/datasets/{dataset}"
        self.until(lambda: httpx.get(path, timeout=60).json()["status"] != "validating", START_SECONDS)
        assert httpx.get(path, timeout=60).json()["status"] == "ready"
        return dataset

    # Starting and stopping

    @abstractmethod
    def _start(self) -> None: ...

    @abstractmethod
    def _stop(self) -> None: ...

    def _close(self) -> None:  # noqa: B027 - most stand on nothing
        """Ends what the service was standing on."""


class Embedded(Deployment):
    """`harmonicdet up`: SQLite, the folder as a broker, restarts by the parent."""

    name = "embedded"

    def __init__(self, *, workers: int, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(workers=workers, environment=environment)
        self._port = free_port()
        self._parent: psutil.Popen | None = None

    @property
    def addresses(self) -> list[str]:
        return [f"http://127.0.0.1:{self._port}"]

    @property
    def apis(self) -> list[int]:
        return self._children("api")

    @property
    def train_workers(self) -> list[int]:
        return self._children("worker", "--queue", "train")

    def _lives(self) -> bool:
        return self._parent is not None and self._parent.poll() is None

    def is_locked(self) -> bool:
        """Whether somebody keeps all others from writing for longer than a transaction takes."""
        connection = sqlite3.connect(self.data / "harmonicdet.db", timeout=2.0, isolation_level=None)
        with closing(connection):
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            connection.execute("ROLLBACK")
            return False

    def forget_hints(self) -> None:
        """Deletes every message, as nobody but a person would."""
        for message in (self.data / "broker" / "messages").glob("*.msg"):
            message.unlink(missing_ok=True)

    def _children(self, *arguments: str) -> list[int]:
        found = []
        if self._parent is not None:
            with suppress(psutil.Error):
                for child in self._parent.children():
                    with suppress(psutil.Error):
                        if child.cmdline()[3:] == list(arguments):
                            found.append(child.pid)
        return sorted(found)

    def _start(self) -> None:
        (self.data / "logs").mkdir(exist_ok=True)
        with (self.data / "logs" / "up.log").open("ab") as output:
            self._parent = psutil.Popen(
                [
                    *(sys.executable, "-m", "harmonicdet", "up", f"--port={self._port}"),
                    *(f"--data={self.data}", f"--train-workers={self.workers}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment,
                start_new_session=True,
            )

    def _stop(self) -> None:
        if self._parent is not None and self._parent.poll() is None:
            for process in self.processes():
                with suppress(psutil.NoSuchProcess):
                    process.resume()
            self._parent.terminate()
            self._parent.wait(60)


@dataclass
class Part:
    """One process that is started again whenever it ends."""

    name: str
    arguments: list[str]
    environment: dict[str, str]
    log: Path
    prefix: Sequence[str] = ()  # a program that becomes the process
    process: subprocess.Popen[bytes] | None = None
    wanted: bool = True
    ends: list[int] = field(default_factory=list)

    def keep(self) -> None:
        if self.process is not None and (code := self.process.poll()) is not None:
            self.ends.append(code)
            self.process = None
        if self.process is None and self.wanted:
            with self.log.open("ab") as output:
                self.process = subprocess.Popen(
                    [*self.prefix, sys.executable, "-m", *self.arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=self.environment,
                    start_new_session=True,
                )

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None and self.process.poll() is None else None


class Distributed(Deployment):
    """Two APIs and any number of workers, each kept by this process as an init system would.

    With `servers`, PostgreSQL and Redis, both of our own; without, SQLite and the folder.
    """

    name = "production"

    def __init__(
        self,
        *,
        workers: int,
        environment: Mapping[str, str] | None = None,
        servers: bool = True,
        apis: int = 2,
    ) -> None:
        super().__init__(workers=workers, environment=environment)
        self.postgresql: PostgreSQL | None = None
        self.redis: RedisServer | None = None
        self._with_servers = servers
        self._parts: list[Part] = []
        self._ports = [free_port() for _ in range(apis)]
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    @property
    def addresses(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self._ports]

    @property
    def apis(self) -> list[int]:
        return [part.pid for part in self._parts if part.arguments[0] == "api" and part.pid is not None]

    def api_at(self, address: str) -> int | None:
        """Process id of the API that listens there."""
        port = address.rpartition(":")[2]
        return next(part.pid for part in self._parts if part.environment.get("HARMONICDET_PORT") == port)

    @property
    def train_workers(self) -> list[int]:
        return [part.pid for part in self._parts if "train" in part.arguments and part.pid is not None]

    def add_workers(self, number: int) -> None:
        """Starts so many workers of the train queue."""
        logs = self.data / "logs"
        for _ in range(number):
            name = f"worker-{len(self._parts)}"
            arguments = ["worker", "--queue", "train"]
            environment = dict(self.environment)
            if self._with_servers:
                # As on hosts of their own, that share nothing but the servers and the blobs.
                environment["HARMONICDET_DATA"] = str(self.root / "hosts" / name)
                environment["HARMONICDET_BLOBS"] = self.settings().blobs
            part = Part(name, arguments, environment, logs / f"{name}.log")
            part.keep()
            self._parts.append(part)

    def _start(self) -> None:
        if self._with_servers:
            self._start_servers()
        logs = self.data / "logs"
        logs.mkdir()
        migrate(self.settings().database_url)
        for port in self._ports:
            environment = self.environment | {"HARMONICDET_HOST": "127.0.0.1", "HARMONICDET_PORT": str(port)}
            self._parts.append(Part(f"api-{port}", ["api"], environment, logs / f"api-{port}.log"))
        ingest = ["worker", "--queue", "ingest"]
        self._parts.append(Part("worker-ingest", ingest, self.environment, logs / "worker-ingest.log"))
        self._keeper.start()
        self.add_workers(self.workers)

    def _start_servers(self) -> None:
        programs, program = installed_servers()
        self.postgresql = PostgreSQL(programs)
        self.postgresql.start()
        self.redis = RedisServer(program)
        self.redis.start()
        self.environment |= {
            "HARMONICDET_DATABASE_URL": self.postgresql.new_database(),
            "HARMONICDET_BROKER_URL": self.redis.url,
        }

    def _keep(self) -> None:
        while not self._closing.wait(0.1):
            for part in list(self._parts):
                part.keep()

    def _stop(self) -> None:
        self._closing.set()
        if self._keeper.is_alive():
            self._keeper.join()
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()
        for part in self._parts:
            part.wanted = False
            if part.process is not None and part.process.poll() is None:
                part.process.send_signal(signal.SIGTERM)
        for part in self._parts:
            if part.process is not None:
                with suppress(subprocess.TimeoutExpired):
                    part.process.wait(30)

    def _close(self) -> None:
        if self.redis is not None:
            self.redis.close()
        if self.postgresql is not None:
            self.postgresql.close()


class ServersMissing(Exception):
    """PostgreSQL (initdb, postgres) or Redis (redis-server) is not installed."""


def installed_servers() -> tuple[Path, str]:
    """The folder of PostgreSQL's programs, and the program of Redis. Raises `ServersMissing`."""
    programs = postgresql_programs()
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if programs is None or program is None:
        raise ServersMissing
    return programs, program


def _command(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())}"
    except psutil.Error:
        return str(process.pid)
