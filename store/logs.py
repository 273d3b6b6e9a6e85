"""The log of every process: to stderr, without secrets, each line with the ids of what is being worked on."""

import json
import logging
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from store import context
from store.secrets import redacted

LogFormat = Literal["text", "json"]
_NAMES = "names"


class Redacting(logging.Formatter):
    """Cuts secrets out of the whole entry, the traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


class TextFormatter(Redacting):
    """Lines for people; the ids at the end, as far as the message does not name them."""

    _second: tuple[int, str] = (0, "")

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """As logging's own, which asks the calendar for every line."""
        second, text = self._second
        if second != int(record.created):
            text = time.strftime("%Y-%m-%d %H:%M:%S", self.converter(record.created))
            self._second = (int(record.created), text)
        return f"{text},{int(record.msecs):03d}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        line = super().formatMessage(record)
        if _NAMES in record.__dict__:  # it names them all
            return line
        named = " ".join(f"{name}={value}" for name, value in context.fields().items())
        return f"{line} [{named}]" if named else line


class JsonFormatter(logging.Formatter):
    """An object on each line: `time, level, logger, message`, the ids, what the line is made of where it has
    names, and `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= context.fields()
        names = record.__dict__.get(_NAMES)
        if names is not None and isinstance(record.args, tuple):
            entry |= zip(names, record.args, strict=True)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return redacted(json.dumps(entry, default=str, ensure_ascii=False))


def configure(log_format: LogFormat = "text", level: str = "INFO") -> None:
    """Log to stderr; once more to change the format."""
    # What no line tells need not be found out for each of them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def name(record: logging.LogRecord, names: Sequence[str]) -> logging.LogRecord:
    """Gives the arguments of a line the names that they have in JSON."""
    record.__dict__[_NAMES] = names
    return record
