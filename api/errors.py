"""The one place that knows HTTP status codes: whatever goes wrong becomes `application/problem+json`.

The rooms below raise errors that carry their meaning (`store.errors`, `detector.errors`); the refusals that
only HTTP knows (a body too large, a media type) are defined here.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Scope

from api.schemas.common import ProblemError
from detector.errors import DetectorError, ImageInvalid, InitialWeightsUnfit, WeightsInvalid
from store.errors import (
    ArtifactNotFound,
    ComparisonFigureNotFound,
    ComparisonNotFound,
    Conflict,
    DatasetImageNotFound,
    DatasetNotFound,
    EvaluationNotFound,
    IdempotencyMismatch,
    JobNotFound,
    KeyNotFound,
    ModelAliasNotFound,
    ModelNotFound,
    NotFound,
    RequestInProgress,
    SearchNotFound,
    StorageFull,
    StorageQuotaExceeded,
    StoreError,
    Unavailable,
    UploadBusy,
    UploadNotFound,
    WebhookNotFound,
    WorkerNotFound,
)
from store.secrets import redacted

logger = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"


class Refusal(Exception):
    """The request cannot be answered. Subclasses name status and code; their docstring is the message."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad_request"

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[ProblemError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        super().__init__(self.detail)


class Invalid(Refusal):
    """The request is not valid; `errors` says what and where."""

    status = 422
    code = "validation_failed"


def invalid(where: str, code: str, detail: str) -> Invalid:
    """The refusal of one thing in a request; `where` is a JSON Pointer, `query:limit`, or "" for the body."""
    return Invalid(
        f"{where or 'the body'}: {detail}", errors=[ProblemError(pointer=where, code=code, detail=detail)]
    )


class BodyMalformed(Refusal):
    """The body cannot be parsed."""

    status = 400
    code = "body_malformed"


class BodyTooLarge(Refusal):
    """The body is larger than this server accepts."""

    status = 413
    code = "body_too_large"


class MediaTypeUnsupported(Refusal):
    """The Content-Type of the body is not one that this endpoint reads."""

    status = 415
    code = "media_type_unsupported"


class NotAcceptable(Refusal):
    """None of the media types in Accept can be given."""

    status = 406
    code = "not_acceptable"


class WebhookTargetRefused(Refusal):
    """The service does not send to this address."""

    status = 422
    code = "webhook_target_refused"


class ArchitectureNotFound(Refusal):
    """There is no such architecture."""

    status = 404
    code = "architecture_not_found"


class PreconditionFailed(Refusal):
    """What If-Match or If-None-Match demands is not so: somebody else has changed it."""

    status = 412
    code = "precondition_failed"


class RangeNotSatisfiable(Refusal):
    """The range asked for lies outside of the file."""

    status = 416
    code = "range_not_satisfiable"


class Overloaded(Refusal):
    """The server has too much to do at the moment; try again soon."""

    status = 503
    code = "overloaded"

    def __init__(self, detail: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class NotReady(Refusal):
    """The server cannot do its work at the moment."""

    status = 503
    code = "not_ready"

    def __init__(self, detail: str | None = None, *, checks: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.checks = dict(checks)


# What the rooms below raise. Anything of theirs that is not here is the server's own fault: 500.
_STATUS: dict[type[Exception], int] = {
    NotFound: 404,
    Conflict: 409,
    IdempotencyMismatch: 422,
    StorageFull: 507,
    StorageQuotaExceeded: 413,
    UploadBusy: 423,
    Unavailable: 503,
    ImageInvalid: 422,
    InitialWeightsUnfit: 422,
    WeightsInvalid: 422,
}


# What a path parameter names.
_ABSENT: dict[str, type[NotFound]] = {
    "dataset_id": DatasetNotFound,
    "position": DatasetImageNotFound,
    "upload_id": UploadNotFound,
    "job_id": JobNotFound,
    "evaluation_id": EvaluationNotFound,
    "comparison_id": ComparisonNotFound,
    "figure": ComparisonFigureNotFound,
    "search_id": SearchNotFound,
    "key_id": KeyNotFound,
    "webhook_id": WebhookNotFound,
    "worker_id": WorkerNotFound,
    "model_id": ModelNotFound,
    "alias": ModelAliasNotFound,
    "name": ArtifactNotFound,
}


def status_of(error: type[Exception]) -> int:
    """HTTP status of an error of this room or the rooms below; 500 for an unexpected one."""
    if issubclass(error, Refusal):
        return error.status
    return next((_STATUS[base] for base in error.__mro__ if base in _STATUS), 500)


def phrase(status: int) -> str:
    """What a status means, tus' own included."""
    return "Checksum Mismatch" if status == 460 else HTTPStatus(status).phrase


def problem(
    scope: Scope,
    status: int,
    code: str,
    detail: str,
    *,
    errors: Sequence[ProblemError] = (),
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """The answer that tells of a problem (RFC 9457)."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": phrase(status),
        "status": status,
        "detail": detail,
        "code": code,
        "instance": scope["path"].encode("utf-8", "replace").decode(),
        "request_id": scope.get("state", {}).get("request_id"),
        **(more or {}),
    }
    if errors:
        body["errors"] = [error.model_dump() for error in errors]
    content = redacted(orjson.dumps(body).decode())
    return Response(content, status, {"Cache-Control": "no-store", **(headers or {})}, MEDIA_TYPE)


def answer(scope: Scope, error: Refusal | StoreError) -> Response:
    """The answer to an error that was met before any route was."""
    request = Request(scope)
    return _refusal(request, error) if isinstance(error, Refusal) else _known_error(request, error)


def register(app: FastAPI) -> None:
    """Have every expected error answered as a problem. The unexpected ones are `api.middleware`'s."""
    app.exception_handler(Refusal)(_refusal)
    app.exception_handler(StoreError)(_known_error)
    app.exception_handler(DetectorError)(_known_error)
    app.exception_handler(RequestValidationError)(_validation_error)
    app.exception_handler(HTTPException)(_http_exception)
    app.exception_handler(ClientDisconnect)(_client_gone)


def _refusal(request: Request, error: Refusal) -> Response:
    more = {"checks": error.checks} if isinstance(error, NotReady) else None
    return problem(
        request.scope,
        error.status,
        error.code,
        error.detail,
        errors=error.errors,
        headers=error.headers,
        more=more,
    )


def _known_error(request: Request, error: StoreError | DetectorError) -> Response:
    """An error of the rooms below, as far as it is about the request; any other is the server's own."""
    status = status_of(type(error))
    if status == 500:
        return unexpected(request.scope, error)
    soon = status in (423, 503) or isinstance(error, RequestInProgress)
    headers = {"Retry-After": "1"} if soon else None
    hint = getattr(error, "hint", None)
    more = {"hint": hint} if hint else None
    return problem(request.scope, status, error.code, error.message, headers=headers, more=more)


def _validation_error(request: Request, error: RequestValidationError) -> Response:
    found = error.errors()
    for entry in found:
        if entry["loc"][0] == "path":
            # What cannot be an id is the id of nothing: the answer is that of any other absent thing.
            return _known_error(request, _ABSENT.get(str(entry["loc"][1]), NotFound)())
    if any(entry["type"] == "json_invalid" for entry in found):
        reason = found[0].get("ctx", {}).get("error", "")
        position = found[0]["loc"][-1]
        return problem(
            request.scope, 400, BodyMalformed.code, f"The body is not JSON: {reason} at byte {position}."
        )
    errors = [
        ProblemError(pointer=_place(entry, error.body), code=entry["type"], detail=_sentence(entry))
        for entry in found
    ]
    return problem(request.scope, 422, Invalid.code, summary(errors), errors=errors[:100])


def summary(errors: Sequence[ProblemError]) -> str:
    """The first few as a sentence."""
    listed = "; ".join(f"{e.pointer or 'the body'}: {e.detail}" for e in errors[:3])
    return listed + (f" (and {len(errors) - 3} more)" if len(errors) > 3 else "")


def faults(error: ValidationError, document: object, where: str) -> list[ProblemError]:
    """What is wrong with a document that was made of the part of a body at `where`, a JSON Pointer."""
    return [
        ProblemError(
            pointer=where + pointer(entry["loc"], document, tag=_tag(entry)),
            code=entry["type"],
            detail=_sentence(entry),
        )
        for entry in error.errors()
    ]


def _http_exception(request: Request, error: HTTPException) -> Response:
    codes = {400: BodyMalformed.code, 404: NotFound.code, 413: BodyTooLarge.code}
    details = {
        404: "There is no such path on this server.",
        405: f"{request.method} is not possible here; see the Allow header.",
    }
    status = error.status_code
    code = codes.get(status, HTTPStatus(status).phrase.lower().replace(" ", "_"))
    detail = details.get(status, str(error.detail))
    headers = {"Allow": _allowed(request)} if status == 405 else error.headers
    return problem(request.scope, status, code, detail, headers=headers)


def _allowed(request: Request) -> str:
    """Every method of the path; Starlette itself names those of one route only."""
    methods = [
        method.upper()
        for template, operations in request.app.openapi()["paths"].items()
        if re.fullmatch(re.sub(r"\\{.*?\\}", "[^/]+", re.escape(template)), request.url.path)
        for method in operations
    ]
    return ", ".join(sorted(methods)) or "GET"


def _client_gone(request: Request, error: ClientDisconnect) -> Response:
    """Nobody reads this; it keeps a broken upload from being logged as our fault."""
    logger.info("client went away before its request had ended", extra={"path": request.url.path})
    return problem(request.scope, 400, "client_disconnected", "The request ended before its body did.")


def unexpected(scope: Scope, error: BaseException) -> Response:
    """500 with the request id and nothing of what happened; the log has the whole of it."""
    request_id = scope.get("state", {}).get("request_id")
    logger.error("unexpected error in request %s", request_id, exc_info=error)
    return problem(
        scope,
        500,
        "internal_error",
        "Something went wrong on our side. The server's log tells what, under this request_id.",
    )


# Where in the body


def _place(entry: Mapping[str, Any], body: object) -> str:
    """Of pydantic's error, as a JSON Pointer (RFC 6901) into the body, or as `query:limit`."""
    location: Sequence[int | str] = entry["loc"]
    if not location or location[0] != "body":
        return ":".join(str(part) for part in location)
    return pointer(location[1:], body, tag=_tag(entry))


def _tag(entry: Mapping[str, Any]) -> str | None:
    """The field that says which of a union is meant, where that is at fault."""
    tag = re.fullmatch(r"'(\w+)'", str(entry.get("ctx", {}).get("discriminator")))
    return tag and tag[1]


def pointer(location: Sequence[int | str], body: object, *, tag: str | None = None) -> str:
    """JSON Pointer of a pydantic error location.

    pydantic puts the tag of a discriminated union into the location (`optimizer, sgd, lr`), which is no step
    in the document: such a part is left out. `tag`: the field that says which of a union is meant, where that
    is at fault; the pointer leads to it, if an object is there.
    """
    steps: list[str] = []
    here = body
    tag_skipped = False
    for part in location:
        if part == "[key]" and not (isinstance(here, Mapping) and part in here):
            continue  # the name before it is at fault itself
        is_tag = isinstance(part, str) and (
            (isinstance(here, Mapping) and here.get("kind") == part)
            or (isinstance(here, str) and here == part)
        )
        if is_tag and not tag_skipped:
            tag_skipped = True
            continue
        tag_skipped = False
        steps.append(str(part).replace("~", "~0").replace("/", "~1"))
        if isinstance(here, Mapping):
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            here = None
    if tag is not None and isinstance(here, Mapping):
        steps.append(tag)
    return "".join(f"/{step}" for step in steps)


def _sentence(entry: Mapping[str, Any]) -> str:
    """pydantic's message; without its prefix where the sentence is our own."""
    message = str(entry["msg"]).removeprefix("Value error, ")
    if entry["type"] == "extra_forbidden":
        message = f"there is no field named {str(entry['loc'][-1])[:100]!r}"
    elif entry["type"] == "union_tag_invalid":
        message = f"must be one of {entry['ctx']['expected_tags']}, not {str(entry['ctx']['tag'])[:100]!r}"
    elif entry["type"] == "union_tag_not_found" and isinstance(entry["input"], Mapping):
        message = "must be there: it says what is meant"
    elif entry["type"] in ("model_attributes_type", "model_type"):
        message = "must be an object"
    return message.encode("utf-8", "replace").decode()
