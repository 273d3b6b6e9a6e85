"""What a client sends to be kept: one file, raw or in a form, straight to the data volume; and what is said
about it, in the query, in fields of the form or as JSON."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import orjson
from anyio import to_thread
from fastapi import Request
from pydantic import ValidationError

from api.bodies import Field, PartData, PartStart, counted, multipart
from api.errors import BodyMalformed, Invalid, invalid, pointer
from api.instruments import uploads_in_flight
from api.room import check_quota, check_room
from api.schemas.common import Body, ProblemError
from api.settings import Settings

CreateT = TypeVar("CreateT", bound=Body)
_WRITE = 1 << 20


class Sink(Protocol):
    """Where bytes are kept."""

    @property
    def size(self) -> int:
        """Bytes so far."""
        ...

    def write(self, data: bytes, /) -> object:
        """Put them after those that came before."""
        ...


@dataclass
class Given:
    """What is said about a file. `is_json` tells of a name and a text whether the text is JSON, not a bare
    word."""

    is_json: Callable[[str, str], bool]
    values: dict[str, Any] = field(default_factory=dict)
    _places: dict[str, str] = field(default_factory=dict)

    def add(self, place: str, name: str, text: str) -> None:
        """Raises `Invalid` for what is said twice, and for JSON that is none."""
        where = f"{place}:{name}"
        self.put(where, name, text)
        if self.is_json(name, text):
            try:
                self.values[name] = orjson.loads(text)
            except orjson.JSONDecodeError as error:
                raise invalid(where, "json_invalid", f"{name} must be JSON: {error}") from error

    def add_query(self, request: Request) -> None:
        """Every parameter of the query. Raises `Invalid`."""
        for name, value in request.query_params.multi_items():
            self.add("query", name, value)

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


@dataclass(frozen=True)
class FilePart:
    """The part of a form that has the file: its names, and what is said of another part, and of a second."""

    names: tuple[str, ...]
    other: str
    second: str


async def json_of(request: Request, settings: Settings) -> Any:
    """The JSON of a whole body. Raises `BodyMalformed`, `BodyTooLarge`."""
    body = bytearray()
    async for chunk in counted(request, settings.body_limit_bytes):
        body += chunk
    try:
        return orjson.loads(bytes(body))
    except orjson.JSONDecodeError as error:
        raise BodyMalformed(f"The body is not JSON: {error}.") from error


async def file_of_form(request: Request, given: Given, part: FilePart, limit: int) -> AsyncIterator[bytes]:
    """The bytes of the one file of a form, at most about `limit`; its fields go to `given`.

    Raises `Invalid`, `BodyMalformed`, `BodyTooLarge`.
    """
    seen = False
    # A form is a little larger than the file in it.
    async for piece in multipart(request, limit + 1024 * 1024):
        if isinstance(piece, PartData):
            yield piece.data
        elif isinstance(piece, Field):
            given.add("form", piece.name, piece.value)
        elif isinstance(piece, PartStart):
            if piece.name not in part.names:
                raise invalid(f"form:{piece.name}", "extra_forbidden", part.other)
            if seen:
                raise invalid(f"form:{piece.name}", "duplicate", part.second)
            seen = True


async def write(chunks: AsyncIterator[bytes], sink: Sink, settings: Settings, left: int | None) -> None:
    """Write `chunks` to `sink`; `left` is what the quota allows.

    Raises `StorageFull`, `StorageQuotaExceeded`.
    """
    buffer = bytearray()
    with uploads_in_flight.track_inprogress():
        async for chunk in chunks:
            buffer += chunk
            # The first bytes go at once: a sink that looks at them refuses what is no file of its kind.
            if len(buffer) >= _WRITE or sink.size == 0:
                await to_thread.run_sync(_flush, sink, bytes(buffer), settings, left)
                buffer.clear()
        if buffer:
            await to_thread.run_sync(_flush, sink, bytes(buffer), settings, left)


def _flush(sink: Sink, data: bytes, settings: Settings, left: int | None) -> None:
    check_quota(left, sink.size + len(data))
    check_room(settings, len(data))
    sink.write(data)
