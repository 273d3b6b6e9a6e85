"""Uploads over a real connection: counted while they stream, and nothing of a broken one stays."""

import io
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from fastapi import FastAPI

from api.app import create_app
from api.settings import Settings
from tests.api.helpers import problem, stored_files
from tests.api.served import Served, serve

T = TypeVar("T")
ZIP = {"Content-Type": "application/zip"}


def chunks(total: int, size: int = 65_536) -> Iterator[bytes]:
    """`total` bytes without a Content-Length."""
    for start in range(0, total, size):
        yield b"z" * min(size, total - start)


def test_a_stream_of_unknown_length_is_stored_whole(server: Served) -> None:
    answer = server.client.post("/v1/datasets", content=chunks(2_900_000), headers=ZIP)
    assert answer.status_code == 202, answer.text
    assert answer.json()["archive"]["bytes"] == 2_900_000


def test_a_large_form_is_stored_byte_by_byte(server: Served) -> None:
    data = bytes(range(256)) * 10_000
    answer = server.client.post("/v1/datasets", files={"file": ("a.zip", io.BytesIO(data))})
    assert answer.status_code == 202, answer.text
    key = answer.json()["archive"]["sha256"]
    with server.services.blobs.open(f"sha256/{key[:2]}/{key}") as file:
        assert file.read() == data


def test_an_upload_that_announces_too_much_is_refused_before_it_is_sent(
    server: Served, settings: Settings
) -> None:
    with server.connect() as connection:
        connection.sendall(
            b"POST /v1/datasets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/zip\r\n"
            b"Content-Length: 9999999999\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body_too_large" in answer
    assert stored_files(settings) == []


def test_an_upload_that_grows_too_large_is_refused_and_nothing_stays(
    server: Served, settings: Settings
) -> None:
    with server.connect() as connection:
        connection.sendall(
            b"POST /v1/datasets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/zip\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for chunk in chunks(3_050_000, 50_000):
            connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body_too_large" in answer
    assert stored_files(settings) == []
    assert server.client.get("/v1/datasets").json()["data"] == []


@pytest.mark.parametrize("content_type", ["application/zip", "multipart/form-data; boundary=x"])
def test_an_upload_that_breaks_leaves_nothing(server: Served, settings: Settings, content_type: str) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
    with server.connect() as connection:
        connection.sendall(
            b"POST /v1/datasets HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n"
            b"Content-Length: 2500000\r\n\r\n" % content_type.encode()
        )
        connection.sendall(part + b"z" * 1_500_000)
        staged = _wait_for(lambda: stored_files(settings))
        assert staged[0].startswith("staging/")
    assert _wait_for(lambda: not stored_files(settings))
    assert server.client.get("/v1/datasets").json()["data"] == []
    assert server.client.get("/healthz").status_code == 200


@pytest.fixture
def full_disk(settings: Settings) -> FastAPI:
    """An application whose data volume never has the room that must stay free."""
    return create_app(settings.model_copy(update={"min_free_bytes": 1 << 60}))


def test_without_room_an_upload_is_refused_and_nothing_stays(full_disk: FastAPI, settings: Settings) -> None:
    with serve(full_disk) as server:
        answer = server.client.post("/v1/datasets", content=b"z" * 100_000, headers=ZIP)
        problem(answer, 507, "storage_full")
    assert stored_files(settings) == []


def _wait_for(condition: Callable[[], T]) -> T:
    """The first true value of `condition`."""
    give_up = time.monotonic() + 10
    while not (value := condition()):
        assert time.monotonic() < give_up
        time.sleep(0.01)
    return value
