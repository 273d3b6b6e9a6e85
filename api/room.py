"""Whether there is room for what is about to be written."""

import shutil

from api.idempotency import Once
from api.settings import Settings
from store import quotas
from store.errors import StorageFull, StorageQuotaExceeded
from store.sessions import Database


def check_room(settings: Settings, size: int = 0) -> None:
    """Raise `StorageFull` unless `size` bytes fit on the volumes of the data and of the blobs, beside what
    stays free there. An object store says itself when it is full."""
    free = _free_bytes(settings)
    if free < settings.min_free_bytes + size:
        raise StorageFull(
            f"There is no room left: {free / 1e6:,.0f} MB are free, and "
            f"{settings.min_free_bytes / 1e6:,.0f} MB have to stay (HARMONICDET_MIN_FREE_BYTES)."
        )


def bytes_to_spare(settings: Settings) -> int:
    """How much may be written to the volumes of the data and of the blobs, beside what stays free there."""
    return max(0, _free_bytes(settings) - settings.min_free_bytes)


def bytes_left(database: Database, project: str, once: Once) -> int | None:
    """How many bytes the project may still keep; None without a limit, and for a repeat: it keeps nothing."""
    if once.was_answered:
        return None
    with database.read() as session:
        return quotas.bytes_left(session, project)


def check_quota(left: int | None, size: int) -> None:
    """Raise `StorageQuotaExceeded` for more bytes than are `left`: before all of them have come.

    What arrives is counted as if the project did not have it yet.
    """
    if left is not None and size > left:
        raise StorageQuotaExceeded


def _free_bytes(settings: Settings) -> int:
    return min(shutil.disk_usage(folder).free for folder in settings.volumes)
