"""Datasets: upload, read, report, delete."""

import hashlib
import json
from functools import partial
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from api.services import Services
from api.settings import Settings
from store import jobs
from store.tables import Job
from tests.api.helpers import (
    ABSENT,
    FINDING,
    archive,
    claimed,
    hints,
    problem,
    rejected,
    stored_files,
    validated,
)

ZIP = {"Content-Type": "application/zip"}


def test_a_raw_upload_is_accepted_and_validated_later(client: TestClient, services: Services) -> None:
    data = archive()
    answer = client.post("/v1/datasets", params={"name": "cells", "format": "voc"}, content=data, headers=ZIP)
    assert answer.status_code == 202
    body = answer.json()
    assert answer.headers["location"] == f"/v1/datasets/{body['id']}"
    assert body["object"] == "dataset"
    assert body["name"] == "cells"
    assert body["status"] == "validating"
    assert body["options"] == {
        "format": "voc",
        "on_invalid": "drop",
        "split": {"val_fraction": 0.2, "seed": 0},
    }
    assert body["archive"] == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    assert client.get(answer.headers["location"]).json() == body
    with services.blobs.open(f"sha256/{body['archive']['sha256'][:2]}/{body['archive']['sha256']}") as file:
        assert file.read() == data
    validation = client.get(f"/v1/jobs/{body['validation_job_id']}").json()
    assert (validation["kind"], validation["status"]) == ("validate", "queued")


def test_a_form_may_hold_the_archive_and_its_parameters_in_any_order(client: TestClient) -> None:
    fields = {
        "name": "cells",
        "on_invalid": "reject",
        "split": json.dumps({"val_fraction": 0.5, "seed": 3}),
        "metadata": json.dumps({"source": "hospital-7"}),
    }
    answer = client.post(
        "/v1/datasets", data=fields, files={"file": ("cells.zip", archive(), "application/zip")}
    )
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert body["name"] == "cells"
    assert body["metadata"] == {"source": "hospital-7"}
    assert body["options"] == {
        "format": "auto",
        "on_invalid": "reject",
        "split": {"val_fraction": 0.5, "seed": 3},
    }


def test_the_hint_for_the_worker_leaves_after_the_upload(client: TestClient, settings: Settings) -> None:
    before = hints(settings)
    client.post("/v1/datasets", content=archive(), headers=ZIP)
    queues = [queue for queue, _ in hints(settings) - before]
    assert queues == ["ingest"]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("format=excel", "query:format"),
        ("on_invalid=ignore", "query:on_invalid"),
        ("name=", "query:name"),
        ("name=a%00b", "query:name"),
        ("nmae=x", "query:nmae"),
        ("split=half", "query:split"),
        ("split=%7B%22val_fraction%22:2%7D", "query:split/val_fraction"),
        ("split=%7B%22test%22:0.1%7D", "query:split/test"),
        ("metadata=%5B1%5D", "query:metadata"),
        ("metadata=%7B%22a%22:1%7D", "query:metadata/a"),
        ("name=a&name=b", "query:name"),
    ],
)
def test_a_wrong_parameter_is_named(client: TestClient, settings: Settings, query: str, pointer: str) -> None:
    answer = client.post(f"/v1/datasets?{query}", content=archive(), headers=ZIP)
    body = problem(answer, 422, "validation_failed")
    assert [error["pointer"] for error in body["errors"]] == [pointer]
    assert stored_files(settings) == []


@pytest.mark.parametrize(
    ("fields", "files", "pointer"),
    [
        ({"nmae": "x"}, {"file": b"x"}, "form:nmae"),
        ({"format": "excel"}, {"file": b"x"}, "form:format"),
        ({}, {"picture": b"x"}, "form:picture"),
        ({}, {"file": b""}, "form:file"),
        ({}, {"file": b"x", "archive": b"y"}, "form:archive"),
    ],
)
def test_a_wrong_form_is_refused_and_nothing_stays(
    client: TestClient, settings: Settings, fields: dict[str, str], files: dict[str, bytes], pointer: str
) -> None:
    answer = client.post(
        "/v1/datasets", data=fields, files={name: ("a.zip", data) for name, data in files.items()}
    )
    body = problem(answer, 422, "validation_failed")
    assert [error["pointer"] for error in body["errors"]] == [pointer]
    assert stored_files(settings) == []


@pytest.mark.parametrize(
    ("content_type", "content", "status", "code"),
    [
        ("application/x-www-form-urlencoded", b"PK", 415, "media_type_unsupported"),
        ("text/plain", b"PK", 415, "media_type_unsupported"),
        ("multipart/form-data", b"--x", 400, "body_malformed"),
        ("multipart/form-data; boundary=x", b"nonsense", 400, "body_malformed"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nno name\r\n--x--\r\n", 400, "body_malformed"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf',
            400,
            "body_malformed",
        ),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 422, "validation_failed"),
        ("application/zip", b"", 422, "validation_failed"),
    ],
)
def test_a_body_that_cannot_be_an_upload_is_refused(
    client: TestClient, settings: Settings, content_type: str, content: bytes, status: int, code: str
) -> None:
    answer = client.post("/v1/datasets", content=content, headers={"Content-Type": content_type})
    problem(answer, status, code)
    assert stored_files(settings) == []
    assert client.get("/v1/datasets").json()["data"] == []


