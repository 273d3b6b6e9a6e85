"""Who may do what: every operation of the description, asked by every kind of caller."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient

from api import access
from api.app import create_app
from api.services import Services
from api.settings import Settings
from store import keys, projects, webhooks
from store.keys import Scope
from store.tables import DEFAULT_PROJECT
from tests.api.helpers import ABSENT, archive, trained, validated

TUS = {"Tus-Resumable": "1.0.0"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"require_keys": True})


def key(services: Services, *scopes: Scope, project: str = DEFAULT_PROJECT, **more: Any) -> dict[str, str]:
    """The header of a new key."""
    assert services.secret is not None
    with services.database.begin() as session:
        project_id = projects.ensure(session, project).id
        new = keys.create(
            session,
            secret=services.secret,
            project_id=project_id,
            name="test",
            scopes=scopes or tuple(Scope),
            **more,
        )
    return {"Authorization": f"Bearer {new.text}"}


@pytest.fixture
def owner(services: Services) -> dict[str, str]:
    return key(services)


@pytest.fixture
def names(client: TestClient, services: Services, owner: dict[str, str]) -> dict[str, str]:
    """Path parameters that name something of the owner's."""
    headers = owner | {"Content-Type": "application/zip"}
    dataset = client.post("/v1/datasets?name=cells", content=archive(), headers=headers).json()
    validated(services, dataset)
    body = {"kind": "train", "dataset_id": dataset["id"], "config": {"epochs": 2}}
    job = client.post("/v1/jobs", json=body, headers=owner).json()
    queued = client.post("/v1/jobs", json=body, headers=owner).json()
    with services.database.begin() as session:
        webhook = webhooks.create(
            session, project_id=DEFAULT_PROJECT, url="https://example.org", events=["ping"]
        )
    arms = {"arms": [{"name": "one"}, {"name": "other"}], "dataset_id": dataset["id"]}
    comparison = client.post("/v1/comparisons", json=arms, headers=owner).json()
    space = {"space": {"epochs": {"kind": "int", "low": 1, "high": 9}}, "max_trials": 2}
    search = client.post("/v1/searches", json=space | {"dataset_id": dataset["id"]}, headers=owner).json()
    upload = client.post("/v1/uploads", headers=owner | TUS | {"Upload-Length": "5"})
    other = client.post("/v1/keys", json={"name": "spare", "scopes": ["read"]}, headers=owner).json()
    model = trained(services, job["id"])
    (evaluation,) = client.get("/v1/evaluations", headers=owner).json()["data"]
    assert client.put("/v1/model-aliases/best", json={"model_id": model}, headers=owner).status_code == 201
    return {
        "dataset_id": dataset["id"],
        "model_id": model,
        "alias": "best",
        "evaluation_id": evaluation["id"],
        "comparison_id": comparison["id"],
        "search_id": search["id"],
        "figure": "pr",
        "job_id": queued["id"],
        "key_id": other["id"],
        "upload_id": upload.json()["id"],
        "webhook_id": webhook.id,
        "artifact": "model.onnx",
        "name": "ssdlite320_mobilenet_v3_large",
    }


def operations(app: FastAPI) -> Iterator[tuple[str, str, str]]:
    """(operation id, method, path) of everything in the description."""
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            yield operation["operationId"], method.upper(), path


def ask(
    client: TestClient, method: str, path: str, names: dict[str, str], headers: dict[str, str]
) -> Response:
    known = names | {"position": "0"}
    if path.startswith("/v1/models"):
        known["name"] = "model.onnx"
    filled = re.sub(r"{(\w+)}", lambda found: known.get(found[1], f"wrk_{ABSENT}"), path)
    body: dict[str, Any] = {}
    if method in ("POST", "PUT", "PATCH"):
        body = {"json": {"model_id": known["model_id"]} if "{alias}" in path else {}}
    answer: Response = client.request(method, filled, headers=headers | TUS, **body)
    return answer


def test_every_operation_has_its_scope(app: FastAPI) -> None:
    described = {operation for operation, _, _ in operations(app)}
    assert described - access.PUBLIC == set(access.SCOPES)


def test_every_operation_refuses_whoever_shows_no_key_or_a_wrong_one(
    app: FastAPI, client: TestClient, services: Services, names: dict[str, str]
) -> None:
    over = datetime.now(UTC) - timedelta(minutes=1)
    strangers = {
        "key_missing": {},
        "key_invalid": {"Authorization": f"Bearer hd_0123456789_{'A' * 43}"},
        "key_invalid ": {"Authorization": "Basic aGQ6aGQ="},
        "key_invalid  ": key(services, expires_at=over),
    }
    tried = 0
    for operation, method, path in operations(app):
        if operation in access.PUBLIC:
            continue
        for code, headers in strangers.items():
            answer = ask(client, method, path, names, headers)
            assert answer.status_code == 401, (operation, answer.text)
            # An answer to HEAD has no body.
            assert method == "HEAD" or answer.json()["code"] == code.strip()
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            tried += 1
    assert tried == 4 * len(access.SCOPES)


@pytest.mark.parametrize("scope", [Scope.READ, Scope.TRAIN, Scope.PREDICT])
def test_a_key_without_the_scope_is_refused_and_one_with_it_is_not(
    app: FastAPI, client: TestClient, services: Services, names: dict[str, str], scope: Scope
) -> None:
    headers = key(services, scope)
    for operation, method, path in operations(app):
        if operation in access.PUBLIC or path.endswith("/events"):
            continue
        needed = access.SCOPES[operation]
        if needed is scope and method == "DELETE":
            continue  # would take away what the others ask for
        answer = ask(client, method, path, names, headers)
        refused = answer.status_code == 403
        assert refused == (needed is not scope), (operation, answer.text)


