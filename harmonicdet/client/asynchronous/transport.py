"""Asks, asks again where that does no harm, and raises what the service says is wrong."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import httpx

from harmonicdet.client import asking
from harmonicdet.client.asynchronous import backend
from harmonicdet.client.errors import ConnectionFailed
from harmonicdet.client.settings import Place


class AsyncTransport:
    """Knows how to ask, not what. Safe to be shared."""

    def __init__(
        self,
        place: Place,
        *,
        timeout: float,
        retries: int,
        sleep: backend.Sleep = backend.sleep,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = place.url
        self.sleep = sleep
        self._retries = retries
        self._http = httpx.AsyncClient(**asking.connection(place, timeout, transport))

    async def close(self) -> None:
        await self._http.aclose()

    async def json(self, operation: str, path: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """What the operation answers with, as JSON. Options as of `ask`."""
        answer = await self.ask(operation, path, **options)
        return answer.json()

    async def ask(
        self,
        operation: str,
        path: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        retries: int | None = None,
        **content: Any,
    ) -> httpx.Response:
        """The answer. `body` goes as JSON; `content` and `files` as httpx has them, and may be sent again.

        Raises `StatusError`, `ConnectionFailed`.
        """
        request = asking.request(operation, path, query, headers, body, content)
        return await self._sent(operation, request, retries, stream=False)

    @asynccontextmanager
    async def stream(
        self,
        operation: str,
        path: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        retries: int | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """An answer whose body is read as it comes. A redirect is followed, without the key.

        Raises `StatusError`, `ConnectionFailed`; what breaks later comes as `httpx.TransportError`.
        """
        request = asking.request(operation, path, query, headers)
        response = await self._sent(operation, request, retries, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def pause(self, attempt: int, asked: float | None = None) -> None:
        """Wait before asking again: as long as was asked for, else longer each time."""
        await self.sleep(asking.seconds_before(attempt, asked))

    async def _sent(
        self, operation: str, request: dict[str, Any], retries: int | None, *, stream: bool
    ) -> httpx.Response:
        most = self._retries if retries is None else retries
        for attempt in count():
            asked: float | None = None
            try:
                made = self._http.build_request(**request)
                response = await self._http.send(made, stream=stream, follow_redirects=stream)
            except httpx.TransportError as error:
                if attempt >= most or not asking.may_ask_again(operation, error):
                    raise ConnectionFailed(asking.unanswered(self.url, error)) from error
            else:
                if asking.is_answer(response):
                    return response
                await response.aread()
                await response.aclose()
                refusal = asking.refusal(response)
                if attempt >= most or not asking.may_ask_again(operation, refusal):
                    raise refusal
                asked = refusal.retry_after
            await self.pause(attempt, asked)
        raise AssertionError("the loop has no end of its own")
