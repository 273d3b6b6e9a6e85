"""The compose file: hardened services, nothing published but the API, a clear refusal without secrets."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
OURS = ("migrate", "api", "worker-train", "worker-evaluate", "worker-ingest")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services: dict[str, Any] = document["services"]
    return services


def test_the_service_is_these_seven(services: dict[str, Any]) -> None:
    assert set(services) == {"postgres", "redis", *OURS}


@pytest.mark.parametrize("name", OURS)
def test_our_containers_have_a_read_only_root_and_no_capabilities(
    services: dict[str, Any], name: str
) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


def test_only_the_api_is_published_and_only_to_loopback(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"api": ["${HARMONICDET_PUBLISH:-127.0.0.1:8000}:8000"]}
    assert [name for name, service in services.items() if "frontend" in service["networks"]] == ["api"]


def test_everything_waits_for_the_migration_and_runs_forever_is_health_checked(
    services: dict[str, Any],
) -> None:
    for name in ("api", "worker-train", "worker-evaluate", "worker-ingest"):
        condition = services[name]["depends_on"]["migrate"]["condition"]
        assert condition == "service_completed_successfully"
    for name in ("postgres", "redis", "api"):
        assert "test" in services[name]["healthcheck"], name
    for dockerfile in ("api", "worker"):
        assert "\nHEALTHCHECK " in (ROOT / f"docker/{dockerfile}.Dockerfile").read_text()


@pytest.mark.parametrize("name", ["api", "worker"])
def test_the_images_do_not_run_as_root(name: str) -> None:
    lines = (ROOT / f"docker/{name}.Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER harmonicdet"]


def _compose(*arguments: str) -> subprocess.CompletedProcess[str]:
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("docker compose is not installed")
    return subprocess.run(
        [docker, "compose", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_docker_compose_accepts_the_file_with_the_example_environment() -> None:
    checked = _compose("--env-file", ".env.example", "config", "--quiet")
    assert checked.returncode == 0, checked.stderr


def test_docker_compose_accepts_the_gpu_override() -> None:
    files = ("-f", "docker-compose.yml", "-f", "docker/gpu.yml")
    checked = _compose(*files, "--env-file", ".env.example", "config", "--quiet")
    assert checked.returncode == 0, checked.stderr


def test_docker_compose_names_the_secret_that_is_missing(tmp_path: Path) -> None:
    empty = tmp_path / "empty.env"
    empty.write_text("")
    refused = _compose("--env-file", str(empty), "config", "--quiet")
    assert refused.returncode != 0
    assert "PASSWORD" in refused.stderr
    assert "see .env.example" in refused.stderr
