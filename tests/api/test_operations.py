"""What the operator sees and does: workers, storage."""

import os
import time

import pytest
from starlette.testclient import TestClient

from api.services import Services
from store import chores, workers
from store.collect import CHORE
from store.ids import new_id
from tests.api.helpers import ABSENT, problem


@pytest.fixture
def worker(services: Services) -> str:
    """Id of a registered worker."""
    worker_id = new_id("wrk")
    services.database.run(
        lambda s: workers.register(
            s,
            worker_id=worker_id,
            name="train@host:1",
            queue="train",
            device="cpu",
            host="host",
            pid=1,
            version="0.1.0",
        )
    )
    return worker_id


def test_workers_are_listed_with_what_they_do(client: TestClient, services: Services, worker: str) -> None:
    services.database.run(lambda s: workers.beat(s, worker, job_id=f"job_{ABSENT}", blocked="no room"))
    (shown,) = client.get("/v1/workers").json()["data"]
    assert (shown["id"], shown["object"], shown["queue"], shown["device"]) == (
        worker,
        "worker",
        "train",
        "cpu",
    )
    assert (shown["job_id"], shown["blocked"], shown["draining"]) == (f"job_{ABSENT}", "no room", False)
    assert client.get("/v1/workers?queue=ingest").json()["data"] == []


def test_a_worker_is_drained_and_the_drain_is_ended(
    client: TestClient, services: Services, worker: str
) -> None:
    for action, draining in (("drain", True), ("undrain", False)):
        path = f"/v1/workers/{worker}/{action}"
        first = client.post(path)
        assert (first.status_code, first.json()["draining"]) == (202, draining)
        assert client.post(path).status_code == 200
        assert services.database.run(lambda s: workers.beat(s, worker)).draining is draining


@pytest.mark.parametrize("worker_id", [f"wrk_{ABSENT}", "x"])
def test_an_absent_worker_is_not_found(client: TestClient, worker_id: str) -> None:
    problem(client.post(f"/v1/workers/{worker_id}/drain"), 404, "worker_not_found")


@pytest.mark.embedded
def test_storage_is_counted_and_collected(client: TestClient, services: Services, model: str) -> None:
    assert model
    old = services.blobs.put_bytes(b"nobody wants this")
    path = services.blobs.local_path(old.key)
    assert path is not None
    os.utime(path, (time.time() - 2 * services.settings.collect_grace_seconds,) * 2)
    shown = client.get("/v1/system/storage").json()
    assert shown["bytes"]["unreferenced"] == 17
    assert shown["bytes"]["artifacts"] > 0
    assert shown["bytes"]["datasets"] > 0
    assert (shown["full"], shown["last_collected_at"]) == (False, None)
    planned = client.post("/v1/system/storage/collect?dry_run=true").json()
    assert (planned["dry_run"], planned["unreferenced"]) == (True, {"blobs": 1, "bytes": 17})
    assert services.blobs.exists(old.key)
    done = client.post("/v1/system/storage/collect").json()
    assert (done["dry_run"], done["unreferenced"]) == (False, {"blobs": 1, "bytes": 17})
    assert not services.blobs.exists(old.key)
    assert client.get("/v1/system/storage").json()["last_collected_at"].endswith("Z")


def test_only_one_collection_runs_at_once(client: TestClient, services: Services) -> None:
    services.database.run(lambda s: chores.take(s, CHORE, holder="other", seconds=60, now=True))
    problem(client.post("/v1/system/storage/collect"), 409, "in_progress")
