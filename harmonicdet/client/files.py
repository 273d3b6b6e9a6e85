"""Files on this side: an archive of a folder, a part of a file, its SHA-256."""

import hashlib
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def archive_of(source: Path) -> Iterator[Path]:
    """The zip itself; of a folder a zip of it, always the same of the same files, gone with the block."""
    if not source.is_dir():
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="harmonicdet-") as folder:
        path = Path(folder) / f"{source.resolve().name}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(source.rglob("*")):
                inside = file.relative_to(source)
                if file.is_file() and not any(part.startswith(".") for part in inside.parts):
                    with file.open("rb") as read, archive.open(_entry(inside, file), "w") as written:
                        while chunk := read.read(1 << 20):
                            written.write(chunk)
        yield path


def part_of(file: BinaryIO, offset: int, size: int) -> bytes:
    """As many bytes from there, fewer at the end."""
    file.seek(offset)
    return file.read(size)


def sha256_of(path: Path) -> str:
    """In hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(inside: Path, file: Path) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(inside.as_posix())
    entry.file_size = file.stat().st_size
    return entry
