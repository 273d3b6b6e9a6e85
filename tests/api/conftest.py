"""The real application on a real store: SQLite and blobs in a temporary directory, hints into a folder."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if os.environ.get("HARMONICDET_BLOCK_TORCH") == "1":
    from tests.api.blocker import block

    block()

from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from api.app import create_app
from api.services import Services
from api.settings import Settings
from store.sessions import migrate
from tests.api.declared import Watch
from tests.api.helpers import archive, trained, validated
from tests.api.served import Served, serve


@pytest.fixture(autouse=True)
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Whatever a test asks of whatever application, the answer is one that the description declares."""
    watch = Watch()

    async def call(app: FastAPI, scope: Scope, receive: Receive, send: Send) -> None:
        await watch(app, scope, receive, send)

    monkeypatch.setattr(FastAPI, "__call__", call)
    yield watch
    assert watch.undeclared == []


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "harmonicdet.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def settings(tmp_path: Path, migrated: Path) -> Settings:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(migrated, data / "harmonicdet.db")
    return Settings(
        data=data,
        min_free_bytes=0,
        upload_limit_bytes=3_000_000,
        body_limit_bytes=20_000,
        detections_limit_bytes=50_000,
        predict_body_limit_bytes=500_000,
        predict_pixel_limit=1_000_000,
        event_poll_seconds=0.02,
        # The caretaker announces jobs by itself; tests look at what the routes do.
        dispatch_seconds=3600,
    )


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return create_app(settings)


@pytest.fixture
def in_process(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(in_process: TestClient) -> TestClient:
    """What most tests ask; some put another client, of a server, in its place."""
    return in_process


@pytest.fixture
def services(client: TestClient, app: FastAPI) -> Services:
    """What the application works with, once it has started."""
    found: Services = app.state.services
    return found


@pytest.fixture
def server(app: FastAPI, in_process: TestClient) -> Iterator[Served]:
    """The same application behind a real uvicorn, for streams and broken connections.

    It starts after `in_process` and so ends before: what it has begun on its event loop ends there.
    """
    with serve(app) as served:
        yield served


@pytest.fixture
def dataset(client: TestClient) -> dict[str, Any]:
    """A dataset that is being validated."""
    answer = client.post(
        "/v1/datasets?name=cells", content=archive(), headers={"Content-Type": "application/zip"}
    )
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.fixture
def ready(services: Services, dataset: dict[str, Any]) -> dict[str, Any]:
    """A dataset that can be trained on."""
    validated(services, dataset)
    return dataset


@pytest.fixture
def job(client: TestClient, ready: dict[str, Any]) -> dict[str, Any]:
    """A queued training."""
    answer = client.post(
        "/v1/jobs", json={"kind": "train", "dataset_id": ready["id"], "config": {"epochs": 2}}
    )
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.fixture
def model(services: Services, job: dict[str, Any]) -> str:
    """Id of a trained model that finds what is red and what is green."""
    return trained(services, job["id"])
