"""The process itself: health, readiness, refusing to start, who may reach it."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from api import health
from api.app import create_app
from api.services import Services
from api.settings import ListenRefused, Settings, check_listen, keys_required, server_secret
from store.errors import SettingsInvalid, Unavailable
from tests.api.helpers import problem
from tests.api.served import Served


def test_the_process_is_healthy(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


def test_everything_that_is_needed_is_ready(client: TestClient) -> None:
    ok = dict.fromkeys(("database", "migrations", "broker", "blobs", "models", "storage"), "ok")
    assert client.get("/readyz").json() == {"status": "ready", "checks": ok}


def test_what_is_not_ready_is_named_without_its_insides(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise Unavailable("could not connect to postgresql://user:hunter2@host")

    monkeypatch.setattr(services.database, "check", away)
    monkeypatch.setattr(services.hints, "ping", lambda: False)
    answer = client.get("/readyz")
    body = problem(answer, 503, "not_ready")
    assert body["checks"] == {
        "database": "failed (Unavailable)",
        "migrations": "ok",
        "broker": "failed (ConnectionError)",
        "blobs": "ok",
        "models": "ok",
    }
    assert "database, broker" in body["detail"]
    assert "hunter2" not in answer.text


def test_the_index_leads_to_what_exists(client: TestClient) -> None:
    links = client.get("/v1").json()["links"]
    assert {"datasets", "jobs", "models", "openapi"} <= links.keys()
    for path in links.values():
        assert client.get(path).status_code == 200, path


@pytest.mark.embedded  # elsewhere the database that a test gets has them
def test_it_does_not_start_on_a_database_without_its_tables(tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path))
    with pytest.raises(SettingsInvalid, match="store migrate"), TestClient(app):
        pass


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMONICDET_PREDICT_THREADS", "many")
    with pytest.raises(SettingsInvalid, match="HARMONICDET_PREDICT_THREADS"):
        create_app()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.9.9.9"])
def test_loopback_needs_no_key(host: str) -> None:
    check_listen(Settings(host=host))
    assert not keys_required(Settings(host=host))
    assert keys_required(Settings(host=host, require_keys=True))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])  # noqa: S104
def test_an_open_address_needs_keys_or_permission(host: str) -> None:
    check_listen(Settings(host=host))
    assert keys_required(Settings(host=host))
    with pytest.raises(ListenRefused, match="HARMONICDET_ALLOW_UNAUTHENTICATED"):
        check_listen(Settings(host=host, require_keys=False))
    check_listen(Settings(host=host, require_keys=False, allow_unauthenticated=True))
    assert not keys_required(Settings(host=host, allow_unauthenticated=True))


@pytest.mark.embedded
def test_an_embedded_server_makes_its_secret_once_and_keeps_it_to_itself(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: server_secret(settings), range(32)))
    assert len(made) == 1
    assert len(made.pop()) >= 32
    assert (tmp_path / "data" / "secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret"]


@pytest.mark.embedded
def test_a_shared_database_needs_a_shared_secret() -> None:
    settings = Settings(database_url="postgresql://localhost/x", broker_url="redis://localhost")
    with pytest.raises(SettingsInvalid, match="HARMONICDET_SECRET"):
        server_secret(settings)
    assert server_secret(settings.model_copy(update={"secret": SecretStr("x" * 32)})) == b"x" * 32
    with pytest.raises(ValueError, match="32 characters"):
        Settings(secret=SecretStr("short"))


def test_the_command_refuses_an_open_address_without_keys(tmp_path: Path) -> None:
    environment = os.environ | {
        "HARMONICDET_HOST": "0.0.0.0",  # noqa: S104
        "HARMONICDET_REQUIRE_KEYS": "0",
        "HARMONICDET_DATA": str(tmp_path),
    }
    environment.pop("HARMONICDET_ALLOW_UNAUTHENTICATED", None)
    done = subprocess.run(
        [sys.executable, "-m", "api"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "refusing to listen on 0.0.0.0" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_ends_well_when_it_is_told_to_end(settings: Settings) -> None:
    environment = os.environ | {"HARMONICDET_PORT": "0", "HARMONICDET_DATA": str(settings.data)}
    with subprocess.Popen([sys.executable, "-m", "api"], env=environment, stderr=PIPE, text=True) as api:
        assert api.stderr is not None
        assert any("Uvicorn running on" in line for line in api.stderr)
        api.terminate()
        assert "shutdown complete" in api.stderr.read()
    assert api.returncode == 0


def test_the_health_check_asks_the_port_of_the_environment(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARMONICDET_HOST", "0.0.0.0")  # noqa: S104
    monkeypatch.setenv("HARMONICDET_PORT", str(server.port))
    assert health.main() == 0
    monkeypatch.setenv("HARMONICDET_PORT", "1")
    assert health.main() == 1
