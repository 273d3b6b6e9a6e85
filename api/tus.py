"""tus 1.0, the protocol of resumable uploads (https://tus.io/protocols/resumable-upload): its headers, and
the bytes of a part on their way to the file.
"""

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from email.utils import format_datetime
from typing import Annotated, Any

import anyio
from anyio import to_thread
from fastapi import Header, Request
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from api.bodies import media_type
from api.errors import BodyTooLarge, MediaTypeUnsupported, Refusal, invalid
from api.room import check_room
from api.schemas.common import Metadata
from api.services import Services
from api.settings import Settings
from store.errors import OffsetMismatch, UploadBusy
from store.uploads import Part

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,expiration,checksum,termination"
ALGORITHMS = ("sha256", "sha1")
PART = "application/offset+octet-stream"
_MOST_BYTES = 2**63 - 1
_TOLD_LIMIT = 4096
_WRITE = 1 << 20
_LOOK_SECONDS = 1.0  # how often a silent connection looks whether its client has come back on another
_TOLD: TypeAdapter[dict[str, str]] = TypeAdapter(Metadata)
_PAIR = re.compile(r"([!-+\--~]+)(?: +([A-Za-z0-9+/]*={0,2}))?")


class VersionUnsupported(Refusal):
    """The request must say `Tus-Resumable: 1.0.0`."""

    status = 412
    code = "tus_version_unsupported"


class ChecksumMismatch(Refusal):
    """The bytes of this part are not those that Upload-Checksum tells of; they were not kept."""

    status = 460  # tus' own
    code = "checksum_mismatch"


class ChecksumUnsupported(Refusal):
    """Upload-Checksum must be `sha256` or `sha1` and the Base64 of the hash."""

    status = 400
    code = "checksum_unsupported"


class UploadStalled(Refusal):
    """Nothing has arrived for too long; what has is kept."""

    status = 408
    code = "upload_stalled"


TusResumable = Annotated[
    str | None,
    Header(alias="Tus-Resumable", description="The version of the protocol.", examples=[VERSION]),
]
UploadOffset = Annotated[
    int | None,
    Header(
        alias="Upload-Offset",
        ge=0,
        le=_MOST_BYTES,
        description="Where the bytes of the body belong: how far the upload has come.",
        examples=[0],
    ),
]
UploadLength = Annotated[
    int | None,
    Header(
        alias="Upload-Length", ge=0, le=_MOST_BYTES, description="Bytes of the whole.", examples=[7416381]
    ),
]
UploadMetadata = Annotated[
    str | None,
    Header(
        alias="Upload-Metadata",
        description="What you want to remember of it: names, each with its value in Base64, between commas.",
        examples=["filename Y2VsbHMuemlw"],
    ),
]
UploadChecksum = Annotated[
    str | None,
    Header(
        alias="Upload-Checksum",
        description="`sha256` or `sha1`, and the hash of the body's bytes in Base64.",
        examples=["sha256 LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="],
    ),
]


def check_version(given: str | None) -> None:
    """Raises `VersionUnsupported`."""
    if given != VERSION:
        raise VersionUnsupported(headers={"Tus-Resumable": VERSION, "Tus-Version": VERSION})


