"""The rooms of the house: the contracts hold, and a planted breach is caught."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("api", "worker", "detector", "store", "harmonicdet")


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's code and contracts, to be broken."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold(copy: Path) -> None:
    checked = _lint_imports(copy)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        # An indirect chain: the engine loads torch.
        ("api/routes/system.py", "import detector.engine", "The HTTP process never loads torch BROKEN"),
        ("api/pages/routes.py", "import store.jobs", "The pages have no data of their own BROKEN"),
        ("api/app.py", "import worker.app", "never meet BROKEN"),
        ("store/jobs.py", "import detector.config", "never meet BROKEN"),
        ("detector/engine.py", "import sqlalchemy", "no web, no queue, no database BROKEN"),
        ("harmonicdet/client/shape.py", "import store.errors", "import none of the rooms BROKEN"),
        ("worker/supervise.py", "import detector.models", "only the trainer process loads torch BROKEN"),
    ],
)
def test_a_planted_breach_is_caught(copy: Path, file: str, line: str, contract: str) -> None:
    path = copy / file
    path.write_text(f"{line}\n{path.read_text()}")
    checked = _lint_imports(copy)
    assert checked.returncode != 0
    assert contract in " ".join(checked.stdout.split())
