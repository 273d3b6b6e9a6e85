"""Around every request: its id, who asks, the limit of its body, and an answer when something unexpected
happens."""

import re
import time

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ulid import ULID

from api import access, errors, instruments, logs, polling
from api.access import Caller, KeyInvalid, KeyMissing
from api.errors import Refusal
from api.origin import require_local_name, require_own
from api.pages import session
from api.services import Services
from store import context, keys
from store.errors import StoreError
from store.glance import KeyGlance, NotNow
from store.secrets import redacted
from store.tables import Key

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
        context.request_id.set(request_id)  # every request is a task of its own, with its own context
        started = False
        begun = time.monotonic()

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                seconds = time.monotonic() - begun
                logs.answered(scope, message["status"], seconds)
                instruments.requests.count(scope["method"], _template(scope), message["status"], seconds)
                headers = [*message["headers"], (b"x-request-id", request_id.encode())]
                if b"x-content-type-options" not in dict(headers):
                    headers.append((b"x-content-type-options", b"nosniff"))
                message["headers"] = headers + scope["state"].get("rate", [])
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
        state = scope.setdefault("state", {})
        try:
            state["caller"] = caller = await _caller(services, scope)
            if caller.key_id is not None:
                told = services.rates.count(caller.key_id)
                # `RequestContext` tells it.
                state["rate"] = [(name.lower().encode(), value.encode()) for name, value in told.items()]
        except (Refusal, StoreError) as error:
            await errors.answer(scope, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)


async def _caller(services: Services, scope: Scope) -> Caller:
    shown = _header(scope, b"authorization")
    if access.is_public(scope["path"]):
        return access.NOBODY
    secret = services.secret
    if shown is None:
        signed_in = session.shown(scope)
        if signed_in is not None and secret is not None:
            found = session.recognised(
                await _row(services, session.prefix_of(signed_in), scope), secret, signed_in
            )
            if found is not None:
                require_own(scope, told=True)
                return access.caller_of(found)
            scope["state"].pop(polling.POLLED, None)  # it came with a key that is not this cookie's
        if services.keys_required:
            raise KeyMissing
        if not services.settings.allow_unauthenticated:
            require_local_name(scope)
        require_own(scope, told=False)
        return access.OWNER
    scheme, _, text = shown.partition(" ")
    if scheme.lower() != "bearer" or secret is None:
        raise KeyInvalid

    text = text.strip()
    found = keys.recognised(await _row(services, keys.prefix_of(text), scope), secret=secret, text=text)
    if found is None:
        raise KeyInvalid
    return access.caller_of(found)


async def _row(services: Services, prefix: str | None, scope: Scope) -> Key | KeyGlance | None:
    """The valid key with this prefix.

    The database is asked every time: a key that was revoked is refused from that moment on. Whoever polls a
    job is looked up together with it.
    """
    if prefix is None:
        return None
    try:
        job_id = polling.job_of(scope)
        if job_id is None:
            return await services.glances.key(prefix)
        row, scope["state"][polling.POLLED] = await services.glances.key_and_job(prefix, job_id)
        return row
    except NotNow:

        def find() -> Key | None:
            with services.database.read() as database:
                return keys.valid(database, prefix)

        return await to_thread.run_sync(find)


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


def _template(scope: Scope) -> str:
    """The path with the names of its parameters in place of them; `none` where no route was found."""
    route = scope.get("route")
    return "none" if route is None else str(route.path)


def _request_id(scope: Scope) -> str:
    given = _header(scope, b"x-request-id")
    if given is not None and _ACCEPTED_ID.fullmatch(given) and redacted(given) == given:
        return given
    return f"req_{str(ULID()).lower()}"


def _header(scope: Scope, name: bytes) -> str | None:
    """The first header of this name."""
    for one, value in scope["headers"]:
        if one == name:
            return str(value, "latin-1")
    return None
