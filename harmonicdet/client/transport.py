"""Asks, asks again where that does no harm, and raises what the service says is wrong."""

import json
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any
from urllib.parse import quote

import httpx

from harmonicdet.client.errors import ConnectionFailed, StatusError, refused
from harmonicdet.client.operations import OPERATIONS
from harmonicdet.client.settings import Place

RETRIES = 4
_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 8.0
_LONGEST_ASKED_SECONDS = 60.0  # by Retry-After; what asks for longer is told instead
_NOTHING_WAS_DONE = {429}
_FOR_NOW = {502, 503, 504}
# Creating without an Idempotency-Key: asked again only where it is known that nothing was done.
_MADE_TWICE = {"create_key", "ping_webhook"}
_LOOPBACK = ("all://127.0.0.1", "all://localhost", "all://[::1]")


class Transport:
    """Knows how to ask, not what. Safe to be used by several threads."""

    def __init__(
        self,
        place: Place,
        *,
        timeout: float,
        retries: int,
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        from harmonicdet import __version__

        headers = {"User-Agent": f"harmonicdet-python/{__version__}"}
        if place.api_key is not None:
            headers["Authorization"] = f"Bearer {place.api_key}"
        self.url = place.url
        self.sleep = sleep
        self._retries = retries
        self._http = httpx.Client(
            base_url=place.url,
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            transport=transport,
            # A proxy of the environment is not asked for what is on this machine.
            mounts=None if transport is not None else dict.fromkeys(_LOOPBACK),
        )

    def close(self) -> None:
        self._http.close()

    def json(self, operation: str, path: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """What the operation answers with, as JSON. Options as of `ask`."""
        return self.ask(operation, path, **options).json()

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
        make = self._maker(operation, path, query, headers, body, content)
        return self._sent(
            operation, make, stream=False, retries=self._retries if retries is None else retries
        )

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
        make = self._maker(operation, path, query, headers, None, {})
        response = self._sent(
            operation, make, stream=True, retries=self._retries if retries is None else retries
        )
        try:
            yield response
        finally:
            response.close()

    def pause(self, attempt: int, asked: float | None = None) -> None:
        """Wait before asking again: as long as was asked for, else longer each time."""
        grown = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2**attempt)
        self.sleep(grown * random.uniform(0.75, 1.0) if asked is None else asked)

    def _maker(
        self,
        operation: str,
        path: Mapping[str, Any] | None,
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        body: Any,
        content: dict[str, Any],
    ) -> Callable[[], httpx.Request]:
        """What makes the request, and makes it anew for each retry."""
        found = OPERATIONS[operation]
        places = {name: quote(str(value), safe="") for name, value in (path or {}).items()}
        sent = dict(headers or {})
        if found.once:
            sent.setdefault("Idempotency-Key", str(uuid.uuid4()))
        if body is not None:
            content = content | {"content": json.dumps(body).encode()}
            sent.setdefault("Content-Type", "application/json")
        return lambda: self._http.build_request(
            found.method, found.path.format(**places), params=_query(query), headers=sent, **content
        )

    def _sent(
        self, operation: str, make: Callable[[], httpx.Request], *, stream: bool, retries: int | None
    ) -> httpx.Response:
        most = self._retries if retries is None else retries
        is_harmless = operation not in _MADE_TWICE
        for attempt in count():
            asked: float | None = None
            try:
                response = self._http.send(make(), stream=stream, follow_redirects=stream)
            except httpx.TransportError as error:
                nothing_was_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if attempt >= most or not (is_harmless or nothing_was_sent):
                    raise ConnectionFailed(self._unanswered(error)) from error
            else:
                if response.is_success or response.status_code == httpx.codes.NOT_MODIFIED:
                    return response
                refusal = _refusal(response)
                asked = refusal.retry_after
                for_now = refusal.status in _NOTHING_WAS_DONE or (is_harmless and refusal.status in _FOR_NOW)
                for_now = for_now or refusal.code == "request_in_progress"
                if attempt >= most or not for_now or (asked or 0) > _LONGEST_ASKED_SECONDS:
                    raise refusal
            self.pause(attempt, asked)
        raise AssertionError("the loop has no end of its own")

    def _unanswered(self, error: httpx.TransportError) -> str:
        why = str(error) or type(error).__name__
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return (
                f"Nobody answers at {self.url} ({why}). `harmonicdet up` starts the service on this machine."
            )
        return f"The connection to {self.url} broke ({why})."


def _refusal(response: httpx.Response) -> StatusError:
    response.read()
    response.close()
    try:
        body = response.json()
    except ValueError:
        body = None
    asked = response.headers.get("retry-after", "")
    return refused(
        response.status_code,
        body if isinstance(body, dict) else None,
        response.text,
        float(asked) if asked.isdecimal() else None,
    )


def _query(given: Mapping[str, Any] | None) -> list[tuple[str, str | int | float | bool | None]]:
    """None is left out, a list repeats its name, a dict becomes `name[key]=value`."""
    pairs: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in (given or {}).items():
        if isinstance(value, Mapping):
            pairs += [(f"{name}[{key}]", str(inner)) for key, inner in value.items()]
        elif isinstance(value, list | tuple):
            pairs += [(name, str(one)) for one in value]
        elif isinstance(value, bool):
            pairs.append((name, "true" if value else "false"))
        elif value is not None:
            pairs.append((name, str(value)))
    return pairs
