"""Waits for something to end."""

# Written by `make client` from asynchronous/waiting.py.

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from harmonicdet.client.errors import ConnectionFailed, ServiceFailed, WaitTimedOut
from harmonicdet.client.progress import Watcher, bar

if TYPE_CHECKING:
    from harmonicdet.client.synchronous.transport import Transport

_SHORTEST_SECONDS = 0.1
_LONGEST_SECONDS = 2.0
_PATIENCE_SECONDS = 300.0  # a service that is being restarted does not end the waiting


def states(
    transport: "Transport",
    operation: str,
    path: Mapping[str, Any],
    *,
    ended: Callable[[dict[str, Any]], bool],
    timeout: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[dict[str, Any]]:
    """Each state that differs from the one before, the first at once, the one for which `ended` last.

    Raises `WaitTimedOut` after `timeout` seconds, and what asking raises.
    """
    began = heard = clock()
    etag, pause = "", _SHORTEST_SECONDS
    while True:
        try:
            response = transport.ask(operation, path, headers={"If-None-Match": etag} if etag else {})
        except (ConnectionFailed, ServiceFailed):
            if clock() - heard > _PATIENCE_SECONDS or not etag:
                raise
        else:
            heard = clock()
            if response.status_code == 200:
                etag, pause = response.headers.get("etag", ""), _SHORTEST_SECONDS
                state: dict[str, Any] = response.json()
                yield state
                if ended(state):
                    return
        if timeout is not None and clock() - began + pause > timeout:
            raise WaitTimedOut(f"{next(iter(path.values()))} has not ended after {timeout:g} s; it goes on.")
        transport.sleep(pause)
        pause = min(_LONGEST_SECONDS, pause * 1.5)


def watch(found: Iterator[dict[str, Any]], progress: "bool | Watcher") -> dict[str, Any]:
    """The last state. `progress`: True for a bar on the screen or in the notebook, or what is told each."""
    last: dict[str, Any] = {}
    if progress is True:
        with bar() as shown:
            for last in found:
                shown(last)
        return last
    for last in found:
        if callable(progress):
            progress(last)
    return last
