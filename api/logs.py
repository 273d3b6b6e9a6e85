"""The log of the HTTP process: to stderr, without secrets, a line for each request without what it said."""

import logging
import sys

from starlette.types import Scope

from store.secrets import redacted

_access = logging.getLogger("api.access")
_LONGEST_PATH = 200


class Redacting(logging.Formatter):
    """Cuts secrets out of the whole entry, the traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def configure() -> None:
    """Log to stderr from INFO on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level="INFO", handlers=[handler])


def answered(scope: Scope, status: int, seconds: float) -> None:
    """A line about one request, without its query, headers and body: nobody knows what is in there."""
    path = scope["path"][:_LONGEST_PATH].encode("unicode_escape").decode()
    request_id = scope["state"]["request_id"]
    _access.info("%s %s %d %.0f ms %s", scope["method"], path, status, 1000 * seconds, request_id)
