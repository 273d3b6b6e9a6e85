"""Webhooks: whom the service sends to, what it sends, and that nothing is lost or doubled on the way."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import update
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError
from starlette.testclient import TestClient

from api.app import create_app
from api.outbound import Outbound, TargetRefused, check_url, is_public
from api.postman import Postman
from api.services import Services
from api.settings import Settings
from store.tables import WebhookDelivery
from tests.api.helpers import archive, claimed, problem

EVENTS = ["dataset.*", "job.*"]


class Receiver:
    """A real HTTP server that keeps what it was sent."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(outer.status)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?from=test"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield receiver
    receiver.server.shutdown()
    thread.join()
    receiver.server.server_close()


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    # These tests send by hand, when they want to.
    monkeypatch.setattr(Postman, "start", lambda self: None)
    return settings.model_copy(update={"webhooks_allow_private": True})


@pytest.fixture
def postman(services: Services) -> Iterator[Postman]:
    postman = Postman(services.database, allow_private=True)
    yield postman
    postman.stop()


def made(client: TestClient, url: str) -> dict[str, Any]:
    answer = client.post("/v1/webhooks", json={"url": url, "events": EVENTS})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def upload(client: TestClient) -> None:
    answer = client.post(
        "/v1/datasets?name=a", content=archive(), headers={"Content-Type": "application/zip"}
    )
    assert answer.status_code == 202, answer.text


def due_again(services: Services) -> None:
    with services.database.begin() as session:
        session.execute(update(WebhookDelivery).values(next_at=0.0, held_until=0.0))


