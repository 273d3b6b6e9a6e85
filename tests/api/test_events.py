"""Events of a job: pages, and streams that can be taken up again."""

import threading
import time
from contextlib import ExitStack
from typing import Any

import orjson
import pytest
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient

from api.services import Services
from store import jobs
from tests.api.helpers import ABSENT, archive, claimed, problem, validated
from tests.api.served import Served, serve

STREAM = {"Accept": "text/event-stream"}


def parsed(text: str) -> list[dict[str, str]]:
    """The events of a stream; comments are left out."""
    events = []
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines() if not line.startswith(":")]
        if lines:
            events.append({name: value for name, _, value in lines})
    return events


def a_job(server: Served) -> str:
    headers = {"Content-Type": "application/zip"}
    dataset = server.client.post("/v1/datasets", content=archive(), headers=headers).json()
    validated(server.services, dataset)
    answer = server.client.post("/v1/jobs", json={"kind": "train", "dataset_id": dataset["id"]})
    job_id: str = answer.json()["id"]
    return job_id


def test_a_page_of_events_is_json(client: TestClient, services: Services, job: dict[str, Any]) -> None:
    claim = claimed(services, job["id"])
    services.database.run(lambda s: jobs.append_event(s, claim, "notice", {"code": "x"}))
    path = f"/v1/jobs/{job['id']}/events"
    page = client.get(path, params={"limit": 2}).json()
    assert [(e["id"], e["type"], e["attempt"]) for e in page["data"]] == [
        (1, "job.queued", 0),
        (2, "job.started", 1),
    ]
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == ("list", 1, 2, True)
    rest = client.get(path, params={"after": 2}).json()
    assert [(e["type"], e["data"]) for e in rest["data"]] == [("notice", {"code": "x"})]


def test_a_stream_tells_the_past_then_what_happens_and_ends_with_the_job(server: Served) -> None:
    job_id = a_job(server)
    times: list[float] = []

    def work() -> None:
        claim = claimed(server.services, job_id)
        time.sleep(0.15)
        server.services.database.run(lambda s: jobs.set_phase(s, claim, "training"))
        time.sleep(0.15)
        times.append(time.monotonic())
        server.services.database.run(lambda s: jobs.succeed(s, claim))

    worker = threading.Thread(target=work)
    with server.client.stream("GET", f"/v1/jobs/{job_id}/events", headers=STREAM) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        worker.start()
        text = "".join(answer.iter_text())
        ended = time.monotonic()
    worker.join()
    events = parsed(text)
    assert [event["event"] for event in events] == ["job.queued", "job.started", "job.phase", "job.succeeded"]
    assert [event["id"] for event in events] == ["1", "2", "3", "4"]
    assert orjson.loads(events[2]["data"])["data"] == {"phase": "training"}
    assert ended - times[0] < 5


def test_a_broken_stream_goes_on_where_it_was(server: Served) -> None:
    job_id = a_job(server)
    claim = claimed(server.services, job_id)
    server.services.database.run(lambda s: jobs.succeed(s, claim))
    answer = server.client.get(f"/v1/jobs/{job_id}/events", headers=STREAM | {"Last-Event-ID": "1"})
    assert [event["id"] for event in parsed(answer.text)] == ["2", "3"]
    after = server.client.get(f"/v1/jobs/{job_id}/events?after=2", headers=STREAM)
    assert [event["event"] for event in parsed(after.text)] == ["job.succeeded"]


def test_a_stream_with_nothing_left_tells_the_client_not_to_return(server: Served) -> None:
    job_id = a_job(server)
    server.client.post(f"/v1/jobs/{job_id}/cancel")
    answer = server.client.get(f"/v1/jobs/{job_id}/events", headers=STREAM | {"Last-Event-ID": "2"})
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_stream_longer_than_a_page_is_whole(server: Served) -> None:
    job_id = a_job(server)
    claim = claimed(server.services, job_id)
    with server.services.database.begin() as session:
        for number in range(250):
            jobs.append_event(session, claim, "notice", {"number": number})
    server.services.database.run(lambda s: jobs.cancel_now(s, claim))
    answer = server.client.get(f"/v1/jobs/{job_id}/events", headers=STREAM)
    assert [int(event["id"]) for event in parsed(answer.text)] == list(range(1, 254))


def test_streams_are_limited_in_number(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = a_job(server)
    path = f"/v1/jobs/{job_id}/events"
    monkeypatch.setattr(server.services.streams, "_limit", 1)
    with server.client.stream("GET", path, headers=STREAM) as first:
        chunks = first.iter_text()  # let go of, it would close the stream
        next(chunks)
        refused: Response = server.client.get(path, headers=STREAM)
        problem(refused, 503, "overloaded")
        assert refused.headers["retry-after"] == "5"
    give_up = time.monotonic() + 5
    while server.services.streams.open:
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.mark.parametrize("given", ["x", "-1", "1" * 30, "\u00b2"])
def test_a_last_event_id_that_is_no_number_is_refused(
    client: TestClient, job: dict[str, Any], given: str
) -> None:
    headers = {**STREAM, "Last-Event-ID": given}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    problem(client.get(f"/v1/jobs/{job['id']}/events", headers=raw), 422, "validation_failed")


def test_a_stream_of_an_absent_job_is_a_problem(client: TestClient) -> None:
    problem(client.get(f"/v1/jobs/job_{ABSENT}/events", headers=STREAM), 404, "job_not_found")


def test_another_media_type_is_not_acceptable(client: TestClient, job: dict[str, Any]) -> None:
    answer = client.get(f"/v1/jobs/{job['id']}/events", headers={"Accept": "text/html"})
    problem(answer, 406, "not_acceptable")


def test_an_open_stream_does_not_hold_up_the_end_of_the_server(app: FastAPI) -> None:
    # Left from the right: the server has to end while the connection is still open.
    with ExitStack() as connections, serve(app) as server:
        path = f"/v1/jobs/{a_job(server)}/events"
        connection = connections.enter_context(server.connect())
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        connection.sendall(request.encode())
        assert connection.recv(10)
