"""A span for each request, named by its method and the template of its route."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from store import tracing


class Traced:
    """Goes on with the trace that a client names by W3C's `traceparent`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next(
            (str(value, "latin-1") for name, value in scope["headers"] if name == b"traceparent"), None
        )
        method = scope["method"]
        told = {"http.request.method": method, "harmonicdet.request_id": scope["state"]["request_id"]}
        with tracing.work(method, given, sort="server", attributes=told) as span:

            async def send_and_tell(message: Message) -> None:
                if span is not None and message["type"] == "http.response.start":
                    route = scope.get("route")
                    if route is not None:
                        span.update_name(f"{method} {route.path}")
                        span.set_attribute("http.route", route.path)
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            await self._app(scope, receive, send_and_tell)
