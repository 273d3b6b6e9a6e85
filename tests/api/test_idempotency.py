"""Idempotency-Key: the first answer, as it was, and nothing done twice."""

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from httpx2 import Response
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from api import idempotency as once
from api.services import Services
from store import idempotency, projects
from store.idempotency import Asked
from store.tables import DEFAULT_PROJECT, Idempotency
from tests.api.helpers import archive, backbone, claimed, problem, stored_files
from tests.api.served import Served

ZIP = {"Content-Type": "application/zip"}
OCTETS = {"Content-Type": "application/octet-stream"}
KEY = {"Idempotency-Key": "try-1"}


def wanted(dataset: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"kind": "train", "dataset_id": dataset["id"], "config": {"epochs": 2}} | changes


def hold(services: Services, operation: str, *, seconds: float = 60.0, holder: str = "dead") -> None:
    """As if another process were answering such a request."""
    asked = Asked(DEFAULT_PROJECT, operation, KEY["Idempotency-Key"], holder)
    services.database.run(lambda s: idempotency.begin(s, asked, lease_seconds=seconds))


def until_held(services: Services) -> None:
    """Until somebody answers a request with a key."""
    give_up = time.monotonic() + 20
    while not services.database.run(lambda s: s.scalar(select(func.count()).select_from(Idempotency))):
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_a_repeat_is_answered_as_the_first_was(
    client: TestClient, services: Services, ready: dict[str, Any]
) -> None:
    first = client.post("/v1/jobs", json=wanted(ready), headers=KEY)
    assert first.status_code == 202
    assert once.REPLAYED not in first.headers
    claimed(services, first.json()["id"])
    again = client.post("/v1/jobs", json=dict(reversed(wanted(ready).items())), headers=KEY)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.json()["status"] == "queued"  # as it was; the job itself tells how it is
    assert again.headers["location"] == first.headers["location"]
    assert again.headers[once.REPLAYED] == "true"
    assert client.get(again.headers["location"]).json()["status"] == "running"
    other = client.post("/v1/jobs", json=wanted(ready, priority=3), headers=KEY)
    problem(other, 422, "idempotency_mismatch")
    assert len(client.get("/v1/jobs?kind=train").json()["data"]) == 1


def test_the_answer_outlives_what_it_told_of(client: TestClient) -> None:
    first = client.post("/v1/datasets?name=cells", content=archive(), headers=ZIP | KEY)
    dataset = first.json()
    client.post(f"/v1/jobs/{dataset['validation_job_id']}/cancel")
    assert client.delete(f"/v1/datasets/{dataset['id']}").status_code == 204
    again = client.post("/v1/datasets?name=cells", content=archive(), headers=ZIP | KEY)
    assert (again.status_code, again.content) == (202, first.content)
    problem(client.get(again.headers["location"]), 404, "dataset_not_found")


def test_a_form_is_the_same_whatever_its_boundary(client: TestClient) -> None:
    def send(name: str, text: str = "hello") -> Any:
        files = {"file": ("a.zip", archive(text), "application/zip")}
        return client.post("/v1/datasets", files=files, data={"name": name}, headers=KEY)

    first, again = send("cells"), send("cells")
    assert first.request.headers["content-type"] != again.request.headers["content-type"]
    assert again.content == first.content
    problem(send("others"), 422, "idempotency_mismatch")
    problem(send("cells", "other"), 422, "idempotency_mismatch")
    assert len(client.get("/v1/datasets").json()["data"]) == 1


def test_a_key_may_be_used_for_each_operation(client: TestClient, services: Services) -> None:
    dataset = client.post("/v1/datasets", content=archive(), headers=ZIP | KEY).json()
    job = client.post("/v1/jobs", json=wanted(dataset), headers=KEY)
    assert job.status_code == 202
    body = {"url": "https://8.8.8.8/hook", "events": ["job.*"]}
    first = client.post("/v1/webhooks", json=body, headers=KEY)
    assert first.status_code == 201, first.text
    again = client.post("/v1/webhooks", json=body, headers=KEY)
    assert (again.json(), again.headers["cache-control"]) == (first.json(), "no-store")
    assert len(client.get("/v1/webhooks").json()["data"]) == 1


