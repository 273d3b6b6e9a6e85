"""Every error is a problem that says what and where, and tells nothing of our insides."""

import re
from collections.abc import Sequence

import pytest
from starlette.testclient import TestClient

from api.errors import pointer
from api.services import Services
from store import datasets
from store.errors import Unavailable
from tests.api.helpers import ABSENT, problem


def test_a_path_that_does_not_exist_is_a_problem(client: TestClient) -> None:
    body = problem(client.get("/v1/nothing"), 404, "not_found")
    assert body["instance"] == "/v1/nothing"


def test_a_method_that_is_not_possible_names_those_that_are(client: TestClient) -> None:
    answer = client.put("/v1/jobs", json={})
    problem(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/v1/datasets/ds_{ABSENT}", "dataset_not_found"),
        (f"/v1/datasets/ds_{ABSENT}/report", "dataset_not_found"),
        (f"/v1/jobs/job_{ABSENT}", "job_not_found"),
        (f"/v1/jobs/job_{ABSENT}/events", "job_not_found"),
        (f"/v1/jobs/job_{ABSENT}/metrics", "job_not_found"),
        (f"/v1/jobs/job_{ABSENT}/logs", "job_not_found"),
        (f"/v1/models/mdl_{ABSENT}", "model_not_found"),
        (f"/v1/models/mdl_{ABSENT}/artifacts", "model_not_found"),
        (f"/v1/models/mdl_{ABSENT}/artifacts/model.onnx", "model_not_found"),
        ("/v1/architectures/yolo9000/schema", "architecture_not_found"),
        ("/v1/jobs/no-id-at-all", "job_not_found"),
        ("/v1/jobs/%00", "job_not_found"),
        ("/v1/jobs/%ff%fe", "job_not_found"),
        ("/v1/models/mdl_%F0%9F%92%A9", "model_not_found"),
        (f"/v1/models/mdl_{ABSENT}/artifacts/..%2fx", "not_found"),
    ],
)
def test_what_is_absent_or_cannot_exist_is_not_found(client: TestClient, path: str, code: str) -> None:
    problem(client.get(path), 404, code)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "body_malformed"),
        (b"\xff\xfe", 400, "body_malformed"),
        (b"[" * 9000, 400, "body_malformed"),
        (b"", 422, "validation_failed"),
        (b"null", 422, "validation_failed"),
        (b"[]", 422, "validation_failed"),
        (b'{"kind": "train"}', 422, "validation_failed"),
        (b'{"kind": "train", "dataset_id": "\\ud800"}', 422, "validation_failed"),
        (b'{"kind": "train", "dataset_id": "a", "config": {"epochs": NaN}}', 422, "validation_failed"),
        (b'{"kind": "train", "dataset_id": "a", "name": "a\\u0000b"}', 422, "validation_failed"),
        (b'{"kind": "train", "dataset_id": "a\\u0000b"}', 404, "dataset_not_found"),
    ],
)
def test_a_broken_body_is_the_senders_problem(
    client: TestClient, body: bytes, status: int, code: str
) -> None:
    problem(client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"}), status, code)


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({}, "/kind", "must be there: it says what is meant"),
        ({"kind": "validate"}, "/kind", "must be one of 'train', 'evaluate', not 'validate'"),
        ([], "", "must be an object"),
        (
            {"kind": "train", "dataset_id": "ds_x", "config": {"loss": {"kind": "sharp"}}},
            "/config/loss/kind",
            "must be one of 'harmonic', 'baseline', not 'sharp'",
        ),
    ],
)
def test_a_wrong_choice_is_told_where_it_is_made(
    client: TestClient, body: object, pointer: str, detail: str
) -> None:
    errors = problem(client.post("/v1/jobs", json=body), 422, "validation_failed")["errors"]
    assert [(error["pointer"], error["detail"]) for error in errors] == [(pointer, detail)]


def test_each_wrong_field_has_its_pointer(client: TestClient) -> None:
    config = {"epochs": 0, "optimizer": {"kind": "sgd", "lrr": 1}, "loss": "sharp", "foo": {"bar": 1}}
    answer = client.post("/v1/jobs", json={"kind": "train", "dataset_id": "ds_x", "config": config})
    body = problem(answer, 422, "validation_failed")
    assert {error["pointer"]: error["code"] for error in body["errors"]} == {
        "/config/epochs": "greater_than_equal",
        "/config/optimizer/lrr": "extra_forbidden",
        "/config/loss": "union_tag_invalid",
        "/config/foo": "extra_forbidden",
    }
    assert "/config/foo: there is no field named 'foo'" in [
        f"{error['pointer']}: {error['detail']}" for error in body["errors"]
    ]


@pytest.mark.parametrize(
    ("location", "document", "expected"),
    [
        ((), {}, ""),
        (("a", 0, "b"), {"a": [{"b": 1}]}, "/a/0/b"),
        (("optimizer", "sgd", "lr"), {"optimizer": {"kind": "sgd", "lr": -1}}, "/optimizer/lr"),
        (("optimizer", "sgd", "sgd"), {"optimizer": {"kind": "sgd", "sgd": 1}}, "/optimizer/sgd"),
        (("loss", "harmonic", "gamma"), {"loss": "harmonic"}, "/loss/gamma"),
        (("a/b", "c~d"), {"a/b": {}}, "/a~1b/c~0d"),
        (("missing", "deep"), {}, "/missing/deep"),
    ],
)
def test_pointers_follow_the_document_not_the_schema(
    location: Sequence[int | str], document: object, expected: str
) -> None:
    assert pointer(location, document) == expected


def test_a_query_parameter_is_named_with_its_place(client: TestClient) -> None:
    body = problem(client.get("/v1/jobs?limit=0&status=lost"), 422, "validation_failed")
    assert [error["pointer"] for error in body["errors"]] == ["query:limit", "query:status"]


def test_a_body_over_the_limit_is_refused(client: TestClient) -> None:
    problem(client.post("/v1/jobs", json={"x": "y" * 30_000}), 413, "body_too_large")


def test_a_body_without_length_is_counted(client: TestClient) -> None:
    chunks = (b"x" * 5_000 for _ in range(5))
    headers = {"Content-Type": "application/json"}
    problem(client.post("/v1/jobs", content=chunks, headers=headers), 413, "body_too_large")


def test_the_request_id_comes_back(client: TestClient) -> None:
    answer = client.get("/healthz", headers={"X-Request-ID": "abc-123"})
    assert answer.headers["x-request-id"] == "abc-123"


@pytest.mark.parametrize("given", ["", "with space", "x" * 65, "a\tb", "<script>"])
def test_a_request_id_that_is_not_plain_is_replaced(client: TestClient, given: str) -> None:
    answer = client.get("/healthz", headers={"X-Request-ID": given})
    assert re.fullmatch(r"req_[0-9a-z]{26}", answer.headers["x-request-id"])


def test_an_unexpected_error_tells_nothing_but_its_request_id(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(datasets, "get", broken)
    answer = client.get(f"/v1/datasets/ds_{ABSENT}")
    body = problem(answer, 500, "internal_error")
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text
    assert ".py" not in answer.text
    assert body["request_id"] in caplog.text
    assert "hunter2" in caplog.text


def test_a_database_that_is_away_is_503_and_worth_another_try(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(datasets, "get", away)
    answer = client.get(f"/v1/datasets/ds_{ABSENT}")
    problem(answer, 503, "database_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
