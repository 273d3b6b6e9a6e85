"""Archives on their way to the service in parts, by tus 1.0."""

# Written by `make client` from asynchronous/uploading.py.

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from harmonicdet.client.errors import ConnectionFailed, HarmonicDetError, ServiceFailed, StatusError
from harmonicdet.client.files import part_of, sha256_of
from harmonicdet.client.synchronous.backend import blocking
from harmonicdet.client.synchronous.transport import Transport

IN_PARTS_FROM = 16 << 20
PART = 8 << 20
_TUS = {"Tus-Resumable": "1.0.0"}
_FAILURES = 8  # one after another, without a byte arriving between them
# Of a part: it came too late, somebody else is sending, it does not belong there, its hash is another.
_SENT_AGAIN = {"upload_stalled", "upload_busy", "offset_mismatch", "checksum_mismatch"}

Told = Callable[[int, int], None]


def in_parts(transport: Transport, path: Path, *, told: Told | None = None, part: int = PART) -> str:
    """Send the file in parts, from where an earlier attempt has come to; the upload's id.

    An upload of the same content, by its SHA-256, that is not whole yet is gone on with, whoever began it.
    """
    length = path.stat().st_size
    sha256 = blocking(sha256_of, path)
    with path.open("rb") as file:
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
    uploads = transport.json("list_uploads", query={"limit": 100})
    for upload in uploads["data"]:
        is_same = upload["length"] == length and upload["metadata"].get("sha256") == sha256
        if is_same and upload["dataset_id"] is None:
            return upload["id"], _offset(transport, upload["id"])
    return None


def _create(transport: Transport, length: int, metadata: dict[str, str]) -> str:
    told = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in metadata.items())
    headers = _TUS | {"Upload-Length": str(length), "Upload-Metadata": told}
    upload = transport.json("create_upload", headers=headers)
    return str(upload["id"])


def _append(transport: Transport, upload_id: str, file: BinaryIO, offset: int, part: int) -> int:
    data = blocking(part_of, file, offset, part)
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
