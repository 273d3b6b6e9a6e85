"""How the worker's image gets its packages, asked of a `uv` that only notes what it is told."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INDEX = "https://wheels.example/cpu"  # of nobody
ONLY_FOR_CUDA = re.compile(r"^(torch|torchvision|triton|nvidia-.*|cuda-.*)$")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As the build stage sees it."""
    (tmp_path / "requirements").mkdir()
    shutil.copy(ROOT / "requirements" / "worker.txt", tmp_path / "requirements")
    (tmp_path / "bin").mkdir()
    uv = tmp_path / "bin" / "uv"
    uv.write_text('#!/bin/sh\necho "$*" >> told\n')
    uv.chmod(0o755)
    return tmp_path


def _install(folder: Path, index: str) -> list[str]:
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "VIRTUAL_ENV": "/opt/harmonicdet"}
    command = ["/bin/sh", str(ROOT / "docker" / "install_worker.sh")]
    subprocess.run(command, cwd=folder, env=environment | {"TORCH_INDEX": index}, check=True)
    return (folder / "told").read_text().splitlines()


def _requirements(text: str) -> dict[str, str]:
    """The block of each package, by name."""
    blocks = re.split(r"\n(?=[a-z])", text)
    return {re.split(r"[=\[]", block)[0]: block.rstrip() for block in blocks if block}


def test_without_an_index_everything_is_locked_by_hash(folder: Path) -> None:
    assert _install(folder, "") == [
        "venv /opt/harmonicdet",
        "pip install --require-hashes --requirement requirements/worker.txt",
    ]


def test_an_index_gives_torch_and_nothing_else(folder: Path) -> None:
    told = _install(folder, INDEX)
    locked = _requirements((ROOT / "requirements" / "worker.txt").read_text())
    rest = _requirements((folder / "requirements" / "without_torch.txt").read_text())
    assert rest == {name: block for name, block in locked.items() if not ONLY_FOR_CUDA.match(name)}
    assert len(locked) - len(rest) > 10
    assert all("--hash=sha256:" in block for block in rest.values())
    torch = " ".join(locked[name].split()[0] for name in ("torch", "torchvision"))
    assert told[1:] == [
        "pip install --require-hashes --requirement requirements/without_torch.txt",
        f"pip install --no-deps --index-url {INDEX} {torch}",
    ]
