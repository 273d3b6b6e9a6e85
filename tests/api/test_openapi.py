"""The OpenAPI description: whole, with examples that are true."""

import base64
import hashlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

from api import openapi
from api.app import create_app
from api.schemas import (
    architectures,
    common,
    comparisons,
    dataset_images,
    datasets,
    evaluations,
    jobs,
    keys,
    model_aliases,
    models,
    predictions,
    searches,
    storage,
    system,
    uploads,
    webhooks,
    workers,
)
from api.settings import Settings

PROBLEM = "application/problem+json"
SHAPES: dict[str, type[BaseModel]] = {
    name: shape
    for module in (
        *(architectures, common, comparisons, dataset_images, datasets, evaluations, jobs, keys),
        *(model_aliases, models, predictions, searches, storage, system, uploads, webhooks, workers),
    )
    for name, shape in vars(module).items()
    if isinstance(shape, type) and issubclass(shape, BaseModel)
}


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """As served; needs no database."""
    app = create_app(Settings(data=tmp_path_factory.mktemp("data")))
    return openapi.describe(app)


def operations(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def bodies(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(where, media type, media object) of every request and answer body."""
    for name, operation in operations(description):
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{name} request", kind, media
        for status, answer in operation["responses"].items():
            for kind, media in answer.get("content", {}).items():
                yield f"{name} {status}", kind, media


def examples(media: dict[str, Any]) -> list[Any]:
    if "example" in media:
        return [media["example"]]
    return [example["value"] for example in media.get("examples", {}).values()]


def shapes(schema: dict[str, Any]) -> list[type[BaseModel]]:
    references = [schema, *schema.get("anyOf", []), *schema.get("oneOf", [])]
    names = [str(part["$ref"]).rpartition("/")[2] for part in references if "$ref" in part]
    return [SHAPES[name] for name in names]


def test_it_is_served(client: TestClient, description: dict[str, Any]) -> None:
    served = client.get("/openapi.json").json()
    assert served["paths"].keys() == description["paths"].keys()
    assert served["openapi"].startswith("3.1")


def test_every_operation_can_be_understood(description: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(description)]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z_]+", operation_id) for operation_id in ids)
    tags = {tag["name"] for tag in description["tags"]}
    for name, operation in operations(description):
        assert operation["summary"], name
        assert operation["description"], name
        assert set(operation["tags"]) <= tags, name
        assert all(parameter.get("description") for parameter in operation.get("parameters", [])), name


def test_every_error_is_a_problem_with_an_example_of_its_code(description: dict[str, Any]) -> None:
    for name, operation in operations(description):
        statuses = {status for status in operation["responses"] if status >= "400"}
        assert {"500", "503"} <= statuses, name
        for status in statuses:
            content = operation["responses"][status]["content"]
            assert content.keys() == {PROBLEM}, (name, status)
            found = examples(content[PROBLEM])
            assert found, (name, status)
            assert all(str(example["status"]) == status for example in found), (name, status)
            assert list(content[PROBLEM]["examples"]) == [example["code"] for example in found]


def test_every_operation_with_parameters_may_answer_422(description: dict[str, Any]) -> None:
    for name, operation in operations(description):
        if operation.get("parameters") or operation.get("requestBody"):
            assert "422" in operation["responses"], name


def test_every_answer_has_the_request_id(description: dict[str, Any]) -> None:
    for name, operation in operations(description):
        for status, answer in operation["responses"].items():
            assert "X-Request-ID" in answer["headers"], (name, status)


def test_every_json_body_has_an_example_and_each_one_is_true(description: dict[str, Any]) -> None:
    checked = 0
    for where, kind, media in bodies(description):
        if kind not in ("application/json", PROBLEM):
            continue
        found = examples(media)
        assert found, where
        possible = shapes(media["schema"])
        assert possible, where
        for example in found:
            assert any(_is(shape, example) for shape in possible), (where, example)
            checked += 1
    assert checked > 100


def _is(shape: type[BaseModel], example: Any) -> bool:
    try:
        made = shape.model_validate(example)
    except ValueError:
        return False
    # An example must not show what the shape does not have.
    return issubclass(shape, common.Problem) or _names(example) <= _names(made.model_dump(mode="json"))


def _names(value: Any) -> set[str]:
    """Paths of every field, with list positions left out."""
    if isinstance(value, dict):
        return {f".{key}{rest}" for key, inner in value.items() for rest in ({""} | _names(inner))}
    if isinstance(value, list):
        return {rest for inner in value for rest in _names(inner)}
    return set()


def test_binary_bodies_are_binary(description: dict[str, Any]) -> None:
    binary = {
        (where, kind) for where, kind, media in bodies(description) if media.get("schema") == openapi.BINARY
    }
    assert ("POST /v1/datasets request", "application/zip") in binary
    assert ("POST /v1/models/{model_id}/predict request", "image/*") in binary
    assert ("POST /v1/models/{model_id}/predict 200", "image/png") in binary
    assert ("GET /v1/models/{model_id}/artifacts/{name} 206", "application/octet-stream") in binary
    form = description["paths"]["/v1/datasets"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert form["schema"]["properties"]["file"]["format"] == "binary"
    assert set(datasets.DatasetCreate.model_fields) < set(form["schema"]["properties"])


def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            for inner in value.values():
                yield from walk(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner)

    for reference in walk(description):
        here: Any = description
        for step in reference.removeprefix("#/").split("/"):
            here = here[step]
    assert "HTTPValidationError" not in str(description)


def test_every_field_a_user_sends_has_a_sentence(description: dict[str, Any]) -> None:
    for name in ("TrainJobCreate", "EvaluateJobCreate", "TrainConfig", "HarmonicLoss", "SGD", "SSDLite320"):
        for field, schema in description["components"]["schemas"][name]["properties"].items():
            assert schema.get("description") or field == "kind", (name, field)


def test_a_choice_may_be_written_as_its_bare_name(description: dict[str, Any]) -> None:
    loss = description["components"]["schemas"]["TrainConfig"]["properties"]["loss"]
    assert loss["anyOf"][0] == {"type": "string", "enum": ["harmonic", "baseline"]}


def test_the_page_of_the_api_needs_no_network(client: TestClient, description: dict[str, Any]) -> None:
    answer = client.get("/docs")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    style = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert [_csp_hash(one) in policy for one in style] == [True]
    # Whatever the page shows, it loads nothing, runs nothing, and links only into itself.
    assert not re.search(r"<(script|img|link|iframe|form|object|base)", answer.text)
    assert not re.search(r"<[^>]*\s(src|style|on\w+)=", answer.text)
    links = re.findall(r"<a href=([^>]+)>", answer.text)
    anchors = set(re.findall(r"<h[23] id=([^>]+)>", answer.text))
    assert {link for link in links if not link.startswith("#")} == {"/openapi.json"}
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    for path in description["paths"]:
        assert f"</b> {path}</h3>" in answer.text
    for name in description["components"]["schemas"]:
        assert f">{name}</h3>" in answer.text


def _csp_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
