"""A real Prometheus scrapes a real API and a real worker: numbers, alerts by their faults, ids in the logs.

The other alerts: `make alerts`.
"""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.monitoring import battery
from tests.monitoring.prometheus import alerts, program, rules, until
from tests.monitoring.service import Part
from tests.worker.conftest import FAKE_DETECTOR


@pytest.fixture(scope="module")
def scene() -> Iterator[battery.Scene]:
    if program() is None:
        pytest.skip("Prometheus is not installed: apt-get install prometheus")
    with battery.Scene(servers=False, environment={"HARMONICDET_LOG_FORMAT": "json"}) as scene:
        yield scene


def lines(part: Part) -> list[dict[str, Any]]:
    """All of them are objects, but for what Celery prints when it is told to end."""
    written = part.log.read_text().splitlines()
    return [json.loads(line) for line in written if line not in ("", "worker: Warm shutdown (MainProcess)")]


@pytest.mark.acceptance
def test_a_queue_without_workers_is_an_alert(scene: battery.Scene) -> None:
    scene.try_out("HarmonicDetNoWorker", battery.nobody_works)


@pytest.mark.acceptance
def test_one_request_is_followed_from_the_api_to_the_trainer(scene: battery.Scene) -> None:
    worker = scene.worker({"HARMONICDET_DETECTOR_COMMAND": json.dumps(FAKE_DETECTOR)})
    scene.service.client.headers["X-Request-ID"] = "follow-this-one"
    try:
        job = scene.service.submit()
    finally:
        del scene.service.client.headers["X-Request-ID"]
    until(lambda: scene.service.status(job) == "succeeded", 120, worker.log.read_text)
    steps = scene.service.client.get(f"/v1/jobs/{job}").json()["progress"]["steps"]
    assert steps > 1
    ask = scene.prometheus.ask
    told = ("up", "harmonicdet_training_steps_total", "harmonicdet_attempt_seconds_count")
    for wanted in (f"harmonicdet_training_steps_total == {steps}", "harmonicdet_attempt_seconds_count == 1"):
        until(partial(ask, wanted), 30, lambda: [ask(one) for one in told])
    worker.stop()

    (asked,) = (line for line in lines(scene.api) if line.get("request_id") == "follow-this-one")
    assert asked["logger"] == "api.access"
    assert (asked["method"], asked["path"], asked["status"]) == ("POST", "/v1/jobs", 202)
    said = [line for line in lines(worker) if line.get("request_id") == "follow-this-one"]
    assert {line["job_id"] for line in said} == {job}
    assert {line["attempt"] for line in said} == {1}
    by_logger = {line["logger"]: line["message"] for line in said}
    assert by_logger["worker.detector"] == "fake training from step 0"
    assert by_logger["worker.supervise"].startswith(job)


@pytest.mark.acceptance
def test_an_api_that_is_killed_is_an_alert(scene: battery.Scene) -> None:
    scene.try_out("HarmonicDetApiDown", battery.api_dies)


def test_waiting_is_all_that_is_changed_in_the_rules() -> None:
    as_they_are, shorter = (rules(patience)["groups"][0]["rules"] for patience in (1, 1 / 30))
    for one, other in zip(as_they_are, shorter, strict=True):
        assert one["expr"] == other["expr"]
        assert {**one, "for": 0} == {**other, "for": 0}
    assert "for" in as_they_are[1]


def test_every_alert_has_its_fault() -> None:
    assert set(battery.FAULTS) == set(alerts())
