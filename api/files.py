"""A stored file as an answer: whole or in part, known by its SHA-256."""

from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from api.negotiation import asked_range, digest_header, unchanged
from api.openapi import BINARY, Responses, header
from api.services import Services

_CHUNK = 1 << 20

# Networks are bytes; what is written about them is JSON, or a line of JSON per image.
_BYTES: dict[str, Any] = {
    kind: {"schema": BINARY} for kind in ("application/octet-stream", "application/jsonl")
}
_WHOLE = _BYTES | {"application/json": {"schema": {"$ref": "#/components/schemas/ModelFile"}}}
_PART = _BYTES | {"*/*": {"schema": BINARY}}  # a part of a JSON file is none

RESPONSES: Responses = {
    200: {
        "description": "The whole file, as its `media_type` says.",
        "content": _WHOLE,
        "headers": {
            **header("ETag", "The file's SHA-256."),
            **header("Repr-Digest", "The file's SHA-256 (RFC 9530)."),
            **header("Accept-Ranges", "`bytes`."),
        },
    },
    206: {
        "description": "The part asked for in Range.",
        "content": _PART,
        "headers": header("Content-Range", "Which part of how much."),
    },
    304: {"description": "The file is the one named in If-None-Match."},
    307: {
        "description": "The file, or the part asked for, is at `Location` for some minutes, and needs no key "
        "there. Only where the service keeps its files in an object store, and hands downloads over to it.",
        "headers": {
            **header("Location", "Where the file is."),
            **header("Repr-Digest", "The SHA-256 of the file that is there (RFC 9530)."),
        },
    },
}
"""What a route that answers with a file may say; as JSON it names `application/json` besides."""


class StoredFile(Protocol):
    """A row that names a file."""

    name: str
    media_type: str
    blob: str
    sha256: str
    bytes: int


def answer(request: Request, services: Services, row: StoredFile) -> Response:
    """The file, the part that Range asks for, where it is, or 304. Raises `RangeNotSatisfiable`."""
    etag = f'"{row.sha256}"'
    headers = {
        "ETag": etag,
        "Repr-Digest": digest_header(row.sha256),
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{row.name}"',
        "Content-Security-Policy": "sandbox",
    }
    if unchanged(request, etag):
        return Response(None, 304, headers)
    part = asked_range(request, row.bytes, etag)
    # The object store has ETags of its own: what is asked for on condition of ours is answered here.
    if services.settings.presigned_downloads and "if-range" not in request.headers:
        seconds = services.settings.presigned_seconds
        url = services.blobs.url(row.blob, seconds=seconds, name=row.name, media_type=row.media_type)
        if url is not None:
            told = {"Location": url, "Repr-Digest": headers["Repr-Digest"], "Cache-Control": "no-store"}
            return Response(None, 307, told)
    start, end = part or (0, row.bytes)
    headers["Content-Length"] = str(end - start)
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{row.bytes}"
    file = services.blobs.open(row.blob)
    return StreamingResponse(_read(file, start, end), 206 if part else 200, headers, row.media_type)


def _read(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < end:
            chunk = file.read(min(_CHUNK, end - start))
            if not chunk:
                raise EOFError("the blob is shorter than its row says")
            start += len(chunk)
            yield chunk
