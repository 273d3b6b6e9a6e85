"""Evaluations on their way in: a model's as JSON, or a form with detections, straight to the data volume."""

from collections.abc import AsyncIterator

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from api.errors import invalid
from api.receiving import FilePart, Given, file_of_form, json_of, write
from api.schemas.evaluations import EvaluationCreate, EvaluationOfDetections
from api.settings import Settings
from store.blobs import Staging

_PART = FilePart(
    ("file", "detections"), "the part of the detections is `file`", "there is more than one file"
)
_BLANK = b" \t\r\n"


async def named(request: Request, settings: Settings) -> EvaluationCreate:
    """What a JSON body says. Raises `RequestValidationError`, `BodyMalformed`, `BodyTooLarge`."""
    said = await json_of(request, settings)
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
    given = Given(lambda name, _: name == "metadata")
    sent = file_of_form(request, given, _PART, settings.detections_limit_bytes)
    await write(_list(sent), staging, settings, left)
    if staging.size == 0:
        raise invalid("form:file", "detections_empty", "the detections are missing or empty")
    return given.checked(EvaluationOfDetections)


async def _list(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same chunks. Raises `Invalid` as soon as they begin like anything but a JSON list."""
    started = False
    async for chunk in chunks:
        if not started and (begin := chunk.removeprefix(b"\xef\xbb\xbf").lstrip(_BLANK)):
            started = True
            if not begin.startswith(b"["):
                detail = "the detections must be COCO results: a JSON list of {image_id, category_id, …}"
                raise invalid("form:file", "results_invalid", detail)
        yield chunk
