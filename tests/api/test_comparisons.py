"""Comparisons: asked for, refused with a pointer, followed, ended, read in every format."""

import base64
import hashlib
import json
import re
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from api.comparing import merged
from api.services import Services
from api.settings import Settings
from store import comparisons, jobs
from store.models import NewArtifact
from store.tables import DEFAULT_PROJECT
from tests.api.helpers import ABSENT, claimed, hints, problem, rejected, trained

PATH = "/v1/comparisons"
ARMS: list[dict[str, Any]] = [
    {"name": "baseline", "config": {"loss": "baseline"}},
    {"name": "ours", "config": {"loss": {"gamma": 0.5}}},
]
FIGURE = {"data": [{"type": "bar", "y": [0.3, 0.4]}], "layout": {"title": {"text": "AP"}}}
REPORT = {
    "object": "comparison_result",
    "baseline": "baseline",
    "seeds": [1, 2, 3],
    "verdict": {"ours": "better"},
    "arms": [],
    "differences": [],
    "figures": {"pr": FIGURE},
}
PAGE = b'<!doctype html><script type="application/json">{"a": 1}</script><script>draw()</script>'


def body(dataset: str, **changes: Any) -> dict[str, Any]:
    return {"dataset_id": dataset, "config": {"epochs": 2}, "arms": ARMS} | changes


def ask(client: TestClient, dataset: str, key: str | None = None, **changes: Any) -> Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer: Response = client.post(PATH, json=body(dataset, **changes), headers=headers)
    return answer


