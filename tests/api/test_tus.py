"""Resumable uploads: tus 1.0, over broken connections and restarts, and the one dataset that each becomes."""

import base64
import hashlib
import os
import socket
import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import Response
from sqlalchemy import update
from starlette.testclient import TestClient
from tusclient.client import TusClient

from api.app import create_app
from api.services import Services
from api.settings import Settings
from store import uploads
from store.errors import UploadBusy
from store.tables import Upload
from tests.api.helpers import archive, problem, stored_files
from tests.api.served import Served, serve

TUS = {"Tus-Resumable": "1.0.0"}
EPOCH = datetime.fromtimestamp(0, UTC)
PART = TUS | {"Content-Type": "application/offset+octet-stream"}


def begin(client: Any, length: int, **headers: str) -> str:
    """The path of a new upload."""
    answer = client.post("/v1/uploads", headers=TUS | {"Upload-Length": str(length)} | headers)
    assert answer.status_code == 201, answer.text
    location: str = answer.headers["location"]
    return location


def send(client: Any, path: str, data: bytes, offset: int, **headers: str) -> Response:
    answer: Response = client.patch(
        path, content=data, headers=PART | {"Upload-Offset": str(offset)} | headers
    )
    return answer


def arrived(client: Any, path: str) -> int:
    answer = client.head(path, headers=TUS)
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"])


def digest(data: bytes, name: str = "sha256") -> str:
    return f"{name} {base64.b64encode(hashlib.new(name, data).digest()).decode()}"


def id_of(path: str) -> str:
    return path.rpartition("/")[2]


def test_it_says_what_it_can(client: TestClient, settings: Settings) -> None:
    path = begin(client, 5)
    for where in ("/v1/uploads", path):
        answer = client.options(where)
        assert answer.status_code == 204
        assert answer.headers["tus-version"] == "1.0.0"
        assert answer.headers["tus-max-size"] == str(settings.upload_limit_bytes)
        assert set(answer.headers["tus-extension"].split(",")) >= {"creation", "termination", "checksum"}
        assert answer.headers["tus-checksum-algorithm"] == "sha256,sha1"


def test_parts_become_one_dataset_and_a_repeat_the_same(
    client: TestClient, services: Services, settings: Settings
) -> None:
    data = archive("x" * 5000)
    path = begin(client, len(data), **{"Upload-Metadata": "filename YS56aXA=, kept"})
    for offset in range(0, len(data), 2000):
        answer = send(client, path, data[offset : offset + 2000], offset)
        assert answer.status_code == 204
        assert answer.headers["upload-offset"] == str(min(len(data), offset + 2000))
        assert answer.headers["upload-expires"].endswith("GMT")
    head = client.head(path, headers=TUS)
    assert (head.headers["upload-offset"], head.headers["upload-length"]) == (str(len(data)),) * 2
    assert head.headers["upload-metadata"] == "filename YS56aXA=, kept"
    assert head.headers["cache-control"] == "no-store"
    assert client.get(path).json()["metadata"] == {"filename": "a.zip", "kept": ""}

    body = {"upload_id": id_of(path), "name": "cells", "split": {"seed": 3}, "metadata": {"a": "b"}}
    made = client.post("/v1/datasets", json=body)
    assert made.status_code == 202, made.text
    dataset = made.json()
    assert made.headers["location"] == f"/v1/datasets/{dataset['id']}"
    assert dataset["archive"] == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    assert (dataset["name"], dataset["metadata"]) == ("cells", {"a": "b"})
    assert dataset["options"]["split"] == {"val_fraction": 0.2, "seed": 3}
    with services.blobs.open(
        f"sha256/{dataset['archive']['sha256'][:2]}/{dataset['archive']['sha256']}"
    ) as file:
        assert file.read() == data
    assert len(stored_files(settings)) == 1

    assert client.post("/v1/datasets", json=body).json() == dataset
    keyed = client.post("/v1/datasets", json=body, headers={"Idempotency-Key": "k"})
    assert keyed.json() == dataset
    problem(client.post("/v1/datasets", json=body | {"name": "others"}), 409, "upload_used")
    problem(send(client, path, b"", len(data)), 409, "upload_used")
    assert client.get(path).json()["dataset_id"] == dataset["id"]
    assert arrived(client, path) == len(data)
    assert len(client.get("/v1/datasets").json()["data"]) == 1


