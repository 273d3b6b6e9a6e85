"""Around every request: its id, the limit of its body, and an answer when something unexpected happens."""

import re

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ulid import ULID

from api import errors

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestContext:
    """Gives the request an id (the client's own when it is plain), and answers 500 when nobody else answers.

    It is the outermost layer of our own, so that every answer has the id, errors included.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            response = errors.unexpected(scope, error)
            if started:
                raise
            await response(scope, receive, send_with_id)


class BodyLimit:
    """Counts the bytes of a body and refuses it past the limit; what Content-Length claims is not believed.

    Endpoints that stream a large body count it themselves: their paths are given as patterns.
    """

    def __init__(self, app: ASGIApp, *, limit: int, streaming: re.Pattern[str]) -> None:
        self._app = app
        self._limit = limit
        self._streaming = streaming

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._streaming.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                # FastAPI lets an HTTPException through from the reading of a body, and nothing else.
                raise HTTPException(413, f"The body is larger than {self._limit} bytes.")
            return message

        await self._app(scope, counted, send)


def _request_id(scope: Scope) -> str:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode(
        "latin-1"
    )
    return given if _ACCEPTED_ID.fullmatch(given) else f"req_{str(ULID()).lower()}"
