"""Evaluations on their way in: a model's as JSON, or a form with detections, straight to the data volume."""

from collections.abc import AsyncIterator

import orjson
from anyio import to_thread
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from api.bodies import Field, PartData, PartStart, counted, multipart
from api.errors import BodyMalformed, invalid
from api.room import check_quota, check_room
from api.schemas.evaluations import EvaluationCreate, EvaluationOfDetections
from api.settings import Settings
from api.uploads import Given
from store.blobs import Staging

_WRITE = 1 << 20
_PART_NAMES = ("file", "detections")
_BLANK = b" \t\r\n"


async def named(request: Request, settings: Settings) -> EvaluationCreate:
    """What a JSON body says. Raises `RequestValidationError`, `BodyMalformed`, `BodyTooLarge`."""
    body = bytearray()
    async for chunk in counted(request, settings.body_limit_bytes):
        body += chunk
    try:
        said = orjson.loads(bytes(body))
    except orjson.JSONDecodeError as error:
        raise BodyMalformed(f"The body is not JSON: {error}.") from error
    try:
        return EvaluationCreate.model_validate(said)
    except ValidationError as error:
        found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
        raise RequestValidationError(found, body=said) from error


async def receive(
    request: Request, staging: Staging, settings: Settings, *, left: int | None = None
) -> EvaluationOfDetections:
    """Write the detections of the form to `staging`; what was said about them. `left` is what the quota
    allows.

    That it is a list is seen at its first byte; what is in it, by the job. Raises `Invalid`, `BodyMalformed`,
    `BodyTooLarge`, `StorageFull`, `StorageQuotaExceeded`.
    """
    given = Given()
    await _write(_file_part(request, given, settings), staging, settings, left)
    if staging.size == 0:
        raise invalid("form:file", "detections_empty", "the detections are missing or empty")
    return given.checked(EvaluationOfDetections)


async def _file_part(request: Request, given: Given, settings: Settings) -> AsyncIterator[bytes]:
    """The bytes of the one file of the form; its fields go to `given`."""
    seen = False
    started = False
    # A form is a little larger than the file in it.
    async for piece in multipart(request, settings.detections_limit_bytes + 1024 * 1024):
        if isinstance(piece, PartData):
            if not started and (begin := piece.data.removeprefix(b"\xef\xbb\xbf").lstrip(_BLANK)):
                started = True
                if not begin.startswith(b"["):
                    detail = "the detections must be COCO results: a JSON list of {image_id, category_id, …}"
                    raise invalid("form:file", "results_invalid", detail)
            yield piece.data
        elif isinstance(piece, Field):
            _add(given, piece.name, piece.value)
        elif isinstance(piece, PartStart):
            if piece.name not in _PART_NAMES:
                raise invalid(f"form:{piece.name}", "extra_forbidden", "the part of the detections is `file`")
            if seen:
                raise invalid(f"form:{piece.name}", "duplicate", "there is more than one file")
            seen = True


def _add(given: Given, name: str, text: str) -> None:
    """Metadata are JSON; the rest are bare words and numbers."""
    where = f"form:{name}"
    value: object = text
    if name == "metadata":
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise invalid(where, "json_invalid", f"{name} must be JSON: {error}") from error
    given.put(where, name, value)


async def _write(
    chunks: AsyncIterator[bytes], staging: Staging, settings: Settings, left: int | None
) -> None:
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        if len(buffer) >= _WRITE:
            await to_thread.run_sync(_flush, staging, bytes(buffer), settings, left)
            buffer.clear()
    if buffer:
        await to_thread.run_sync(_flush, staging, bytes(buffer), settings, left)


def _flush(staging: Staging, data: bytes, settings: Settings, left: int | None) -> None:
    check_quota(left, staging.size + len(data))
    check_room(settings, len(data))
    staging.write(data)