def test_a_key_of_another_request_does_not_use_the_upload(client: TestClient) -> None:
    data = archive()
    headers = {"Idempotency-Key": "k"}
    client.post(
        "/v1/datasets", content=archive("other"), headers=headers | {"Content-Type": "application/zip"}
    )
    path = begin(client, len(data))
    send(client, path, data, 0)
    body = {"upload_id": id_of(path)}
    problem(client.post("/v1/datasets", json=body, headers=headers), 422, "idempotency_mismatch")
    assert client.get(path).json()["dataset_id"] is None
    assert client.post("/v1/datasets", json=body).status_code == 202


def test_the_first_part_may_come_with_the_creation(client: TestClient) -> None:
    data = archive()
    answer = client.post("/v1/uploads", content=data, headers=PART | {"Upload-Length": str(len(data))})
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, str(len(data)))
    assert answer.json()["offset"] == len(data)
    assert client.post("/v1/datasets", json={"upload_id": answer.json()["id"]}).status_code == 202


def test_an_unfinished_upload_is_no_dataset(client: TestClient) -> None:
    path = begin(client, 10)
    send(client, path, b"12345", 0)
    body = problem(client.post("/v1/datasets", json={"upload_id": id_of(path)}), 409, "upload_incomplete")
    assert "5 of 10" in body["detail"]


def test_uploads_are_listed(client: TestClient) -> None:
    paths = [begin(client, 10) for _ in range(3)]
    send(client, paths[0], b"123", 0)
    page = client.get("/v1/uploads", params={"limit": 2}).json()
    assert [item["id"] for item in page["data"]] == [id_of(paths[2]), id_of(paths[1])]
    rest = client.get("/v1/uploads", params={"after": page["last_id"]}).json()
    assert [(item["id"], item["offset"]) for item in rest["data"]] == [(id_of(paths[0]), 3)]


def test_a_deleted_upload_is_gone(client: TestClient, settings: Settings) -> None:
    path = begin(client, 10)
    send(client, path, b"12345", 0)
    assert client.delete(path, headers=TUS).status_code == 204
    assert client.head(path, headers=TUS).status_code == 404
    problem(send(client, path, b"67890", 5), 404, "upload_not_found")
    problem(client.delete(path, headers=TUS), 404, "upload_not_found")
    problem(client.post("/v1/datasets", json={"upload_id": id_of(path)}), 404, "upload_not_found")
    assert stored_files(settings) == []


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Upload-Length": "5"}, 412, "tus_version_unsupported"),
        ({"Upload-Length": "5", "Tus-Resumable": "0.2.2"}, 412, "tus_version_unsupported"),
        (TUS, 422, "validation_failed"),
        (TUS | {"Upload-Length": "0"}, 422, "validation_failed"),
        (TUS | {"Upload-Length": "-1"}, 422, "validation_failed"),
        (TUS | {"Upload-Length": "ten"}, 422, "validation_failed"),
        (TUS | {"Upload-Length": "9" * 30}, 422, "validation_failed"),
        (TUS | {"Upload-Length": "3000001"}, 413, "body_too_large"),
        (TUS | {"Upload-Length": "5", "Upload-Metadata": "name !!"}, 422, "validation_failed"),
        (TUS | {"Upload-Length": "5", "Upload-Metadata": "name gICA"}, 422, "validation_failed"),
        (TUS | {"Upload-Length": "5", "Upload-Metadata": "name AA=="}, 422, "validation_failed"),
        (TUS | {"Upload-Length": "5", "Upload-Metadata": "a YQ==,a Yg=="}, 422, "validation_failed"),
        (TUS | {"Upload-Length": "5", "Upload-Metadata": "n " + "YWFh" * 2000}, 422, "validation_failed"),
    ],
)
def test_a_wrong_creation_is_refused(
    client: TestClient, headers: dict[str, str], status: int, code: str
) -> None:
    problem(client.post("/v1/uploads", headers=headers), status, code)
    assert client.get("/v1/uploads").json()["data"] == []


