"""Somebody who follows a job's events comes back after the API was killed, and misses and repeats nothing."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from store import jobs
from store.sessions import Database, migrate
from store.tables import DEFAULT_PROJECT, JobKind, RequestedAction
from tests.store.helpers import ready_dataset

pytestmark = [pytest.mark.acceptance, pytest.mark.embedded]
ROUNDS = 30
START_SECONDS = 120.0


@contextmanager
def api(data: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A real API process that answers."""
    environment = os.environ | {
        "HARMONICDET_DATA": str(data),
        "HARMONICDET_PORT": str(port),
        "HARMONICDET_DISPATCH_SECONDS": "3600",
        "HARMONICDET_EVENT_POLL_SECONDS": "0.02",
    }
    process = subprocess.Popen([sys.executable, "-m", "api"], env=environment)
    try:
        give_up = time.monotonic() + START_SECONDS
        while not _answers(port):
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait(30)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def follow(port: int, job_id: str, seen: list[int]) -> bool:
    """Reads on from the last event seen, as an EventSource would; whether the stream came to its end."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(seen[-1])} if seen else {})
    url = f"http://127.0.0.1:{port}/v1/jobs/{job_id}/events"
    try:
        with httpx.stream("GET", url, headers=headers, timeout=60) as answer:
            if answer.status_code == 204:
                return True
            assert answer.status_code == 200
            number = None
            for line in answer.iter_lines():
                if line.startswith("id: "):
                    number = int(line.removeprefix("id: "))
                elif not line and number is not None:  # an event counts once it is whole
                    seen.append(number)
                    number = None
    except httpx.TransportError:
        return False
    return True


def test_every_event_comes_once_and_in_order_over_a_killed_api(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    url = f"sqlite:///{data}/harmonicdet.db"
    migrate(url)
    database = Database(url)
    dataset = ready_dataset(database)
    job_id = database.run(
        lambda session: jobs.create(
            session,
            project_id=DEFAULT_PROJECT,
            kind=JobKind.TRAIN,
            queue="train",
            spec={},
            dataset_id=dataset.id,
        )
    ).id
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    seen: list[int] = []
    ended: list[bool] = []

    def watch() -> None:
        while not ended or not ended[-1]:
            ended.append(follow(port, job_id, seen))
            time.sleep(0.02)

    def happen(rounds: int) -> None:
        for _ in range(rounds):
            database.run(lambda s: jobs.request(s, DEFAULT_PROJECT, job_id, RequestedAction.PAUSE))
            database.run(lambda s: jobs.resume(s, DEFAULT_PROJECT, job_id))

    watcher = threading.Thread(target=watch, daemon=True)
    with api(data, port) as process:
        watcher.start()
        happen(ROUNDS)
        _until(lambda: len(seen) > ROUNDS)
        os.kill(process.pid, signal.SIGKILL)  # with a stream open, and events on their way
        happen(ROUNDS)
    with api(data, port):
        happen(ROUNDS)
        database.run(lambda s: jobs.request(s, DEFAULT_PROJECT, job_id, RequestedAction.CANCEL))
        watcher.join(60)
        assert not watcher.is_alive()
    with database.read() as session:
        happened = [e.number for e in jobs.events(session, DEFAULT_PROJECT, job_id, limit=1000).items]
    database.dispose()
    assert len(happened) == 2 + 6 * ROUNDS
    assert seen == happened
    assert False in ended  # the stream was broken at least once


def _until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)
