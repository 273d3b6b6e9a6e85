"""What HTTP lets two sides agree on: media types by Accept, freshness by ETag, parts of a file by Range."""

import base64
import hashlib
import re
from collections.abc import Sequence

from fastapi import Request
from starlette.responses import Response

from api.errors import NotAcceptable, PreconditionFailed, RangeNotSatisfiable
from api.openapi import Responses, header

CACHING = "private, no-cache"  # ask each time whether it has changed
_RANGE = re.compile(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)


def preferred(request: Request, offered: Sequence[str]) -> str:
    """The media type of `offered` that Accept likes best; the first when it does not care.

    Raises `NotAcceptable` when it wants none of them.
    """
    accept = request.headers.get("accept", "").strip()
    if not accept:
        return offered[0]
    wishes = [_wish(part) for part in accept.split(",") if part.strip()]
    best, best_quality = "", 0.0
    for media_type in offered:
        matching = [
            (precision, quality) for pattern, precision, quality in wishes if _matches(pattern, media_type)
        ]
        quality = max(matching)[1] if matching else 0.0  # the most precise wish about a type decides
        if quality > best_quality:
            best, best_quality = media_type, quality
    if not best:
        raise NotAcceptable(f"Accept must allow one of: {', '.join(offered)}.")
    return best


def _wish(part: str) -> tuple[str, int, float]:
    """(pattern, how precise it is, quality) of one part of Accept."""
    pattern, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                quality = 0.0
    return pattern, 0 if pattern == "*/*" else 1 if pattern.endswith("/*") else 2, quality


def _matches(pattern: str, media_type: str) -> bool:
    return pattern in ("*/*", media_type) or (pattern.endswith("/*") and media_type.startswith(pattern[:-1]))


def etag_of(content: bytes) -> str:
    """A weak ETag: the same content in another compression would be as good."""
    return f'W/"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'


def unchanged(request: Request, etag: str) -> bool:
    """Whether If-None-Match names `etag` (compared weakly, RFC 9110) or is `*`."""
    return names(request.headers.get("if-none-match", ""), etag)


def names(given: str, etag: str) -> bool:
    """Whether `given`, the value of If-None-Match, means this `etag`."""
    known = {part.strip().removeprefix("W/") for part in given.split(",")}
    return "*" in known or etag.removeprefix("W/") in known


def fresh(request: Request, content: bytes, media_type: str = "application/json") -> Response:
    """`content` with its ETag, or 304 without it when the client has it already."""
    headers = {"ETag": etag_of(content), "Cache-Control": CACHING}
    if unchanged(request, headers["ETag"]):
        return Response(None, 304, headers)
    return Response(content, 200, headers, media_type)


def freshness(what: str) -> Responses:
    """What a route that answers with `fresh` says of itself; `what` decides its ETag."""
    return {
        200: {"headers": header("ETag", f"Changes with the {what}.")},
        304: {"description": "Nothing has changed since the ETag in If-None-Match."},
    }


def require_match(request: Request, etag: str | None) -> None:
    """Raise `PreconditionFailed` unless If-Match names `etag`, and If-None-Match does not (RFC 9110).

    Without the thing, `etag` is None. `*` stands for any.
    """
    wanted, unwanted = (request.headers.get(name) for name in ("if-match", "if-none-match"))
    if wanted is not None and (etag is None or not {"*", etag} & _listed(wanted)):
        raise PreconditionFailed
    if unwanted is not None and etag is not None and {"*", etag} & _listed(unwanted):
        raise PreconditionFailed


def _listed(header: str) -> set[str]:
    return {part.strip() for part in header.split(",")}


def digest_header(sha256: str) -> str:
    """`Repr-Digest` (RFC 9530) of a SHA-256 given in hexadecimal digits."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def asked_range(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """(start, end) of the one range asked for, end exclusive; None for the whole.

    A malformed or multiple Range is ignored, as RFC 9110 allows, and so is one whose If-Range names another
    version. Raises `RangeNotSatisfiable`.
    """
    if_range = request.headers.get("if-range")
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or (if_range is not None and if_range != etag):
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        raise RangeNotSatisfiable(f"The file has {size} bytes.", headers={"Content-Range": f"bytes */{size}"})
    return start, end
