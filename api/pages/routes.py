"""The pages, what they load, and signing in and out. None of it is part of the REST surface."""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Body, Request
from pydantic import StringConstraints
from starlette.responses import Response

from api.access import KeyInvalid
from api.dependencies import ServicesDep
from api.negotiation import unchanged
from api.origin import require_own
from api.pages import assets, session, shells
from api.schemas.common import Shape
from store import keys
from store.errors import NotFound

router = APIRouter(include_in_schema=False)
_FOR_EVER = "public, max-age=31536000, immutable"


class SignIn(Shape):
    """What signing in needs."""

    key: Annotated[str, StringConstraints(max_length=200, strip_whitespace=True)]


def _page(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        made = shells.shell(name)
        headers = shells.HEADERS | {"ETag": made.etag}
        if unchanged(request, made.etag):
            return Response(None, 304, headers)
        return _sent(request, made.asset, headers)

    return page


for _path, _name in shells.PAGES.items():
    router.add_api_route(_path, _page(_name), name="page", methods=["GET", "HEAD"])


@router.get("/static/{version}/{name}", name="asset")
async def asset(request: Request, version: str, name: str) -> Response:
    """A file of the pages. One of another version than this process has is not to be kept."""
    known: str | None = assets.version()
    found = assets.tree().get(name)
    if name == assets.CHARTS:
        charts = assets.charts_version()
        known = charts and f"plotly-{charts}"
        found = await to_thread.run_sync(assets.charts)
    if found is None:
        raise NotFound
    caching = _FOR_EVER if version == known else "no-store"
    return _sent(
        request,
        found,
        {"Cache-Control": caching, "Vary": "Accept-Encoding", "Cross-Origin-Resource-Policy": "same-origin"},
    )


@router.post("/session", name="sign_in", status_code=204)
def sign_in(request: Request, body: Annotated[SignIn, Body()], services: ServicesDep) -> Response:
    """Sets the cookie that stands for the key. Raises `KeyInvalid`, `CrossSite`."""
    require_own(request.scope, told=True)
    if services.secret is None:
        raise KeyInvalid
    with services.database.read() as database:
        row = keys.authenticate(database, secret=services.secret, text=body.key)
    if row is None:
        raise KeyInvalid
    until = int(time.time()) + session.LASTS
    value = session.token(services.secret, row.prefix, row.digest, until)
    return _cookie(request, value, session.LASTS)


@router.delete("/session", name="sign_out", status_code=204)
async def sign_out(request: Request) -> Response:
    """Takes the cookie away. Raises `CrossSite`."""
    require_own(request.scope, told=True)
    return _cookie(request, "", 0)


def _cookie(request: Request, value: str, seconds: int) -> Response:
    response = Response(None, 204, {"Cache-Control": "no-store"})
    response.set_cookie(
        session.name(request.scope),
        value,
        max_age=seconds,
        path="/",
        secure=session.secure(request.scope),
        httponly=True,
        samesite="strict",
    )
    return response


def _sent(request: Request, found: assets.Asset, headers: dict[str, str]) -> Response:
    if found.zipped is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.zipped, 200, headers | {"Content-Encoding": "gzip"}, found.media_type)
    return Response(found.content, 200, headers, found.media_type)
