"""Checkpoints: written whole or not at all, checked when read. The one caller of `torch.load`."""

import hashlib
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from detector.errors import CheckpointCorrupt, WeightsInvalid
from detector.footprint import CHECKPOINTS_KEPT

FORMAT = 1

_MAGIC = b"harmonicdet-checkpoint-1"
_TRAILER = len(_MAGIC) + hashlib.sha256().digest_size
_NAME = re.compile(r"step-(\d{8,})\.pt")


@dataclass(frozen=True)
class Written:
    """A checkpoint on disk; `sha256` is that of the file."""

    path: Path
    sha256: str
    bytes: int


def save(folder: Path, step: int, state: dict[str, Any]) -> Written:
    """Writes `folder/step-00000120.pt` (temporary name, sync, rename) and removes all but the last two.

    `state` holds tensors, numbers, strings and containers of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    payload = buffer.getbuffer()
    # torch's reader does not look at the checksums in its own files, so ours stands at the end.
    trailer = hashlib.sha256(payload).digest() + _MAGIC
    path = folder / f"step-{step:08d}.pt"
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(payload)
            file.write(trailer)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # a part of it would keep a full disk full
        raise
    _sync_folder(folder)
    digest = hashlib.sha256(payload)
    digest.update(trailer)
    for old in paths(folder)[:-CHECKPOINTS_KEPT]:
        old.unlink(missing_ok=True)
    return Written(path, digest.hexdigest(), len(payload) + len(trailer))


def load(path: Path) -> dict[str, Any]:
    """What `save` was given. Raises CheckpointCorrupt when the file is absent, damaged or something else."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointCorrupt(f"The checkpoint {path.name} cannot be read: {error.strerror}.") from error
    payload, trailer = data[:-_TRAILER], data[-_TRAILER:]
    if trailer[-len(_MAGIC) :] != _MAGIC:
        raise CheckpointCorrupt(f"{path.name} is no whole checkpoint of HarmonicDet.")
    if hashlib.sha256(payload).digest() != trailer[: -len(_MAGIC)]:
        raise CheckpointCorrupt(f"The checkpoint {path.name} is damaged: its checksum differs.")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler raises
        raise CheckpointCorrupt(f"The checkpoint {path.name} cannot be read: {error}") from error
    if state.get("format") != FORMAT:
        raise CheckpointCorrupt(f"The checkpoint {path.name} has format {state.get('format')}, not {FORMAT}.")
    return state


def load_foreign(path: Path) -> Any:
    """What torch has saved in a file that a user of the command line gives: tensors, numbers, strings and
    containers of them; anything else in it is refused unread. Raises WeightsInvalid."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever zip and the unpickler raise
        reason = str(error).strip().split("\n")[0][:300]
        raise WeightsInvalid(f"{path.name} holds no weights that can be read: {reason}") from error


def paths(folder: Path) -> list[Path]:
    """The whole checkpoints of a folder, oldest first."""
    if not folder.is_dir():
        return []
    numbered = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered)]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
