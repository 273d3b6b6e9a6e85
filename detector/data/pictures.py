"""Look at every image of an archive, a few at a time, on several threads."""

import hashlib
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from detector.data.archive import Archive
from detector.data.refusals import MemberCorrupt, MemberMissing
from detector.errors import ImageInvalid
from detector.images import DATASET_MAX_PIXELS, ImageInfo, decode, probe

_MOST_THREADS = 8
_TOGETHER = 8  # images that a thread is given at a time: handing over costs as much as a header
_AHEAD = 2  # such portions per thread that wait to be looked at or taken


@dataclass(frozen=True)
class Picture:
    """What an image of the archive really is."""

    info: ImageInfo
    sha256: bytes | None  # None where no other image can have the same bytes


@dataclass(frozen=True)
class Broken:
    """Why an image cannot be used."""

    code: str
    message: str


def look(archive: Archive, members: Iterable[str], *, strict: bool) -> Iterator[Picture | Broken]:
    """One answer per member, in their order. `strict` decodes every pixel, else only the header is read.

    Raises ArchiveRefused when reading on would break the archive's limits.
    """
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    members = list(members)
    # Equal bytes have one size and one CRC, which are read anyway: most images need no hash.
    contents = [archive.size_and_crc(member) for member in members]
    times = Counter(contents)
    asked = [(member, times[content] > 1) for member, content in zip(members, contents, strict=True)]
    pending: deque[Future[list[Picture | Broken]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        try:
            for start in range(0, len(asked), _TOGETHER):
                some = asked[start : start + _TOGETHER]
                pending.append(pool.submit(_look_at, archive, some, strict))
                if len(pending) >= threads * _AHEAD:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _look_at(archive: Archive, some: list[tuple[str, bool]], strict: bool) -> list[Picture | Broken]:
    return [_look(archive, member, strict, may_be_copy) for member, may_be_copy in some]


def _look(archive: Archive, member: str, strict: bool, may_be_copy: bool) -> Picture | Broken:
    try:
        data = archive.read(member)
    except (MemberCorrupt, MemberMissing) as error:
        return Broken(error.code, error.reason)
    try:
        info = probe(data, max_pixels=DATASET_MAX_PIXELS)
    except ImageInvalid as error:
        return Broken("image_unreadable", error.message)
    if strict:
        try:
            decode(data, max_pixels=DATASET_MAX_PIXELS)
        except ImageInvalid as error:
            return Broken("image_corrupt", error.message)
    return Picture(info, hashlib.sha256(data).digest() if may_be_copy else None)
