"""The compose file, key by key: what every service may and may not do, and that no password stands in it."""

import os
import re
import shutil
import stat
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

DATABASE, BROKER = "harmonicdet_database_password", "harmonicdet_broker_password"
BLOBS = frozenset({"harmonicdet_s3_access_key_id", "harmonicdet_s3_secret_access_key"})


@dataclass(frozen=True)
class Expected:
    """What differs between the services; what holds for all of them is tested of all."""

    user: str
    networks: frozenset[str]
    memory: str
    pids: int
    secrets: frozenset[str]
    tmpfs: frozenset[str]
    volumes: frozenset[str] = frozenset()
    profiles: tuple[str, ...] = ()
    restart: str = "unless-stopped"
    grace: str | None = None
    publishes: str | None = None


def _set(*names: str) -> frozenset[str]:
    return frozenset(names)


def _worker(scratch: str, memory: str, *profiles: str) -> Expected:
    return Expected(
        user="10001:10001",
        networks=_set("backend", "metrics"),
        memory=memory,
        pids=1024,
        secrets=_set(DATABASE, BROKER) | BLOBS,
        tmpfs=_set("/tmp:size=1g"),
        volumes=_set("blobs:/blobs", f"{scratch}:/scratch"),
        profiles=profiles,
        grace="90s",
    )


TRAIN_MEMORY = "${HARMONICDET_TRAIN_MEMORY:-16g}"
SERVICES = {
    "postgres": Expected(
        user="999:999",
        networks=_set("backend"),
        memory="2g",
        pids=512,
        secrets=_set("postgres_password"),
        tmpfs=_set("/tmp", "/run:mode=1777"),
        volumes=_set("postgres:/var/lib/postgresql/data"),
        grace="60s",
    ),
    "redis": Expected(
        user="999:999",
        networks=_set("backend"),
        memory="384m",
        pids=64,
        secrets=_set("redis.acl"),
        tmpfs=_set("/tmp", "/data"),
        grace="10s",
    ),
    "migrate": Expected(
        user="10001:10001",
        networks=_set("backend"),
        memory="512m",
        pids=128,
        secrets=_set(DATABASE),
        tmpfs=_set("/tmp", "/scratch"),
        restart="no",
    ),
    "api": Expected(
        user="10001:10001",
        networks=_set("frontend", "backend", "metrics"),
        memory="2g",
        pids=512,
        secrets=_set(DATABASE, BROKER, "harmonicdet_secret") | BLOBS,
        tmpfs=_set("/tmp"),
        volumes=_set("blobs:/blobs", "scratch-api:/scratch"),
        grace="30s",
    ),
    "proxy": Expected(
        user="101:101",
        networks=_set("frontend"),
        memory="128m",
        pids=64,
        secrets=_set(),
        tmpfs=_set("/tmp"),
        volumes=_set(
            "./docker/proxy/nginx.conf:/etc/nginx/nginx.conf:ro",
            "./docker/proxy/api.conf.template:/etc/nginx/templates/api.conf.template:ro",
            "./docker/proxy/16-first-resolver.envsh:/docker-entrypoint.d/16-first-resolver.envsh:ro",
        ),
        grace="30s",
        publishes="${HARMONICDET_PUBLISH:-127.0.0.1:8000}:8080",
    ),
    "worker-train": _worker("scratch-train", TRAIN_MEMORY),
    "worker-train-gpu": _worker("scratch-train-gpu", TRAIN_MEMORY, "gpu"),
    "worker-evaluate": _worker("scratch-evaluate", "8g"),
    "worker-ingest": _worker("scratch-ingest", "4g"),
    "s3": Expected(
        user="1000:1000",
        networks=_set("backend"),
        memory="2g",
        pids=256,
        secrets=_set("s3.json"),
        tmpfs=_set("/tmp"),
        volumes=_set("s3:/data"),
        profiles=("s3",),
        grace="60s",
    ),
    "s3-bucket": Expected(
        user="1000:1000",
        networks=_set("backend"),
        memory="256m",
        pids=64,
        secrets=_set(),
        tmpfs=_set("/tmp"),
        volumes=_set("./docker/make_bucket.sh:/make_bucket.sh:ro"),
        profiles=("s3",),
        restart="no",
    ),
    "prometheus": Expected(
        user="65534:65534",
        networks=_set("metrics"),
        memory="2g",
        pids=256,
        secrets=_set(),
        tmpfs=_set("/tmp"),
        volumes=_set(
            "./docker/monitoring/prometheus.yml:/etc/prometheus/prometheus.yml:ro",
            "./docker/monitoring/rules.yml:/etc/prometheus/rules.yml:ro",
            "prometheus:/prometheus",
        ),
        profiles=("monitoring",),
        grace="60s",
    ),
    "grafana": Expected(
        user="472:0",
        networks=_set("dashboards", "metrics"),
        memory="512m",
        pids=256,
        secrets=_set("grafana_password"),
        tmpfs=_set("/tmp"),
        volumes=_set(
            "./docker/monitoring/grafana/provisioning:/etc/grafana/provisioning:ro",
            "./docker/monitoring/grafana/dashboards:/etc/grafana/dashboards:ro",
            "grafana:/var/lib/grafana",
        ),
        grace="10s",
        profiles=("monitoring",),
        publishes="${GRAFANA_PUBLISH:-127.0.0.1:3000}:3000",
    ),
}
ONCE = ("migrate", "s3-bucket")
FORBIDDEN = {"cap_add", "privileged", "devices", "network_mode", "pid", "ipc", "userns_mode", "extra_hosts"}
WORKERS = [name for name in SERVICES if name.startswith("worker-")]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return read