def made(answer: Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{PATH}/{found['id']}"
    return found


def its_jobs(comparison: dict[str, Any]) -> list[str]:
    return [run["job_id"] for arm in comparison["arms"] for run in arm["runs"]]


def compared(services: Services, comparison: dict[str, Any]) -> None:
    """Every training ends, and what compares them."""
    for job_id in its_jobs(comparison):
        trained(services, job_id)
    contents = {
        "comparison.json": (json.dumps(REPORT).encode(), "application/json"),
        "comparison.md": ("# ours is better \u2026\n".encode(), "text/markdown"),
        "comparison.html": (PAGE, "text/html"),
    }
    files = []
    for name, (data, kind) in contents.items():
        blob = services.blobs.put_bytes(data)
        files.append(NewArtifact(name, kind, blob.key, blob.sha256, blob.bytes))
    with services.database.read() as session:
        row = comparisons.get(session, DEFAULT_PROJECT, comparison["id"])
    claim = claimed(services, str(row.job_id))
    services.database.run(lambda session: comparisons.finish(session, claim, result=REPORT, files=files))


@pytest.fixture
def comparison(client: TestClient, ready: dict[str, Any]) -> dict[str, Any]:
    return made(ask(client, ready["id"]))


@pytest.fixture
def finished(services: Services, comparison: dict[str, Any]) -> str:
    compared(services, comparison)
    return f"{PATH}/{comparison['id']}"


# Asking


def test_one_request_queues_a_training_for_every_arm_and_seed(
    client: TestClient, settings: Settings, ready: dict[str, Any]
) -> None:
    before = hints(settings)
    found = made(ask(client, ready["id"], name="losses", metadata={"a": "b"}, priority=2, seeds=3))
    assert (found["status"], found["baseline"], found["seeds"]) == ("queued", "baseline", [1, 2, 3])
    assert found["progress"] == {
        "trainings": 6,
        "succeeded": 0,
        "failed": 0,
        "cancelled": 0,
        "running": 0,
        "fraction": 0.0,
    }
    assert found["config"] == {"epochs": 2}
    assert [arm["config"] for arm in found["arms"]] == [arm["config"] for arm in ARMS]
    assert [arm["resolved_config"]["loss"]["kind"] for arm in found["arms"]] == ["baseline", "harmonic"]
    assert (found["verdict"], found["result"], found["job_id"], found["error"]) == (None,) * 4
    assert [queue for queue, _ in hints(settings) - before] == ["train"] * 6
    for arm in found["arms"]:
        for run in arm["runs"]:
            job = client.get(f"/v1/jobs/{run['job_id']}").json()
            assert job["resolved_config"] == arm["resolved_config"] | {"seed": run["seed"]}
            assert job["spec"]["comparison"] == {"id": found["id"], "arm": arm["name"], "seed": run["seed"]}
            assert job["spec"]["config"]["seed"] == run["seed"]
            assert (job["kind"], job["priority"], job["metadata"]) == ("train", 2, {"a": "b"})
            resolved = job["resolved_config"]
            assert client.post(
                "/v1/jobs?dry_run=true",
                json={"kind": "train", "dataset_id": ready["id"], "config": job["spec"]["config"]},
            ).json()["resolved_config"] == (resolved)
    assert client.get(f"{PATH}/{found['id']}").json() == found
    named = made(ask(client, ready["id"], seeds=[9, 0, 4294967295], baseline="ours"))
    assert (named["seeds"], named["baseline"]) == ([9, 0, 4294967295], "ours")
    assert [run["seed"] for run in named["arms"][0]["runs"]] == [9, 0, 4294967295]


def test_arms_of_other_detectors_have_the_optimizer_that_suits_each(
    client: TestClient, ready: dict[str, Any]
) -> None:
    retinanet = {"architecture": "retinanet_resnet50_fpn"}
    arms = [
        {"name": "ssdlite", "config": {"optimizer": {"weight_decay": 0.001}}},
        {"name": "retinanet", "config": retinanet},
        {"name": "decayed", "config": retinanet | {"optimizer": {"weight_decay": 0.1}, "loss": {"alpha": 1}}},
    ]
    found = made(ask(client, ready["id"], arms=arms))
    optimizers = [arm["resolved_config"]["optimizer"] for arm in found["arms"]]
    assert [(one["kind"], one["lr"], one["weight_decay"]) for one in optimizers] == [
        ("sgd", 0.02, 0.001),
        ("adamw", 0.0002, 0.01),
        ("adamw", 0.0002, 0.1),
    ]
    assert found["arms"][2]["resolved_config"]["loss"]["alpha"] == 1
    # What all arms have in common is theirs, too.
    common = {"epochs": 2, "optimizer": {"kind": "sgd", "lr": 0.005}}
    found = made(ask(client, ready["id"], config=common, arms=arms))
    assert {arm["resolved_config"]["optimizer"]["lr"] for arm in found["arms"]} == {0.005}


def test_the_same_request_is_the_same_comparison_with_a_key_only(
    client: TestClient, ready: dict[str, Any]
) -> None:
    first = made(ask(client, ready["id"], "k"))
    again = ask(client, ready["id"], "k")
    assert (again.json(), again.headers["idempotent-replayed"]) == (first, "true")
    problem(ask(client, ready["id"], "k", seeds=4), 422, "idempotency_mismatch")
    other = made(ask(client, ready["id"]))
    assert other["id"] != first["id"]
    listed = client.get(PATH).json()["data"]
    assert {one["id"] for one in listed} == {first["id"], other["id"]}
    assert len(client.get("/v1/jobs?kind=train&limit=100").json()["data"]) == 12


NO_COMPARISON: list[tuple[dict[str, Any], str, str]] = [
    ({"seeds": 2}, "/seeds", "too_few_seeds"),
    ({"seeds": [1, 2]}, "/seeds", "too_few_seeds"),
    ({"seeds": 10**9}, "/seeds", "too_many_seeds"),
    ({"seeds": -1}, "/seeds", "too_few_seeds"),
    ({"seeds": [1, 2, 2]}, "/seeds", "duplicate"),
    ({"seeds": [1, 2, -3]}, "/seeds/2", "greater_than_equal"),
    ({"seeds": [1, 2, True]}, "/seeds/2", "int_type"),
    ({"seeds": True}, "/seeds", "list_type"),
    ({"seeds": "many"}, "/seeds", "list_type"),
    ({"seeds": 50, "arms": [{"name": str(k)} for k in range(20)]}, "", "too_many_trainings"),
    ({"seeds": list(range(100)), "arms": ARMS}, "/seeds", "too_many_seeds"),
    ({"arms": [{"name": str(k)} for k in range(100)]}, "/arms", "too_long"),
    ({"arms": ARMS[:1]}, "/arms", "too_short"),
    ({"arms": [*ARMS, {"name": "ours"}]}, "/arms/2/name", "duplicate"),
    ({"arms": [*ARMS, {"name": ""}]}, "/arms/2/name", "string_too_short"),
    ({"arms": [*ARMS, {"name": "a\nb"}]}, "/arms/2/name", "value_error"),
    ({"arms": [*ARMS, {"name": "x", "seed": 1}]}, "/arms/2/seed", "extra_forbidden"),
    ({"baseline": "nobody"}, "/baseline", "arm_unknown"),
    ({"config": {"seed": 3}}, "/config/seed", "seed_given"),
    ({"config": {"loss": {"kind": "magic"}}}, "/config/loss/kind", "union_tag_invalid"),
    ({"config": {"train_split": "night"}}, "/config/train_split", "split_unknown"),
]
NO_CONFIG: list[tuple[dict[str, Any], str, str]] = [
    ({"loss": {"kind": "magic"}}, "/loss/kind", "union_tag_invalid"),
    ({"loss": {"gamma": 2}}, "/loss/gamma", "less_than_equal"),
    ({"loss": {"kind": "baseline", "gamma": 0.5}}, "/loss/gamma", "extra_forbidden"),
    ({"a/b~c": 1}, "/a~1b~0c", "extra_forbidden"),
    ({"epochs": "three"}, "/epochs", "int_type"),
    ({"schedule": {"kind": "step", "milestones": [8]}}, "", "value_error"),
    ({"optimizer": {"kind": "adamw", "lr": 1e400}}, "/optimizer/lr", "finite_number"),
    ({"eval_split": "train"}, "/eval_split", "splits_equal"),
    ({"seed": 7}, "/seed", "seed_given"),
    (
        {"architecture": {"initial_weights": {"kind": "model"}}},
        "/architecture/initial_weights/model",
        "missing",
    ),
]


def test_what_makes_no_comparison_is_refused_in_its_place(client: TestClient, ready: dict[str, Any]) -> None:
    for changes, pointer, code in NO_COMPARISON:
        found = problem(ask(client, ready["id"], **changes), 422, "validation_failed")
        assert (pointer, code) in [(one["pointer"], one["code"]) for one in found["errors"]], found
    assert client.get("/v1/jobs?kind=train").json()["data"] == []


def test_a_config_that_does_not_resolve_is_refused_in_its_arm(
    client: TestClient, ready: dict[str, Any]
) -> None:
    for config, pointer, code in NO_CONFIG:
        text = json.dumps(body(ready["id"], arms=[ARMS[0], {"name": "other", "config": config}]))
        text = text.replace("Infinity", "1e400")
        answer = client.post(PATH, content=text, headers={"Content-Type": "application/json"})
        found = problem(answer, 422, "validation_failed")
        assert [(one["pointer"], one["code"]) for one in found["errors"]] == [
            (f"/arms/1/config{pointer}", code)
        ]


def test_an_arm_measured_on_other_images_is_refused(client: TestClient, dataset: dict[str, Any]) -> None:
    arms = [*ARMS, {"name": "elsewhere", "config": {"eval_split": "test"}}]
    found = problem(ask(client, dataset["id"], arms=arms), 422, "validation_failed")  # still validating
    assert [(one["pointer"], one["code"]) for one in found["errors"]] == [
        ("/arms/2/config/eval_split", "splits_differ")
    ]
    assert made(ask(client, dataset["id"]))["status"] == "queued"


def test_a_deep_config_is_refused(client: TestClient, ready: dict[str, Any]) -> None:
    for depth in (9, 500, 2500):
        config = '{"a":' * depth + "1" + "}" * depth
        text = json.dumps(body(ready["id"])).replace('{"loss": "baseline"}', config)
        answer = client.post(PATH, content=text, headers={"Content-Type": "application/json"})
        if depth < 1000:
            assert problem(answer, 422, "validation_failed")["errors"][0]["code"] == "too_deep"
        else:  # Python's parser gives up
            problem(answer, 400, "body_malformed")


def test_what_it_needs_must_be_there(
    client: TestClient, services: Services, dataset: dict[str, Any], ready: dict[str, Any]
) -> None:
    problem(ask(client, f"ds_{ABSENT}"), 404, "dataset_not_found")
    arms = [
        *ARMS,
        {"name": "on", "config": {"architecture": {"initial_weights": {"kind": "model", "model": "mdl_no"}}}},
    ]
    problem(ask(client, ready["id"], arms=arms), 404, "model_not_found")
    headers = {"Content-Type": "application/zip"}
    broken = client.post("/v1/datasets?name=broken", content=b"no zip", headers=headers).json()
    rejected(services, broken)
    problem(ask(client, broken["id"]), 409, "dataset_invalid")


def test_changes_are_a_merge_patch_and_another_kind_replaces() -> None:
    base = {"a": 1, "loss": {"kind": "harmonic", "gamma": 0.9}, "b": {"c": {"d": 1, "e": 2}}}
    assert merged(base, {"a": None, "b": {"c": {"d": None, "f": [1]}}}) == {
        "loss": {"kind": "harmonic", "gamma": 0.9},
        "b": {"c": {"e": 2, "f": [1]}},
    }
    assert merged(base, {"loss": {"kind": "harmonic", "alpha": 1}})["loss"] == {
        "kind": "harmonic",
        "gamma": 0.9,
        "alpha": 1,
    }
    assert merged(base, {"loss": {"kind": "baseline"}})["loss"] == {"kind": "baseline"}
    assert merged(base, {"loss": "baseline"})["loss"] == "baseline"
    assert merged(base, {"a": {"x": {"y": None}}})["a"] == {"x": {}}
    assert base["loss"] == {"kind": "harmonic", "gamma": 0.9}


# Following


def test_a_failed_comparison_says_why_and_is_retried(
    client: TestClient, services: Services, comparison: dict[str, Any]
) -> None:
    path, error = f"{PATH}/{comparison['id']}", {"code": "out_of_memory", "detail": "No memory was left."}
    first, *rest = its_jobs(comparison)
    claim = claimed(services, first)
    services.database.run(lambda s: jobs.fail(s, claim, reason="out_of_memory", error=error))
    for job_id in rest:
        trained(services, job_id)
    found = client.get(path).json()
    assert (found["status"], found["error"]["code"]) == ("failed", "too_few_seeds")
    assert found["error"]["errors"][0]["pointer"] == "/arms/0"
    assert found["arms"][0]["runs"][0]["error"]["code"] == "out_of_memory"
    assert found["progress"]["failed"] == 1
    assert found["arms"][1]["runs"][2]["metrics"]["AP"] == 0.5
    problem(client.get(f"{path}/report"), 409, "comparison_not_ready")
    assert client.get(f"{PATH}?status=failed").json()["data"][0]["id"] == comparison["id"]
    answer = client.post(f"{path}/retry")
    assert (answer.status_code, answer.json()["status"]) == (202, "running")
    assert client.post(f"{path}/retry").status_code == 200
    trained(services, first)
    assert client.get(path).json()["job_id"] is not None


def test_pause_resume_cancel_and_delete(client: TestClient, comparison: dict[str, Any]) -> None:
    path = f"{PATH}/{comparison['id']}"
    problem(client.delete(path), 409, "comparison_running")
    for verb, first, then in (
        ("pause", "paused", 200),
        ("resume", "queued", 200),
        ("cancel", "cancelled", 200),
    ):
        answer = client.post(f"{path}/{verb}")
        assert (answer.status_code, answer.json()["status"]) == (202, first), verb
        assert client.post(f"{path}/{verb}").status_code == then
    problem(client.post(f"{path}/pause"), 409, "comparison_already_finished")
    assert client.delete(path).status_code == 204
    problem(client.get(path), 404, "comparison_not_found")
    assert client.get(f"/v1/jobs/{its_jobs(comparison)[0]}").json()["status"] == "cancelled"


def test_what_it_needs_is_kept_while_it_goes_on(
    client: TestClient, services: Services, ready: dict[str, Any], comparison: dict[str, Any]
) -> None:
    model = trained(services, its_jobs(comparison)[0])
    problem(client.delete(f"/v1/models/{model}"), 409, "model_in_comparison")
    problem(client.delete(f"/v1/datasets/{ready['id']}"), 409, "dataset_in_use")
    assert client.post(f"{PATH}/{comparison['id']}/cancel").json()["status"] == "cancelled"
    assert client.delete(f"/v1/models/{model}").status_code == 204
    assert client.delete(f"/v1/datasets/{ready['id']}").status_code == 204
    found = client.get(f"{PATH}/{comparison['id']}").json()
    assert (found["dataset_id"], found["arms"][0]["runs"][0]["model_id"]) == (None, None)
    problem(client.post(f"{PATH}/{comparison['id']}/retry"), 404, "dataset_not_found")


def test_a_poll_costs_a_304_and_lists_are_filtered(
    client: TestClient, ready: dict[str, Any], comparison: dict[str, Any]
) -> None:
    path = f"{PATH}/{comparison['id']}"
    etag = client.get(path).headers["etag"]
    assert client.get(path, headers={"If-None-Match": etag}).status_code == 304
    client.post(f"{path}/pause")
    assert client.get(path, headers={"If-None-Match": etag}).status_code == 200

    other = made(ask(client, ready["id"], metadata={"who": "us"}))
    assert [one["id"] for one in client.get(f"{PATH}?metadata[who]=us").json()["data"]] == [other["id"]]
    assert client.get(f"{PATH}?dataset_id=ds_no").json()["data"] == []
    first = client.get(f"{PATH}?limit=1&order=asc").json()
    assert first["has_more"]
    assert "runs" not in first["data"][0]["arms"][0]


# Reading


def test_a_finished_comparison_has_its_verdict(client: TestClient, finished: str) -> None:
    found = client.get(finished).json()
    assert (found["status"], found["verdict"], found["result"]) == ("succeeded", {"ours": "better"}, REPORT)
    assert (found["progress"]["succeeded"], found["progress"]["fraction"]) == (6, 1.0)
    assert client.get(f"/v1/jobs/{found['job_id']}").json()["kind"] == "compare"
    problem(client.post(f"{finished}/cancel"), 409, "comparison_already_finished")
    problem(client.post(f"{finished}/retry"), 409, "comparison_not_retryable")


def test_the_report_comes_as_it_is_asked_for(client: TestClient, finished: str) -> None:
    browser = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
    html, markdown = "text/html; charset=utf-8", "text/markdown; charset=utf-8"
    for accept, query, kind in (
        ("*/*", "", "application/json"),
        (browser, "", html),
        ("text/markdown", "", markdown),
        ("text/html", "?format=json", "application/json"),
        ("*/*", "?format=html", html),
        ("*/*", "?format=markdown", markdown),
    ):
        answer = client.get(f"{finished}/report{query}", headers={"Accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert answer.headers["vary"] == "Accept"
        if kind == "application/json":
            assert answer.json() == REPORT
        headers = {"Accept": accept, "If-None-Match": answer.headers["etag"]}
        assert client.get(f"{finished}/report{query}", headers=headers).status_code == 304
    problem(client.get(f"{finished}/report", headers={"Accept": "image/png"}), 406, "not_acceptable")
    # The page may run its own scripts, and nothing else.
    answer = client.get(f"{finished}/report?format=html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'sha256-")
    (script,) = re.findall(r"script-src ([^;]+);", policy)
    hashes = [base64.b64encode(hashlib.sha256(one).digest()).decode() for one in (b"draw()", b'{"a": 1}')]
    assert sorted(script.split()) == sorted(f"'sha256-{one}'" for one in hashes)
    assert answer.headers["x-content-type-options"] == "nosniff"
    answer = client.get(f"{finished}/figures/pr")
    assert answer.json() == FIGURE
    again = client.get(f"{finished}/figures/pr", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    for name in ("no", "UPPER", "a" * 70):
        problem(client.get(f"{finished}/figures/{name}"), 404, "comparison_figure_not_found")
