"""Asks, asks again where that does no harm, and raises what the service says is wrong."""

# Written by `make client` from asynchronous/transport.py.

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

import httpx

from harmonicdet.client import asking
from harmonicdet.client.errors import ConnectionFailed
from harmonicdet.client.settings import Place
from harmonicdet.client.synchronous import backend


class Transport:
    """Knows how to ask, not what. Safe to be shared."""

    def __init__(
        self,
        place: Place,
        *,
        timeout: float,
        retries: int,
        sleep: backend.Sleep = backend.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = place.url
        self.sleep = sleep
        self._retries = retries
        self._http = httpx.Client(**asking.connection(place, timeout, transport))

    def close(self) -> None:
        self._http.close()

    def json(self, operation: str, path: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """What the operation answers with, as JSON. Options as of `ask`."""
        answer = self.ask(operation, path, **options)
        return answer.json()

    def ask(
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
        return self._sent(operation, request, retries, stream=False)

    @contextmanager
    def stream(
        self,
        operation: str,
        path: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        retries: int | None = None,
    ) -> Iterator[httpx.Response]:
        """An answer whose body is read as it comes. A redirect is followed, without the key.

        Raises `StatusError`, `ConnectionFailed`; what breaks later comes as `httpx.TransportError`.
        """
        request = asking.request(operation, path, query, headers)
        response = self._sent(operation, request, retries, stream=True)
        try:
            yield response
        finally:
            response.close()

    def pause(self, attempt: int, asked: float | None = None) -> None:
        """Wait before asking again: as long as was asked for, else longer each time."""
        self.sleep(asking.seconds_before(attempt, asked))

    def _sent(
        self, operation: str, request: dict[str, Any], retries: int | None, *, stream: bool
    ) -> httpx.Response:
        most = self._retries if retries is None else retries
        for attempt in count():
            asked: float | None = None
            try:
                made = self._http.build_request(**request)
                response = self._http.send(made, stream=stream, follow_redirects=stream)
            except httpx.TransportError as error:
                if attempt >= most or not asking.may_ask_again(operation, error):
                    raise ConnectionFailed(asking.unanswered(self.url, error)) from error
            else:
                if asking.is_answer(response):
                    return response
                response.read()
                response.close()
                refusal = asking.refusal(response)
                if attempt >= most or not asking.may_ask_again(operation, refusal):
                    raise refusal
                asked = refusal.retry_after
            self.pause(attempt, asked)
        raise AssertionError("the loop has no end of its own")
