"""Other people's programs to measure against, each in an environment of its own, made when it is asked for.

They are no part of the project: an environment lies in `.peers/`, which git ignores, and is kept.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

MISSING = 3
"""Exit status of a benchmark whose peer is not to be had."""
_FOLDER = Path(__file__).resolve().parent.parent / ".peers"
_SECONDS = 600


class PeerMissing(Exception):
    """A peer cannot be installed; the message says why."""


def environment(name: str, requirements: Sequence[str]) -> Path:
    """The Python of an environment with exactly these requirements. Raises `PeerMissing`."""
    folder = _FOLDER / name
    python, told = folder / "bin" / "python", folder / "requirements.txt"
    wanted = "\n".join(requirements) + "\n"
    if python.exists() and told.exists() and told.read_text() == wanted:
        return python
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise PeerMissing(f"{name} is not installed, and there is no uv to install it with")
    print(f"Installing {name} into {folder.name} (once)", file=sys.stderr, flush=True)
    _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], name)
    _run([uv, "pip", "install", "--quiet", "--python", str(python), *requirements], name)
    told.write_text(wanted)
    return python


def same(*names: str) -> list[str]:
    """Requirements of packages as they are installed here."""
    return [f"{name}=={version(name)}" for name in names]


def _run(command: Sequence[str], name: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.CalledProcessError as error:
        raise PeerMissing(f"{name} cannot be installed: {error.stderr.strip()[-500:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissing(f"{name} cannot be installed: {error}") from error