def told(header: str) -> dict[str, str]:
    """What Upload-Metadata says. Raises `Invalid`."""
    found: dict[str, str] = {}
    if len(header) > _TOLD_LIMIT:
        raise invalid("header:Upload-Metadata", "too_long", f"has more than {_TOLD_LIMIT} characters")
    for pair in header.split(",") if header.strip() else []:
        match = _PAIR.fullmatch(pair.strip())
        if match is None or match[1] in found:
            raise invalid(
                "header:Upload-Metadata", "malformed", "must be names with Base64 values, each name once"
            )
        try:
            found[match[1]] = base64.b64decode(match[2] or "", validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            detail = f"the value of {match[1][:100]} is not Base64 of UTF-8"
            raise invalid("header:Upload-Metadata", "malformed", detail) from None
    try:
        return _TOLD.validate_python(found)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = "/".join(str(step) for step in fault["loc"])
        raise invalid("header:Upload-Metadata", fault["type"], f"{where}: {fault['msg']}") from None


class Checksum:
    """What the bytes of a part must hash to."""

    def __init__(self, header: str) -> None:
        """Raises `ChecksumUnsupported`."""
        name, _, value = header.strip().partition(" ")
        if name not in ALGORITHMS:
            raise ChecksumUnsupported
        self._hash = hashlib.new(name, usedforsecurity=False)
        try:
            self._expected = base64.b64decode(value.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise ChecksumUnsupported from None
        if len(self._expected) != self._hash.digest_size:
            raise ChecksumUnsupported

    def update(self, data: bytes) -> None:
        self._hash.update(data)

    def holds(self) -> bool:
        return hmac.compare_digest(self._hash.digest(), self._expected)


def headers(*, offset: int | None = None, expires_at: datetime | None = None) -> dict[str, str]:
    """Those of an answer."""
    found = {"Tus-Resumable": VERSION, "Cache-Control": "no-store"}
    if offset is not None:
        found["Upload-Offset"] = str(offset)
    if expires_at is not None:
        found["Upload-Expires"] = format_datetime(expires_at.replace(microsecond=0), usegmt=True)
    return found


def options(settings: Settings) -> dict[str, str]:
    """What this server can do."""
    return {
        "Tus-Resumable": VERSION,
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(settings.upload_limit_bytes),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }


@asynccontextmanager
async def held(services: Services, upload_id: str) -> AsyncIterator[Part]:
    """The file of an upload, for this block alone. Raises `UploadBusy`."""
    with ExitStack() as stack:
        # Entered in the thread, so that a request cancelled meanwhile leaves no lock behind.
        yield await to_thread.run_sync(stack.enter_context, services.parts.held(upload_id))


async def append(
    request: Request, part: Part, *, offset: int, length: int, checksum: Checksum | None, settings: Settings
) -> None:
    """Write the body to the file of an upload of `length` bytes, from `offset` on.

    What has arrived is kept, however the request ends; with a checksum, nothing or all of it. Raises
    `OffsetMismatch`, `MediaTypeUnsupported`, `BodyTooLarge`, `StorageFull`, `ChecksumMismatch`,
    `UploadStalled`, `UploadBusy` when the client has come back on another connection, and `ClientDisconnect`.
    """
    if media_type(request) != PART:
        raise MediaTypeUnsupported(f"The body must be {PART}.")
    if offset != part.size:
        raise OffsetMismatch(f"Upload-Offset is {offset}, but {part.size} bytes have arrived.")
    start, left = part.size, length - part.size
    too_large = BodyTooLarge(f"The upload has {length} bytes; only {left} of them were left to come.")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > left:
        raise too_large
    if checksum is not None:
        await to_thread.run_sync(part.unverified)
    whole = False
    buffer = bytearray()
    try:
        async for chunk in _chunks(request, part, settings.upload_idle_seconds):
            left -= len(chunk)
            if left < 0:
                raise too_large
            buffer += chunk
            if len(buffer) >= _WRITE:
                data = bytes(buffer)
                buffer.clear()
                await to_thread.run_sync(_write, part, data, checksum, settings)
        whole = True
    finally:

        def finish() -> None:
            try:
                if whole or checksum is None:
                    _write(part, bytes(buffer), checksum, settings)
            finally:
                if left < 0 or (checksum is not None and not (whole and checksum.holds())):
                    part.truncate(start)
                if checksum is not None:
                    part.verified()
                part.sync()

        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(finish)
    if checksum is not None and not checksum.holds():
        raise ChecksumMismatch


async def _chunks(request: Request, part: Part, idle_seconds: float) -> AsyncIterator[bytes]:
    """The chunks of the body, as long as they come and no other request waits for the upload."""
    heard_at = looked_at = time.monotonic()
    while True:
        message: Any = None
        with anyio.move_on_after(_LOOK_SECONDS):
            message = await request.receive()
        now = time.monotonic()
        if now - looked_at >= _LOOK_SECONDS:
            looked_at = now
            if part.wanted():
                raise UploadBusy("Another request goes on with this upload.")
        if message is None:
            if now - heard_at > idle_seconds:
                raise UploadStalled(headers={"Connection": "close"})
            continue
        heard_at = now
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        if chunk := message.get("body", b""):
            yield chunk
        if not message.get("more_body", False):
            return


def _write(part: Part, data: bytes, checksum: Checksum | None, settings: Settings) -> None:
    if not data:
        return
    check_room(settings, len(data))
    part.write(data)
    if checksum is not None:
        checksum.update(data)
