"""Watches every answer of the application under test: whatever it says must be in its own description."""

import fnmatch
import json
import re
from operator import eq
from typing import Any

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from api import openapi
from api.errors import MEDIA_TYPE

# Nobody reads it: the client has gone.
_UNREAD = "client_disconnected"
_DESCRIPTIONS: list[tuple[list[Any], dict[str, Any]]] = []


class Watch:
    """Looks at each answer as it leaves; `undeclared` are those that no client could have expected."""

    def __init__(self) -> None:
        self.undeclared: list[str] = []
        self.seen: set[tuple[str, str]] = set()
        """(operationId, code of the problem)."""
        self._call = FastAPI.__call__

    async def __call__(self, app: FastAPI, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._call(app, scope, receive, send)
            return
        start: Message = {}
        body = bytearray()

        async def looked_at(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif start["status"] >= 400:
                body.extend(message.get("body", b""))
            await send(message)

        await self._call(app, scope, receive, looked_at)
        operation = _operation(_description(app), scope)
        if start and operation is not None:
            self._judge(operation, start, bytes(body))

    def _judge(self, operation: dict[str, Any], start: Message, body: bytes) -> None:
        name, status = operation["operationId"], str(start["status"])
        declared = operation["responses"].get(status)
        kind = dict(start["headers"]).get(b"content-type", b"").decode()
        if status < "400":
            kinds = [] if declared is None else list(declared.get("content", {}))
            if declared is None or not _is_among(kind, kinds):
                self.undeclared.append(f"{name}: {status} {kind}")
            return
        code = json.loads(body)["code"] if kind == MEDIA_TYPE and body else None
        if code == _UNREAD or (code is None and declared is not None):  # the answer to a HEAD has no body
            return
        self.seen.add((name, str(code)))
        if declared is None or code not in declared["content"][MEDIA_TYPE]["examples"]:
            self.undeclared.append(f"{name}: {status} {code}")


def _description(app: FastAPI) -> dict[str, Any]:
    """The description of `app`, made once for all that have the same routes: it takes half a second."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    routers = [getattr(route, "original_router", str(route)) for route in app.routes]
    for known, description in _DESCRIPTIONS:
        if len(known) == len(routers) and all(map(eq, known, routers)):
            return description
    description = openapi.describe(app)
    app.openapi_schema = None  # what a test does to its own is not done to the others'
    _DESCRIPTIONS.append((routers, description))
    return description


def _is_among(kind: str, kinds: list[str]) -> bool:
    """Whether a media type is one of those declared, which may be ranges. Without a body there is none."""
    bare = kind.partition(";")[0].strip()
    return not bare or any(fnmatch.fnmatchcase(bare, one) for one in kinds)


def _operation(description: dict[str, Any], scope: Scope) -> dict[str, Any] | None:
    """What the path and the method mean; None when the description knows no such thing."""
    for template, operations in description["paths"].items():
        pattern = re.sub(r"\\{.*?\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, scope["path"]):
            found: dict[str, Any] | None = operations.get(scope["method"].lower())
            if found is not None:
                return found
    return None
