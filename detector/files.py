"""Files that a run leaves: whole or not at all, and described by their bytes."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def write_json(path: Path, value: Any) -> None:
    """Writes the file whole, or not at all."""
    with _whole(path) as file:
        json.dump(value, file, allow_nan=False)


def write_text(path: Path, text: str) -> None:
    """Writes the file whole, or not at all."""
    with _whole(path) as file:
        file.write(text)


def write_json_lines(path: Path, values: Iterable[Any]) -> None:
    """A JSON value a line; the file whole, or not at all."""
    with _whole(path) as file:
        for value in values:
            file.write(json.dumps(value, allow_nan=False))
            file.write("\n")


def described(path: Path, media_type: str) -> dict[str, Any]:
    """A file of the run's `artifacts/` as `result.json` lists it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "name": path.name,
        "path": f"artifacts/{path.name}",
        "media_type": media_type,
        "sha256": digest,
        "bytes": path.stat().st_size,
    }


@contextmanager
def _whole(path: Path) -> Iterator[IO[str]]:
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
