"""Asking something of a job: pause, resume, stop, retry; limits, quotas, checkpoints, a full disk."""

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.app import create_app
from api.services import Services
from api.settings import Settings
from store import jobs, quotas
from store.jobs import Claim
from store.tables import DEFAULT_PROJECT
from tests.api.helpers import ABSENT, claimed, problem, trained

ERROR = {"type": "about:blank", "code": "internal_error", "detail": "It broke."}


def saved(services: Services, claim: Claim, step: int = 7) -> None:
    """A checkpoint of the training."""
    services.database.run(
        lambda s: jobs.record_checkpoint(
            s, claim, key=f"jobs/{claim.job_id}/1/{step}", sha256="ab", bytes=5, step=step, epoch=1.5
        )
    )


def failed(services: Services, job_id: str) -> None:
    claim = claimed(services, job_id)
    services.database.run(lambda s: jobs.fail(s, claim, reason="internal_error", error=ERROR))


def post(client: TestClient, job_id: str, action: str) -> tuple[int, dict[str, Any]]:
    answer = client.post(f"/v1/jobs/{job_id}/{action}")
    assert answer.headers["location"] == f"/v1/jobs/{job_id}"
    body: dict[str, Any] = answer.json()
    return answer.status_code, body


def test_a_queued_job_is_paused_at_once_and_resumed(client: TestClient, job: dict[str, Any]) -> None:
    status, body = post(client, job["id"], "pause")
    assert (status, body["status"], body["queue_position"]) == (202, "paused", None)
    assert post(client, job["id"], "pause")[0] == 200
    status, body = post(client, job["id"], "resume")
    assert (status, body["status"], body["waiting_for"]) == (202, "queued", "worker")
    assert post(client, job["id"], "resume")[0] == 200


def test_a_running_job_is_paused_when_its_worker_has_given_it_back(
    client: TestClient, services: Services, job: dict[str, Any]
) -> None:
    claim = claimed(services, job["id"])
    status, body = post(client, job["id"], "pause")
    assert (status, body["status"], body["requested_action"]) == (202, "running", "pause")
    problem(client.post(f"/v1/jobs/{job['id']}/resume"), 409, "job_not_paused")
    saved(services, claim)
    services.database.run(lambda s: jobs.release(s, claim, stalled=False))
    assert client.get(f"/v1/jobs/{job['id']}").json()["status"] == "paused"
    post(client, job["id"], "resume")
    assert claimed(services, job["id"]).checkpoint_step == 7


def test_a_training_is_stopped_with_a_model(
    client: TestClient, services: Services, job: dict[str, Any]
) -> None:
    problem(client.post(f"/v1/jobs/{job['id']}/stop"), 409, "job_not_started")
    claim = claimed(services, job["id"])
    assert post(client, job["id"], "stop")[1]["requested_action"] == "stop"
    assert services.database.run(lambda s: jobs.heartbeat(s, claim)) == "stop"
    saved(services, claim)
    services.database.run(lambda s: jobs.succeed(s, claim, status_reason="stopped"))
    status, body = post(client, job["id"], "stop")
    assert (status, body["status"], body["status_reason"]) == (200, "succeeded", "stopped")


def test_a_paused_training_is_queued_for_its_stop(
    client: TestClient, services: Services, job: dict[str, Any]
) -> None:
    claim = claimed(services, job["id"])
    saved(services, claim)
    post(client, job["id"], "pause")
    services.database.run(lambda s: jobs.release(s, claim, stalled=False))
    status, body = post(client, job["id"], "stop")
    assert (status, body["status"], body["requested_action"]) == (202, "queued", "stop")


def test_a_failed_job_is_retried_and_its_error_is_gone(
    client: TestClient, services: Services, job: dict[str, Any]
) -> None:
    failed(services, job["id"])
    status, body = post(client, job["id"], "retry")
    assert (status, body["status"], body["error"]) == (202, "queued", None)
    assert post(client, job["id"], "retry")[0] == 200
    trained(services, job["id"])
    problem(client.post(f"/v1/jobs/{job['id']}/retry"), 409, "job_not_retryable")


@pytest.mark.parametrize("action", ["cancel", "pause", "resume", "stop", "retry"])
def test_an_absent_job_is_not_found(client: TestClient, action: str) -> None:
    problem(client.post(f"/v1/jobs/job_{ABSENT}/{action}"), 404, "job_not_found")


