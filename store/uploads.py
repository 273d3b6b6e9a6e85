"""Archives that arrive in parts: over any number of connections, processes and restarts.

A row says whose an upload is and how long it will be; how far it has come is the size of its file, so that
no byte that was received is ever asked for again. Files are on the volume of the blobs; where blobs are in an
object store, in the data directory, which all API processes then share. Who changes the file holds its lock.
A finished upload becomes one dataset, once.
"""

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from store import datasets, jobs, quotas
from store.blobs import Blob, room
from store.clock import database_now
from store.errors import DatasetNotFound, UploadBusy, UploadNotFound, UploadsTooMany, UploadUsed
from store.ids import new_id
from store.paging import Order, Page, page
from store.sessions import Database
from store.tables import Dataset, Job, Project, Upload

PATIENCE_SECONDS = 5.0
# A used upload is remembered as long as a repeat of the request that used it may come.
REMEMBERED_SECONDS = 2 * jobs.IDEMPOTENCY_SECONDS
_STRAY_SECONDS = 2 * 24 * 3600.0
_COLLECTED_AT_ONCE = 50
_POLL_SECONDS = 0.05
_ID = re.compile(r"upl_[0-9a-z]{26}")

# Rows


def create(
    session: Session, *, project_id: str, length: int, told: str, keep_seconds: float, most: int
) -> Upload:
    """A new upload of `length` bytes, kept for so long after its last part.

    `told` is what the client says about it, kept as it is. Raises `UploadsTooMany` when the project has
    `most` unfinished ones, and `StorageQuotaExceeded`, after which the transaction must not be committed.
    """
    # One at a time, so that two requests together cannot pass the limit.
    session.execute(select(Project.id).where(Project.id == project_id).with_for_update())
    unfinished = session.scalar(
        select(func.count()).where(
            Upload.project_id == project_id, Upload.dataset_id.is_(None), Upload.expires_at > database_now()
        )
    )
    if unfinished is not None and unfinished >= most:
        raise UploadsTooMany
    row = Upload(
        id=new_id("upl"),
        project_id=project_id,
        length=length,
        told=told,
        dataset_id=None,
        expires_at=database_now() + keep_seconds,
    )
    session.add(row)
    session.flush()
    quotas.check_bytes(session, project_id)
    session.refresh(row)
    return row


def get(session: Session, project_id: str, upload_id: str) -> Upload:
    """Raises `UploadNotFound`, for an expired one too."""
    row = session.scalar(
        select(Upload)
        .where(Upload.id == upload_id, Upload.project_id == project_id, Upload.expires_at > database_now())
        .execution_options(populate_existing=True)
    )
    if row is None:
        raise UploadNotFound
    return row


def list_(
    session: Session, project_id: str, *, limit: int, after: str | None = None, order: Order = "desc"
) -> Page[Upload]:
    """Uploads by age that have not expired, used ones too."""
    statement = select(Upload).where(Upload.project_id == project_id, Upload.expires_at > database_now())
    return page(session, statement, Upload.id, limit=limit, after=after, order=order)


def keep(session: Session, project_id: str, upload_id: str, *, seconds: float) -> Upload:
    """Something has arrived: it expires in so long from now. Raises `UploadNotFound`."""
    session.execute(
        update(Upload)
        .where(Upload.id == upload_id, Upload.project_id == project_id)
        .values(expires_at=database_now() + seconds)
        .execution_options(synchronize_session=False)
    )
    return get(session, project_id, upload_id)


def delete(session: Session, project_id: str, upload_id: str) -> None:
    """Raises `UploadNotFound`. A dataset that it has become stays."""
    get(session, project_id, upload_id)
    session.execute(delete_from(Upload).where(Upload.id == upload_id))


def become_dataset(
    session: Session,
    *,
    project_id: str,
    upload_id: str,
    blob: Blob | None,
    name: str,
    options: dict[str, Any],
    metadata: dict[str, str],
    idempotency_key: str | None = None,
) -> tuple[Dataset, Job]:
    """The dataset of a finished upload and the job that validates it; the same for every repeat.

    `blob` is where its bytes have been put; None when it was seen to have been used. Raises `UploadNotFound`,
    `UploadUsed` when it became a dataset on other terms, or one that was deleted, and `IdempotencyMismatch`.
    """
    row = session.scalar(
        select(Upload).where(Upload.id == upload_id, Upload.project_id == project_id).with_for_update()
    )
    if row is None:
        raise UploadNotFound
    if row.dataset_id is not None:
        return _as_before(session, row, name, options, metadata)
    if blob is None:
        raise UploadNotFound
    dataset, job = datasets.create(
        session,
        project_id=project_id,
        name=name,
        options=options,
        archive=blob.key,
        archive_sha256=blob.sha256,
        archive_bytes=blob.bytes,
        metadata=metadata,
        idempotency_key=idempotency_key,
        is_counted=False,  # the upload is, already
    )
    session.execute(
        update(Upload)
        .where(Upload.id == upload_id)
        .values(dataset_id=dataset.id, expires_at=database_now() + REMEMBERED_SECONDS)
        .execution_options(synchronize_session=False)
    )
    return dataset, job


