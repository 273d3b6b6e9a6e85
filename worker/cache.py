"""Datasets unpacked on this host, by the hash of what is in them; shared by all its workers.

`{root}/{archive}-{index}/` holds what `detector.data.materialise` writes; `{root}/{archive}-{index}.lock` is
locked by every process that uses it, and says how many bytes it takes. What was used longest ago goes first
when all together take more than they may.
"""

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, Self

from detector.data import index_file
from detector.data.materialise import materialise
from store.blobs import Blobs

log = logging.getLogger(__name__)

_ABANDONED_SECONDS = 6 * 3600.0  # no unpacking takes longer


class Datasets(Protocol):
    """Where a job gets its dataset from."""

    def fetch(self, archive: str, archive_sha256: str, index: str) -> Path: ...


class DatasetCache:
    """The cache of this host. `limit` is in bytes; what is in use is never removed, even above it."""

    def __init__(self, root: Path, blobs: Blobs, limit: int = 50 << 30) -> None:
        self._root = root
        self._blobs = blobs
        self._limit = limit

    def fetch(self, archive: str, archive_sha256: str, index: str) -> Path:
        """The folder of the dataset, unpacked if this host does not have it. Two processes may ask at once.

        It stays only while somebody holds it: see `DatasetsInUse`.

        Raises:
            BlobNotFound, BlobCorrupt: the store has lost the archive or its index.
        """
        folder = self.folder(archive_sha256, index)
        if folder.exists():
            os.utime(folder)
            return folder
        self._root.mkdir(parents=True, exist_ok=True)
        with self._blobs.open(index) as file:
            records = index_file.decode(file.read())
        log.info("unpacking dataset %s", folder.name)
        local = self._blobs.local_path(archive)
        if local is not None:
            materialise(local, records, folder)
        else:
            with TemporaryDirectory(dir=self._root, prefix=".fetch-") as temporary:
                downloaded = Path(temporary) / "archive.zip"
                self._blobs.fetch(archive, downloaded, archive_sha256)
                materialise(downloaded, records, folder)
        self._lock_file(folder).write_text(str(_bytes_of(folder)))
        self.trim()
        return folder

    def folder(self, archive_sha256: str, index: str) -> Path:
        """Where a dataset is, or would be."""
        return self._root / f"{archive_sha256[:24]}-{Path(index).name[:24]}"

    @contextmanager
    def hold(self, folder: Path) -> Iterator[None]:
        """Keeps a dataset from being removed. The hold ends with this process, however that ends."""
        self._root.mkdir(parents=True, exist_ok=True)
        with self._lock_file(folder).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    def trim(self) -> None:
        """Removes the datasets used longest ago until the rest is within the limit, and dead leftovers."""
        if not self._root.is_dir():
            return
        entries = sorted(self._entries(), key=lambda entry: entry.used_at)
        total = sum(entry.bytes for entry in entries)
        for entry in entries:
            if total <= self._limit:
                break
            if self._remove(entry.folder):
                log.info("removed dataset %s (%.0f MB) from the cache", entry.folder.name, entry.bytes / 1e6)
                total -= entry.bytes
        for leftover in self._root.glob(".*"):
            with suppress(OSError):
                if time.time() - leftover.stat().st_mtime > _ABANDONED_SECONDS:
                    shutil.rmtree(leftover, ignore_errors=True)

    def _entries(self) -> Iterator["_Entry"]:
        for folder in self._root.iterdir():
            if folder.name.startswith(".") or not folder.is_dir():
                continue
            try:
                size = int(self._lock_file(folder).read_text())
            except (OSError, ValueError):
                size = _bytes_of(folder)
            with suppress(FileNotFoundError):
                yield _Entry(folder, size, folder.stat().st_mtime)

    def _remove(self, folder: Path) -> bool:
        """False when somebody uses it."""
        with self._lock_file(folder).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            # Away in one step: half a dataset must not be found under its name.
            doomed = folder.with_name(f".doomed-{os.getpid()}-{folder.name}")
            with suppress(FileNotFoundError):
                folder.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
        return True

    def _lock_file(self, folder: Path) -> Path:
        return folder.with_name(f"{folder.name}.lock")


class DatasetsInUse:
    """What one job has fetched: held until `close`. Use as a context manager."""

    def __init__(self, cache: Datasets) -> None:
        self._cache = cache
        self._held = ExitStack()

    def fetch(self, archive: str, archive_sha256: str, index: str) -> Path:
        """As `DatasetCache.fetch`, and there to stay."""
        if isinstance(self._cache, DatasetCache):
            self._held.enter_context(self._cache.hold(self._cache.folder(archive_sha256, index)))
        return self._cache.fetch(archive, archive_sha256, index)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()


@dataclass(frozen=True)
class _Entry:
    folder: Path
    bytes: int
    used_at: float


def _bytes_of(folder: Path) -> int:
    """What the files of a folder take on the disk."""
    return sum(
        (Path(directory) / name).stat().st_blocks * 512
        for directory, _, names in os.walk(folder)
        for name in names
    )
