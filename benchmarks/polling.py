"""A poll of a job against a hello-world of the same FastAPI, both behind a real uvicorn.

CPU of the server process for each request, over 16 connections. Goal on SQLite: 0.5, a poll costs at most two
hello-worlds. `benchmarks.polling_postgresql` does the same on PostgreSQL; `--growth` shows what more pollers,
jobs and followers cost.
"""

import argparse
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from benchmarks import polled_jobs
from benchmarks.harness import console, report
from benchmarks.http_load import Server, answer, free_port, load, request, served
from store.jobs import Claim
from store.sessions import Database, migrate

GOAL = 0.5
CONNECTIONS = 16
REQUESTS = 3000
ROUNDS = 5
_CHANGING = "one that changes each 20 ms"


@dataclass(frozen=True)
class Both:
    """The service with jobs, and hello-world."""

    ours: Server
    hello: Server
    database: Database


def main(name: str = "polling", goal: float = GOAL, url: str | None = None) -> bool:
    """`url` of a database without tables; without it, SQLite."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--growth", action="store_true")
    asked = parser.parse_args()
    with both(url) as servers:
        if asked.growth:
            _growth(servers, asked.requests)
            return True
        return report(name, goal, _cases(servers, asked.requests), unit="µs CPU", in_a_second=1e6)


@contextmanager
def both(url: str | None) -> Iterator[Both]:
    """Both servers, as processes of their own. Ours writes its log of requests, hello-world none."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        data = Path(folder)
        url = url or f"sqlite:///{data}/harmonicdet.db"
        migrate(url)
        database = Database(url)
        stack.callback(database.dispose)
        settings = {
            "HARMONICDET_DATA": folder,
            "HARMONICDET_DATABASE_URL": url,
            "HARMONICDET_PORT": str(port := free_port()),
            "HARMONICDET_SECRET": polled_jobs.SECRET,
            "HARMONICDET_RATE_LIMIT": "1000000000/minute",  # counted, and never reached
            "HARMONICDET_EVENT_STREAMS_LIMIT": "1000",
        }
        ours = served(["-m", "api"], port, "/healthz", data / "ours.log", settings)
        options = ["--port", str(other := free_port()), "--no-access-log", "--no-server-header"]
        hello = served(["-m", "uvicorn", "benchmarks.hello:app", *options], other, "/", data / "hello.log")
        yield Both(stack.enter_context(ours), stack.enter_context(hello), database)


def _cases(servers: Both, total: int) -> list[tuple[str, list[float], list[float]]]:
    database = servers.database
    dataset = polled_jobs.dataset(database)
    # As many jobs as connections: those that ask for the same one could be answered together.
    running = [polled_jobs.running(database, dataset).job_id for _ in range(CONNECTIONS)]
    queued = polled_jobs.queued(database, dataset, CONNECTIONS)
    done = [polled_jobs.succeeded(database, dataset) for _ in range(CONNECTIONS)]
    with_key = {"Authorization": f"Bearer {polled_jobs.key(database)}"}

    def polls(job_ids: Sequence[str], headers: dict[str, str]) -> list[bytes]:
        return [request(f"/v1/jobs/{job_id}", headers) for job_id in job_ids]

    def unchanged(headers: dict[str, str]) -> list[bytes]:
        told = [answer(servers.ours.port, poll)[1] for poll in polls(running, headers)]
        each = zip(running, told, strict=True)
        return [polls([job_id], headers | {"If-None-Match": one["etag"]})[0] for job_id, one in each]

    changing = polled_jobs.running(database, dataset)
    cases = [
        ("running, 200", polls(running, {}), 200),
        ("running, 304", unchanged({}), 304),
        ("queued, 200", polls(queued, {}), 200),
        ("succeeded, 200", polls(done, {}), 200),
        (_CHANGING, polls([changing.job_id], {}), 200),
        ("running, with a key, 200", polls(running, with_key), 200),
        ("running, with a key, 304", unchanged(with_key), 304),
    ]
    rows = []
    for name, asked, status in cases:
        with ExitStack() as stack:
            if name == _CHANGING:
                stack.enter_context(_changed(database, changing))
            rows.append((name, *_compared(servers, asked, status, total)))
    return rows


def _compared(
    servers: Both,
    asked: Sequence[bytes],
    status: int,
    total: int,
    connections: int = CONNECTIONS,
    rounds: int = ROUNDS,
) -> tuple[list[float], list[float]]:
    """CPU seconds of a request, ours and hello-world's by turns."""
    ours, hello = [], []
    for round_ in range(rounds + 1):
        mine = load(servers.ours, asked, total=total, connections=connections, status=status)
        theirs = load(servers.hello, [request("/")], total=2 * total, connections=connections, status=200)
        if round_:  # the first one warms up
            ours.append(mine.cpu_seconds)
            hello.append(theirs.cpu_seconds)
    return ours, hello


@contextmanager
def _changed(database: Database, claim: Claim) -> Iterator[None]:
    """The training goes on meanwhile."""
    over = threading.Event()

    def work() -> None:
        step = 0
        while not over.wait(0.02):
            step += 1
            polled_jobs.progressed(database, claim, step)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


def _growth(servers: Both, total: int) -> None:
    database = servers.database
    dataset = polled_jobs.dataset(database)
    claims = [polled_jobs.running(database, dataset) for _ in range(50)]
    table = Table("what grows", "to", "µs CPU of a poll", title="growth", title_justify="left")

    def row(what: str, sizes: str, asked: Sequence[bytes], connections: int = CONNECTIONS) -> None:
        ours, hello = _compared(servers, asked, 200, total, connections, rounds=2)
        mine, theirs = (statistics.median(seconds) * 1e6 for seconds in (ours, hello))
        table.add_row(what, sizes, f"{mine:.0f} (hello-world {theirs:.0f})")

    everything = [request(f"/v1/jobs/{claim.job_id}") for claim in claims]
    for connections in (1, 10, 100):
        row("pollers of 50 running jobs", str(connections), everything, connections)
    long = polled_jobs.running(database, dataset, epochs=600)
    row("epochs of the job", "6", everything[:1])
    row("epochs of the job", "600", [request(f"/v1/jobs/{long.job_id}")])
    queued: list[str] = []
    for waiting in (100, 5000):
        queued += polled_jobs.queued(database, dataset, waiting - len(queued))
        row("queued jobs, the running one polled", str(waiting), everything[:1])
        row("queued jobs, the last of them polled", str(waiting), [request(f"/v1/jobs/{queued[-1]}")])
    console.print(table)
    streams = Table("followers", "jobs", "CPU of the process, ms a second", title_justify="left")
    for followers, of in ((0, 0), (1, 1), (100, 1), (100, 50)):
        seconds = _followed(servers.ours, claims[:of], followers)
        streams.add_row(str(followers), str(of), f"{seconds * 1e3:.1f}")
    console.print(streams)


def _followed(server: Server, claims: Sequence[Claim], followers: int) -> float:
    """CPU seconds in a second while so many streams are open and nothing happens."""
    with ExitStack() as stack:
        for number in range(followers):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            path = f"/v1/jobs/{claims[number % len(claims)].job_id}/events"
            connection.sendall(request(path, {"Accept": "text/event-stream"}))
        time.sleep(2)  # until they have caught up
        before, start = server.cpu_seconds(), time.perf_counter()
        time.sleep(6)
        return (server.cpu_seconds() - before) / (time.perf_counter() - start)


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
