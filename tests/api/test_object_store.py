"""The same API where blobs are in S3."""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from api import kept
from api.app import create_app
from api.services import Services
from api.settings import Settings
from store import s3
from store.blobs import open_blobs
from store.errors import BlobsUnavailable
from tests.api.helpers import encoded, picture, problem, stored_files, trained
from tests.faults.proxy import Proxy, Weather
from tests.object_store import ObjectStore


@pytest.fixture
def proxy(object_store: ObjectStore) -> Iterator[Proxy]:
    with Proxy(object_store.port) as proxy:
        yield proxy


@pytest.fixture
def settings(
    settings: Settings, object_store: ObjectStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """The object store can be taken away."""
    monkeypatch.setattr(s3, "_ATTEMPTS", 1)
    for name, value in object_store.environment(f"http://127.0.0.1:{proxy.port}").items():
        monkeypatch.setenv(name, value)
    elsewhere = {name for name in Settings.model_fields if name == "blobs" or name.startswith("s3_")}
    others = settings.model_dump(exclude_unset=True, exclude=elsewhere)
    return Settings(**(others | {"presigned_downloads": True}))


@pytest.fixture
def streaming(settings: Settings) -> Iterator[TestClient]:
    """The same service, not handing downloads over."""
    app = create_app(settings.model_copy(update={"presigned_downloads": False}))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


def put_in_parts(client: TestClient, data: bytes) -> str:
    """Id of an upload that came in two parts."""
    tus = {"Tus-Resumable": "1.0.0"}
    made = client.post("/v1/uploads", headers=tus | {"Upload-Length": str(len(data))})
    assert made.status_code == 201, made.text
    half = len(data) // 2
    for start, part in ((0, data[:half]), (half, data[half:])):
        answer = client.patch(
            made.headers["location"],
            content=part,
            headers=tus | {"Upload-Offset": str(start), "Content-Type": "application/offset+octet-stream"},
        )
        assert answer.status_code == 204, answer.text
    return str(made.headers["location"].rpartition("/")[2])


def test_an_upload_in_parts_becomes_a_dataset_in_the_bucket(
    client: TestClient, services: Services, settings: Settings
) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as zipped:
        zipped.writestr("a.txt", "hello")
    upload = put_in_parts(client, content.getvalue())
    answer = client.post("/v1/datasets", json={"upload_id": upload, "name": "cells"})
    assert answer.status_code == 202, answer.text
    sha256 = hashlib.sha256(content.getvalue()).hexdigest()
    assert list(services.blobs.iter()) == [f"sha256/{sha256[:2]}/{sha256}"]
    assert stored_files(settings) == list(services.blobs.iter()), "nothing stays on this host"


def test_a_model_predicts_and_its_files_are_handed_over(
    client: TestClient, streaming: TestClient, services: Services, job: dict[str, Any]
) -> None:
    model = trained(services, job["id"])
    answer = client.post(
        f"/v1/models/{model}/predict", content=encoded(picture()), headers={"Content-Type": "image/png"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["detections"]
    path = f"/v1/models/{model}/artifacts/model.onnx"
    whole = streaming.get(path)
    assert whole.status_code == 200
    told = client.get(path, follow_redirects=False)
    assert told.status_code == 307
    assert told.headers["repr-digest"] == whole.headers["repr-digest"]
    there = httpx.get(told.headers["location"])
    assert there.content == whole.content
    assert there.headers["content-type"] == "application/octet-stream"
    part = streaming.get(path, headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, whole.content[5:10])
    unchanged = client.get(path, headers={"If-None-Match": whole.headers["etag"]}, follow_redirects=False)
    assert unchanged.status_code == 304
    held = client.get(
        path, headers={"Range": "bytes=5-9", "If-Range": whole.headers["etag"]}, follow_redirects=False
    )
    assert (held.status_code, held.content) == (206, part.content), "on condition of our ETag: not theirs"


def test_without_the_object_store_what_needs_it_is_answered_503(
    client: TestClient, streaming: TestClient, services: Services, job: dict[str, Any], proxy: Proxy
) -> None:
    model = trained(services, job["id"])
    proxy.set(Weather.CUT)
    answers = [
        streaming.get(f"/v1/models/{model}/artifacts/model.json"),
        client.post(
            f"/v1/models/{model}/predict", content=encoded(picture()), headers={"Content-Type": "image/png"}
        ),
        client.post("/v1/datasets?name=x", content=b"zip", headers={"Content-Type": "application/zip"}),
    ]
    for answer in answers:
        problem(answer, 503, "blobs_unavailable")
        assert answer.headers["retry-after"]
        assert "127.0.0.1" not in answer.text
    assert client.get("/v1/jobs").status_code == 200, "the rest works"
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"]["blobs"] == "failed (BlobsUnavailable)"
    proxy.set(Weather.FAIR)
    assert client.get("/readyz").json()["checks"]["blobs"] == "ok"


def test_an_archive_that_cannot_be_reached_is_not_a_broken_one(settings: Settings, proxy: Proxy) -> None:
    blobs = open_blobs(settings)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as zipped:
        for name in ("a.bin", "b.bin"):
            zipped.writestr(name, os.urandom(600_000))
    archive = kept.archives(blobs).get(blobs.put_bytes(content.getvalue()).key)
    assert len(archive.read("a.bin")) == 600_000
    proxy.set(Weather.CUT)
    with pytest.raises(BlobsUnavailable):
        archive.read("b.bin")
    proxy.set(Weather.FAIR)
    assert len(archive.read("b.bin")) == 600_000


def test_storage_is_told(client: TestClient, services: Services, job: dict[str, Any]) -> None:
    answer = client.get("/v1/system/storage")
    assert answer.status_code == 200, answer.text
    assert answer.json()["bytes"]["datasets"] > 0
    assert client.post("/v1/system/storage/collect").status_code == 200
