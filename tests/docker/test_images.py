"""The images, built for real. Opt-in: RUN_CONTAINER_TESTS=1, with podman or docker and the base image."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/python:3.12-slim-bookworm"

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def engine() -> str:
    if os.environ.get("RUN_CONTAINER_TESTS") != "1":
        pytest.skip("building the images takes minutes and gigabytes; RUN_CONTAINER_TESTS=1 asks for it")
    for name in ("podman", "docker"):
        path = shutil.which(name)
        if path and subprocess.run([path, "info"], capture_output=True, check=False).returncode == 0:
            return path
    pytest.skip("neither podman nor docker is running here")


def _build(engine: str, name: str) -> str:
    tag = f"harmonicdet-{name}:test"
    podman = ["--format", "docker", "--network", "host"] if engine.endswith("podman") else []
    have_base = (
        subprocess.run([engine, "image", "inspect", BASE], capture_output=True, check=False).returncode == 0
    )
    pull = ["--pull=never"] if have_base and podman else []
    built = subprocess.run(
        [engine, "build", *podman, *pull, "--file", f"docker/{name}.Dockerfile", "--tag", tag, "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-3000:]
    return tag


def _run(engine: str, tag: str, code: str) -> str:
    hardened = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"]
    ran = subprocess.run(
        [
            engine,
            "run",
            "--rm",
            *hardened,
            "--tmpfs",
            "/tmp",
            "--tmpfs",
            "/scratch",
            tag,
            "python",
            "-c",
            code,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout.strip()


def test_the_api_image_serves_without_torch_and_without_root(engine: str) -> None:
    tag = _build(engine, "api")
    assert _run(engine, tag, "import os; print(os.getuid())") == "10001"
    code = (
        "import importlib.util as u, api.app; print([n for n in ('torch', 'torchvision') if u.find_spec(n)])"
    )
    assert _run(engine, tag, code) == "[]"


def test_the_worker_image_finds_its_app_and_its_trainer(engine: str) -> None:
    tag = _build(engine, "worker")
    code = "import worker.app, detector.engine, torchvision; print(torchvision.ops.nms.__name__)"
    assert _run(engine, tag, code) == "nms"
