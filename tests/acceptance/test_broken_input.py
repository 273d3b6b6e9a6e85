"""Broken input meets the real service: answers say what is wrong and where, nothing half-made stays."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.service import RunningService

pytestmark = pytest.mark.acceptance

JSON = "annotations/instances_train.json"


def _changed(archive: Path, members: dict[str, bytes], *, without: str | None = None) -> bytes:
    """The archive with members replaced or left out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            if name != without:
                target.writestr(name, members.get(name, source.read(name)))
    return buffer.getvalue()


def _annotations(archive: Path) -> dict[str, Any]:
    with zipfile.ZipFile(archive) as source:
        content: dict[str, Any] = json.loads(source.read(JSON))
        return content


def _refusal(service: RunningService, data: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The problem of a dataset that is refused, and its findings."""
    answer = service.client.post(
        "/v1/datasets?on_invalid=reject", content=data, headers={"content-type": "application/zip"}
    )
    assert answer.status_code == 202, answer.text
    path = f"/v1/datasets/{answer.json()['id']}"
    dataset = service.until(lambda: _settled(service, path), 30)
    assert dataset["status"] == "invalid"
    problem = dataset["error"]
    assert {"type", "title", "status", "code", "detail"} <= problem.keys()
    assert problem["code"] == "dataset_invalid" or problem["code"].startswith("archive_")
    findings: list[dict[str, Any]] = service.get(f"{path}/report")["data"]
    assert service.get(f"/v1/jobs/{dataset['validation_job_id']}")["status"] == "succeeded"
    return problem, findings


def _settled(service: RunningService, path: str) -> dict[str, Any] | None:
    dataset: dict[str, Any] = service.get(path)
    return dataset if dataset["status"] != "validating" else None


def _found(findings: list[dict[str, Any]], code: str) -> dict[str, Any]:
    (finding,) = [finding for finding in findings if finding["code"] == code]
    return finding


def test_a_broken_zip(service: RunningService, archive: Path) -> None:
    _, findings = _refusal(service, archive.read_bytes()[:5000])
    assert _found(findings, "archive_unreadable")["severity"] == "error"


def test_no_annotations(service: RunningService, archive: Path) -> None:
    images_only = io.BytesIO()
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(images_only, "w") as target:
        for name in source.namelist():
            if name.endswith(".jpg"):
                target.writestr(name, source.read(name))
    _, findings = _refusal(service, images_only.getvalue())
    assert _found(findings, "no_annotations")


def test_an_unknown_class_id_is_pointed_to(service: RunningService, archive: Path) -> None:
    content = _annotations(archive)
    content["annotations"][3]["category_id"] = 77
    _, findings = _refusal(service, _changed(archive, {JSON: json.dumps(content).encode()}))
    finding = _found(findings, "unknown_category")
    assert finding["location"] == f"{JSON}#/annotations/3/category_id"
    assert "77" in finding["message"]


def test_a_nan_box_is_pointed_to(service: RunningService, archive: Path) -> None:
    content = _annotations(archive)
    content["annotations"][5]["bbox"][2] = float("nan")
    problem, findings = _refusal(service, _changed(archive, {JSON: json.dumps(content).encode()}))
    finding = _found(findings, "non_finite_box")
    assert finding["location"].startswith(f"{JSON}#/annotations/5/bbox")
    assert finding["location"] in problem["detail"]


def test_a_missing_image_is_named(service: RunningService, archive: Path) -> None:
    _, findings = _refusal(service, _changed(archive, {}, without="train/000002.jpg"))
    assert "000002.jpg" in _found(findings, "image_missing")["message"]


def test_a_truncated_jpeg_is_named(service: RunningService, archive: Path) -> None:
    with zipfile.ZipFile(archive) as source:
        whole = source.read("train/000003.jpg")
    _, findings = _refusal(service, _changed(archive, {"train/000003.jpg": whole[: len(whole) // 2]}))
    assert _found(findings, "image_corrupt")["location"].startswith("train/000003.jpg")


def test_a_training_that_waits_for_a_bad_dataset_fails_with_its_reason(service: RunningService) -> None:
    dataset = service.client.post(
        "/v1/datasets", content=b"no zip", headers={"content-type": "application/zip"}
    )
    job = service.client.post("/v1/jobs", json={"kind": "train", "dataset_id": dataset.json()["id"]})
    if job.status_code == 409:  # the verdict was there first
        assert job.json()["code"] == "dataset_not_usable"
        return
    ended = service.ended(job.json()["id"])
    assert (ended["status"], ended["status_reason"]) == ("failed", "dataset_invalid")


def test_a_config_with_an_unknown_field_makes_no_job(service: RunningService, dataset: str) -> None:
    before = service.get("/v1/jobs?limit=1")["first_id"]
    answer = service.client.post(
        "/v1/jobs", json={"kind": "train", "dataset_id": dataset, "config": {"epoch": 3}}
    )
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/config/epoch"]
    assert service.get("/v1/jobs?limit=1")["first_id"] == before


def test_a_text_file_is_no_image(service: RunningService, unbroken: str) -> None:
    model_id = service.job(unbroken)["model_id"]
    answer = service.client.post(
        f"/v1/models/{model_id}/predict", content=b"hello", headers={"content-type": "text/plain"}
    )
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code in (415, 422)
    octets = service.client.post(
        f"/v1/models/{model_id}/predict",
        content=b"hello",
        headers={"content-type": "application/octet-stream"},
    )
    assert (octets.status_code, octets.json()["code"]) == (422, "image_invalid")


def test_nothing_half_made_stays(service: RunningService) -> None:
    left = [
        path for path in (service.data / "blobs").rglob("*") if path.is_file() and "sha256" not in path.parts
    ]
    assert [path for path in left if "jobs" not in path.parts] == []
    assert list((service.data / "runs").iterdir()) == []
