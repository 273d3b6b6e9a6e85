"""What a worker tells of its jobs: numbers, logs with ids, events for TensorBoard, runs of MLflow, spans."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import generate_latest

from store import context, jobs, models
from store.logs import JsonFormatter, TextFormatter
from store.tables import DEFAULT_PROJECT, Job, JobStatus
from tests.api.test_metrics import numbers
from tests.servers import free_port
from worker import curves, forwarding, instruments, tracking
from worker.kinds import Workshop
from worker.settings import WorkerSettings
from worker.supervise import Supervisor

Submit = Callable[..., str]
Row = Callable[..., Job]


def told(settings: WorkerSettings) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return numbers(generate_latest(instruments.registry(settings, "train", lambda: None)).decode())


def test_attempts_are_counted_by_how_they_end_and_steps_as_they_are_made(
    supervisor: Supervisor, submit: Submit, settings: WorkerSettings, row: Row
) -> None:
    before = told(settings)
    supervisor.work(submit(steps=4))
    supervisor.work(submit(steps=3, fail_at=2, code="out_of_memory"))
    lost = submit(steps=3, crash_at=2, signal=9, checkpoint_every=5)
    supervisor.work(lost)
    assert row(lost).status is JobStatus.QUEUED
    after = told(settings)

    def more(name: str, **labels: str) -> float:
        key = name, frozenset(labels.items())
        return after.get(key, 0) - before.get(key, 0)

    attempts = "harmonicdet_attempts_total"
    assert more(attempts, kind="train", outcome="succeeded", reason="") == 1
    assert more(attempts, kind="train", outcome="failed", reason="out_of_memory") == 1
    assert more(attempts, kind="train", outcome="requeued", reason="worker_lost") == 1
    assert more("harmonicdet_attempt_seconds_count", kind="train") == 3
    assert more("harmonicdet_training_steps_total") == 4 + 1 + 1
    assert more("harmonicdet_checkpoint_bytes_total") > 0
    # A first failure must show as an increase.
    assert before[attempts, frozenset({"kind": "train", "outcome": "failed", "reason": ""}.items())] == 0


def test_the_curves_of_a_training_are_read_by_tensorboard(
    supervisor: Supervisor, shop: Workshop, submit: Submit, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    job_id = submit(steps=130)
    supervisor.work(job_id)
    with shop.database.read() as session:
        model = models.of_job(session, DEFAULT_PROJECT, job_id)
        assert model is not None
        artifact = models.artifact(session, DEFAULT_PROJECT, model.id, curves.NAME)
        rows = jobs.metrics(session, DEFAULT_PROJECT, job_id, limit=1000).items
    folder = tmp_path / "events"
    folder.mkdir()
    shop.blobs.fetch(artifact.blob, folder / curves.NAME, artifact.sha256)
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    read.Reload()
    assert read.Tags()["scalars"] == ["train/loss"]
    events = read.Scalars("train/loss")
    assert [event.step for event in events] == list(range(1, 131))
    assert [event.value for event in events] == pytest.approx([row.metrics["loss"] for row in rows])
    assert [event.wall_time for event in events] == [row.created_at.timestamp() for row in rows]


def test_curves_that_cannot_be_written_cost_no_model(
    supervisor: Supervisor, submit: Submit, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise OSError("no room")

    monkeypatch.setattr(curves, "artifact", broken)
    job_id = submit(steps=2)
    supervisor.work(job_id)
    assert row(job_id).status is JobStatus.SUCCEEDED


def test_mlflow_knows_of_a_training_that_has_succeeded(
    shop: Workshop, submit: Submit, row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # no server and no tables: files that anybody reads
    folder = tmp_path / "mlflow"
    changed = {"mlflow_tracking_uri": folder.as_uri(), "mlflow_experiment": "cells"}
    settings = shop.settings.model_copy(update=changed)
    job_id = submit(steps=3)
    failed = submit(steps=3, fail_at=1)
    listening = Workshop(shop.database, shop.blobs, shop.cache, shop.hints, settings)
    supervisor = Supervisor(listening, worker="test", stopping=threading.Event())
    for one in (job_id, failed):
        supervisor.work(one)
    assert row(job_id).status is JobStatus.SUCCEEDED
    assert row(failed).status is JobStatus.FAILED
    (run,) = (file.parent for file in folder.glob("*/*/meta.yaml"))
    experiment = yaml.safe_load((run.parent / "meta.yaml").read_text())
    assert experiment["name"] == "cells"
    told = yaml.safe_load((run / "meta.yaml").read_text())
    assert told["status"] == 3  # finished
    assert told["start_time"] <= told["end_time"]
    assert (run / "tags" / "harmonicdet.job").read_text() == job_id
    assert (run / "params" / "fake.steps").read_text() == "3"
    history = [line.split() for line in (run / "metrics" / "train" / "loss").read_text().splitlines()]
    assert [(int(step), float(value)) for _, value, step, *_ in history] == [
        (1, 1.0),
        (2, 0.5),
        (3, pytest.approx(1 / 3)),
    ]


def test_an_mlflow_that_is_away_or_hangs_costs_no_job(
    shop: Workshop, submit: Submit, row: Row, caplog: pytest.LogCaptureFixture
) -> None:
    uri = f"http://user:hunter2@127.0.0.1:{free_port()}"
    changed = {"mlflow_tracking_uri": uri, "mlflow_seconds": 0.2}
    settings = shop.settings.model_copy(update=changed)
    listening = Workshop(shop.database, shop.blobs, shop.cache, shop.hints, settings)
    job_id = submit(steps=2)
    Supervisor(listening, worker="test", stopping=threading.Event()).work(job_id)
    assert row(job_id).status is JobStatus.SUCCEEDED
    assert f"MLflow was not told of {job_id}" in caplog.text
    assert "hunter2" not in caplog.text


def test_what_mlflow_is_told_is_flat() -> None:
    config = {"epochs": 3, "architecture": {"kind": "fcos", "sizes": [1, 2]}, "seed": None}
    assert dict(tracking._flat("", config)) == {
        "epochs": "3",
        "architecture.kind": '"fcos"',
        "architecture.sizes": "[1, 2]",
        "seed": "null",
    }


def test_a_log_is_forwarded_line_by_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "log.txt"
    forwarded = forwarding.ForwardedLog(path)
    forwarded.forward()
    path.write_text("of the attempt before\n")
    forwarded.begin()
    with path.open("a") as file:
        file.write("first\nsecond\nhalf a l")
        file.flush()
        forwarded.forward()
        assert caplog.messages == ["first", "second"]
        file.write("ine\nthe last words")
        file.flush()
        forwarded.forward()
        forwarded.forward(last=True)
    assert caplog.messages == ["first", "second", "half a line", "the last words"]
    caplog.clear()
    with path.open("ab") as file:
        file.write(b"x" * 100 + b"\n" + b"\xff" * forwarding._MOST_BYTES + b"\nend\n")
    forwarded.forward()
    assert caplog.messages[0].endswith("bytes of the log are left out")
    assert caplog.messages[-1] == "end"
    assert max(map(len, caplog.messages)) <= forwarding._LONGEST_LINE


def test_every_line_of_a_worker_names_job_attempt_and_request(
    shop: Workshop, submit: Submit, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    formatted: list[dict[str, Any]] = []
    formatter = JsonFormatter()
    # pytest keeps one handler for all tests of a process.
    monkeypatch.setattr(
        caplog.handler, "emit", lambda record: formatted.append(json.loads(formatter.format(record)))
    )
    asked = context.request_id.set("req_of_a_test")
    try:
        job_id = submit(steps=2)
    finally:
        context.request_id.reset(asked)
    settings = shop.settings.model_copy(update={"log_format": "json"})
    listening = Workshop(shop.database, shop.blobs, shop.cache, shop.hints, settings)
    Supervisor(listening, worker="test", stopping=threading.Event()).work(job_id)
    ours = [one for one in formatted if one["logger"].startswith("worker")]
    assert {one["logger"] for one in ours} >= {"worker.supervise", "worker.detector"}
    said = {"job_id": job_id, "attempt": 1, "request_id": "req_of_a_test"}
    assert all(said.items() <= one.items() for one in ours), ours
    assert "fake training from step 0" in {
        one["message"] for one in ours if one["logger"] == "worker.detector"
    }
    # The thread works on nothing any more.
    assert context.fields() == {}


def test_an_attempt_belongs_to_the_trace_of_its_request(
    supervisor: Supervisor, submit: Submit, spans: InMemorySpanExporter
) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    before = context.traceparent.set(f"00-{trace}-b7ad6b7169203331-01")
    try:
        job_id = submit(steps=2)
    finally:
        context.traceparent.reset(before)
    supervisor.work(job_id)
    attempt = next(span for span in spans.get_finished_spans() if span.name == "train attempt")
    assert attempt.attributes is not None
    assert attempt.attributes["job_id"] == job_id
    assert f"{_context(attempt).trace_id:032x}" == trace
    assert attempt.parent is not None
    assert f"{attempt.parent.span_id:016x}" == "b7ad6b7169203331"
    assert [event.name for event in attempt.events] == ["training", "exporting", "succeeded"]
    statements = [span for span in spans.get_finished_spans() if span.name == "UPDATE"]
    assert statements
    assert all(_context(span).trace_id == _context(attempt).trace_id for span in statements)
    assert not [span for span in statements if job_id in str(span.attributes)]


def _context(span: ReadableSpan) -> Any:
    return span.get_span_context()


def test_nothing_of_opentelemetry_is_loaded_while_nobody_wants_spans() -> None:

    code = (
        "import sys, worker.__main__, api.app; from store import tracing\n"
        "with tracing.work('x', attributes={}): tracing.note('y')\n"
        "assert not tracing.is_on()\n"
        # Others import the names of its API where that is installed; only the SDK does something.
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_line_for_people_ends_with_what_it_is_about() -> None:
    record = logging.LogRecord("worker", logging.INFO, "", 0, "it %s", ("works",), None)
    assert TextFormatter().format(record).endswith(" INFO worker: it works")
    token = context.attempt.set(context.Attempt("job_7", 2))
    try:
        assert TextFormatter().format(record).endswith("it works [job_id=job_7 attempt=2]")
    finally:
        context.attempt.reset(token)


def test_a_secret_is_in_no_line_of_json() -> None:
    secret = f"hd_0123456789_{'A' * 43}"
    try:
        raise ValueError(secret)
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "%s", (secret,), sys.exc_info())
    text = JsonFormatter().format(record)
    assert "A" * 43 not in text
    assert set(json.loads(text)) == {"time", "level", "logger", "message", "exception"}
