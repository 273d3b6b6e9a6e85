"""Bodies as they arrive: counted while they stream, multipart taken apart without a copy on disk."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.errors import BodyMalformed, BodyTooLarge

JSON = "application/json"
MULTIPART = "multipart/form-data"
_FIELD_LIMIT = 64 * 1024
_PARTS_LIMIT = 100
_HEADER_LIMIT = 8 * 1024


def media_type(request: Request) -> str:
    """Content-Type without its parameters, in lower case; "" when there is none."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def counted(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The chunks of the body. Raises `BodyTooLarge` past `limit` bytes, whatever Content-Length says.

    An honest Content-Length over the limit is refused before the first byte is asked for, so that a client
    which sent `Expect: 100-continue` sends nothing.
    """
    refusal = BodyTooLarge(f"The body is larger than {limit} bytes.")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise refusal
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise refusal
        if chunk:
            yield chunk


@dataclass(frozen=True)
class PartStart:
    """A part begins: a file when it has a file name, else a field of the form."""

    name: str
    file_name: str | None
    media_type: str


@dataclass(frozen=True)
class PartData:
    """The next bytes of a file."""

    data: bytes


@dataclass(frozen=True)
class Field:
    """A whole field of the form."""

    name: str
    value: str


Piece = PartStart | PartData | Field


async def multipart(request: Request, limit: int) -> AsyncIterator[Piece]:
    """The pieces of a `multipart/form-data` body in the order they arrive. Nothing is kept but fields.

    Raises `BodyMalformed`, `BodyTooLarge`.
    """
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if not boundary:
        raise BodyMalformed("The Content-Type of a multipart body must name its boundary.")
    taker = _Taker()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": taker.begin,
                "on_header_field": taker.header_name,
                "on_header_value": taker.header_value,
                "on_header_end": taker.header_end,
                "on_headers_finished": taker.headers_finished,
                "on_part_data": taker.data,
                "on_part_end": taker.end,
                "on_end": taker.finished,
            },
        )
        async for chunk in counted(request, limit):
            parser.write(chunk)
            for piece in taker.take():
                yield piece
    except FormParserError as error:
        raise BodyMalformed(f"The multipart body cannot be read: {error}") from error
    if not taker.complete:
        raise BodyMalformed("The multipart body ends before its last boundary.")


@dataclass
class _Taker:
    """Collects what the parser calls out."""

    complete: bool = False
    _pieces: list[Piece] = field(default_factory=list)
    _parts: int = 0
    _name: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _field: str | None = None  # name of the field being read; None within a file
    _text: bytearray = field(default_factory=bytearray)

    def take(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces

    def begin(self) -> None:
        self._parts += 1
        if self._parts > _PARTS_LIMIT:
            raise BodyTooLarge(f"The form has more than {_PARTS_LIMIT} parts.")
        self._headers = {}
        self._text = bytearray()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._check(self._name, _HEADER_LIMIT)

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check(self._value, _HEADER_LIMIT)

    def header_end(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if b"name" not in options:
            raise BodyMalformed("A part of the form has no name in its Content-Disposition.")
        name = options[b"name"].decode("utf-8", "replace")
        if b"filename" not in options:
            self._field = name
            return
        self._field = None
        kind = self._headers.get(b"content-type", b"").decode("latin-1").split(";")[0].strip().lower()
        self._pieces.append(PartStart(name, options[b"filename"].decode("utf-8", "replace"), kind))

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._pieces.append(PartData(bytes(data[start:end])))
            return
        self._text += data[start:end]
        self._check(self._text, _FIELD_LIMIT)

    def end(self) -> None:
        if self._field is not None:
            self._pieces.append(Field(self._field, self._text.decode("utf-8", "replace")))

    def finished(self) -> None:
        self.complete = True

    @staticmethod
    def _check(collected: bytearray, limit: int) -> None:
        if len(collected) > limit:
            raise BodyTooLarge(f"A field or header of the form is larger than {limit} bytes.")
