"""A dataset's archive on its way in: its parameters, and its bytes straight to the data volume."""

from fastapi import Request

from api.bodies import JSON, MULTIPART, counted, media_type
from api.errors import MediaTypeUnsupported, invalid, pointer
from api.receiving import FilePart, Given, file_of_form, json_of, write
from api.schemas.datasets import DatasetCreate, DatasetFromUpload
from api.settings import Settings
from store.blobs import Staging

ARCHIVES = ("application/zip", "application/x-zip-compressed", "application/octet-stream")
_PART = FilePart(("file", "archive"), "the archive's part is named `file`", "there is more than one archive")


async def receive(
    request: Request, staging: Staging, settings: Settings, *, left: int | None = None
) -> DatasetCreate:
    """Write the archive of the body to `staging`; what was said about it. `left` is what the quota allows.

    Raises `Invalid`, `MediaTypeUnsupported`, `BodyMalformed`, `BodyTooLarge`, `StorageFull`,
    `StorageQuotaExceeded`.
    """
    given = Given(is_json)
    given.add_query(request)
    given.checked(DatasetCreate)  # before gigabytes arrive, not after
    kind = media_type(request)
    if kind in ARCHIVES:
        sent = counted(request, settings.upload_limit_bytes)
    elif kind == MULTIPART:
        sent = file_of_form(request, given, _PART, settings.upload_limit_bytes)
    else:
        raise MediaTypeUnsupported(
            f"The body must be {ARCHIVES[0]}, {MULTIPART} or {JSON}, not {kind or 'without a Content-Type'}."
        )
    await write(sent, staging, settings, left)
    options = given.checked(DatasetCreate)
    if staging.size == 0:
        where = "form:file" if kind == MULTIPART else ""
        raise invalid(where, "archive_empty", "the archive is missing or empty")
    return options


async def named(request: Request, settings: Settings) -> DatasetFromUpload:
    """What a JSON body says: which upload, and what about it.

    Raises `Invalid`, `BodyMalformed`, `BodyTooLarge`.
    """
    given = Given(is_json)
    given.add_query(request)
    said = await json_of(request, settings)
    if not isinstance(said, dict):
        raise invalid("", "model_type", "must be an object")
    for name, value in said.items():
        given.put(pointer((name,), said), name, value)
    return given.checked(DatasetFromUpload)


def is_json(name: str, _: str) -> bool:
    """Whether this parameter of an archive is JSON where it is text, as in the query."""
    return name in ("split", "metadata")