@pytest.fixture(scope="module")
def services(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["services"]
    return found


def test_the_stack_is_made_of_these_services(services: dict[str, Any]) -> None:
    assert set(services) == set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_can_change_itself_or_gain_anything(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["user"] == SERVICES[name].user
    assert not service["user"].startswith("0")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    forbidden = {
        "cap_add",
        "privileged",
        "devices",
        "network_mode",
        "pid",
        "ipc",
        "userns_mode",
        "extra_hosts",
    }
    assert forbidden & set(service) == set()
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_has_limits(services: dict[str, Any], name: str) -> None:
    service, expected = services[name], SERVICES[name]
    assert service["mem_limit"] == expected.memory
    assert service["pids_limit"] == expected.pids
    assert set(service["tmpfs"]) == expected.tmpfs
    assert set(service.get("volumes", [])) == expected.volumes
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert service["restart"] == expected.restart
    assert service.get("stop_grace_period") == expected.grace
    assert tuple(service.get("profiles", ())) == expected.profiles


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_reaches_only_what_it_needs(services: dict[str, Any], name: str) -> None:
    service, expected = services[name], SERVICES[name]
    assert set(service["networks"]) == expected.networks
    assert service.get("ports", []) == ([expected.publishes] if expected.publishes else [])
    assert "expose" not in service


def test_database_broker_and_workers_stand_on_networks_without_a_way_out(document: dict[str, Any]) -> None:
    way_out, closed = None, {"internal": True}
    assert document["networks"] == {
        "frontend": way_out,
        "dashboards": way_out,
        "backend": closed,
        "metrics": closed,
    }
    on_the_frontend = {name for name, expected in SERVICES.items() if "frontend" in expected.networks}
    assert on_the_frontend == {"proxy", "api"}
    assert {name for name, expected in SERVICES.items() if "dashboards" in expected.networks} == {"grafana"}
    published = {name: expected.publishes for name, expected in SERVICES.items() if expected.publishes}
    assert all(":-127.0.0.1:" in ports for ports in published.values())


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_given_the_secrets_that_it_needs_and_no_other(
    services: dict[str, Any], name: str
) -> None:
    given = services[name].get("secrets", [])
    targets = {secret if isinstance(secret, str) else secret["target"] for secret in given}
    assert targets == SERVICES[name].secrets


def test_secrets_are_files(document: dict[str, Any]) -> None:
    for name, secret in document["secrets"].items():
        assert secret == {"file": f"./docker/secrets/{name}"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_password_stands_in_an_environment_or_a_command(services: dict[str, Any], name: str) -> None:
    service = services[name]
    for variable, value in service.get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|KEY|TOKEN", variable):
            assert variable.endswith(("_FILE", "_DIR")), variable
            assert value.startswith("/run/secrets"), variable
        assert not re.search(r"://[^/]*:[^/]*@", str(value)), f"{variable} has a password"
    words = [str(word) for word in service.get("command", [])]
    assert not any(re.search(r"pass|secret", word) and "/run/secrets" not in word for word in words)


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in ONCE])
def test_whatever_runs_forever_is_health_checked(services: dict[str, Any], name: str) -> None:
    check = services[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


@pytest.mark.parametrize("name", ["api", *WORKERS])
def test_a_process_of_ours_starts_on_a_migrated_database_and_reaps_its_children(
    services: dict[str, Any], name: str
) -> None:
    assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert services[name]["depends_on"]["redis"] == {"condition": "service_healthy"}
    assert services[name]["init"] is True


@pytest.mark.parametrize("name", WORKERS)
def test_a_stopped_worker_has_time_for_a_checkpoint(services: dict[str, Any], name: str) -> None:
    grace = services[name]["environment"]["HARMONICDET_SHUTDOWN_GRACE_SECONDS"]
    assert float(services[name]["stop_grace_period"].removesuffix("s")) >= grace + 20


def test_every_kind_of_job_has_its_workers(services: dict[str, Any]) -> None:
    queues = {name: services[name]["command"][-1] for name in WORKERS}
    assert queues == {
        "worker-train": "train",
        "worker-train-gpu": "train",
        "worker-evaluate": "evaluate",
        "worker-ingest": "ingest",
    }


def test_the_gpu_worker_has_the_cuda_image_and_a_gpu(services: dict[str, Any]) -> None:
    worker = services["worker-train-gpu"]
    assert worker["build"]["target"] == "cuda"
    assert worker["image"] == f"harmonicdet-worker:{VERSION}-cuda"
    devices = worker["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]


def test_redis_forgets_on_a_restart_and_evicts_nothing(services: dict[str, Any]) -> None:
    command = services["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options == {
        "--save": "",
        "--appendonly": "no",
        "--maxmemory": "256mb",
        "--maxmemory-policy": "noeviction",
        "--dir": "/tmp",
        "--aclfile": "/run/secrets/redis.acl",
    }


def test_whatever_is_mounted_from_the_checkout_is_there(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source, mode = volume.partition(":")[0], volume.rpartition(":")[2]
            if source.startswith("./"):
                assert (ROOT / source).exists(), f"{name}: {source}"
                assert mode == "ro", f"{name} may write to {source}"


def test_images_are_pinned_by_version(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z]+)?$", service["image"]), name
        if "harmonicdet-" in service["image"]:
            assert f":{VERSION}" in service["image"]


# The script that makes the secrets


def _make_secrets(folder: Path) -> str:
    command = ["sh", str(ROOT / "docker" / "make_secrets.sh"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_secrets_are_made_once_and_stay(document: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    _make_secrets(folder)
    first = {file.name: file.read_text() for file in folder.iterdir()}
    assert set(document["secrets"]) <= set(first)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o444}
    assert len(first["harmonicdet_secret"]) >= 32
    assert _make_secrets(folder) == ""
    assert {file.name: file.read_text() for file in folder.iterdir()} == first


def test_every_secret_is_another_one(tmp_path: Path) -> None:
    for name in ("one", "two"):
        _make_secrets(tmp_path / name)
    values = [
        file.read_text() for file in sorted(tmp_path.glob("*/*")) if file.suffix not in (".acl", ".json")
    ]
    assert len(values) == len(set(values)) >= 8


# What docker compose itself says of the file


def _compose(*arguments: str) -> subprocess.CompletedProcess[str]:
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("docker compose is not installed")
    return subprocess.run(
        [docker, "compose", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, env=_clean()
    )


def _clean() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("COMPOSE_", "HARMONICDET_"))
    }


@pytest.mark.parametrize("profile", ["", "gpu", "s3", "monitoring"])
def test_docker_compose_accepts_the_file_with_the_example_environment(profile: str) -> None:
    options = ["--profile", profile] if profile else []
    checked = _compose("--env-file", ".env.example", *options, "config", "--quiet")
    assert checked.returncode == 0, checked.stderr
    assert checked.stderr == ""
