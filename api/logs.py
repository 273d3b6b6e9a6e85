"""The log of the HTTP process: to stderr, without secrets, a line for each request without what it said."""

import logging
import sys
import time

from starlette.types import Scope

from store.secrets import redacted

_access = logging.getLogger("api.access")
_LINE = "%s %s %d %.0f ms %s"
_LONGEST_PATH = 200


class Redacting(logging.Formatter):
    """Cuts secrets out of the whole entry, the traceback included."""

    _second: tuple[int, str] = (0, "")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """As logging's own, which asks the calendar for every line."""
        second, text = self._second
        if second != int(record.created):
            text = time.strftime("%Y-%m-%d %H:%M:%S", self.converter(record.created))
            self._second = (int(record.created), text)
        return f"{text},{int(record.msecs):03d}"

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def configure() -> None:
    """Log to stderr from INFO on."""
    # What no line tells need not be found out for each of them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level="INFO", handlers=[handler])


def answered(scope: Scope, status: int, seconds: float) -> None:
    """A line about one request, without its query, headers and body: nobody knows what is in there."""
    if not _access.isEnabledFor(logging.INFO):
        return
    path = scope["path"][:_LONGEST_PATH].encode("unicode_escape").decode()
    request_id = scope["state"]["request_id"]
    told = (scope["method"], path, status, 1000 * seconds, request_id)
    # Without looking for the line of code that logs, which `info` does.
    _access.handle(_access.makeRecord(_access.name, logging.INFO, "", 0, _LINE, told, None))
