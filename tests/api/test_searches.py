"""Searches: asked for, refused with a pointer, followed, ended."""

from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from api.services import Services
from api.settings import Settings
from store import jobs, searches
from store.searches import NewTrial
from store.tables import DEFAULT_PROJECT
from tests.api.helpers import ABSENT, backbone, claimed, hints, problem, rejected, trained
from tests.store.helpers import do

PATH = "/v1/searches"
RATE = {"kind": "float", "low": 0.001, "high": 0.1, "log": True}
SPACE: dict[str, Any] = {"optimizer.lr": RATE}


def ask(client: TestClient, dataset: str, key: str | None = None, **changes: Any) -> Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    body = {"dataset_id": dataset, "config": {"epochs": 2}, "space": SPACE} | changes
    answer: Response = client.post(PATH, json=body, headers=headers)
    return answer


def made(answer: Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{PATH}/{found['id']}"
    return found


def drawn(services: Services, search_id: str, *rates: float) -> list[str]:
    """What is to be drawn is drawn; the jobs of the new trials."""
    with services.database.read() as session:
        row = searches.get(session, DEFAULT_PROJECT, search_id)
    claim = claimed(services, str(row.job_id))
    new = [
        NewTrial({"optimizer.lr": rate}, row.spec["resolved_config"] | {"optimizer": {"lr": rate}})
        for rate in rates
    ]
    begun = services.database.run(
        lambda s: searches.finish(s, claim, drawn=new, result={"importances": {"optimizer.lr": 1.0}})
    )
    return [job for job, queue in begun if queue == "train"]


def tried(services: Services, search_id: str, *rates: float) -> None:
    """Trials one after the other; then it is summed up where these were all."""
    for rate in rates:
        (job,) = drawn(services, search_id, rate)
        trained(services, job)
    drawn(services, search_id)


def read(client: TestClient, search_id: str) -> dict[str, Any]:
    answer = client.get(f"{PATH}/{search_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    (listed,) = client.get(f"{PATH}?status={found['status']}").json()["data"]
    assert listed == {name: value for name, value in found.items() if name not in ("trials", "best_config")}
    return found


# Asking


def test_one_request_queues_what_draws_the_first_trial(
    client: TestClient, settings: Settings, ready: dict[str, Any]
) -> None:
    before = hints(settings)
    found = made(ask(client, ready["id"], name="rates", metadata={"a": "b"}, priority=2, seed=7))
    assert (found["status"], found["trials"], found["best"], found["best_config"]) == (
        "queued",
        [],
        None,
        None,
    )
    assert (found["config"], found["space"]) == ({"epochs": 2}, SPACE)
    assert (found["max_trials"], found["max_parallel"], found["metric"], found["seed"]) == (20, 1, "AP", 7)
    assert found["pruning"] == {"kind": "median", "startup_trials": 5, "warmup_epochs": 0}
    assert [queue for queue, _ in hints(settings) - before] == ["evaluate"]
    job = client.get(f"/v1/jobs/{found['job_id']}").json()
    assert (job["kind"], job["spec"], job["priority"]) == ("search", {"search_id": found["id"]}, 2)
    assert read(client, found["id"]) == found
    assert made(ask(client, ready["id"], pruning=None))["pruning"] is None


def test_the_same_request_is_the_same_search_with_a_key_only(
    client: TestClient, ready: dict[str, Any]
) -> None:
    first = made(ask(client, ready["id"], "k"))
    again = ask(client, ready["id"], "k")
    assert (again.json(), again.headers["idempotent-replayed"]) == (first, "true")
    problem(ask(client, ready["id"], "k", seed=4), 422, "idempotency_mismatch")
    assert made(ask(client, ready["id"]))["id"] != first["id"]
    assert len(client.get("/v1/jobs?kind=search").json()["data"]) == 2


def choices(*values: Any) -> dict[str, Any]:
    return {"kind": "categorical", "choices": list(values)}


NO_SEARCH: list[tuple[dict[str, Any], str, str]] = [
    ({"space": {}}, "/space", "too_short"),
    ({"space": {"optimizer/lr": RATE}}, "/space/optimizer~1lr", "string_pattern_mismatch"),
    ({"space": {"optimizer.lr": RATE | {"low": 0.5}}}, "/space/optimizer.lr", "value_error"),
    ({"space": {"optimizer.lr": RATE | {"low": True}}}, "/space/optimizer.lr/low", "float_type"),
    ({"space": {"optimizer.lr": {"kind": "normal"}}}, "/space/optimizer.lr/kind", "union_tag_invalid"),
    ({"space": {"loss": choices("harmonic")}}, "/space/loss/choices", "too_short"),
    ({"space": {"loss": choices("harmonic", {})}}, "/space/loss/choices/1", "value_type"),
    ({"space": {"loss": choices("harmonic", "baseline"), "loss.alpha": RATE}}, "/space", "value_error"),
    # Both ends of each are put into the config.
    ({"space": {"optimizer.lr": RATE | {"high": 11}}}, "/space/optimizer.lr/high", "less_than_equal"),
    (
        {"space": {"loss.gamma": RATE | {"low": -1, "log": False}}},
        "/space/loss.gamma/low",
        "greater_than_equal",
    ),
    ({"space": {"loss": choices("harmonic", "magic")}}, "/space/loss/choices/1", "union_tag_invalid"),
    ({"space": {"optimizer.speed": RATE}}, "/space/optimizer.speed", "parameter_unknown"),
    ({"space": {"speed": RATE}}, "/space/speed", "parameter_unknown"),
    ({"space": {"epochs": RATE}}, "/space/epochs/low", "int_from_float"),
    ({"space": {"train_split": choices("train", "night")}}, "/space/train_split/choices/1", "split_unknown"),
    (
        {"space": {"batch_size": {"kind": "int", "low": 0, "high": 8}}},
        "/space/batch_size/low",
        "greater_than_equal",
    ),
    ({"space": {"seed": {"kind": "int", "low": 1, "high": 99}}}, "/space/seed", "not_searchable"),
    ({"space": {"eval_split": choices("val", "test")}}, "/space/eval_split", "not_searchable"),
    ({"space": {"loss": choices("harmonic", "baseline")}, "max_trials": 3}, "/max_trials", "space_too_small"),
    ({"config": {"loss": {"kind": "magic"}}}, "/config/loss/kind", "union_tag_invalid"),
    ({"config": {"train_split": "night"}}, "/config/train_split", "split_unknown"),
    ({"max_trials": 0}, "/max_trials", "greater_than_equal"),
    ({"max_trials": 201}, "/max_trials", "less_than_equal"),
    ({"max_parallel": 21}, "/max_parallel", "less_than_equal"),
    ({"metric": "loss"}, "/metric", "literal_error"),
    ({"pruning": {"kind": "hyperband"}}, "/pruning/kind", "literal_error"),
    ({"direction": "minimize"}, "/direction", "extra_forbidden"),
]


def test_what_makes_no_search_is_refused_in_its_place(client: TestClient, ready: dict[str, Any]) -> None:
    for changes, pointer, code in NO_SEARCH:
        found = problem(ask(client, ready["id"], **changes), 422, "validation_failed")
        assert (pointer, code) in [(one["pointer"], one["code"]) for one in found["errors"]], found
    assert client.get("/v1/jobs?kind=search").json()["data"] == []


def test_what_it_needs_must_be_there(client: TestClient, services: Services, ready: dict[str, Any]) -> None:
    problem(ask(client, f"ds_{ABSENT}"), 404, "dataset_not_found")
    weights = {"kind": "model", "model": "mdl_no"}
    config = {"architecture": {"kind": "ssdlite320_mobilenet_v3_large", "initial_weights": weights}}
    problem(ask(client, ready["id"], config=config), 404, "model_not_found")
    headers = {"Content-Type": "application/zip"}
    broken = client.post("/v1/datasets?name=broken", content=b"no zip", headers=headers).json()
    rejected(services, broken)
    problem(ask(client, broken["id"]), 409, "dataset_invalid")
    problem(client.get(f"{PATH}/srch_{ABSENT}"), 404, "search_not_found")


# Following


def test_it_is_followed_to_its_best_trial(
    client: TestClient, services: Services, ready: dict[str, Any]
) -> None:
    search = made(ask(client, ready["id"], max_trials=3))["id"]
    path = f"{PATH}/{search}"
    (first,) = drawn(services, search, 0.01)
    trained(services, first)
    found = read(client, search)
    assert (found["status"], found["progress"]["fraction"]) == ("running", 0.3333)
    assert found["best"]["value"] == found["trials"][0]["value"] == 0.5
    etag = client.get(path).headers["etag"]
    assert client.get(path, headers={"If-None-Match": etag}).status_code == 304
    (second,) = drawn(services, search, 0.02)
    error = {
        "code": "non_finite_loss",
        "title": "T",
        "detail": "The loss is not finite.",
        "log_tail": "secret",
    }
    claim = claimed(services, second)
    services.database.run(lambda s: jobs.fail(s, claim, reason="non_finite_loss", error=error))
    (third,) = drawn(services, search, 0.03)
    assert client.get(path, headers={"If-None-Match": etag}).status_code == 200
    problem(client.delete(path), 409, "search_running")
    trained(services, third)
    drawn(services, search)
    found = read(client, search)
    assert (found["status"], found["error"], found["job_id"]) == ("succeeded", None, None)
    assert found["importances"] == {"optimizer.lr": 1.0}
    assert found["best"] == {
        "number": 0,
        "params": {"optimizer.lr": 0.01},
        "value": 0.5,
        "job_id": first,
        "model_id": found["trials"][0]["model_id"],
    }
    assert found["best_config"]["optimizer"] == {"lr": 0.01}
    assert [one["status"] for one in found["trials"]] == ["succeeded", "failed", "succeeded"]
    assert found["trials"][1]["error"]["code"] == "non_finite_loss"
    assert found["trials"][1]["error"]["log_tail"] is None
    assert found["progress"] == {
        "begun": 3,
        "succeeded": 2,
        "pruned": 0,
        "failed": 1,
        "cancelled": 0,
        "running": 0,
        "fraction": 1.0,
    }
    problem(client.post(f"{path}/cancel"), 409, "search_already_finished")
    assert client.delete(path).status_code == 204
    problem(client.get(path), 404, "search_not_found")
    assert client.get(f"/v1/jobs/{first}").status_code == 200


def test_a_pruned_trial_is_told_from_a_cancelled_one(
    client: TestClient, services: Services, ready: dict[str, Any]
) -> None:
    pruning = {"startup_trials": 1}
    config = {"epochs": 9}
    search = made(ask(client, ready["id"], pruning=pruning, max_parallel=3, config=config))["id"]
    good, bad, unwanted = (claimed(services, one) for one in drawn(services, search, 0.01, 0.02, 0.03))
    for claim, ap in ((good, 0.4), (bad, 0.1)):
        rows = [("val", 5, 1.0, {"AP": ap})]
        do(services.database, jobs.record_metrics, claim, rows)
        if claim is good:
            finished(services, good)
    assert client.post(f"/v1/jobs/{unwanted.job_id}/cancel").status_code == 202
    for claim in (bad, unwanted):
        do(services.database, jobs.cancel_now, claim)
    found = read(client, search)
    assert (found["progress"]["pruned"], found["progress"]["cancelled"]) == (1, 1)
    assert [one["status_reason"] for one in found["trials"]] == [None, "pruned", "user_cancelled"]


def finished(services: Services, claim: jobs.Claim) -> None:
    services.database.run(lambda s: jobs.succeed(s, claim))


def test_it_is_paused_resumed_cancelled_and_retried(
    client: TestClient, services: Services, settings: Settings, ready: dict[str, Any]
) -> None:
    search = made(ask(client, ready["id"], max_trials=2))["id"]
    path = f"{PATH}/{search}"
    (job,) = drawn(services, search, 0.01)
    assert client.post(f"{path}/pause").status_code == 202
    assert client.post(f"{path}/pause").status_code == 200
    assert read(client, search)["status"] == "paused"
    before = hints(settings)
    assert client.post(f"{path}/resume").status_code == 202
    assert [queue for queue, _ in hints(settings) - before] == ["train"]
    assert client.post(f"{path}/resume").status_code == 200
    claimed(services, job)
    problem(client.post(f"{path}/resume"), 409, "search_not_paused")
    assert client.post(f"{path}/cancel").json()["requested_action"] == "cancel"
    assert client.post(f"{path}/cancel").status_code == 200
    problem(client.post(f"{path}/retry"), 409, "search_being_cancelled")
    problem(client.post(f"{path}/pause"), 409, "search_being_cancelled")


def test_a_cancelled_search_goes_on_when_it_is_retried(
    client: TestClient, services: Services, ready: dict[str, Any]
) -> None:
    search = made(ask(client, ready["id"], max_trials=2))["id"]
    path = f"{PATH}/{search}"
    assert client.post(f"{path}/cancel").json()["status"] == "cancelled"
    again = client.post(f"{path}/retry")
    assert (again.status_code, again.json()["status"]) == (202, "queued")
    tried(services, search, 0.01, 0.02)
    assert read(client, search)["status"] == "succeeded"
    problem(client.post(f"{path}/retry"), 409, "search_not_retryable")
    problem(client.post(f"{path}/pause"), 409, "search_already_finished")


def test_trials_may_start_from_a_model(client: TestClient, ready: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    imported = client.post("/v1/models?backbone=mobilenet_v3_large", content=backbone(), headers=headers)
    model = imported.json()["id"]
    weights = {"kind": "backbone", "model": model}
    config = {"architecture": {"kind": "ssdlite320_mobilenet_v3_large", "initial_weights": weights}}
    search = made(ask(client, ready["id"], config=config))
    problem(client.delete(f"/v1/models/{model}"), 409, "model_in_use")
    space = {"architecture.image_size": {"kind": "int", "low": 128, "high": 320, "step": 32}}
    refused = ask(client, ready["id"], config=config, space=space, max_trials=2)
    (fault,) = problem(refused, 422, "validation_failed")["errors"]
    assert (fault["pointer"], fault["code"]) == ("/space/architecture.image_size", "not_searchable")
    assert client.post(f"{PATH}/{search['id']}/cancel").json()["status"] == "cancelled"
    assert client.delete(f"/v1/models/{model}").status_code == 204


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "retry"])
def test_nothing_is_asked_of_what_is_not_there(client: TestClient, verb: str) -> None:
    problem(client.post(f"{PATH}/srch_{ABSENT}/{verb}"), 404, "search_not_found")
