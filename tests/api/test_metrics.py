"""What Prometheus is told: by the API, of itself and of the whole service."""

import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from api.app import create_app
from api.instruments import Requests
from api.services import Services
from api.settings import Settings
from store.census import CensusTaker
from store.errors import Unavailable
from store.keys import Scope
from tests.api.helpers import encoded, picture
from tests.api.test_access import key
from tests.servers import free_port


def numbers(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Of the text that Prometheus reads: (name, labels) to value."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Seen:
    """A look at `/metrics`."""

    def __init__(self, client: TestClient) -> None:
        answer = client.get("/metrics")
        assert answer.status_code == 200
        self.text: str = answer.text
        self.numbers = numbers(answer.text)

    def __call__(self, name: str, **labels: str) -> float:
        return self.numbers.get((name, frozenset(labels.items())), 0.0)


def test_the_queue_is_told(client: TestClient, job: dict[str, Any], services: Services) -> None:
    seen = Seen(client)
    assert seen("harmonicdet_jobs", queue="train", kind="train", status="queued", phase="") == 1
    assert seen("harmonicdet_jobs_due", queue="train") == 1
    assert seen("harmonicdet_jobs_due", queue="ingest") == 0
    assert seen("harmonicdet_workers", queue="train", state="idle") == 0
    assert ("harmonicdet_workers", frozenset({("queue", "train"), ("state", "idle")})) in seen.numbers
    assert seen("harmonicdet_database_up") == 1
    assert seen("harmonicdet_disk_free_bytes", folder="data") > 0
    assert seen("harmonicdet_lease_seconds") == services.settings.lease_seconds


def test_requests_are_counted_by_the_template_of_their_route(client: TestClient, job: dict[str, Any]) -> None:
    before = Seen(client)
    for _ in range(3):
        assert client.get(f"/v1/jobs/{job['id']}").status_code == 200
    assert client.get(f"/v1/datasets/{job['spec']['dataset_id']}").status_code == 200
    assert client.get("/v1/jobs?limit=x").status_code == 422
    assert client.get("/nowhere/at/all").status_code == 404
    assert client.request("BREW", "/v1").status_code == 405
    seen = Seen(client)

    def more(**labels: str) -> float:
        name = "harmonicdet_http_requests_total"
        return seen(name, **labels) - before(name, **labels)

    assert more(method="GET", route="/v1/jobs/{job_id}", status="200") == 3
    assert more(method="GET", route="/v1/jobs", status="422") == 1
    assert more(method="GET", route="/v1/datasets/{dataset_id}", status="200") == 1
    assert more(method="GET", route="none", status="404") == 1
    assert sum(value for (name, labels), value in seen.numbers.items() if ("method", "other") in labels) > 0
    counted = "harmonicdet_http_request_seconds_count"
    labels = {"method": "GET", "route": "/v1/jobs/{job_id}"}
    assert seen(counted, **labels) - before(counted, **labels) == 3
    # Nothing that a client chooses becomes a label.
    assert job["id"] not in seen.text
    assert "nowhere" not in seen.text
    assert "BREW" not in seen.text


def test_a_histogram_adds_up() -> None:
    requests = Requests()
    for seconds in (0.0005, 0.001, 0.003, 0.2, 60.0):
        requests.count("GET", "/v1", 200, seconds)
    requests.count("GET", "/v1", 404, 0.004)
    total, taken = requests.collect()
    assert {sample.labels["status"]: sample.value for sample in total.samples} == {"200": 5, "404": 1}
    buckets = {s.labels["le"]: s.value for s in taken.samples if s.name.endswith("_bucket")}
    assert (buckets["0.001"], buckets["0.005"], buckets["0.25"], buckets["10.0"]) == (2, 4, 5, 5)
    assert buckets["+Inf"] == 6
    (total_seconds,) = [s.value for s in taken.samples if s.name.endswith("_sum")]
    assert total_seconds == pytest.approx(60.2085)


def test_predictions_are_timed_by_phase_and_the_cache_tells_hits(client: TestClient, model: str) -> None:
    before = Seen(client)
    for _ in range(3):
        answer = client.post(
            f"/v1/models/{model}/predict", content=encoded(picture()), headers={"Content-Type": "image/png"}
        )
        assert answer.status_code == 200, answer.text
    drawn = {"Content-Type": "image/png", "Accept": "image/png"}
    assert (
        client.post(f"/v1/models/{model}/predict", content=encoded(picture()), headers=drawn).status_code
        == 200
    )
    seen = Seen(client)
    count = "harmonicdet_prediction_seconds_count"
    more = {
        phase: seen(count, phase=phase) - before(count, phase=phase)
        for phase in ("queue", "decode", "detect", "draw", "total")
    }
    assert more == {"queue": 3, "decode": 4, "detect": 4, "draw": 1, "total": 4}
    assert seen("harmonicdet_model_cache_misses_total") == 1
    assert seen("harmonicdet_model_cache_loads_total") == 1
    assert seen("harmonicdet_model_cache_hits_total") == 3
    assert seen("harmonicdet_model_cache_models") == 1
    assert seen("harmonicdet_model_cache_bytes") > 1000
    assert seen("harmonicdet_uploads_in_flight") == 0


def test_a_database_that_is_away_is_told_and_the_rest_as_well(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: CensusTaker) -> Any:
        raise Unavailable

    assert Seen(client)("harmonicdet_database_up") == 1
    monkeypatch.setattr("api.metrics.CensusTaker.census", away)
    seen = Seen(client)
    assert seen.numbers["harmonicdet_database_up", frozenset()] == 0
    assert not [name for name, _ in seen.numbers if name == "harmonicdet_jobs_due"]
    assert [name for name, _ in seen.numbers if name == "harmonicdet_http_requests_total"]


def test_only_the_operator_of_the_service_sees_its_numbers(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"require_keys": True}))
    with TestClient(app, base_url="http://localhost") as client:
        services: Services = app.state.services

        def status(*scopes: Scope, project: str = "default") -> int:
            headers = key(services, *scopes, project=project) if scopes else {}
            return int(client.get("/metrics", headers=headers).status_code)

        assert status() == 401
        assert status(Scope.READ, Scope.TRAIN, Scope.PREDICT) == 403
        assert status(Scope.METRICS) == 200
        assert status(Scope.ADMIN) == 200
        assert status(Scope.METRICS, project="theirs") == 403
        assert status(Scope.ADMIN, project="theirs") == 403


def test_a_port_of_its_own_needs_no_key(settings: Settings) -> None:
    port = free_port()
    app = create_app(settings.model_copy(update={"require_keys": True, "metrics_port": port}))
    with TestClient(app, base_url="http://localhost") as client:
        assert client.get("/metrics").status_code == 401
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
        assert answer.status_code == 200
        assert ("harmonicdet_database_up", frozenset()) in numbers(answer.text)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")


def test_every_metric_is_named_as_prometheus_wants(app: FastAPI, client: TestClient) -> None:
    for family in text_string_to_metric_families(Seen(client).text):
        assert re.fullmatch(r"(harmonicdet|process|python)_[a-z0-9_]+", family.name), family.name
        assert family.documentation, family.name