def test_imported_weights_are_one_model(client: TestClient, services: Services) -> None:
    data = backbone()
    answers = [
        client.post("/v1/models?name=base&backbone=mobilenet_v3_large", content=data, headers=KEY | OCTETS)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
    assert answers[0].content == answers[1].content
    assert len(client.get("/v1/models").json()["data"]) == 1


def test_while_it_is_answered_a_repeat_is_told_to_come_again(
    client: TestClient, services: Services, ready: dict[str, Any]
) -> None:
    requests: dict[str, Callable[[], Response]] = {
        "create_job": lambda: client.post("/v1/jobs", json=wanted(ready), headers=KEY),
        "create_dataset": lambda: client.post("/v1/datasets", content=archive(), headers=ZIP | KEY),
    }
    for operation, send in requests.items():
        hold(services, operation)
        answer = send()
        problem(answer, 409, "request_in_progress")
        assert int(answer.headers["retry-after"]) >= 1
        # The API that held it was killed: its lease ends, and nothing is in the way any more.
        services.database.run(lambda s: s.execute(update(Idempotency).values(held_until=0.0)))
        assert send().status_code == 202


def test_two_at_once_are_one(server: Served) -> None:
    """A slow upload keeps its key for as long as it takes."""
    began, go_on = threading.Event(), threading.Event()

    def slowly() -> Any:
        data = archive()
        yield data[:10]
        began.set()
        go_on.wait(20)
        yield data[10:]

    answers: list[httpx2.Response] = []
    url = f"http://127.0.0.1:{server.port}/v1/datasets"
    thread = threading.Thread(
        target=lambda: answers.append(httpx2.post(url, content=slowly(), headers=ZIP | KEY, timeout=30))
    )
    thread.start()
    assert began.wait(20)
    until_held(server.services)
    second = httpx2.post(url, content=archive(), headers=ZIP | KEY, timeout=30)
    assert (second.status_code, second.json()["code"]) == (409, "request_in_progress")
    go_on.set()
    thread.join(30)
    assert answers[0].status_code == 202
    third = httpx2.post(url, content=archive(), headers=ZIP | KEY, timeout=30)
    assert third.content == answers[0].content


def test_a_refusal_is_not_kept(client: TestClient, services: Services, ready: dict[str, Any]) -> None:
    absent = wanted(ready) | {"dataset_id": "ds_01jz4m8x0v3s7q9k2b5c6d7e8f"}
    problem(client.post("/v1/jobs", json=absent, headers=KEY), 404, "dataset_not_found")
    assert client.post("/v1/jobs", json=wanted(ready), headers=KEY).status_code == 202
    problem(client.post("/v1/datasets", content=b"", headers=ZIP | KEY), 422, "validation_failed")
    assert client.post("/v1/datasets", content=archive(), headers=ZIP | KEY).status_code == 202


def test_a_dry_run_is_no_answer_to_keep(client: TestClient, ready: dict[str, Any]) -> None:
    assert client.post("/v1/jobs?dry_run=true", json=wanted(ready), headers=KEY).status_code == 200
    assert client.post("/v1/jobs", json=wanted(ready), headers=KEY).status_code == 202


def test_what_has_lost_its_lease_does_nothing(
    client: TestClient, services: Services, ready: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process stood still past its lease while another answered the repeat."""
    find = idempotency.keep

    def late(session: Any, asked: Asked, answer: Any) -> None:
        monkeypatch.setattr(idempotency, "keep", find)
        rows = update(Idempotency).values(holder="another")
        session.execute(rows.execution_options(synchronize_session=False))
        find(session, asked, answer)

    monkeypatch.setattr(idempotency, "keep", late)
    problem(client.post("/v1/jobs", json=wanted(ready), headers=KEY), 409, "request_in_progress")
    assert client.get("/v1/jobs?kind=train").json()["data"] == []


def test_projects_do_not_share_keys(services: Services) -> None:
    other = services.database.run(lambda s: projects.ensure(s, "others").id)
    for project in (DEFAULT_PROJECT, other):
        asked = Asked(project, "create_job", "k", "a", "f")
        assert services.database.run(lambda s, asked=asked: idempotency.begin(s, asked)) is None  # type: ignore[misc]


def test_every_keyed_route_says_so(client: TestClient) -> None:
    keyed = []
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            if any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", [])):
                keyed.append((method, path))
                answers = operation["responses"]
                assert (
                    "request_in_progress" in answers["409"]["content"]["application/problem+json"]["examples"]
                )
                codes = answers["422"]["content"]["application/problem+json"]["examples"]
                assert "idempotency_mismatch" in codes
                assert any("Idempotent-Replayed" in answer["headers"] for answer in answers.values())
    assert {"/v1/datasets", "/v1/jobs", "/v1/models", "/v1/webhooks"} <= {path for _, path in keyed}
    assert {method for method, _ in keyed} == {"post"}


def test_files_of_a_replayed_upload_are_not_left(client: TestClient, services: Services) -> None:
    for _ in range(3):
        client.post("/v1/datasets", content=archive(), headers=ZIP | KEY)
    assert len(stored_files(services.settings)) == 1
