"""Jobs: create, list, poll, cancel, metrics, logs."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from api.services import Services
from api.settings import Settings
from detector.config import TrainConfig
from store import jobs
from store.tables import Dataset
from tests.api.helpers import ABSENT, SUMMARY, claimed, hints, problem, rejected, trained, validated


def asked(dataset: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "train", "dataset_id": dataset["id"], "config": {"epochs": 2, "loss": "baseline"}} | more


def test_a_job_is_accepted_and_told_back_as_submitted(client: TestClient, ready: dict[str, Any]) -> None:
    answer = client.post("/v1/jobs", json=asked(ready, name="cells", metadata={"run": "7"}, priority=3))
    assert answer.status_code == 202
    body = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{body['id']}"
    assert body["spec"] == {
        "dataset_id": ready["id"],
        "config": {"epochs": 2, "loss": {"kind": "baseline"}},
        "name": "cells",
    }
    assert TrainConfig.model_validate(body["resolved_config"]) == TrainConfig.model_validate(
        {"epochs": 2, "loss": "baseline"}
    )
    assert (body["status"], body["queue_position"], body["waiting_for"]) == ("queued", 1, "worker")
    assert (body["metadata"], body["priority"], body["attempt"]) == ({"run": "7"}, 3, 0)
    assert client.get(answer.headers["location"]).json() == body


def test_the_hint_for_the_worker_leaves_after_the_commit(
    client: TestClient, settings: Settings, ready: dict[str, Any]
) -> None:
    before = hints(settings)
    client.post("/v1/jobs", json=asked(ready))
    queues = [queue for queue, _ in hints(settings) - before]
    assert queues == ["train"]


def test_a_job_waits_for_a_dataset_that_is_validating(client: TestClient, dataset: dict[str, Any]) -> None:
    body = client.post("/v1/jobs", json=asked(dataset)).json()
    assert (body["status"], body["waiting_for"]) == ("queued", "dataset")


def test_a_job_without_config_has_every_default(client: TestClient, ready: dict[str, Any]) -> None:
    body = client.post("/v1/jobs", json={"kind": "train", "dataset_id": ready["id"]}).json()
    assert body["resolved_config"] == TrainConfig().model_dump(mode="json")
    assert body["spec"]["config"] == {}


def test_an_unknown_field_is_named_and_no_job_is_made(client: TestClient, ready: dict[str, Any]) -> None:
    answer = client.post("/v1/jobs", json=asked(ready, config={"epoch": 3}))
    body = problem(answer, 422, "validation_failed")
    assert body["errors"] == [
        {
            "pointer": "/config/epoch",
            "code": "extra_forbidden",
            "detail": "there is no field named 'epoch'",
        }
    ]
    assert client.get("/v1/jobs?kind=train").json()["data"] == []


def test_a_conflict_between_fields_is_told(client: TestClient, ready: dict[str, Any]) -> None:
    config = {"epochs": 5, "schedule": "step"}
    body = problem(client.post("/v1/jobs", json=asked(ready, config=config)), 422, "validation_failed")
    assert body["errors"][0]["pointer"] == "/config"
    assert "schedule.milestones" in body["detail"]
    assert "epochs=5" in body["detail"]


def test_another_kind_is_refused(client: TestClient, ready: dict[str, Any]) -> None:
    body = problem(client.post("/v1/jobs", json=asked(ready, kind="validate")), 422, "validation_failed")
    assert body["errors"][0]["pointer"] == "/kind"


def test_a_dataset_that_is_absent_is_not_found(client: TestClient) -> None:
    problem(client.post("/v1/jobs", json=asked({"id": f"ds_{ABSENT}"})), 404, "dataset_not_found")


def test_an_invalid_dataset_cannot_be_trained_on(
    client: TestClient, services: Services, dataset: dict[str, Any]
) -> None:
    rejected(services, dataset)
    problem(client.post("/v1/jobs", json=asked(dataset)), 409, "dataset_invalid")


def test_a_job_that_waited_for_an_invalid_dataset_fails_with_the_reason(
    client: TestClient, services: Services, dataset: dict[str, Any]
) -> None:
    job = client.post("/v1/jobs", json=asked(dataset)).json()
    rejected(services, dataset)
    body = client.get(f"/v1/jobs/{job['id']}").json()
    assert (body["status"], body["status_reason"]) == ("failed", "dataset_invalid")
    assert body["error"]["code"] == "dataset_invalid"


@pytest.mark.parametrize("field", ["train_split", "eval_split"])
def test_a_split_that_the_dataset_lacks_is_named(
    client: TestClient, ready: dict[str, Any], field: str
) -> None:
    answer = client.post("/v1/jobs", json=asked(ready, config={field: "holdout"}))
    body = problem(answer, 422, "validation_failed")
    assert body["errors"][0]["pointer"] == f"/config/{field}"
    assert "train, val" in body["detail"]


@pytest.mark.parametrize(
    ("splits", "config", "fault"),
    [
        (["train", "val"], {"train_split": "day"}, ("/config/train_split", "split_unknown")),
        (["train", "val"], {"eval_split": "night"}, ("/config/eval_split", "split_unknown")),
        (["train"], {}, ("/config/eval_split", "split_unknown")),
        (["train"], {"eval_split": "train"}, ("/config/eval_split", "splits_equal")),
        (["train", "val"], {"train_split": "val"}, ("/config/eval_split", "splits_equal")),
    ],
)
def test_a_training_that_could_only_fail_for_its_splits_is_refused(
    client: TestClient,
    services: Services,
    ready: dict[str, Any],
    splits: list[str],
    config: dict[str, str],
    fault: tuple[str, str],
) -> None:
    with services.database.begin() as session:
        row = session.get_one(Dataset, ready["id"])
        row.summary = SUMMARY | {"splits": {name: {"images": 4, "annotations": 9} for name in splits}}
    for path in ("/v1/jobs", "/v1/jobs?dry_run=true"):
        body = problem(client.post(path, json=asked(ready, config=config)), 422, "validation_failed")
        assert [(one["pointer"], one["code"]) for one in body["errors"]] == [fault]
    assert client.get("/v1/jobs?kind=train").json()["data"] == []


def test_a_dry_run_makes_nothing_and_says_how_many_steps(client: TestClient, ready: dict[str, Any]) -> None:
    answer = client.post("/v1/jobs?dry_run=true", json=asked(ready, config={"epochs": 3, "batch_size": 3}))
    assert answer.status_code == 200
    body = answer.json()
    assert (body["object"], body["steps_per_epoch"], body["steps"]) == ("job_plan", 2, 6)
    assert body["resolved_config"]["optimizer"]["kind"] == "sgd"
    assert client.get("/v1/jobs?kind=train").json()["data"] == []


def test_a_dry_run_on_a_dataset_still_validating_knows_no_steps(
    client: TestClient, dataset: dict[str, Any]
) -> None:
    body = client.post("/v1/jobs?dry_run=true", json=asked(dataset)).json()
    assert (body["dataset_status"], body["steps"]) == ("validating", None)


def test_the_same_key_and_body_give_the_same_job(client: TestClient, ready: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "try-1"}
    first = client.post("/v1/jobs", json=asked(ready), headers=headers)
    again = client.post("/v1/jobs", json=asked(ready), headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    other = client.post("/v1/jobs", json=asked(ready, config={"epochs": 9}), headers=headers)
    problem(other, 422, "idempotency_mismatch")
    assert len(client.get("/v1/jobs?kind=train").json()["data"]) == 1


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"priority": True}, "/priority"),
        ({"config": {"epochs": True}}, "/config/epochs"),
        ({"config": {"epochs": "3"}}, "/config/epochs"),
        ({"config": {"optimizer": {"kind": "sgd", "lr": False}}}, "/config/optimizer/lr"),
        ({"config": {"loss": {"kind": "harmonic", "gamma": "0.8"}}}, "/config/loss/gamma"),
    ],
)
def test_what_only_looks_like_a_number_is_refused_in_its_place(
    client: TestClient, ready: dict[str, Any], changes: dict[str, Any], pointer: str
) -> None:
    body = problem(client.post("/v1/jobs", json=asked(ready, **changes)), 422, "validation_failed")
    assert [error["pointer"] for error in body["errors"]] == [pointer]


def test_a_manifest_tells_what_decided_the_result(
    client: TestClient, services: Services, job: dict[str, Any]
) -> None:
    path = f"/v1/jobs/{job['id']}/manifest"
    queued = client.get(path).json()
    dataset = client.get(f"/v1/datasets/{job['spec']['dataset_id']}").json()
    assert (queued["job_id"], queued["status"], queued["spec"]) == (job["id"], "queued", job["spec"])
    assert queued["resolved_config"] == job["resolved_config"]
    assert queued["seeds"] == {"training": 0, "split": 0}
    assert (queued["trainer"], queued["model"]) == (None, None)
    assert queued["dataset"]["archive_sha256"] == dataset["archive"]["sha256"]
    assert len(queued["dataset"]["index_sha256"]) == 64
    told = {"format": 1, "data_order_sha256": "a" * 64, "initial_state_sha256": "b" * 64}
    model = trained(services, job["id"], manifest=told)
    done = client.get(path).json()
    assert (done["status"], done["attempts"], done["trainer"]) == ("succeeded", 1, told)
    assert done["model"]["id"] == model
    assert {"model.onnx", "manifest.json"} <= set(done["model"]["artifacts"])
    assert client.delete(f"/v1/models/{model}").status_code == 204
    assert client.get(path).json()["trainer"] is None
    problem(client.get(f"/v1/jobs/job_{ABSENT}/manifest"), 404, "job_not_found")


def test_jobs_are_listed_by_status_and_kind(
    client: TestClient, services: Services, ready: dict[str, Any]
) -> None:
    ids = [client.post("/v1/jobs", json=asked(ready)).json()["id"] for _ in range(3)]
    claimed(services, ids[0])

    def listed(**query: Any) -> list[str]:
        return [item["id"] for item in client.get("/v1/jobs", params=query).json()["data"]]

    assert listed(status="running") == [ids[0]]
    assert listed(status="queued") == [ids[2], ids[1]]
    assert listed(kind="validate") == [ready["validation_job_id"]]
    assert listed(kind="train", limit=2) == [ids[2], ids[1]]
    assert listed(kind="train", limit=2, after=ids[1]) == [ids[0]]
    assert listed(kind="train", order="asc") == ids


def test_an_unchanged_job_is_304_without_a_body(
    client: TestClient, services: Services, job: dict[str, Any]
) -> None:
    path = f"/v1/jobs/{job['id']}"
    etag = client.get(path).headers["etag"]
    same = client.get(path, headers={"If-None-Match": etag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert client.get(path, headers={"If-None-Match": f'"other", {etag}'}).status_code == 304
    claimed(services, job["id"])
    changed = client.get(path, headers={"If-None-Match": etag})
    assert (changed.status_code, changed.json()["status"]) == (200, "running")
    assert changed.headers["etag"] != etag


def test_a_running_job_shows_progress_and_the_head_of_its_metrics(
    client: TestClient, services: Services, job: dict[str, Any]
) -> None:
    claim = claimed(services, job["id"])
    progress = {"epoch": 1, "epochs": 2, "step": 3, "steps": 6, "fraction": 0.5, "eta_seconds": 4.0}
    rows: list[tuple[str, int, float, dict[str, Any]]] = [
        ("train", 1, 0.3, {"loss": 3.0}),
        ("val", 2, 1.0, {"AP": 0.4, "AP50": 0.6}),
        ("val", 4, 2.0, {"AP": 0.3, "AP50": 0.5}),
        ("val", 5, 2.5, {"AP": None}),
        ("train", 6, 3.0, {"loss": 2.0}),
    ]
    services.database.run(lambda s: jobs.set_phase(s, claim, "training"))
    services.database.run(lambda s: jobs.set_progress(s, claim, progress))
    services.database.run(lambda s: jobs.record_metrics(s, claim, rows))
    body = client.get(f"/v1/jobs/{job['id']}").json()
    assert (body["status"], body["phase"], body["attempt"], body["worker"]) == (
        "running",
        "training",
        1,
        "test@here",
    )
    assert body["progress"] == progress
    assert body["metrics"]["best"] == {"step": 2, "epoch": 1.0, "AP": 0.4, "AP50": 0.6}
    assert body["metrics"]["last"] == {"step": 6, "epoch": 3.0, "loss": 2.0, "AP": None}
    assert (body["queue_position"], body["waiting_for"], body["model_id"]) == (None, None, None)


def test_a_job_that_succeeded_names_its_model(
    client: TestClient, services: Services, job: dict[str, Any]
) -> None:
    model_id = trained(services, job["id"])
    body = client.get(f"/v1/jobs/{job['id']}").json()
    assert (body["status"], body["model_id"]) == ("succeeded", model_id)
    assert body["finished_at"].endswith("Z")


def test_metrics_are_paged_by_row(client: TestClient, services: Services, job: dict[str, Any]) -> None:
    claim = claimed(services, job["id"])
    rows: list[tuple[str, int, float, dict[str, Any]]] = [
        (split, step, 1.0, {"x": step}) for split in ("train", "val") for step in (1, 2, 3)
    ]
    services.database.run(lambda s: jobs.record_metrics(s, claim, rows))
    path = f"/v1/jobs/{job['id']}/metrics"
    first = client.get(path, params={"limit": 2}).json()
    assert [(m["step"], m["split"]) for m in first["data"]] == [(1, "train"), (1, "val")]
    assert (first["first_id"], first["last_id"], first["has_more"]) == ("1.train", "1.val", True)
    second = client.get(path, params={"limit": 1, "after": first["last_id"]}).json()
    assert (second["data"][0]["id"], second["has_more"]) == ("2.train", True)
    third = client.get(path, params={"after": second["last_id"]}).json()
    assert [one["id"] for one in third["data"]] == ["2.val", "3.train", "3.val"]
    rest = client.get(path, params={"after": 1, "split": "val"}).json()
    assert [(m["step"], m["values"]) for m in rest["data"]] == [(2, {"x": 2}), (3, {"x": 3})]
    assert rest["has_more"] is False


def test_who_polls_the_metrics_gets_an_evaluation_that_is_told_after_its_step(
    client: TestClient, services: Services, job: dict[str, Any]
) -> None:
    claim = claimed(services, job["id"])
    path = f"/v1/jobs/{job['id']}/metrics"
    trained_to: list[tuple[str, int, float, dict[str, Any]]] = [("train", 10, 1.0, {"loss": 2.0})]
    services.database.run(lambda s: jobs.record_metrics(s, claim, trained_to))
    seen = client.get(path).json()["last_id"]
    assert client.get(path, params={"after": seen}).json()["data"] == []
    measured: list[tuple[str, int, float, dict[str, Any]]] = [("test", 10, 1.0, {"AP": 0.4})]
    services.database.run(lambda s: jobs.record_metrics(s, claim, measured))
    (late,) = client.get(path, params={"after": seen}).json()["data"]
    assert (late["id"], late["values"]) == ("10.test", {"AP": 0.4})


@pytest.mark.parametrize("after", ["x", "-1", "1.", "1.\x00", "10." + "v" * 21, "12345678901"])
def test_a_place_among_metrics_that_is_none_is_refused(
    client: TestClient, job: dict[str, Any], after: str
) -> None:
    answer = client.get(f"/v1/jobs/{job['id']}/metrics", params={"after": after})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "query:after")


def test_the_log_is_plain_text(client: TestClient, services: Services, job: dict[str, Any]) -> None:
    claim = claimed(services, job["id"])
    services.database.run(lambda s: jobs.set_log_tail(s, claim, "epoch 1 of 2\nläuft\n"))
    answer = client.get(f"/v1/jobs/{job['id']}/logs")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "epoch 1 of 2\nläuft\n"


def test_a_queued_job_is_cancelled_at_once_and_a_repeat_changes_nothing(
    client: TestClient, job: dict[str, Any]
) -> None:
    path = f"/v1/jobs/{job['id']}/cancel"
    first = client.post(path)
    assert (first.status_code, first.json()["status"]) == (202, "cancelled")
    assert first.json()["status_reason"] == "user_cancelled"
    again = client.post(path)
    assert (again.status_code, again.json()) == (200, first.json())


def test_a_running_job_is_asked_to_stop_once(
    client: TestClient, services: Services, job: dict[str, Any]
) -> None:
    claim = claimed(services, job["id"])
    path = f"/v1/jobs/{job['id']}/cancel"
    first = client.post(path)
    assert (first.status_code, first.json()["status"]) == (202, "running")
    assert first.json()["requested_action"] == "cancel"
    assert client.post(path).status_code == 200
    assert services.database.run(lambda s: jobs.heartbeat(s, claim)) == "cancel"
    services.database.run(lambda s: jobs.cancel_now(s, claim))
    assert client.get(f"/v1/jobs/{job['id']}").json()["status"] == "cancelled"


def test_a_finished_job_cannot_be_cancelled(
    client: TestClient, services: Services, job: dict[str, Any]
) -> None:
    trained(services, job["id"])
    problem(client.post(f"/v1/jobs/{job['id']}/cancel"), 409, "job_already_finished")


def test_a_cancelled_upload_leaves_an_invalid_dataset(client: TestClient, dataset: dict[str, Any]) -> None:
    assert client.post(f"/v1/jobs/{dataset['validation_job_id']}/cancel").status_code == 202
    body = client.get(f"/v1/datasets/{dataset['id']}").json()
    assert (body["status"], body["error"]["code"]) == ("invalid", "validation_cancelled")


def test_a_failed_job_carries_its_problem(
    client: TestClient, services: Services, job: dict[str, Any]
) -> None:
    claim = claimed(services, job["id"])
    error: dict[str, Any] = {
        "type": "about:blank",
        "title": "Out of memory",
        "status": None,
        "code": "out_of_memory",
        "detail": "The device has no memory left for this batch.",
        "hint": "Make batch_size smaller.",
        "log_tail": "…\n",
        "errors": [],
    }
    services.database.run(lambda s: jobs.fail(s, claim, reason="out_of_memory", error=error))
    body = client.get(f"/v1/jobs/{job['id']}").json()
    assert (body["status"], body["status_reason"], body["error"]) == ("failed", "out_of_memory", error)


def test_architectures_list_their_options(client: TestClient) -> None:
    body = client.get("/v1/architectures").json()
    assert "ssdlite320_mobilenet_v3_large" in [item["id"] for item in body["data"]]
    assert all(item["description"] and item["defaults"]["initial_weights"] for item in body["data"])


def test_an_architectures_schema_is_of_that_architecture_alone(client: TestClient) -> None:
    for item in client.get("/v1/architectures").json()["data"]:
        answer = client.get(item["schema_url"])
        assert answer.headers["content-type"] == "application/schema+json"
        schema = answer.json()
        names, objects = schema["properties"]["architecture"]["anyOf"]
        assert names["const"] == item["id"]
        options = schema["$defs"][objects["$ref"].removeprefix("#/$defs/")]
        assert options["properties"]["kind"]["const"] == item["id"]
        others = [name for name, d in schema["$defs"].items() if d.get("title") != options.get("title")]
        assert not [name for name in others if "image_size" in schema["$defs"][name].get("properties", {})]
        epochs = schema["properties"]["epochs"]
        assert (epochs["default"], epochs["minimum"], epochs["maximum"]) == (12, 1, 10_000)
        assert all(field.get("description") for field in schema["properties"].values())


def test_an_architectures_schema_has_the_optimizer_that_it_is_trained_with(client: TestClient) -> None:
    usual = {}
    for item in client.get("/v1/architectures").json()["data"]:
        schema = client.get(item["schema_url"]).json()
        told = schema["properties"]["optimizer"]
        names, objects = told["anyOf"]
        assert told["default"] == names["enum"][0]
        for kind, reference in zip(names["enum"], objects["oneOf"], strict=True):
            definition = schema["$defs"][reference["$ref"].removeprefix("#/$defs/")]["properties"]
            trained = TrainConfig.model_validate({"architecture": item["id"], "optimizer": kind})
            assert (definition["kind"]["const"], definition["lr"]["default"]) == (kind, trained.optimizer.lr)
        config = TrainConfig.model_validate({"architecture": item["id"]})
        assert config.optimizer.kind == told["default"]
        usual[item["id"]] = (config.optimizer.kind, config.optimizer.lr)
    assert usual["ssdlite320_mobilenet_v3_large"] == ("sgd", 0.02)
    assert usual["fasterrcnn_resnet50_fpn_v2"] == ("sgd", 0.02)
    for name in ("retinanet_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_fpn", "maskrcnn_resnet50_fpn"):
        assert usual[name] == ("adamw", 0.0002)


def test_a_job_on_a_dataset_that_became_ready_waits_for_a_worker(
    client: TestClient, services: Services, dataset: dict[str, Any]
) -> None:
    job = client.post("/v1/jobs", json=asked(dataset)).json()
    validated(services, dataset)
    assert client.get(f"/v1/jobs/{job['id']}").json()["waiting_for"] == "worker"