def test_a_finished_job_cannot_be_paused_or_stopped(
    client: TestClient, services: Services, job: dict[str, Any]
) -> None:
    trained(services, job["id"])
    for action, code in (("pause", "job_already_finished"), ("stop", "job_already_finished")):
        problem(client.post(f"/v1/jobs/{job['id']}/{action}"), 409, code)


def test_a_cancel_wins_over_what_is_asked_later(
    client: TestClient, services: Services, job: dict[str, Any]
) -> None:
    claimed(services, job["id"])
    client.post(f"/v1/jobs/{job['id']}/cancel")
    for action in ("pause", "stop"):
        problem(client.post(f"/v1/jobs/{job['id']}/{action}"), 409, "job_being_cancelled")


def test_a_validation_can_only_be_cancelled(client: TestClient, dataset: dict[str, Any]) -> None:
    path = f"/v1/jobs/{dataset['validation_job_id']}/pause"
    problem(client.post(path), 409, "action_not_possible")


def test_limits_are_accepted_and_told(client: TestClient, ready: dict[str, Any]) -> None:
    asked = {"kind": "train", "dataset_id": ready["id"]}
    plain = client.post("/v1/jobs", json=asked).json()
    assert (plain["max_attempts"], plain["progress_timeout_seconds"]) == (20, None)
    own = client.post("/v1/jobs", json=asked | {"max_attempts": 2, "progress_timeout_seconds": 90.5}).json()
    assert (own["max_attempts"], own["progress_timeout_seconds"]) == (2, 90.5)
    for wrong in ({"max_attempts": 0}, {"progress_timeout_seconds": 0}):
        problem(client.post("/v1/jobs", json=asked | wrong), 422, "validation_failed")


def test_a_job_over_the_quota_of_queued_jobs_is_refused(
    client: TestClient, services: Services, ready: dict[str, Any]
) -> None:
    services.database.run(lambda s: quotas.limit(s, DEFAULT_PROJECT, max_queued_jobs=1))
    asked = {"kind": "train", "dataset_id": ready["id"]}
    headers = {"Idempotency-Key": "one"}
    first = client.post("/v1/jobs", json=asked, headers=headers)
    refused = problem(client.post("/v1/jobs", json=asked), 409, "quota_exceeded")
    assert "1 queued jobs" in refused["detail"]
    again = client.post("/v1/jobs", json=asked, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert len(client.get("/v1/jobs?kind=train").json()["data"]) == 1


def test_a_job_waits_for_the_quota_of_running_jobs(
    client: TestClient, services: Services, job: dict[str, Any], ready: dict[str, Any]
) -> None:
    services.database.run(lambda s: quotas.limit(s, DEFAULT_PROJECT, max_running_jobs=1))
    claimed(services, job["id"])
    waiting = client.post("/v1/jobs", json={"kind": "train", "dataset_id": ready["id"]}).json()
    assert waiting["waiting_for"] == "quota"


def test_checkpoints_are_listed(client: TestClient, services: Services, job: dict[str, Any]) -> None:
    path = f"/v1/jobs/{job['id']}/checkpoints"
    assert client.get(path).json()["data"] == []
    claim = claimed(services, job["id"])
    saved(services, claim, 7)
    saved(services, claim, 9)
    body = client.get(path).json()
    assert [(c["step"], c["attempt"], c["bytes"]) for c in body["data"]] == [(7, 1, 5), (9, 1, 5)]
    assert (body["first_id"], body["last_id"], body["has_more"]) == (7, 9, False)


@pytest.fixture
def full(settings: Settings) -> FastAPI:
    """An application whose disk never has the room that must stay free."""
    return create_app(settings.model_copy(update={"min_free_bytes": 1 << 60}))


def test_on_a_full_disk_no_job_is_made_and_the_rest_still_works(
    client: TestClient, ready: dict[str, Any], job: dict[str, Any], full: FastAPI
) -> None:
    with TestClient(full, base_url="http://localhost") as without_room:
        answer = without_room.post("/v1/jobs", json={"kind": "train", "dataset_id": ready["id"]})
        problem(answer, 507, "storage_full")
        assert len(without_room.get("/v1/jobs?kind=train").json()["data"]) == 1
        ready_answer = without_room.get("/readyz")
        assert (ready_answer.status_code, ready_answer.json()["checks"]["storage"]) == (200, "nearly full")
        assert without_room.get("/v1/system/storage").json()["full"] is True
        assert without_room.post(f"/v1/jobs/{job['id']}/cancel").status_code == 202
