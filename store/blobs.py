"""Bytes that outlive a process: archives, indexes, checkpoints, artifacts.

Keys are relative paths that this service chooses, never a user's: `sha256/ab/abcd…` for what is known by its
content, `jobs/{job}/{token}/…` for checkpoints. A blob is there whole or not at all.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from store.errors import BlobCorrupt, BlobNotFound, SettingsInvalid, StorageFull
from store.settings import StoreSettings

CHUNK = 1 << 20
STALE_SECONDS = 3600.0
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_RESERVED = ("staging", "condemned")  # what is on its way in, and what is about to be deleted from S3
_FICLONE = 0x40049409  # Linux: share the extents of another file


@dataclass(frozen=True)
class Blob:
    """Where bytes are, and which."""

    key: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Entry:
    """A blob as it is found, and how long ago it was put, the last time."""

    key: str
    bytes: int
    age_seconds: float


class Staging(Protocol):
    """Bytes on their way in: hashed while written, gone unless committed."""

    @property
    def size(self) -> int: ...
    def write(self, chunk: bytes, /) -> int: ...
    def commit(self, *, key: str | None = None) -> Blob: ...


class Blobs(Protocol):
    """Local disk, or an object store (`store.s3`).

    Every `put` may raise `StorageFull`; an object store that cannot be reached, `BlobsUnavailable` anywhere.
    """

    def put_file(self, path: Path, *, key: str | None = None) -> Blob:
        """Store a file, by content when `key` is None. The file must not be written to afterwards."""
        ...

    def put_bytes(self, data: bytes, *, key: str | None = None) -> Blob:
        """Store bytes, by content when `key` is None."""
        ...

    @contextmanager
    def staging(self) -> Iterator[Staging]:
        """Receive a stream on the data volume; nothing stays unless `commit` was called."""
        ...

    def open(self, key: str) -> BinaryIO:
        """To be read from anywhere in it; a file of the system only where `local_path` gives one. Raises
        `BlobNotFound`."""
        ...

    def local_path(self, key: str) -> Path | None:
        """The file itself, not to be changed, or `BlobNotFound`; None where blobs are not files."""
        ...

    def url(self, key: str, *, seconds: int, name: str, media_type: str) -> str | None:
        """Where anybody may download the bytes as file `name` for so long; None where only we can."""
        ...

    def fetch(self, key: str, destination: Path, sha256: str) -> None:
        """A verified copy at `destination`, whole or not at all. Raises `BlobNotFound`, `BlobCorrupt`."""
        ...

    def exists(self, key: str) -> bool: ...

    def size(self, key: str) -> int:
        """Bytes. Raises `BlobNotFound`."""
        ...

    def delete(self, key: str) -> None:
        """Gone afterwards, whether or not it was there."""
        ...

    def discard(self, key: str, *, older_than_seconds: float) -> bool:
        """Delete a blob that was not put for so long; whether it was. A put at the same time is not lost."""
        ...

    def iter(self, prefix: str = "") -> Iterator[str]:
        """Every key that begins with `prefix`."""
        ...

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Every blob whose key begins with `prefix`."""
        ...

    def check(self) -> None:
        """Raises `Unavailable` or `OSError` where nothing can be put."""
        ...

    def sweep(self) -> None:
        """Remove what processes that were killed have left half put."""
        ...


def open_blobs(settings: StoreSettings) -> Blobs:
    """The blobs that the settings name. Raises `SettingsInvalid`."""
    if settings.blobs_folder is not None:
        return LocalBlobs(settings.blobs_folder)
    try:
        from store.s3 import S3Blobs
    except ImportError as error:
        raise SettingsInvalid(
            f"HARMONICDET_BLOBS is in S3, which needs a package that is not installed: {error}. "
            "`pip install 'harmonicdet[s3]'` brings it"
        ) from error
    return S3Blobs(settings)


def content_key(sha256: str) -> str:
    """Key of the blob whose SHA-256 is `sha256` (64 hexadecimal digits)."""
    return f"sha256/{sha256[:2]}/{sha256}"


def checked(key: str) -> str:
    """The key. Raises `ValueError` for what is none."""
    if not _KEY.fullmatch(key) or key.split("/")[0] in _RESERVED:
        raise ValueError(f"{key!r} is no blob key")
    return key


def sweep_staging(folder: Path) -> None:
    """Remove what killed processes were receiving. Who still writes holds a lock, or has just begun."""
    for path in folder.iterdir():
        try:
            # Uploads in parts have a folder of their own; `store.uploads` looks after it.
            if path.is_dir() or path.stat().st_ctime > time.time() - STALE_SECONDS:
                continue
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        except (FileNotFoundError, BlockingIOError):
            continue


