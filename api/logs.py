"""A line in the log for each request, without what it said."""

import logging

from starlette.types import Scope

from store import logs

_access = logging.getLogger("api.access")
_LINE = "%s %s %d %.0f ms %s"
_NAMES = ("method", "path", "status", "duration_ms", "request_id")
_LONGEST_PATH = 200


def answered(scope: Scope, status: int, seconds: float) -> None:
    """A line about one request, without its query, headers and body: nobody knows what is in there."""
    if not _access.isEnabledFor(logging.INFO):
        return
    path = scope["path"][:_LONGEST_PATH].encode("unicode_escape").decode()
    request_id = scope["state"]["request_id"]
    told = (scope["method"], path, status, 1000 * seconds, request_id)
    # Without looking for the line of code that logs, which `info` does.
    record = _access.makeRecord(_access.name, logging.INFO, "", 0, _LINE, told, None)
    _access.handle(logs.name(record, _NAMES))
