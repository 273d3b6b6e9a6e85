"""A project keeps no more bytes than it may."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from api.services import Services
from store import quotas
from store.tables import DEFAULT_PROJECT
from tests.api.helpers import archive, backbone, problem, stored_files

ZIP = {"Content-Type": "application/zip"}
SIZE = len(archive())


@pytest.fixture
def room(services: Services) -> Any:
    """Sets the quota to so many archives more than there are."""

    def limit(archives: float) -> None:
        services.database.run(lambda s: quotas.limit(s, DEFAULT_PROJECT, max_bytes=int(archives * SIZE)))

    return limit


def upload(client: TestClient, text: str = "hello", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/v1/datasets", content=archive(text), headers=ZIP | named)


def test_uploads_past_the_quota_are_refused_and_leave_nothing(
    client: TestClient, services: Services, room: Any
) -> None:
    room(1.5)
    first = upload(client)
    assert first.status_code == 202
    me = client.get("/v1/me").json()
    assert me["quotas"] == {"max_queued_jobs": 0, "max_running_jobs": 0, "max_bytes": int(1.5 * SIZE)}
    assert (me["usage"]["bytes"], me["usage"]["datasets"]) == (SIZE, SIZE)
    problem(upload(client, "other"), 413, "storage_quota_exceeded")
    form = {"file": ("a.zip", archive("third"), "application/zip")}
    problem(client.post("/v1/datasets", files=form), 413, "storage_quota_exceeded")
    assert len(client.get("/v1/datasets").json()["data"]) == 1
    assert len(stored_files(services.settings)) == 1
    client.post(f"/v1/jobs/{first.json()['validation_job_id']}/cancel")
    assert client.delete(f"/v1/datasets/{first.json()['id']}").status_code == 204
    assert upload(client, "other").status_code == 202


def test_a_repeat_is_answered_although_nothing_is_left(client: TestClient, room: Any) -> None:
    room(1)
    first = upload(client, idempotency_key="k")
    again = upload(client, idempotency_key="k")
    assert (again.status_code, again.content) == (202, first.content)


def test_a_resumable_upload_is_counted_as_it_begins(client: TestClient, room: Any) -> None:
    room(1)
    begin = {"Tus-Resumable": "1.0.0", "Upload-Length": str(SIZE)}
    begun = client.post("/v1/uploads", headers=begin)
    assert begun.status_code == 201
    assert client.get("/v1/me").json()["usage"]["uploads"] == SIZE
    problem(client.post("/v1/uploads", headers=begin), 413, "storage_quota_exceeded")
    problem(upload(client), 413, "storage_quota_exceeded")
    part = {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
    }
    assert client.patch(begun.headers["location"], content=archive(), headers=part).status_code == 204
    made = client.post("/v1/datasets", json={"upload_id": begun.json()["id"]})
    assert made.status_code == 202, made.text
    usage = client.get("/v1/me").json()["usage"]
    assert (usage["uploads"], usage["datasets"], usage["bytes"]) == (0, SIZE, SIZE)


def test_weights_past_the_quota_are_refused(client: TestClient, room: Any) -> None:
    data = backbone()
    path, headers = "/v1/models?backbone=mobilenet_v3_large", {"Content-Type": "application/octet-stream"}
    room(1)
    problem(client.post(path, content=data, headers=headers), 413, "storage_quota_exceeded")
    room(0)
    assert client.post(path, content=data, headers=headers).status_code == 201
    assert client.get("/v1/me").json()["usage"]["models"] == len(data)
