"""Names for models over HTTP, and changes of a model."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from api.services import Services
from tests.api.helpers import ABSENT, backbone, encoded, picture, problem, trained

MERGE = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture
def second(client: TestClient, services: Services, ready: dict[str, Any]) -> str:
    """Another trained model."""
    body = {"kind": "train", "dataset_id": ready["id"], "config": {"epochs": 2}}
    return trained(services, client.post("/v1/jobs", json=body).json()["id"])


def put(client: TestClient, model: str, **headers: str) -> Any:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.put("/v1/model-aliases/production", json={"model_id": model}, headers=names)


def test_an_alias_stands_for_its_model_wherever_an_id_does(
    client: TestClient, model: str, second: str, ready: dict[str, Any]
) -> None:
    made = put(client, model)
    assert (made.status_code, made.headers["location"]) == (201, "/v1/model-aliases/production")
    assert (made.json()["name"], made.json()["model_id"]) == ("production", model)

    def predicted_by() -> str:
        answer = client.post(
            "/v1/models/production/predict",
            content=encoded(picture()),
            headers={"Content-Type": "image/png"},
        )
        return str(answer.json()["model"])

    assert client.get("/v1/models/production").json()["id"] == model
    assert client.get("/v1/models/production").json()["aliases"] == ["production"]
    assert client.get("/v1/models/production/artifacts").json()["data"]
    assert client.get("/v1/models/production/artifacts/model.onnx").status_code == 200
    assert predicted_by() == model
    assert put(client, second).status_code == 200
    assert predicted_by() == second
    assert client.get("/v1/models/production/artifacts/none").json()["code"] == "artifact_not_found"
    problem(client.get("/v1/models/staging"), 404, "model_not_found")
    problem(client.get("/v1/models/Staging!"), 404, "model_not_found")


def test_a_training_starts_from_what_the_alias_means_when_it_is_asked_for(
    client: TestClient, ready: dict[str, Any]
) -> None:
    data = backbone()
    imported = client.post(
        "/v1/models?backbone=mobilenet_v3_large",
        content=data,
        headers={"Content-Type": "application/octet-stream"},
    ).json()
    assert put(client, imported["id"]).status_code == 201
    architecture = {
        "kind": "ssdlite320_mobilenet_v3_large",
        "initial_weights": {"kind": "backbone", "model": "production"},
    }
    body = {"kind": "train", "dataset_id": ready["id"], "config": {"epochs": 1, "architecture": architecture}}
    job = client.post("/v1/jobs", json=body)
    assert job.status_code == 202, job.text
    resolved = job.json()["resolved_config"]["architecture"]["initial_weights"]
    assert resolved["model"] == imported["id"]
    assert job.json()["spec"]["config"]["architecture"]["initial_weights"]["model"] == "production"


def test_a_move_can_be_made_safe(client: TestClient, model: str, second: str) -> None:
    problem(put(client, model, if_match="*"), 412, "precondition_failed")
    first = put(client, model, if_none_match="*")
    assert first.status_code == 201
    problem(put(client, second, if_none_match="*"), 412, "precondition_failed")
    etag = first.headers["etag"]
    moved = put(client, second, if_match=etag)
    assert (moved.status_code, moved.json()["model_id"]) == (200, second)
    assert moved.headers["etag"] != etag
    problem(put(client, model, if_match=etag), 412, "precondition_failed")  # has been moved meanwhile
    assert put(client, model, if_match=f'"other", {moved.headers["etag"]}').status_code == 200
    assert put(client, model).headers["etag"] == put(client, model).headers["etag"]
    path = "/v1/model-aliases/production"
    read = client.get(path)
    assert client.get(path, headers={"If-None-Match": read.headers["etag"]}).status_code == 304
    problem(client.delete(path, headers={"If-Match": etag}), 412, "precondition_failed")
    assert client.delete(path, headers={"If-Match": read.headers["etag"]}).status_code == 204
    problem(client.get(path), 404, "model_alias_not_found")
    problem(client.delete(path), 404, "model_alias_not_found")
    # A new one of the name is another one.
    assert put(client, model, if_match=read.headers["etag"]).status_code == 412


def test_a_model_with_a_name_is_not_deleted(client: TestClient, model: str) -> None:
    put(client, model)
    answer = client.delete(f"/v1/models/{model}")
    assert "production" in problem(answer, 409, "model_has_alias")["detail"]
    problem(client.delete("/v1/models/production"), 409, "model_has_alias")
    client.delete("/v1/model-aliases/production")
    assert client.delete(f"/v1/models/{model}").status_code == 204


def test_what_an_alias_cannot_be(client: TestClient, model: str) -> None:
    for name in ("mdl_mine", "Production", "a b", "-a", "%C3%A4", "a" * 101):
        body = problem(
            client.put(f"/v1/model-aliases/{name}", json={"model_id": model}), 422, "validation_failed"
        )
        assert body["errors"][0]["pointer"] == "path:alias"
        problem(client.get(f"/v1/model-aliases/{name}"), 404, "model_alias_not_found")
    problem(put(client, f"mdl_{ABSENT}"), 404, "model_not_found")
    problem(put(client, "NO/\0"), 422, "validation_failed")


def test_aliases_are_listed(client: TestClient, model: str, second: str) -> None:
    for name, target in (("a", model), ("b", second), ("c", model)):
        client.put(f"/v1/model-aliases/{name}", json={"model_id": target, "metadata": {"by": "me"}})
    page = client.get("/v1/model-aliases?limit=2").json()
    assert ([one["name"] for one in page["data"]], page["has_more"]) == (["c", "b"], True)
    rest = client.get("/v1/model-aliases", params={"limit": 2, "after": page["last_id"]}).json()
    assert ([one["name"] for one in rest["data"]], rest["has_more"]) == (["a"], False)
    mine = client.get("/v1/model-aliases", params={"model_id": model}).json()["data"]
    assert [(one["name"], one["metadata"]) for one in mine] == [("c", {"by": "me"}), ("a", {"by": "me"})]
    assert client.put("/v1/model-aliases/d", json={"model_id": "b"}).json()["model_id"] == second


def test_a_model_is_changed_by_a_merge_patch(client: TestClient, model: str) -> None:
    path = f"/v1/models/{model}"

    def patch(**body: Any) -> Any:
        return client.patch(path, json=body, headers=MERGE)

    changed = patch(name="best of May", metadata={"stage": "reviewed", "ticket": "7"}).json()
    assert (changed["name"], changed["metadata"]) == ("best of May", {"stage": "reviewed", "ticket": "7"})
    assert changed["artifacts"]
    changed = patch(metadata={"ticket": None, "by": "me", "absent": None}).json()
    assert (changed["name"], changed["metadata"]) == ("best of May", {"stage": "reviewed", "by": "me"})
    assert client.patch(path, json={"name": "x"}).json()["metadata"] == changed["metadata"]
    assert patch().json()["name"] == "x"
    listed = client.get("/v1/models", params={"metadata[stage]": "reviewed"}).json()["data"]
    assert [one["id"] for one in listed] == [model]
    assert patch(metadata=None).json()["metadata"] == {}
    refused: list[dict[str, Any]] = [{"name": None}, {"name": ""}, {"classes": []}, {"name": "a\0"}]
    for wrong in [*refused, {"metadata": {"a": 1}}]:
        problem(patch(**wrong), 422, "validation_failed")
    for start in (0, 30):
        answer = patch(metadata={f"n{number}": "x" for number in range(start, start + 30)})
    assert problem(answer, 422, "validation_failed")["errors"][0]["pointer"] == "/metadata"
    assert len(client.get(path).json()["metadata"]) == 30
    problem(client.patch(f"/v1/models/mdl_{ABSENT}", json={}), 404, "model_not_found")
