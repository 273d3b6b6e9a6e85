"""The embedded service: API and workers under one parent that restarts what dies and stops all of it."""

import fcntl
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console

from api.settings import ListenRefused, Settings, check_listen, keys_required
from store.errors import StoreError
from store.sessions import migrate
from store.settings import StoreSettings, read

STOP_SECONDS = 15.0  # workers write a checkpoint in this time
_SETTLED_SECONDS = 20.0  # a part that has lived so long did start; its end says nothing about the next
_LARGEST_PAUSE_SECONDS = 30.0
_LARGEST_LOG_BYTES = 10_000_000


class CannotStart(Exception):
    """The service cannot start; the message says why and what to do."""


def run(host: str, port: int, data: Path, *, train_workers: int = 1) -> int:
    """`harmonicdet up`: returns the exit code when it was told to stop."""
    console = Console(stderr=True, highlight=False)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    try:
        with Service(host, port, data, train_workers=train_workers) as service:
            if not service.wait_until_ready(stop):
                console.print("Stopped before it was ready.")
                return 1
            console.print(
                f"[bold green]HarmonicDet is ready[/] at [bold]{service.address}[/]\n"
                f"  API description  {service.address}/docs\n"
                f"  data             {service.data}\n"
                f"  logs             {service.logs}\n"
                "Ctrl-C stops it."
            )
            if service.keys_required:
                console.print(
                    "Every request needs an API key; make one with\n"
                    f"  harmonicdet keys create NAME --data {service.data}"
                )
            stop.wait()
            console.print("Stopping; a training writes its checkpoint first. Ctrl-C again does not wait.")
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: service.kill())
        console.print("Stopped.")
    except (CannotStart, StoreError) as error:
        console.print(f"[bold red]HarmonicDet cannot start:[/] {error}", soft_wrap=True)
        return 1
    return 0


class Service:
    """API and workers on one data directory, from `__enter__` to `__exit__`.

    `train_workers` trainings run at the same time.

    Raises `CannotStart` on entering when the port or the data directory is taken, or `host` is open to
    strangers.
    """

    def __init__(self, host: str, port: int, data: Path, *, train_workers: int = 1) -> None:
        self.host = host
        self.port = port
        self.data = data.absolute()
        self.logs = self.data / "logs"
        self._environment = os.environ | {
            "HARMONICDET_DATA": str(self.data),
            "HARMONICDET_HOST": host,
            "HARMONICDET_PORT": str(port),
        }
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._parts = [
            _Part("api", ["api"]),
            *(
                _Part(
                    f"worker-train-{number}" if number > 1 else "worker-train", ["worker", "--queue", "train"]
                )
                for number in range(1, train_workers + 1)
            ),
            _Part("worker-evaluate", ["worker", "--queue", "evaluate"]),
            _Part("worker-ingest", ["worker", "--queue", "ingest"]),
        ]

    @property
    def address(self) -> str:
        """Where a browser on this machine finds it."""
        host = _reachable(self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def keys_required(self) -> bool:
        """Whether its callers must show an API key."""
        return keys_required(self._settings())

    def _settings(self) -> Settings:
        return read(Settings).model_copy(update={"host": self.host})

    def __enter__(self) -> Self:
        try:
            check_listen(self._settings())
        except ListenRefused as error:
            raise CannotStart(str(error)) from None
        self.logs.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.data)
        self._lock.__enter__()
        try:
            refuse_taken_port(self.host, self.port)
            os.environ["HARMONICDET_DATA"] = str(self.data)
            migrate(read(StoreSettings).database_url)
            first = self._settings().metrics_port
            for number, part in enumerate(self._parts):
                # A port for each process: the API's, then those of the workers in the order of this list.
                part.environment = {"HARMONICDET_METRICS_PORT": str(first + number)} if first else {}
                part.start(self.logs, self._environment)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._keeper.is_alive():
            self._keeper.join()
        for part in self._parts:
            part.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for part in self._parts:
            part.wait_until(deadline)
        self.kill()
        self._lock.__exit__(None, None, None)

    def kill(self) -> None:
        """Ends every part at once."""
        for part in self._parts:
            part.kill()

    def wait_until_ready(self, stop: threading.Event) -> bool:
        """True once the API answers, False if `stop` was set first. Raises `CannotStart` if it never will."""
        while not stop.wait(0.1):
            api = self._parts[0]
            if api.failures >= 3:
                raise CannotStart(f"the API does not start; {api.log} ends with\n{_tail(api.log)}")
            if self._answers():
                return True
        return False

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(_reachable(self.host), self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _keep(self) -> None:
        """Restarts what dies, later and later when it dies again and again."""
        while not self._closing.wait(0.2):
            for part in self._parts:
                part.keep(self.logs, self._environment)


@dataclass
class _Part:
    """One child process and its log."""

    name: str
    command: list[str]
    failures: int = 0
    environment: dict[str, str] = field(default_factory=dict)  # what the others have otherwise
    log: Path = field(default_factory=Path)
    _process: subprocess.Popen[bytes] | None = None
    _started_at: float = 0.0
    _due_at: float | None = None

    def start(self, logs: Path, environment: dict[str, str]) -> None:
        self.log = logs / f"{self.name}.log"
        if self.log.exists() and self.log.stat().st_size > _LARGEST_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as output:
            # Its own session: Ctrl-C in the terminal reaches the parent alone, which stops the parts.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harmonicdet.child", *self.command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment | self.environment,
            )
        self._started_at = time.monotonic()
        self._due_at = None

    def keep(self, logs: Path, environment: dict[str, str]) -> None:
        if self._process is None or self._process.poll() is None:
            return
        now = time.monotonic()
        if self._due_at is None:
            self.failures = 0 if now - self._started_at > _SETTLED_SECONDS else self.failures + 1
            pause = min(_LARGEST_PAUSE_SECONDS, 0.25 * 2**self.failures)
            self._note(f"ended with {self._process.returncode}; again in {pause:g} s")
            self._close()
            self._due_at = now + pause
        elif now >= self._due_at:
            self.start(logs, environment)

    def terminate(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait_until(self, deadline: float) -> None:
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(max(0.0, deadline - time.monotonic()))

    def kill(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._close()

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def _note(self, line: str) -> None:
        with self.log.open("a") as file:
            file.write(f"[harmonicdet up] {self.name} {line}\n")


def refuse_taken_port(host: str, port: int) -> None:
    """Raises `CannotStart` when the address cannot be listened on."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise CannotStart(f"{host} is no address of this machine: {error.strerror}") from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise CannotStart(
                f"port {port} of {host} cannot be used ({error.strerror}). Choose another with --port."
            ) from error


@contextmanager
def _lock(data: Path) -> Iterator[None]:
    """Holds the data directory; the lock ends with this process, however that ends."""
    with (data / "harmonicdet.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise CannotStart(
                f"another HarmonicDet (process {file.read().strip()}) works in {data}. "
                "Stop it, or choose another directory with --data."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


def _tail(path: Path, lines: int = 20) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
