"""A dataset's archive on its way in: its parameters, and its bytes straight to the data volume."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
from anyio import to_thread
from fastapi import Request
from pydantic import ValidationError

from api.bodies import Field, PartData, PartStart, counted, media_type, multipart
from api.errors import BodyMalformed, Invalid, MediaTypeUnsupported, invalid, pointer
from api.room import check_quota, check_room
from api.schemas.common import Body, ProblemError
from api.schemas.datasets import DatasetCreate, DatasetFromUpload
from api.settings import Settings
from store.blobs import Staging

CreateT = TypeVar("CreateT", bound=Body)
MULTIPART = "multipart/form-data"
ARCHIVES = ("application/zip", "application/x-zip-compressed", "application/octet-stream")
_AS_JSON = frozenset({"split", "metadata"})
_WRITE = 1 << 20
_PART_NAMES = ("file", "archive")


JSON = "application/json"


@dataclass
class Given:
    """What is said about the archive, in the query or in fields of the form."""

    values: dict[str, Any] = field(default_factory=dict)
    _places: dict[str, str] = field(default_factory=dict)

    def add(self, place: str, name: str, text: str) -> None:
        """Raises `Invalid` for what is said twice, and for JSON that is none."""
        where = f"{place}:{name}"
        self.put(where, name, text)
        if name in _AS_JSON:
            try:
                self.values[name] = orjson.loads(text)
            except orjson.JSONDecodeError as error:
                raise invalid(where, "json_invalid", f"{name} must be JSON: {error}") from error

    def put(self, where: str, name: str, value: Any) -> None:
        """Raises `Invalid` for what is said twice."""
        if name in self.values:
            raise invalid(where, "duplicate", f"{name} is given twice")
        self._places[name] = where
        self.values[name] = value

    def checked(self, shape: type[CreateT]) -> CreateT:
        """Raises `Invalid`, which says what and where."""
        try:
            return shape.model_validate(self.values)
        except ValidationError as error:
            errors = []
            for fault in error.errors(include_url=False):
                name = str(fault["loc"][0]) if fault["loc"] else ""
                detail = fault["msg"].removeprefix("Value error, ")
                if fault["type"] == "extra_forbidden":
                    detail = f"there is no parameter named {str(fault['loc'][-1])[:100]!r}"
                place = self._places.get(name, name) + pointer(fault["loc"][1:], self.values.get(name))
                errors.append(ProblemError(pointer=place, code=fault["type"], detail=detail))
            raise Invalid("; ".join(f"{e.pointer}: {e.detail}" for e in errors[:3]), errors=errors) from None


async def receive(
    request: Request, staging: Staging, settings: Settings, *, left: int | None = None
) -> DatasetCreate:
    """Write the archive of the body to `staging`; what was said about it. `left` is what the quota allows.

    Raises `Invalid`, `MediaTypeUnsupported`, `BodyMalformed`, `BodyTooLarge`, `StorageFull`,
    `StorageQuotaExceeded`.
    """
    given = Given()
    for name, value in request.query_params.multi_items():
        given.add("query", name, value)
    given.checked(DatasetCreate)  # before gigabytes arrive, not after
    kind = media_type(request)
    if kind in ARCHIVES:
        await _write(counted(request, settings.upload_limit_bytes), staging, settings, left)
    elif kind == MULTIPART:
        await _write(_archive_part(request, given, settings), staging, settings, left)
    else:
        raise MediaTypeUnsupported(
            f"The body must be {ARCHIVES[0]}, {MULTIPART} or {JSON}, not {kind or 'without a Content-Type'}."
        )
    options = given.checked(DatasetCreate)
    if staging.size == 0:
        where = "form:file" if kind == MULTIPART else ""
        raise invalid(where, "archive_empty", "the archive is missing or empty")
    return options


async def named(request: Request, settings: Settings) -> DatasetFromUpload:
    """What a JSON body says: which upload, and what about it.

    Raises `Invalid`, `BodyMalformed`, `BodyTooLarge`.
    """
    given = Given()
    for name, value in request.query_params.multi_items():
        given.add("query", name, value)
    body = bytearray()
    async for chunk in counted(request, settings.body_limit_bytes):
        body += chunk
    try:
        said = orjson.loads(bytes(body))
    except orjson.JSONDecodeError as error:
        raise BodyMalformed(f"The body is not JSON: {error}.") from error
    if not isinstance(said, dict):
        raise invalid("", "model_type", "must be an object")
    for name, value in said.items():
        given.put(pointer((name,), said), name, value)
    return given.checked(DatasetFromUpload)


async def _archive_part(request: Request, given: Given, settings: Settings) -> AsyncIterator[bytes]:
    """The bytes of the one file of the form; its fields go to `given`."""
    seen = False
    # A form is a little larger than the file in it.
    async for piece in multipart(request, settings.upload_limit_bytes + 1024 * 1024):
        if isinstance(piece, PartData):
            yield piece.data
        elif isinstance(piece, Field):
            given.add("form", piece.name, piece.value)
        elif isinstance(piece, PartStart):
            if piece.name not in _PART_NAMES:
                raise invalid(f"form:{piece.name}", "extra_forbidden", "the archive's part is named `file`")
            if seen:
                raise invalid(f"form:{piece.name}", "duplicate", "there is more than one archive")
            seen = True


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
