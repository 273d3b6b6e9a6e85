"""Many open job pages cost the database what one does: statements of a real server are counted."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from socket import socket
from typing import Any

import pytest
from sqlalchemy import event

from api.following import Following
from tests.api.served import Served

PAGES = 200
JOBS = 10
TURNS = 5  # of whoever asks


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the database is asked about events, and by whom."""
    told: list[str] = []
    ask = Following._ask

    def asking(self: Following, known: Any) -> Any:
        told.append(f"asked by {id(self)}")
        return ask(self, known)

    monkeypatch.setattr(Following, "_ask", asking)
    return told


@contextmanager
def statements(server: Served, told: list[str]) -> Iterator[None]:
    """Writes down every statement about events."""

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "job_event" in statement:
            told.append("statement")

    database = server.services.database
    # Where both are one pool, reading hears what writing does: a statement is to be written down once.
    engines = {one.pool: one for one in (database._reading, database._writing)}.values()
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


def until(condition: Any) -> None:
    pause = threading.Event()
    for _ in range(3000):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail("not so within 30 s")


def a_page(server: Served, job_id: str) -> socket:
    """The stream that an open job page holds."""
    connection = server.connect()
    connection.settimeout(30)
    path = f"/v1/jobs/{job_id}/events?after=0"
    asked = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    connection.sendall(asked.encode())
    return connection


def asked_in(server: Served, told: list[str], job_ids: Sequence[str], pages: int) -> int:
    """Statements in so many turns while so many pages are open."""
    with ExitStack() as opened:
        held = [opened.enter_context(a_page(server, job_ids[one % len(job_ids)])) for one in range(pages)]
        for connection in held:
            text = b""
            while b"job.queued" not in text:
                text += connection.recv(4096)
        following = server.services.following
        until(lambda: sum(one.followers for one in following._channels.values()) == pages)
        with statements(server, told):
            del told[:]
            until(lambda: len([one for one in told if one != "statement"]) > TURNS)
        whole = list(told)
    until(lambda: server.services.streams.open == 0 and following._watching is None)
    first, *_, last = (place for place, one in enumerate(whole) if one != "statement")
    window = whole[first:last]
    assert {one for one in window if one != "statement"} == {f"asked by {id(following)}"}
    return window.count("statement")


def test_two_hundred_open_job_pages_ask_the_database_what_one_does(
    server: Served, ready: dict[str, Any], turns: list[str]
) -> None:
    body = {"kind": "train", "dataset_id": ready["id"]}
    ids = [server.client.post("/v1/jobs", json=body).json()["id"] for _ in range(JOBS)]
    assert asked_in(server, turns, ids[:1], 1) == TURNS
    assert asked_in(server, turns, ids, PAGES) == TURNS