class LocalBlobs:
    """Blobs as files below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._staging = self.root / "staging"
        self._staging.mkdir(parents=True, exist_ok=True)
        self.sweep()

    def put_file(self, path: Path, *, key: str | None = None) -> Blob:
        sha256, size = hash_file(path)
        key = key or content_key(sha256)
        if not self._already(key, sha256, size):
            with room(), temporary_in(self._staging) as temporary:
                _link_or_copy(path, temporary)
                self._publish(temporary, key)
        return Blob(key, sha256, size)

    def put_bytes(self, data: bytes, *, key: str | None = None) -> Blob:
        with self.staging() as staging:
            staging.write(data)
            return staging.commit(key=key)

    @contextmanager
    def staging(self) -> Iterator["FileStaging"]:
        def keep(path: Path, blob: Blob) -> None:
            if not self._already(blob.key, blob.sha256, blob.bytes):
                self._publish(path, blob.key)

        with temporary_in(self._staging) as temporary, FileStaging(temporary, keep) as staging:
            yield staging

    def open(self, key: str) -> BinaryIO:
        try:
            return self._path(key).open("rb")
        except (FileNotFoundError, IsADirectoryError):
            raise BlobNotFound(f"There are no bytes under {key}.") from None

    def local_path(self, key: str) -> Path | None:
        path = self._path(key)
        if not path.is_file():
            raise BlobNotFound(f"There are no bytes under {key}.")
        return path

    def url(self, key: str, *, seconds: int, name: str, media_type: str) -> str | None:
        return None

    def fetch(self, key: str, destination: Path, sha256: str) -> None:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with room(), temporary_in(destination.parent) as temporary:
            with self.open(key) as source, temporary.open("wb") as target:
                _copy(source, target)
            if hash_file(temporary)[0] != sha256:
                raise BlobCorrupt(f"The bytes under {key} are not those with SHA-256 {sha256}.")
            temporary.replace(destination)

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def size(self, key: str) -> int:
        path = self.local_path(key)
        assert path is not None  # noqa: S101
        return path.stat().st_size

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def discard(self, key: str, *, older_than_seconds: float) -> bool:
        path = self._path(key)
        with self._locked(fcntl.LOCK_EX):
            try:
                if path.stat().st_mtime > time.time() - older_than_seconds:
                    return False
                path.unlink()
            except FileNotFoundError:
                return False
            for parent in path.parents:
                if parent == self.root or any(parent.iterdir()):
                    break
                parent.rmdir()
        return True

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        now = time.time()
        for key in self.iter(prefix):
            try:
                found = self._path(key).stat()
            except (FileNotFoundError, ValueError):  # gone meanwhile; or not ours
                continue
            yield Entry(key, found.st_size, max(0.0, now - found.st_mtime))

    def iter(self, prefix: str = "") -> Iterator[str]:
        for directory, names, files in os.walk(self.root):
            names.sort()
            if Path(directory) == self.root:
                names[:] = [name for name in names if name != self._staging.name]
            for name in sorted(files):
                key = (Path(directory) / name).relative_to(self.root).as_posix()
                if key.startswith(prefix):
                    yield key

    def check(self) -> None:
        with self.staging() as staging:
            staging.write(b"ready?")

    def sweep(self) -> None:
        sweep_staging(self._staging)

    def _path(self, key: str) -> Path:
        return self.root / checked(key)

    def _already(self, key: str, sha256: str, size: int) -> bool:
        path = self._path(key)
        try:
            if path.stat().st_size != size:
                return False
            if key != content_key(sha256) and hash_file(path)[0] != sha256:
                return False
            with self._locked(fcntl.LOCK_SH):
                os.utime(path)  # in use again: a collector of old blobs must not take it
        except FileNotFoundError:
            return False
        return True

    def _publish(self, temporary: Path, key: str) -> None:
        """Give bytes that are on disk their name; after this a crash cannot take them away."""
        path = self._path(key)
        os.utime(temporary)  # put now, whenever it was written
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        with self._locked(fcntl.LOCK_SH):
            made = [parent for parent in path.parents if not parent.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(path)
        for directory in {path.parent, *(parent.parent for parent in made)}:
            _sync_directory(directory)

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        """Puts share this lock; who discards has it alone, for the moment between looking and deleting."""
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)


class FileStaging:
    """A temporary file of this host; `keep` makes a blob of what it has become."""

    def __init__(self, path: Path, keep: Callable[[Path, Blob], None]) -> None:
        self._path = path
        self._keep = keep
        self._hash = hashlib.sha256()
        self._size = 0
        self._file = path.open("wb")
        fcntl.flock(self._file, fcntl.LOCK_SH)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    def write(self, chunk: bytes | bytearray | memoryview, /) -> int:
        with room():
            self._file.write(chunk)
        self._hash.update(chunk)
        self._size += len(chunk)
        return len(chunk)

    def commit(self, *, key: str | None = None) -> Blob:
        with room():
            self._file.close()
            sha256 = self._hash.hexdigest()
            blob = Blob(key or content_key(sha256), sha256, self._size)
            self._keep(self._path, blob)
        return blob

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Bytes still buffered of an upload that failed need not reach the disk.
        try:
            self._file.close()
        except OSError:
            if error is None:
                raise


@contextmanager
def temporary_in(directory: Path) -> Iterator[Path]:
    """A file that is gone afterwards, unless it was renamed."""
    descriptor, name = tempfile.mkstemp(prefix=".tmp-", dir=directory)
    os.close(descriptor)
    path = Path(name)
    path.chmod(0o644)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def room() -> Iterator[None]:
    """A disk that is full while the block writes raises `StorageFull`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull from error
        raise


def _link_or_copy(source: Path, destination: Path) -> None:
    destination.unlink()
    try:
        os.link(source, destination)
    except OSError:
        # Another volume, or links are not allowed here.
        with source.open("rb") as reading, destination.open("xb") as writing:
            _copy(reading, writing)


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    """Share the blocks where the filesystem can, else copy them."""
    try:
        fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
    except OSError:
        shutil.copyfileobj(source, target, CHUNK)


def hash_file(path: Path) -> tuple[str, int]:
    """SHA-256, in hexadecimal digits, and bytes."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