def test_the_standards_own_library_verifies_what_arrives(
    client: TestClient, services: Services, receiver: Receiver, postman: Postman
) -> None:
    webhook = made(client, receiver.url)
    upload(client)
    assert postman.deliver_due() == 1
    ((headers, body),) = receiver.got
    told = Verifier(webhook["secret"]).verify(body, headers)
    assert told["type"] == "job.queued"
    assert told["data"]["object"] == "job"
    assert client.get(f"/v1/jobs/{told['data']['id']}").status_code == 200
    assert headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Verifier(webhook["secret"]).verify(body + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Verifier("whsec_" + "A" * 44).verify(body, headers)


def test_a_message_is_sent_again_under_its_id_until_it_is_taken_and_not_once_more(
    client: TestClient, services: Services, receiver: Receiver, postman: Postman
) -> None:
    webhook = made(client, receiver.url)
    upload(client)
    for status in (500, 301):
        receiver.status = status
        assert postman.deliver_due() == 1
        assert postman.deliver_due() == 0, "it waits before it tries again"
        due_again(services)
    receiver.status = 204
    assert postman.deliver_due() == 1
    due_again(services)
    assert postman.deliver_due() == 0
    ids = {headers["webhook-id"] for headers, _ in receiver.got}
    assert len(receiver.got) == 3, "a redirect is not followed"
    (delivery,) = client.get(f"/v1/webhooks/{webhook['id']}/deliveries").json()["data"]
    assert {delivery["id"]} == ids
    assert (delivery["attempts"], delivery["status"], delivery["pending"]) == (3, 204, False)


def test_a_message_survives_the_restart_of_the_service_and_is_not_doubled(
    settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        made(client, receiver.url)
        upload(client)
    assert receiver.got == []
    monkeypatch.undo()
    for _ in range(2):  # two processes over the same rows
        with TestClient(create_app(settings), base_url="http://localhost") as client:
            services: Services = client.app.state.services  # type: ignore[attr-defined]
            other = Postman(services.database, allow_private=True)
            while other.deliver_due():
                pass
            other.stop()
    assert len(receiver.got) == 1


def test_nobody_listening_is_no_harm(client: TestClient, services: Services, postman: Postman) -> None:
    webhook = made(client, "http://127.0.0.1:9/hook")
    upload(client)
    assert postman.deliver_due() == 1
    (delivery,) = client.get(f"/v1/webhooks/{webhook['id']}/deliveries").json()["data"]
    assert delivery["pending"] is True
    assert delivery["status"] is None
    assert "ConnectError" in delivery["error"]


def test_every_step_of_a_job_is_told(
    client: TestClient, services: Services, receiver: Receiver, postman: Postman, ready: dict[str, Any]
) -> None:
    made(client, receiver.url)
    body = {"kind": "train", "dataset_id": ready["id"], "config": {"epochs": 2}}
    job = client.post("/v1/jobs", json=body).json()
    claimed(services, job["id"])
    client.post(f"/v1/jobs/{job['id']}/cancel")
    while postman.deliver_due():
        pass
    told = sorted((json.loads(body) for _, body in receiver.got), key=lambda one: one["data"]["event"])
    assert [one["type"] for one in told] == ["job.queued", "job.started", "job.cancel_requested"]


def test_a_test_message_can_be_asked_for(client: TestClient, receiver: Receiver, postman: Postman) -> None:
    webhook = made(client, receiver.url)
    assert client.post(f"/v1/webhooks/{webhook['id']}/ping").json()["type"] == "ping"
    assert postman.deliver_due() == 1
    assert Verifier(webhook["secret"]).verify(receiver.got[0][1], receiver.got[0][0])["type"] == "ping"
    assert client.delete(f"/v1/webhooks/{webhook['id']}").status_code == 204
    assert client.get(f"/v1/webhooks/{webhook['id']}").status_code == 404


def test_a_secret_is_shown_once(client: TestClient) -> None:
    webhook = made(client, "http://127.0.0.1:9/hook")
    assert webhook["secret"].startswith("whsec_")
    assert webhook["secret"] not in client.get("/v1/webhooks").text
    assert webhook["secret"] not in client.get(f"/v1/webhooks/{webhook['id']}").text


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::1]/",
        "https://10.1.2.3/",
        "https://192.168.0.1:8443/",
        "https://172.16.5.5/",
        "https://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://0.0.0.0/",
        "https://0/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://100.64.0.1/",
        "https://224.0.0.1/",
        "http://93.184.216.34/",
        "https://user:word@93.184.216.34/",
        "https://93.184.216.34:port/",
        "https:///path",
        "https://[::1/",
        "https://::1]/",
        "https://[v9.x]/",
        "https://93.184.216.34/#part",
        "file:///etc/passwd",
        "gopher://93.184.216.34/",
        "https://no-such-host.invalid/",
    ],
)
def test_an_address_that_is_not_public_is_refused(settings: Settings, url: str) -> None:
    app: FastAPI = create_app(settings.model_copy(update={"webhooks_allow_private": False}))
    with TestClient(app, base_url="http://localhost") as client:
        answer = client.post("/v1/webhooks", json={"url": url, "events": EVENTS})
        problem(answer, 422, "webhook_target_refused")
        assert client.get("/v1/webhooks").json()["data"] == []


def test_a_public_address_is_not_refused() -> None:
    check_url("https://93.184.216.34/hook", allow_private=False)
    assert is_public("2606:2800:220:1:248:1893:25c8:1946")


def test_a_name_that_changes_its_mind_gains_nothing(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Public when it is judged, private when it is connected to: the connection judges once more."""
    answers = iter(["93.184.216.34", "127.0.0.1"])
    port = receiver.server.server_port

    def resolve(host: str, *arguments: Any, **more: Any) -> list[Any]:
        return [(2, 1, 6, "", (next(answers), port))]

    monkeypatch.setattr("api.outbound.socket.getaddrinfo", resolve)
    outbound = Outbound(allow_private=False, seconds=2)
    with pytest.raises(TargetRefused, match="not public"):
        outbound.post(f"https://rebinding.example:{port}/", {"host": "x"}, b"{}")
    outbound.close()
    assert receiver.got == []


def test_events_that_there_are_not_are_refused(client: TestClient) -> None:
    answer = client.post("/v1/webhooks", json={"url": "http://127.0.0.1/", "events": ["model.*"]})
    assert problem(answer, 422, "validation_failed")["errors"][0]["pointer"] == "/events/0"
