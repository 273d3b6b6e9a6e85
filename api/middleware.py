"""Around every request: its id, who asks, the limit of its body, and an answer when something unexpected
happens."""

import re
import time
from collections.abc import Mapping

from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ulid import ULID

from api import access, errors, logs
from api.access import Caller, KeyInvalid, KeyMissing
from api.errors import Refusal
from api.services import Services
from store import keys
from store.errors import StoreError
from store.secrets import redacted

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
        begun = time.monotonic()

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                logs.answered(scope, message["status"], time.monotonic() - begun)
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


class Authentication:
    """Finds out who asks, before anything of the request is read, and counts the requests of each key."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        told: Mapping[str, str] = {}
        try:
            caller = await _caller(services, scope)
            if caller.key is not None:
                told = await services.rates.count(caller.key.id)
        except (Refusal, StoreError) as error:
            await errors.answer(scope, error)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller

        async def send_with_rate(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(told)
            await send(message)

        await self._app(scope, receive, send_with_rate if told else send)


async def _caller(services: Services, scope: Scope) -> Caller:
    shown = Headers(scope=scope).get("authorization")
    if scope["path"] in access.PUBLIC_PATHS:
        return access.NOBODY
    if shown is None:
        if services.keys_required:
            raise KeyMissing
        return access.OWNER
    scheme, _, text = shown.partition(" ")
    secret = services.secret
    if scheme.lower() != "bearer" or secret is None:
        raise KeyInvalid

    def find() -> Caller | None:
        with services.database.read() as session:
            key = keys.authenticate(session, secret=secret, text=text.strip())
            return None if key is None else access.caller_of(key)

    found = await to_thread.run_sync(find)
    if found is None:
        raise KeyInvalid
    return found


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
    is_plain = _ACCEPTED_ID.fullmatch(given) and redacted(given) == given
    return given if is_plain else f"req_{str(ULID()).lower()}"
