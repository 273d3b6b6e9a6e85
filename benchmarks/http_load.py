"""Real HTTP servers as processes of their own, and a client that costs little beside them."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

START_SECONDS = 300.0


@dataclass(frozen=True)
class Server:
    """A server process that answers."""

    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """User and system time of the process so far, all of its threads, and of the processes below it."""
        times = [one.cpu_times() for one in (self.process, *self.process.children(recursive=True))]
        return float(sum(one.user + one.system for one in times))


@dataclass(frozen=True)
class Cost:
    """What some requests have cost, each."""

    cpu_seconds: float
    wall_seconds: float
    waits: list[float] = field(repr=False)
    """Seconds from a request to its answer, of all of them."""


@contextmanager
def served(
    arguments: Sequence[str],
    port: int,
    path: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    *,
    python: Path = Path(sys.executable),
) -> Iterator[Server]:
    """The program `python *arguments` while the block runs, from when `path` is answered with 200 on `port`.

    What it has started ends with it.
    """
    with log.open("ab") as file:
        process = subprocess.Popen(
            [python, *arguments],
            env=os.environ | dict(environment or {}),
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            _wait_until_it_answers(process, port, path, log)
            yield Server(port, psutil.Process(process.pid))
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def request(path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """A GET as it goes over the wire."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(port: int, asked: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and body of one request."""
    client = _Client(iter([asked]), None)
    asyncio.run(_run(port, [client]))
    return client.status, client.headers(), client.body


def load(server: Server, requests: Sequence[bytes], *, total: int, connections: int, status: int) -> Cost:
    """`total` of the requests in turn, over so many connections, each of which asks again once answered.

    Raises `RuntimeError` for an answer of another status.
    """
    todo = (requests[number % len(requests)] for number in range(total))
    cpu, wall = server.cpu_seconds(), time.perf_counter()
    clients = [_Client(todo, status) for _ in range(connections)]
    asyncio.run(_run(server.port, clients))
    waits = [seconds for client in clients for seconds in client.waits]
    return Cost((server.cpu_seconds() - cpu) / total, (time.perf_counter() - wall) / total, waits)


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class _Client(asyncio.Protocol):
    """One connection. It reads of an answer what it takes to know where that ends."""

    def __init__(self, todo: Iterator[bytes], status: int | None) -> None:
        self._todo = todo
        self._wanted = status
        self._buffer = b""
        self._asked_at = 0.0
        self._transport: asyncio.WriteTransport | None = None
        self._head = b""
        self.status = 0
        self.body = b""
        self.waits: list[float] = []
        self.ended: asyncio.Future[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        start = head.find(b"content-length: ")
        length = int(head[start + 16 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
        if len(rest) < length:
            return
        self._buffer = b""
        self.waits.append(time.perf_counter() - self._asked_at)
        self._head, self.status, self.body = head, int(head[9:12]), rest
        if self._wanted is not None and self.status != self._wanted:
            self._end(RuntimeError(f"answered {self.status}: {(head + rest)[:500]!r}"))
        else:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionError("the server has closed the connection"))

    def headers(self) -> dict[str, str]:
        lines = (line.partition(": ") for line in self._head.decode("latin-1").split("\r\n")[1:])
        return {name.lower(): value for name, _, value in lines}

    def _next(self) -> None:
        assert self._transport is not None  # noqa: S101
        asked = next(self._todo, None)
        if asked is None:
            self._end(None)
        else:
            self._asked_at = time.perf_counter()
            self._transport.write(asked)

    def _end(self, error: Exception | None) -> None:
        if not self.ended.done():
            if error is None:
                self.ended.set_result(None)
            else:
                self.ended.set_exception(error)
        if self._transport is not None:
            self._transport.close()


async def _run(port: int, clients: Sequence[_Client]) -> None:
    loop = asyncio.get_running_loop()
    for client in clients:
        client.ended = loop.create_future()
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*(client.ended for client in clients))


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    give_up = time.monotonic() + START_SECONDS
    while True:
        try:
            if answer(port, request(path))[0] == 200:
                return
            raise ConnectionError("it is not ready")
        except OSError:
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(log.read_text()) from None
            time.sleep(0.1)
