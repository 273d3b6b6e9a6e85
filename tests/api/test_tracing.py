"""Spans of requests, and the trace that a job carries away."""

import sys
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.testclient import TestClient

from api.app import create_app
from api.services import Services
from api.settings import Settings
from store import jobs, tracing
from store.errors import SettingsInvalid
from store.tables import DEFAULT_PROJECT

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
WORD = "zaunkoenig7351"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"traces": True})


def of_request(spans: InMemorySpanExporter) -> ReadableSpan:
    """The span of the last request."""
    return [span for span in spans.get_finished_spans() if span.kind is SpanKind.SERVER][-1]


def test_a_request_is_a_span_with_its_statements(
    client: TestClient, ready: dict[str, Any], spans: InMemorySpanExporter
) -> None:
    client.get(f"/v1/datasets/{ready['id']}", headers={"X-Request-ID": "mine"})
    span = of_request(spans)
    assert span.name == "GET /v1/datasets/{dataset_id}"
    attributes = dict(span.attributes or {})
    assert attributes["http.route"] == "/v1/datasets/{dataset_id}"
    assert attributes["http.response.status_code"] == 200
    assert attributes["harmonicdet.request_id"] == "mine"
    inner = [one for one in spans.get_finished_spans() if one.parent and one.parent.span_id == _id(span)]
    assert [one.name for one in inner if one.name != "BEGIN"] == ["SELECT"]  # SQLite is told of the beginning
    assert "FROM dataset" in str((inner[-1].attributes or {})["db.query.text"])


def test_a_job_carries_the_trace_of_its_client(
    client: TestClient, ready: dict[str, Any], services: Services, spans: InMemorySpanExporter
) -> None:
    body = {"kind": "train", "dataset_id": ready["id"], "config": {"epochs": 2}}
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "mine"}
    job_id = client.post("/v1/jobs", json=body, headers=headers).json()["id"]
    span = of_request(spans)
    assert f"{_context(span).trace_id:032x}" == TRACE
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == PARENT
    with services.database.read() as session:
        row = jobs.get(session, DEFAULT_PROJECT, job_id)
    assert row.request_id == "mine"
    assert row.traceparent == f"00-{TRACE}-{_id(span):016x}-01"


def test_nothing_that_a_request_says_is_in_a_span(
    client: TestClient, ready: dict[str, Any], spans: InMemorySpanExporter
) -> None:
    client.get(f"/v1/datasets?metadata[{WORD}]={WORD}", headers={"Referer": WORD, "Cookie": WORD})
    client.get(f"/v1/jobs/{WORD}")
    client.get(f"/{WORD}")
    body = {"kind": "train", "dataset_id": ready["id"], "config": {"epochs": 2}, "name": WORD}
    client.post("/v1/jobs", json=body | {"metadata": {WORD: WORD}})
    found = spans.get_finished_spans()
    assert len(found) > 8
    assert not [span.to_json() for span in found if WORD in span.to_json()]


def test_an_error_of_ours_is_marked_without_its_message(
    client: TestClient, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError(WORD)

    monkeypatch.setattr(jobs, "list_", broken)
    assert client.get("/v1/jobs").status_code == 500
    span = of_request(spans)
    assert span.status.status_code is StatusCode.ERROR
    assert WORD not in span.to_json()


def test_traces_without_opentelemetry_are_refused_with_what_to_install(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsInvalid, match=r"harmonicdet\[tracing\]"):
        tracing.configure(settings, "api")
    assert not tracing.is_on()


def test_an_application_without_traces_has_no_layer_for_them(settings: Settings) -> None:
    plain = create_app(settings.model_copy(update={"traces": False}))
    assert not [layer for layer in plain.user_middleware if "Traced" in str(layer)]


def _context(span: ReadableSpan) -> Any:
    return span.get_span_context()


def _id(span: ReadableSpan) -> int:
    return int(_context(span).span_id)
