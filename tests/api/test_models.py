"""Models and their files."""

import base64
import hashlib
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from api.negotiation import preferred
from api.services import Services
from tests.api.helpers import METRICS, encoded, picture, problem, trained
from tests.api.tiny_model import CARD, tiny_model


def test_a_model_tells_its_classes_metrics_evaluation_and_files(
    client: TestClient, model: str, job: dict[str, Any]
) -> None:
    body = client.get(f"/v1/models/{model}").json()
    assert (body["object"], body["name"], body["loss"]) == ("model", "reds and greens", "harmonic")
    assert body["classes"] == CARD["classes"]
    assert body["metrics"] == METRICS
    assert (body["job_id"], body["dataset_id"]) == (job["id"], job["spec"]["dataset_id"])
    assert body["evaluation"]["split"] == "val"
    assert body["evaluation"]["metrics"] == METRICS
    assert [artifact["name"] for artifact in body["artifacts"]] == [
        "detections.json",
        "model.json",
        "model.onnx",
    ]


def test_models_are_listed_by_dataset(client: TestClient, model: str, job: dict[str, Any]) -> None:
    listed = client.get("/v1/models", params={"dataset_id": job["spec"]["dataset_id"]}).json()
    assert [item["id"] for item in listed["data"]] == [model]
    assert "artifacts" not in listed["data"][0]
    assert client.get("/v1/models", params={"dataset_id": "ds_other"}).json()["data"] == []


def test_files_are_listed_with_their_hashes(client: TestClient, model: str) -> None:
    listed = client.get(f"/v1/models/{model}/artifacts").json()
    assert {item["name"]: item["sha256"] for item in listed["data"]}["model.onnx"] == hashlib.sha256(
        tiny_model()
    ).hexdigest()


def test_a_file_is_downloaded_whole_and_safely(client: TestClient, model: str) -> None:
    answer = client.get(f"/v1/models/{model}/artifacts/model.onnx")
    sha256 = hashlib.sha256(tiny_model())
    assert (answer.status_code, answer.content) == (200, tiny_model())
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(len(tiny_model()))
    assert answer.headers["etag"] == f'"{sha256.hexdigest()}"'
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(sha256.digest()).decode()}:"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == 'attachment; filename="model.onnx"'
    assert answer.headers["accept-ranges"] == "bytes"


def test_a_file_that_is_known_is_304(client: TestClient, model: str) -> None:
    path = f"/v1/models/{model}/artifacts/model.onnx"
    etag = client.get(path).headers["etag"]
    answer = client.get(path, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, None),
        ("bytes=-7", -7, None),
        ("bytes=5-999999999", 5, None),
        ("bytes=-999999999", 0, None),
    ],
)
def test_a_part_of_a_file_is_206(
    client: TestClient, model: str, asked: str, start: int, end: int | None
) -> None:
    answer = client.get(f"/v1/models/{model}/artifacts/model.onnx", headers={"Range": asked})
    expected = tiny_model()[start:end]
    size = len(tiny_model())
    first = start % size
    assert (answer.status_code, answer.content) == (206, expected)
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(expected) - 1}/{size}"
    assert answer.headers["content-length"] == str(len(expected))


@pytest.mark.parametrize(
    "asked", ["bytes=", "bytes=-", "bytes=9-3", "lines=1-2", "bytes=0-1,5-6", "bytes=a-b"]
)
def test_a_range_that_cannot_be_read_is_ignored(client: TestClient, model: str, asked: str) -> None:
    answer = client.get(f"/v1/models/{model}/artifacts/model.onnx", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, tiny_model())


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
def test_a_range_outside_of_the_file_is_a_problem(client: TestClient, model: str, asked: str) -> None:
    answer = client.get(f"/v1/models/{model}/artifacts/model.onnx", headers={"Range": asked})
    problem(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(tiny_model())}"


def test_a_range_of_another_version_gives_the_whole(client: TestClient, model: str) -> None:
    path = f"/v1/models/{model}/artifacts/model.onnx"
    etag = client.get(path).headers["etag"]
    same = client.get(path, headers={"Range": "bytes=0-9", "If-Range": etag})
    other = client.get(path, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (same.status_code, other.status_code) == (206, 200)


def test_json_files_keep_their_media_type(client: TestClient, model: str) -> None:
    answer = client.get(f"/v1/models/{model}/artifacts/model.json")
    assert answer.headers["content-type"] == "application/json"
    assert orjson.loads(answer.content)["classes"] == CARD["classes"]


def test_a_file_that_the_model_lacks_is_not_found(client: TestClient, model: str) -> None:
    problem(client.get(f"/v1/models/{model}/artifacts/secrets.txt"), 404, "artifact_not_found")


def test_a_deleted_model_is_gone_and_serves_no_more(client: TestClient, model: str) -> None:
    headers = {"Content-Type": "image/png"}
    assert client.post(f"/v1/models/{model}/predict", content=encoded(picture()), headers=headers).is_success
    assert client.delete(f"/v1/models/{model}").status_code == 204
    problem(client.get(f"/v1/models/{model}"), 404, "model_not_found")
    answer = client.post(f"/v1/models/{model}/predict", content=encoded(picture()), headers=headers)
    problem(answer, 404, "model_not_found")


def test_a_model_outlives_its_dataset(client: TestClient, model: str, job: dict[str, Any]) -> None:
    assert client.delete(f"/v1/datasets/{job['spec']['dataset_id']}").status_code == 204
    assert client.get(f"/v1/models/{model}").json()["dataset_id"] is None
    assert client.get(f"/v1/models/{model}").json()["evaluation"]["dataset_id"] is None


def test_a_missing_blob_is_our_fault_and_tells_no_path(
    client: TestClient, services: Services, job: dict[str, Any]
) -> None:
    model = trained(services, job["id"])
    key = hashlib.sha256(tiny_model()).hexdigest()
    services.blobs.delete(f"sha256/{key[:2]}/{key}")
    answer = client.get(f"/v1/models/{model}/artifacts/model.onnx")
    problem(answer, 500, "internal_error")
    assert key not in answer.text


def _accept(value: str) -> Any:
    from fastapi import Request

    return Request({"type": "http", "headers": [(b"accept", value.encode())]})


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("image/png", "image/png"),
        ("image/*", "image/jpeg"),
        ("image/png;q=0.5, image/jpeg", "image/jpeg"),
        ("text/html,application/xhtml+xml,image/webp,*/*;q=0.8", "application/json"),
        ("application/json;q=0, image/*;q=0.1", "image/jpeg"),
        ("*/*;q=0.1, image/png;q=0.2", "image/png"),
        ("image/png;q=nonsense, */*", "application/json"),
    ],
)
def test_the_best_liked_media_type_is_given(accept: str, expected: str) -> None:
    assert preferred(_accept(accept), ["application/json", "image/jpeg", "image/png"]) == expected
