"""Read a zip that a stranger made: every member's name and size is judged before a byte of it is unpacked.

Nothing is ever extracted to a path that the archive names; members are read one by one, into memory, by name.
"""

import io
import os
import stat
import threading
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO, Self

from detector.data import refusals
from detector.data.refusals import ArchiveRefused

_CHUNK = 1 << 20
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})
_ARCHIVE_SUFFIXES = frozenset(
    {
        ".zip",
        ".tar",
        ".tgz",
        ".gz",
        ".bz2",
        ".xz",
        ".7z",
        ".rar",
        ".zst",
        ".jar",
        ".whl",
        ".lz4",
        ".tbz2",
        ".txz",
    }
)
_ARCHIVE_STARTS = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b\x08",
    b"BZh",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a",
    b"\xfd7zXZ\x00",
)
_MOST_REASONS = 100


@dataclass(frozen=True)
class Limits:
    """What an archive may cost. Byte limits count unpacked bytes, as really read."""

    members: int = 200_000
    member_bytes: int = 1 << 30
    total_bytes: int = 100 << 30
    ratio: int = 100
    ratio_free_bytes: int = 1_000_000  # the ratio is not looked at below this
    name_length: int = 1_000


class Archive:
    """An open archive that has passed `open_archive`. `members` are its files, in the archive's order."""

    def __init__(
        self,
        file: zipfile.ZipFile,
        infos: list[zipfile.ZipInfo],
        limits: Limits,
        passes: tuple[type[Exception], ...] = (),
    ) -> None:
        self._file = file
        self._passes = passes
        self._infos = {info.filename: info for info in infos}
        self._limits = limits
        self._lock = threading.Lock()
        self._read: dict[str, int] = {}
        self._total = 0

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(self._infos)

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    def size(self, name: str) -> int:
        """Unpacked bytes of a member, as the archive declares them."""
        return self._info(name).file_size

    def read(self, name: str) -> bytes:
        """The whole member. May be called from several threads.

        Raises MemberMissing, MemberCorrupt (it cannot be unpacked, or its checksum is wrong), MemberTooLarge,
        RatioTooHigh, ArchiveTooLarge or NestedArchive, all of them ArchiveRefused.
        """
        buffer = io.BytesIO()  # which gives away what it has without a copy
        for chunk in self._chunks(self._info(name)):
            buffer.write(chunk)
        data = buffer.getvalue()
        if data.startswith(_ARCHIVE_STARTS):
            raise refusals.NestedArchive(name)
        with self._lock:
            self._total += len(data) - self._read.get(name, 0)
            self._read[name] = len(data)
            if self._total > self._limits.total_bytes:
                raise refusals.ArchiveTooLarge(
                    name, detail=f"more than {self._limits.total_bytes} bytes in all"
                )
        return data

    def size_and_crc(self, name: str) -> tuple[int, int] | None:
        """Bytes and CRC-32 of a member as the archive has them, which `read` holds against the member itself;
        None for a name that is not there."""
        info = self._infos.get(name)
        return None if info is None else (info.file_size, info.CRC)

    def stream(self, name: str) -> Iterator[bytes]:
        """The member's bytes one after the other, a megabyte at most in memory. Raises as `read` does."""
        return self._chunks(self._info(name))

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _info(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._infos[name]
        except KeyError:
            raise refusals.MemberMissing(name) from None

    def _chunks(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        count = 0
        try:
            with self._file.open(info) as member:
                while chunk := member.read(_CHUNK):
                    count += len(chunk)
                    refusal = _size_refusal(info.filename, count, info.compress_size, self._limits)
                    if refusal is not None:
                        raise refusal
                    yield chunk
        except ArchiveRefused:
            raise
        except self._passes:
            raise
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            ValueError,
            RuntimeError,
            NotImplementedError,
        ) as error:
            raise refusals.MemberCorrupt(info.filename, detail=str(error)) from error
        except (
            Exception
        ) as error:  # bz2 and lzma have their own; struct.error comes from a broken local header
            raise refusals.MemberCorrupt(info.filename, detail=type(error).__name__) from error


def open_archive(
    source: Path | BinaryIO, limits: Limits | None = None, *, passes: tuple[type[Exception], ...] = ()
) -> Archive:
    """Open a zip after judging every member by SECURITY's rules.

    `source` may be an open file that can be sought in; of its errors those in `passes` are no fault of the
    archive and come out as they are, then and whenever a member is read.

    The junk that macOS adds (`__MACOSX/`, `.DS_Store`, `._*`) and folders are left out of `members`. Raises
    ArchiveRefused, the first reason found; its `also` has the others.
    """
    limits = limits or Limits()
    try:
        file = zipfile.ZipFile(source)
    except MemoryError:
        raise
    except passes:
        raise
    except (
        Exception
    ) as error:  # BadZipFile, and what foreign bytes make of its parser: struct, Unicode, overflow
        raise refusals.ArchiveUnreadable(detail=str(error) or type(error).__name__) from error
    try:
        size = source.stat().st_size if isinstance(source, Path) else source.seek(0, os.SEEK_END)
        return Archive(file, _judged(file, size, limits), limits, passes)
    except BaseException:
        file.close()
        raise


def _judged(file: zipfile.ZipFile, packed_bytes: int, limits: Limits) -> list[zipfile.ZipInfo]:
    infos = file.infolist()
    if len(infos) > limits.members:
        raise refusals.TooManyMembers(detail=f"{len(infos)}; at most {limits.members} are allowed")
    reasons: list[ArchiveRefused] = []
    seen: dict[str, str] = {}
    files: list[zipfile.ZipInfo] = []
    total = 0
    for info in infos:
        if len(reasons) >= _MOST_REASONS:
            break
        reason = _refusal(info, limits)
        if reason is None and _is_junk(info.filename):
            continue
        key = unicodedata.normalize("NFC", info.filename.rstrip("/")).casefold()
        if reason is None and key in seen and not (info.is_dir() and seen[key] == info.filename):
            reason = refusals.DuplicateName(info.filename, detail=f"the other is {seen[key]}")
        seen[key] = info.filename
        if reason is not None:
            reasons.append(reason)
        elif not info.is_dir():
            files.append(info)
            total += info.file_size
    if total > limits.total_bytes:
        reasons.append(
            refusals.ArchiveTooLarge(detail=f"{total} bytes; at most {limits.total_bytes} are allowed")
        )
    if total > max(
        limits.ratio_free_bytes, packed_bytes * limits.ratio
    ):  # members that share their packed bytes
        reasons.append(refusals.RatioTooHigh(detail=f"{packed_bytes} bytes unpack to {total}"))
    if not infos or not (files or reasons):
        reasons.append(refusals.ArchiveEmpty())
    if reasons:
        reasons[0].also = tuple(reasons[1:])
        raise reasons[0]
    return files


def _refusal(info: zipfile.ZipInfo, limits: Limits) -> ArchiveRefused | None:
    """Why this member cannot be let in, judged by the central directory alone."""
    name = info.filename
    # zipfile cuts the name at a NUL and turns the platform's separator into '/'; orig_filename is as stored.
    stored = info.orig_filename
    if any(character < " " or character == "\x7f" for character in stored):
        return refusals.ControlCharacter(stored)
    if "\\" in stored:
        return refusals.Backslash(stored)
    if len(name) > limits.name_length:
        return refusals.NameTooLong(name, detail=f"at most {limits.name_length} characters are allowed")
    if name.startswith("/") or not name:
        return refusals.AbsolutePath(name)
    if name[1:2] == ":":
        return refusals.DriveLetter(name)
    if ".." in name.split("/"):
        return refusals.PathTraversal(name)
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return refusals.Symlink(name)
    if info.flag_bits & 0x1 or info.flag_bits & 0x40:
        return refusals.Encrypted(name)
    if info.is_dir():
        return None
    if info.compress_type not in _METHODS:
        return refusals.CompressionUnknown(name, detail=f"method {info.compress_type}")
    if PurePosixPath(name).suffix.lower() in _ARCHIVE_SUFFIXES and not _is_junk(name):
        return refusals.NestedArchive(name)
    return _size_refusal(name, info.file_size, info.compress_size, limits)


def _size_refusal(name: str, size: int, packed: int, limits: Limits) -> ArchiveRefused | None:
    if size > limits.member_bytes:
        return refusals.MemberTooLarge(name, detail=f"more than {limits.member_bytes} bytes")
    if size > max(limits.ratio_free_bytes, packed * limits.ratio):
        return refusals.RatioTooHigh(name, detail=f"{packed} bytes unpack to {size} or more")
    return None


def _is_junk(name: str) -> bool:
    parts = name.split("/")
    return (
        "__MACOSX" in parts
        or parts[-1] in (".DS_Store", "Thumbs.db", "desktop.ini")
        or parts[-1].startswith("._")
    )