@pytest.mark.parametrize(
    ("offset", "data", "headers", "status", "code"),
    [
        ("5", b"67890", {"Tus-Resumable": "2.0.0"}, 412, "tus_version_unsupported"),
        ("5", b"67890", {"Content-Type": "application/zip"}, 415, "media_type_unsupported"),
        ("4", b"67890", {}, 409, "offset_mismatch"),
        ("6", b"67890", {}, 409, "offset_mismatch"),
        ("-5", b"67890", {}, 422, "validation_failed"),
        ("five", b"67890", {}, 422, "validation_failed"),
        ("5", b"678901", {}, 413, "body_too_large"),
        ("5", b"67890", {"Upload-Checksum": "md5 AAAA"}, 400, "checksum_unsupported"),
        ("5", b"67890", {"Upload-Checksum": "sha256 AAAA"}, 400, "checksum_unsupported"),
        ("5", b"67890", {"Upload-Checksum": digest(b"67891")}, 460, "checksum_mismatch"),
    ],
)
def test_a_wrong_part_is_refused_and_changes_nothing(
    client: TestClient, offset: str, data: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    path = begin(client, 10)
    send(client, path, b"12345", 0)
    answer = client.patch(path, content=data, headers=PART | {"Upload-Offset": offset} | headers)
    problem(answer, status, code)
    assert arrived(client, path) == 5
    for name in ("sha256", "sha1"):
        half = b"678" if name == "sha256" else b"90"
        good = send(client, path, half, arrived(client, path), **{"Upload-Checksum": digest(half, name)})
        assert good.status_code == 204
    assert arrived(client, path) == 10


def test_a_part_that_grows_too_large_changes_nothing(client: TestClient) -> None:
    path = begin(client, 10)

    def endless() -> Iterator[bytes]:
        for _ in range(20):
            yield b"z"

    answer = client.patch(path, content=endless(), headers=PART | {"Upload-Offset": "0"})
    problem(answer, 413, "body_too_large")
    assert arrived(client, path) == 0


def test_a_project_has_so_many_unfinished_uploads(settings: Settings) -> None:
    with TestClient(
        create_app(settings.model_copy(update={"uploads_limit": 2})), base_url="http://localhost"
    ) as client:
        data = archive()
        first = begin(client, len(data))
        begin(client, 10)
        answer = client.post("/v1/uploads", headers=TUS | {"Upload-Length": "5"})
        problem(answer, 409, "uploads_too_many")
        send(client, first, data, 0)
        assert client.post("/v1/datasets", json={"upload_id": id_of(first)}).status_code == 202
        begin(client, 10)


def test_an_expired_upload_is_forgotten_with_its_bytes(
    client: TestClient, services: Services, settings: Settings
) -> None:
    path, other = begin(client, 10), begin(client, 10)
    send(client, path, b"12345", 0)
    services.database.run(
        lambda s: s.execute(update(Upload).where(Upload.id == id_of(path)).values(expires_at=EPOCH))
    )
    problem(client.get(path), 404, "upload_not_found")
    begin(client, 10)  # whoever begins another one tidies up
    assert stored_files(settings) == []
    with services.database.read() as session:
        assert session.get(Upload, id_of(path)) is None
        assert session.get(Upload, id_of(other)) is not None


def test_a_file_that_nobody_knows_is_collected_in_time(services: Services, settings: Settings) -> None:
    stray = settings.staging / "uploads" / f"upl_{'0' * 26}"
    stray.write_bytes(b"x")
    assert uploads.collect(services.database, services.parts, strays=True) == 0
    os.utime(stray, (1.0, 1.0))
    assert uploads.collect(services.database, services.parts) == 0
    assert uploads.collect(services.database, services.parts, strays=True) == 1
    assert not stray.exists()


def test_without_room_no_upload_is_begun(settings: Settings) -> None:
    with TestClient(
        create_app(settings.model_copy(update={"min_free_bytes": 1 << 60})), base_url="http://localhost"
    ) as client:
        answer = client.post("/v1/uploads", headers=TUS | {"Upload-Length": "5"})
        problem(answer, 507, "storage_full")


def test_bytes_of_a_process_that_died_before_their_checksum_was_seen_do_not_count(
    client: TestClient, services: Services
) -> None:
    path = begin(client, 10)
    send(client, path, b"12345", 0)
    with services.parts.held(id_of(path)) as part:
        part.unverified()
        part.write(b"678")
    assert client.get(path).json()["offset"] == 5
    assert arrived(client, path) == 5
    assert send(client, path, b"67890", 5).status_code == 204


# Over real connections


def half(server: Served, path: str, data: bytes, announced: int, **headers: str) -> socket.socket:
    """A connection that has sent less than it announced."""
    connection = server.connect()
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.sendall(
        (
            f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
            f"Content-Type: application/offset+octet-stream\r\nContent-Length: {announced}\r\n{more}\r\n"
        ).encode()
        + data
    )
    return connection


def is_held(server: Served, path: str) -> bool:
    try:
        with server.services.parts.held(id_of(path), patience_seconds=0):
            return False
    except UploadBusy:
        return True


def test_what_arrived_before_a_connection_broke_or_the_server_restarted_is_kept(
    settings: Settings, app: FastAPI
) -> None:
    data = os.urandom(2_500_000)
    with serve(app) as server:
        path = begin(server.client, len(data))
        with half(server, path, data[:1_500_000], len(data)):
            _wait_until(lambda: server.client.get(path).json()["offset"] > 0)
            time.sleep(0.05)
        offset = arrived(server.client, path)
        assert 1_000_000 < offset <= 1_500_000
    with serve(create_app(settings)) as server:
        assert arrived(server.client, path) == offset
        assert send(server.client, path, data[offset:], offset).status_code == 204
        made = server.client.post("/v1/datasets", json={"upload_id": id_of(path)})
        assert made.json()["archive"]["sha256"] == hashlib.sha256(data).hexdigest()


def test_a_client_that_is_back_takes_over_from_its_dead_connection(server: Served) -> None:
    path = begin(server.client, 10)
    with half(server, path, b"1234", 10) as connection:
        _wait_until(lambda: is_held(server, path))
        assert arrived(server.client, path) == 4
        assert connection.recv(65_536).startswith(b"HTTP/1.1 423")
        assert send(server.client, path, b"567890", 4).status_code == 204


def test_a_broken_part_with_a_checksum_leaves_nothing(server: Served) -> None:
    path = begin(server.client, 10)
    checked = {"Upload-Checksum": digest(b"1234567890")}
    with half(server, path, b"1234", 10, **checked):
        _wait_until(lambda: is_held(server, path))
    assert arrived(server.client, path) == 0
    good = send(server.client, path, b"1234567890", 0, **checked)
    assert good.status_code == 204


def test_a_connection_that_falls_silent_ends_and_its_bytes_stay(settings: Settings) -> None:
    with serve(create_app(settings.model_copy(update={"upload_idle_seconds": 0.1}))) as server:
        path = begin(server.client, 10)
        with half(server, path, b"1234", 10) as connection:
            assert connection.recv(65_536).startswith(b"HTTP/1.1 408")
        assert arrived(server.client, path) == 4


def test_the_client_of_the_protocols_authors_uploads_and_resumes(server: Served, tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    file.write_bytes(os.urandom(300_000))
    client: Any = TusClient(f"http://127.0.0.1:{server.port}/v1/uploads")
    options: dict[str, Any] = {"chunk_size": 100_000, "upload_checksum": True}
    with file.open("rb") as stream:
        first = client.uploader(file_stream=stream, metadata={"filename": "a.zip"}, **options)
        first.upload_chunk()
        again = client.uploader(file_stream=stream, url=first.url, **options)
        assert again.offset == 100_000
        again.upload()
    made = server.client.post("/v1/datasets", json={"upload_id": id_of(first.url)})
    assert made.json()["archive"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_large_upload_takes_no_more_memory_than_a_small_one(settings: Settings) -> None:
    size = 48 << 20
    piece = b"z" * 65_536
    with serve(create_app(settings.model_copy(update={"upload_limit_bytes": size}))) as server:
        path = begin(server.client, size)
        tracemalloc.start()
        try:
            rest = (piece for _ in range(size // len(piece)))
            answer = server.client.patch(path, content=rest, headers=PART | {"Upload-Offset": "0"})
            assert answer.status_code == 204
            made = server.client.post("/v1/datasets", json={"upload_id": id_of(path)})
            assert made.json()["archive"]["bytes"] == size
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
        finally:
            tracemalloc.stop()


def _wait_until(condition: Any) -> None:
    give_up = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)