def test_another_projects_things_look_absent(
    app: FastAPI, client: TestClient, services: Services, names: dict[str, str], owner: dict[str, str]
) -> None:
    theirs = key(services, project="another team")
    asked = 0
    for operation, method, path in operations(app):
        named = [
            one
            for one in (
                *("dataset_id", "job_id", "model_id", "alias", "evaluation_id", "comparison_id"),
                *("search_id", "key_id", "webhook_id"),
            )
            if f"{{{one}}}" in path
        ]
        if not named:
            continue
        answer = ask(client, method, path, names, theirs)
        absent = ask(client, method, path, dict.fromkeys(names, "") | _absent(), theirs)
        assert answer.status_code == 404, (operation, answer.text)
        assert absent.status_code == 404
        if method != "HEAD":
            assert answer.json()["code"] == absent.json()["code"]
            assert answer.json()["detail"] == absent.json()["detail"]
        asked += 1
    assert asked >= 18
    for collection in ("datasets", "evaluations", "comparisons", "searches", "jobs", "models"):
        assert client.get(f"/v1/{collection}", headers=theirs).json()["data"] == []
        assert client.get(f"/v1/{collection}", headers=owner).json()["data"] != []
    body = {"kind": "train", "dataset_id": names["dataset_id"], "config": {"epochs": 2}}
    assert client.post("/v1/jobs", json=body, headers=theirs).status_code == 404
    arms = {"arms": [{"name": "one"}, {"name": "other"}], "dataset_id": names["dataset_id"]}
    assert client.post("/v1/comparisons", json=arms, headers=theirs).status_code == 404
    space = {"space": {"epochs": {"kind": "int", "low": 1, "high": 9}}, "dataset_id": names["dataset_id"]}
    assert client.post("/v1/searches", json=space | {"max_trials": 2}, headers=theirs).status_code == 404


def _absent() -> dict[str, str]:
    prefixes = {
        "upload_id": "upl",
        "dataset_id": "ds",
        "job_id": "job",
        "model_id": "mdl",
        "evaluation_id": "evl",
        "comparison_id": "cmp",
        "search_id": "srch",
        "key_id": "key",
        "webhook_id": "whk",
    }
    return {name: f"{prefix}_{ABSENT}" for name, prefix in prefixes.items()} | {
        "alias": "nobody",
        "figure": "pr",
    }


def test_what_is_public_needs_no_key(client: TestClient) -> None:
    for path in access.PUBLIC_PATHS:
        assert client.get(path).status_code == 200, path
    assert client.get("/v1").status_code == 401
    assert client.get("/nowhere").status_code == 401


def test_a_key_is_shown_once_and_works_until_it_is_revoked(client: TestClient, owner: dict[str, str]) -> None:
    answer = client.post("/v1/keys", json={"name": "ci", "scopes": ["read"]}, headers=owner)
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    new = answer.json()
    headers = {"Authorization": f"Bearer {new['key']}"}
    me = client.get("/v1/me", headers=headers).json()
    assert me["project"] == {"id": DEFAULT_PROJECT, "name": "default"}
    assert (me["scopes"], me["key_id"]) == (["read"], new["id"])
    assert client.post("/v1/keys", json={"name": "x", "scopes": ["read"]}, headers=headers).status_code == 403

    listed = client.get("/v1/keys", headers=owner)
    assert new["id"] in [one["id"] for one in listed.json()["data"]]
    assert new["key"] not in listed.text
    revoked = client.delete(f"/v1/keys/{new['id']}", headers=owner).json()
    assert revoked["revoked_at"] is not None
    assert client.get("/v1/me", headers=headers).status_code == 401


def test_a_refused_caller_costs_no_body(client: TestClient, owner: dict[str, str]) -> None:
    """Who may not ask learns nothing from how a body is judged."""
    broken = {"Content-Type": "application/json"}
    assert client.post("/v1/jobs", content=b"{", headers=broken).status_code == 401
    assert client.post("/v1/jobs", content=b"{", headers=broken | owner).status_code == 400


def test_a_key_that_asks_too_often_waits(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"rate_limit": "3/hour"}))
    with TestClient(app, base_url="http://localhost") as client:
        services: Services = app.state.services
        mine, others = key(services), key(services)
        left = []
        for _ in range(3):
            answer = client.get("/v1", headers=mine)
            assert answer.status_code == 200
            assert answer.headers["RateLimit-Policy"] == '"key";q=3;w=3600'
            left.append(answer.headers["RateLimit"].split(";")[1])
        assert left == ["r=2", "r=1", "r=0"]
        refused = client.get("/v1", headers=mine)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert 0 < int(refused.headers["Retry-After"]) <= 3600
        assert client.get("/v1", headers=others).status_code == 200


def test_a_key_is_checked_even_where_none_is_needed(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"require_keys": None}))
    with TestClient(app, base_url="http://localhost") as client:
        assert client.get("/v1/me").json()["key_id"] is None
        assert client.get("/v1/me", headers={"Authorization": "Bearer hd_x_y"}).status_code == 401
        theirs = key(app.state.services, Scope.READ, project="another team")
        assert client.get("/v1/me", headers=theirs).json()["project"]["name"] == "another team"


def test_no_key_is_ever_logged(
    client: TestClient, owner: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    text = owner["Authorization"].removeprefix("Bearer ")
    client.get("/v1/me", headers=owner)
    client.get("/v1/me", headers={"Authorization": owner["Authorization"] + "x"})
    client.post("/v1/jobs", json={"kind": text}, headers=owner)
    assert text not in caplog.text
