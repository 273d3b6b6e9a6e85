"""The short way of a poll: `GET /v1/jobs/{id}` answered before any route is looked for.

The route of `api.routes.jobs` says what it is, and answers whenever this cannot: when the database is busy or
away. Both give the same bytes.
"""

import re
from collections import OrderedDict

from starlette.types import ASGIApp, Receive, Scope, Send

from api import access, errors
from api.errors import Refusal
from api.negotiation import CACHING, etag_of, names
from api.schemas.jobs import view
from api.services import Services
from store import glance
from store.errors import JobNotFound, StoreError
from store.glance import NotNow, Raw

POLLED = "polled"
"""Where the state of a request has the row of the job that it polls, if that came with the key."""
_OPERATION = "get_job"
_PATH = re.compile(r"/v1/jobs/(job_[0-9a-z]{26})")
_KEPT_BYTES = 8 << 20


class _Route:
    """What this stands for, as far as whoever counts requests asks a route."""

    path = "/v1/jobs/{job_id}"


class Polling:
    """Answers polls, and hands on everything else. Who asks is known already."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._written = Written(_KEPT_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            job_id = job_of(scope)
            if job_id is not None:
                try:
                    row = await _row(scope, job_id)
                except NotNow:
                    pass
                except (Refusal, StoreError) as error:
                    await errors.answer(scope, error)(scope, receive, send)
                    return
                else:
                    scope["route"] = _Route
                    await self._answer(scope, row, send)
                    return
        await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, row: Raw, send: Send) -> None:
        """As `api.negotiation.fresh` would; to make a Response costs more than to write it down."""
        content, etag = self._written.of(row)
        headers = [(b"etag", etag.encode()), (b"cache-control", CACHING.encode())]
        given = next((value for name, value in scope["headers"] if name == b"if-none-match"), b"")
        if given and names(given.decode("latin-1"), etag):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        headers.append((b"content-length", str(len(content)).encode()))
        headers.append((b"content-type", b"application/json"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def job_of(scope: Scope) -> str | None:
    """Id of the job that this request polls; None for every other request."""
    if scope["method"] != "GET" or scope.get("root_path"):
        return None
    asked = _PATH.fullmatch(scope["path"])
    return None if asked is None else asked[1]


async def _row(scope: Scope, job_id: str) -> Raw:
    """Raises `ScopeMissing`, `JobNotFound`, and `NotNow`."""
    services: Services = scope["app"].state.services
    state = scope["state"]
    caller: access.Caller = state["caller"]
    access.check(caller, _OPERATION)
    # It may have come with the key.
    row = state[POLLED] if POLLED in state else await services.glances.job(job_id)
    if row is None or glance.project_of(row) != caller.project_id:
        raise JobNotFound
    return row


class Written:
    """Jobs as they were written last, so that only one that has changed is written anew.

    The least recently asked for make room when all together have more than `most` bytes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0
        self._kept: OrderedDict[str, tuple[Raw, bytes, str]] = OrderedDict()

    def of(self, row: Raw) -> tuple[bytes, str]:
        """The JSON of the job and its ETag."""
        name = glance.name_of(row)
        kept = self._kept.get(name)
        if kept is not None and kept[0] == row:
            self._kept.move_to_end(name)
            return kept[1], kept[2]
        content = view(*glance.read(row)).model_dump_json().encode()
        etag = etag_of(content)
        if kept is not None:
            self._forget(name)
        self._kept[name] = (row, content, etag)
        self._bytes += len(content)
        while self._bytes > self._most:
            self._forget(next(iter(self._kept)))
        return content, etag

    def _forget(self, name: str) -> None:
        self._bytes -= len(self._kept.pop(name)[1])
