"""Models that are loaded at the start."""

import threading
from typing import Any

import pytest
from starlette.testclient import TestClient

from api import services as services_module
from api.app import create_app
from api.inference.cache import LoadedModel
from api.services import Services
from api.settings import Settings
from detector.runtime import ModelCard, OnnxDetector
from store import aliases
from store.tables import DEFAULT_PROJECT
from tests.api.helpers import encoded, picture, problem
from tests.api.tiny_model import CARD, tiny_model


@pytest.fixture
def production(services: Services, model: str) -> str:
    """Id of the model with this alias."""
    with services.database.begin() as session:
        aliases.put(session, DEFAULT_PROJECT, "production", model_id=model)
    return model


def started(settings: Settings, wanted: str) -> TestClient:
    return TestClient(
        create_app(settings.model_copy(update={"preload_models": wanted})),
        base_url="http://localhost",
        raise_server_exceptions=False,
    )


def test_a_process_is_ready_once_its_models_are_loaded(
    settings: Settings, production: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    begun, gate = threading.Event(), threading.Event()

    def load(database: Any, blobs: Any, project_id: str, model_id: str) -> LoadedModel:
        asked.append(model_id)
        begun.set()
        assert gate.wait(10)
        return LoadedModel(OnnxDetector(tiny_model(), ModelCard.model_validate(CARD)), 1)

    monkeypatch.setattr(services_module, "load", load)
    with started(settings, f"production, {DEFAULT_PROJECT}/{production}") as client:
        assert begun.wait(10)
        body = problem(client.get("/readyz"), 503, "not_ready")
        assert body["checks"]["models"] == "failed (StillLoading)"
        assert client.get("/healthz").status_code == 200  # the load holds up nothing
        gate.set()
        answer = client.post(
            "/v1/models/production/predict", content=encoded(picture()), headers={"Content-Type": "image/png"}
        )
        assert answer.json()["model"] == production
        while client.get("/readyz").status_code != 200:
            pass
    assert asked == [production]


def test_a_model_that_is_not_there_is_no_reason_not_to_be_ready(
    settings: Settings, production: str, caplog: pytest.LogCaptureFixture
) -> None:
    with started(settings, "nobody,production") as client:
        while client.get("/readyz").status_code != 200:
            pass
        loaded = client.app.state.services.models._loaded  # type: ignore[attr-defined]
        assert list(loaded) == [(DEFAULT_PROJECT, production)]
    assert "nobody of prj_default cannot be loaded" in caplog.text
