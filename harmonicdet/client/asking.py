"""What a request is made of, and when it may be made again."""

import json
import random
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from harmonicdet.client.errors import StatusError, refused
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


def connection(place: Place, timeout: float, transport: object) -> dict[str, Any]:
    """What a client of httpx is made with."""
    from harmonicdet import __version__

    headers = {"User-Agent": f"harmonicdet-python/{__version__}"}
    if place.api_key is not None:
        headers["Authorization"] = f"Bearer {place.api_key}"
    return {
        "base_url": place.url,
        "headers": headers,
        "timeout": httpx.Timeout(timeout, connect=min(timeout, 10.0)),
        "transport": transport,
        # A proxy of the environment is not asked for what is on this machine.
        "mounts": None if transport is not None else dict.fromkeys(_LOOPBACK),
    }


def request(
    operation: str,
    path: Mapping[str, Any] | None,
    query: Mapping[str, Any] | None,
    headers: Mapping[str, str] | None,
    body: Any = None,
    content: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a request of httpx is built of. One built again is the same question: it has the same
    Idempotency-Key."""
    found = OPERATIONS[operation]
    places = {name: quote(str(value), safe="") for name, value in (path or {}).items()}
    sent = dict(headers or {})
    if found.once:
        sent.setdefault("Idempotency-Key", str(uuid.uuid4()))
    content = dict(content or {})
    if body is not None:
        content["content"] = json.dumps(body).encode()
        sent.setdefault("Content-Type", "application/json")
    url = found.path.format(**places)
    return content | {"method": found.method, "url": url, "params": _pairs(query), "headers": sent}


def may_ask_again(operation: str, problem: httpx.TransportError | StatusError) -> bool:
    """Whether that does no harm, and may help."""
    is_harmless = operation not in _MADE_TWICE
    if isinstance(problem, httpx.TransportError):
        nothing_was_sent = isinstance(problem, httpx.ConnectError | httpx.ConnectTimeout)
        return is_harmless or nothing_was_sent
    if (problem.retry_after or 0) > _LONGEST_ASKED_SECONDS:
        return False
    for_now = problem.status in _NOTHING_WAS_DONE or (is_harmless and problem.status in _FOR_NOW)
    return for_now or problem.code == "request_in_progress"


def seconds_before(attempt: int, asked: float | None) -> float:
    """How long to wait before asking again: as long as was asked for, else longer each time, jittered."""
    grown = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2**attempt)
    return grown * random.uniform(0.75, 1.0) if asked is None else asked


def unanswered(url: str, error: httpx.TransportError) -> str:
    """Why there is no answer, and what may help."""
    why = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return f"Nobody answers at {url} ({why}). `harmonicdet up` starts the service on this machine."
    return f"The connection to {url} broke ({why})."


def is_answer(response: httpx.Response) -> bool:
    """Whether it is no refusal."""
    return response.is_success or response.status_code == httpx.codes.NOT_MODIFIED


def refusal(response: httpx.Response) -> StatusError:
    """What the service says is wrong. The body has been read."""
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


def _pairs(given: Mapping[str, Any] | None) -> list[tuple[str, str | int | float | bool | None]]:
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