def _as_before(
    session: Session, row: Upload, name: str, options: dict[str, Any], metadata: dict[str, str]
) -> tuple[Dataset, Job]:
    try:
        dataset = datasets.get(session, row.project_id, str(row.dataset_id))
    except DatasetNotFound:
        raise UploadUsed(f"This upload has become {row.dataset_id}, which was deleted.") from None
    if (name, options, metadata) != (dataset.name, dataset.options, dataset.extra):
        raise UploadUsed(f"This upload has become {row.dataset_id} already, on other terms.")
    return dataset, jobs.get(session, row.project_id, dataset.validation_job_id)


def collect(database: Database, parts: "Parts", *, strays: bool = False) -> int:
    """Forget what has expired, with `strays` also old files that nobody knows; how many.

    Leaves alone what is being written.
    """
    with database.read() as session:
        expired = list(
            session.scalars(
                select(Upload.id).where(Upload.expires_at <= database_now()).limit(_COLLECTED_AT_ONCE)
            )
        )
        old = parts.old(_STRAY_SECONDS) if strays else ()
        unknown = [one for one in old if session.get(Upload, one) is None]
    return sum(_forget(database, parts, one) for one in [*expired, *unknown])


def _forget(database: Database, parts: "Parts", upload_id: str) -> bool:
    expired = delete_from(Upload).where(Upload.id == upload_id, Upload.expires_at <= database_now())
    try:
        with parts.held(upload_id, patience_seconds=0) as part:
            database.run(lambda session: session.execute(expired))
            part.remove()
    except UploadBusy:
        return False
    return True


# Bytes


class Part:
    """The file of an upload, held by one request. `size` is how far the upload has come."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._unverified = _beside(path, "unverified")
        self._wanted = _beside(path, "wanted")
        self.size = os.fstat(descriptor).st_size
        if self._unverified.exists():
            # A process ended while it received bytes whose checksum it had still to see.
            self.truncate(_verified_size(self._unverified, self.size))
            self.verified()

    def write(self, data: bytes) -> None:
        """Append. Raises `StorageFull`; what of `data` had room then is kept."""
        with room():
            view = memoryview(data)
            while view:
                written = os.pwrite(self._descriptor, view, self.size)
                self.size += written
                view = view[written:]

    def truncate(self, size: int) -> None:
        """Take back what is after `size`."""
        os.ftruncate(self._descriptor, size)
        self.size = size

    def unverified(self) -> None:
        """What follows counts only once `verified` was called, whatever happens to this process."""
        with room():
            self._unverified.write_text(str(self.size))

    def verified(self) -> None:
        self._unverified.unlink(missing_ok=True)

    def sync(self) -> None:
        """What was written will be there after a power cut."""
        with room():
            os.fsync(self._descriptor)

    def wanted(self) -> bool:
        """Whether another request waits for this upload: the client has come back on a new connection."""
        return self._wanted.exists()

    def remove(self) -> None:
        """The file is gone, and what there is beside it."""
        for path in (self.path, self._unverified, self._wanted):
            path.unlink(missing_ok=True)


class Parts:
    """The files of uploads, named by their ids, in the directory of what is on its way to the blobs."""

    def __init__(self, staging: Path) -> None:
        self._root = staging.absolute() / "uploads"
        self._root.mkdir(parents=True, exist_ok=True)

    def size(self, upload_id: str) -> int:
        """How far an upload has come, as far as can be told without holding it."""
        path = self._path(upload_id)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return 0
        return _verified_size(_beside(path, "unverified"), size)

    @contextmanager
    def held(self, upload_id: str, *, patience_seconds: float = PATIENCE_SECONDS) -> Iterator[Part]:
        """The file of an upload, for this block alone.

        Whoever holds it is asked to let go: of a broken connection the server may not have heard yet when its
        client is back. Raises `UploadBusy` when that does not happen in time.
        """
        path = self._path(upload_id)
        give_up = time.monotonic() + patience_seconds
        asked = False
        try:
            while (descriptor := _locked(path)) is None:
                if time.monotonic() >= give_up:
                    raise UploadBusy
                if not asked:
                    _beside(path, "wanted").touch()
                    asked = True
                time.sleep(_POLL_SECONDS)
        finally:
            if asked:
                _beside(path, "wanted").unlink(missing_ok=True)
        try:
            yield Part(path, descriptor)
        finally:
            os.close(descriptor)

    def old(self, seconds: float) -> Iterator[str]:
        """Ids of the files that nothing was written to for so long."""
        for path in self._root.iterdir():
            try:
                if _ID.fullmatch(path.name) and path.stat().st_mtime < time.time() - seconds:
                    yield path.name
            except FileNotFoundError:
                continue

    def _path(self, upload_id: str) -> Path:
        if not _ID.fullmatch(upload_id):
            raise ValueError(f"{upload_id!r} is no id of an upload")
        return self._root / upload_id


def _locked(path: Path) -> int | None:
    """The open file with its lock, made if need be; None when another has it."""
    with room():
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink == 0:
            raise FileNotFoundError  # removed by its last holder while we opened it
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.name}.{what}")


def _verified_size(mark: Path, size: int) -> int:
    try:
        text = mark.read_text()
    except FileNotFoundError:
        return size
    # An empty mark was torn before the first byte it speaks of was written.
    return min(size, int(text)) if text.isdecimal() else size
