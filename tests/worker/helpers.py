import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar
from zipfile import ZipFile

import msgspec

from detector.data.records import DatasetIndex
from store import datasets
from tests.store.helpers import take, upload
from worker.kinds import Workshop

T = TypeVar("T")


def until(condition: Callable[[], T | None], seconds: float = 20.0) -> T:
    """The first result of `condition` that is true."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"not so within {seconds:g} s"
        time.sleep(0.02)


def ready_dataset(
    shop: Workshop,
    name: str,
    files: Mapping[str, bytes],
    index: DatasetIndex,
    summary: dict[str, Any] | None = None,
) -> str:
    """Id of a validated dataset of these files."""
    content = BytesIO()
    with ZipFile(content, "w") as zipped:
        for path, data in files.items():
            zipped.writestr(path, data)
    archive = shop.blobs.put_bytes(content.getvalue())
    catalogue = shop.blobs.put_bytes(msgspec.json.encode(index)).key
    row, job = upload(
        shop.database,
        name=name,
        options={},
        archive=archive.key,
        archive_sha256=archive.sha256,
        archive_bytes=archive.bytes,
    )
    claim = take(shop.database, job.id)
    shop.database.run(
        lambda session: datasets.mark_ready(
            session, claim, index=catalogue, format="coco", summary=summary or {}, images=[], findings=[]
        )
    )
    return row.id


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie, which somebody else has yet to wait for, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it ended before, or while it was read
        return False


@contextmanager
def in_background(work: Callable[[], object]) -> Iterator[threading.Thread]:
    """Runs `work` on a thread; at the end it must have returned without an exception."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield thread
    thread.join(30)
    assert not thread.is_alive(), "the work does not end"
    if errors:
        raise errors[0]
