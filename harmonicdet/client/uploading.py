"""Archives on their way to the service: as they are, zipped from a folder, or in parts by tus 1.0."""

import base64
import hashlib
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from harmonicdet.client.errors import ConnectionFailed, HarmonicDetError, ServiceFailed, StatusError
from harmonicdet.client.transport import Transport

IN_PARTS_FROM = 16 << 20
PART = 8 << 20
_TUS = {"Tus-Resumable": "1.0.0"}
_FAILURES = 8  # one after another, without a byte arriving between them
# Of a part: it came too late, somebody else is sending, it does not belong there, its hash is another.
_SENT_AGAIN = {"upload_stalled", "upload_busy", "offset_mismatch", "checksum_mismatch"}

Told = Callable[[int, int], None]


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


def _entry(inside: Path, file: Path) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(inside.as_posix())
    entry.file_size = file.stat().st_size
    return entry


def in_parts(transport: Transport, path: Path, *, told: Told | None = None, part: int = PART) -> str:
    """Send the file in parts, from where an earlier attempt has come to; the upload's id.

    An upload of the same content, by its SHA-256, that is not whole yet is gone on with, whoever began it.
    """
    length = path.stat().st_size
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        found = _begun(transport, length, sha256)
        if found is None:
            found = _create(transport, length, {"filename": path.name, "sha256": sha256}), 0
        upload_id, offset = found
        failures = 0
        while True:
            if told is not None:
                told(offset, length)
            if offset >= length:
                return upload_id
            before = offset
            try:
                offset = _append(transport, upload_id, file, offset, part)
            except (ConnectionFailed, StatusError) as error:
                if not _may_go_on(error):
                    raise
                failures += 1
                if failures > _FAILURES:
                    raise
                transport.pause(failures, getattr(error, "retry_after", None))
                offset = _offset(transport, upload_id)
            if offset > before:
                failures = 0


def _begun(transport: Transport, length: int, sha256: str) -> tuple[str, int] | None:
    for upload in transport.json("list_uploads", query={"limit": 100})["data"]:
        is_same = upload["length"] == length and upload["metadata"].get("sha256") == sha256
        if is_same and upload["dataset_id"] is None:
            return upload["id"], _offset(transport, upload["id"])
    return None


def _create(transport: Transport, length: int, metadata: dict[str, str]) -> str:
    told = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in metadata.items())
    headers = _TUS | {"Upload-Length": str(length), "Upload-Metadata": told}
    return str(transport.json("create_upload", headers=headers)["id"])


def _append(transport: Transport, upload_id: str, file: BinaryIO, offset: int, part: int) -> int:
    file.seek(offset)
    data = file.read(part)
    if not data:
        raise HarmonicDetError("The file has become shorter while it was being sent.")
    checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
    headers = _TUS | {
        "Upload-Offset": str(offset),
        "Upload-Checksum": f"sha256 {checksum}",
        "Content-Type": "application/offset+octet-stream",
    }
    # What became of a part that broke is asked before it is sent again.
    answer = transport.ask(
        "append_upload", {"upload_id": upload_id}, headers=headers, content=data, retries=0
    )
    return int(answer.headers["upload-offset"])


def _offset(transport: Transport, upload_id: str) -> int:
    answer = transport.ask("head_upload", {"upload_id": upload_id}, headers=_TUS)
    return int(answer.headers["upload-offset"])


def _may_go_on(error: ConnectionFailed | StatusError) -> bool:
    if isinstance(error, StatusError):
        return isinstance(error, ServiceFailed) or error.status == 429 or error.code in _SENT_AGAIN
    return True