def test_the_same_key_and_upload_give_the_same_dataset(client: TestClient) -> None:
    headers = ZIP | {"Idempotency-Key": "try-1"}
    first = client.post("/v1/datasets", content=archive(), headers=headers)
    second = client.post("/v1/datasets", content=archive(), headers=headers)
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.json() == first.json()
    assert len(client.get("/v1/datasets").json()["data"]) == 1


def test_the_same_key_with_another_upload_is_refused(client: TestClient) -> None:
    headers = ZIP | {"Idempotency-Key": "try-1"}
    client.post("/v1/datasets", content=archive(), headers=headers)
    answer = client.post("/v1/datasets", content=archive("other"), headers=headers)
    problem(answer, 422, "idempotency_mismatch")


def test_the_same_content_is_stored_once(client: TestClient, settings: Settings) -> None:
    for _ in range(2):
        client.post("/v1/datasets", content=archive(), headers=ZIP)
    assert len(client.get("/v1/datasets").json()["data"]) == 2
    assert len(stored_files(settings)) == 1


def test_lists_are_paged_in_both_orders(client: TestClient) -> None:
    ids = [client.post("/v1/datasets", content=archive(), headers=ZIP).json()["id"] for _ in range(3)]
    first = client.get("/v1/datasets", params={"limit": 2}).json()
    assert [item["id"] for item in first["data"]] == [ids[2], ids[1]]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (ids[2], ids[1], True)
    second = client.get("/v1/datasets", params={"limit": 2, "after": first["last_id"]}).json()
    assert [item["id"] for item in second["data"]] == [ids[0]]
    assert second["has_more"] is False
    rising = client.get("/v1/datasets", params={"order": "asc"}).json()
    assert [item["id"] for item in rising["data"]] == ids
    empty = client.get("/v1/datasets", params={"status": "ready"}).json()
    assert empty == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_a_broken_zip_is_told_by_the_dataset_and_its_report(
    client: TestClient, services: Services, dataset: dict[str, Any]
) -> None:
    rejected(services, dataset)
    body = client.get(f"/v1/datasets/{dataset['id']}").json()
    assert body["status"] == "invalid"
    assert body["error"]["code"] == "dataset_invalid"
    assert "no zip archive" in body["error"]["detail"]
    report = client.get(f"/v1/datasets/{dataset['id']}/report").json()
    assert [finding["action"] for finding in report["data"]] == ["rejected"]
    assert report["error"] == body["error"]


def test_the_report_is_paged(client: TestClient, services: Services, dataset: dict[str, Any]) -> None:
    findings = [FINDING | {"location": f"a.json#/annotations/{n}"} for n in range(5)]
    validated(services, dataset, findings)
    path = f"/v1/datasets/{dataset['id']}/report"
    first = client.get(path, params={"limit": 3}).json()
    assert first["status"] == "ready"
    assert first["summary"]["annotations"] == 30
    assert [finding["id"] for finding in first["data"]] == [0, 1, 2]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (0, 2, True)
    rest = client.get(path, params={"limit": 3, "after": first["last_id"]}).json()
    assert [finding["location"] for finding in rest["data"]] == [
        "a.json#/annotations/3",
        "a.json#/annotations/4",
    ]
    assert rest["has_more"] is False


def test_the_report_is_empty_while_validating(client: TestClient, dataset: dict[str, Any]) -> None:
    report = client.get(f"/v1/datasets/{dataset['id']}/report").json()
    assert (report["status"], report["data"], report["summary"]) == ("validating", [], None)


def test_a_deleted_dataset_is_gone(client: TestClient, ready: dict[str, Any]) -> None:
    answer = client.delete(f"/v1/datasets/{ready['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    problem(client.get(f"/v1/datasets/{ready['id']}"), 404, "dataset_not_found")
    problem(client.delete(f"/v1/datasets/{ready['id']}"), 404, "dataset_not_found")


def test_a_dataset_in_use_stays(client: TestClient, job: dict[str, Any]) -> None:
    problem(client.delete(f"/v1/datasets/{job['spec']['dataset_id']}"), 409, "dataset_in_use")


def test_a_deleted_dataset_cannot_be_asked_for_by_its_former_id(client: TestClient) -> None:
    problem(client.delete(f"/v1/datasets/ds_{ABSENT}"), 404, "dataset_not_found")


def test_a_lost_validation_makes_the_dataset_invalid(
    client: TestClient, services: Services, dataset: dict[str, Any]
) -> None:
    job_id = dataset["validation_job_id"]
    for _ in range(3):
        services.database.run(lambda s: s.execute(update(Job).where(Job.id == job_id).values(not_before=0.0)))
        claim = claimed(services, job_id)
        release = partial(jobs.release, claim=claim, stalled=True, reason="worker_lost")
        services.database.run(release)
    body = client.get(f"/v1/datasets/{dataset['id']}").json()
    assert (body["status"], body["error"]["code"]) == ("invalid", "worker_lost")
