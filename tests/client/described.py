"""A service that answers each request with the example that the OpenAPI description has for it."""

from typing import Any

import httpx

from tests.client import generate

DESCRIPTION = generate.description()
DESCRIBED = {name: (method, path, one) for name, method, path, one in generate.operations(DESCRIPTION)}


class Described(httpx.BaseTransport):
    """Answers each request with the example that the description has for it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, httpx.Request]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        name = _operation(request)
        request.read()
        self.asked.append((name, request))
        responses = DESCRIBED[name][2]["responses"]
        is_done = "202" in responses and request.url.params.get("dry_run") != "true"
        status = "202" if is_done else min(code for code in responses if code.startswith("2"))
        content = responses[status].get("content", {})
        if "application/json" not in content:
            length = request.headers.get("content-length", "0")
            return httpx.Response(int(status), headers={"upload-offset": length}, content=b"{}")
        body = _example(content["application/json"])
        if isinstance(body, dict) and body.get("has_more"):
            body = body | {"has_more": False}  # one page is enough, and another would be the same
        return httpx.Response(int(status), json=body)


class Awaited(httpx.AsyncBaseTransport):
    """The same for the asynchronous client."""

    def __init__(self, described: Described) -> None:
        self._described = described

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self._described.handle_request(request)


def _example(media: dict[str, Any]) -> Any:
    return media["example"] if "example" in media else next(iter(media["examples"].values()))["value"]


def _operation(request: httpx.Request) -> str:
    """The operation whose path it is; a fixed path before one with a parameter."""
    parts = request.url.path.split("/")
    fitting = []
    for name, (method, path, _) in DESCRIBED.items():
        wanted = path.split("/")
        if method == request.method and len(wanted) == len(parts):
            pairs = list(zip(wanted, parts, strict=True))
            if all(one == other or one.startswith("{") for one, other in pairs):
                fitting.append((sum(one != other for one, other in pairs), name))
    assert fitting, f"the description has no {request.method} {request.url.path}"
    return min(fitting)[1]
