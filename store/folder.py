"""Celery's filesystem transport, made safe for several processes: a message is there whole or not at all.

kombu's own lets a reader take a file that is still being written, and moves messages through the temporary
directory of the system.
"""

import logging
import os
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps, loads

logger = logging.getLogger(__name__)

SCHEME = "harmonicdet-folder"


class Channel(filesystem.Channel):
    """Messages are files named `{time}_{uuid}.{queue}.msg`."""

    def _queue_bind(self, *args: Any, **kwargs: Any) -> None:
        """No table of bindings, which two processes could tear: a hint's routing key is its queue."""

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> list[str]:
        return [routing_key]

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:  # type: ignore[override]  # kombu's differ
        name = f"{time.time_ns() // 1_000_000}_{uuid.uuid4()}.{queue}.msg"
        unfinished = Path(self.processed_folder) / name
        unfinished.write_text(dumps(message))
        unfinished.rename(Path(self.data_folder_out) / name)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        for name in sorted(os.listdir(self.data_folder_in)):  # noqa: PTH208 - names are all that is wanted
            if name.partition(".")[2] != f"{queue}.msg":
                continue
            taken = Path(self.processed_folder) / name
            try:
                (Path(self.data_folder_in) / name).rename(taken)
                text = taken.read_text()
                taken.unlink()
            except FileNotFoundError:
                continue  # another worker was faster
            try:
                return loads(text)
            except ValueError:
                logger.warning("dropped an unreadable hint: %s", name)
        raise Empty


class Transport(filesystem.Transport):
    """`harmonicdet-folder://`, with the options of kombu's filesystem transport."""

    Channel = Channel


TRANSPORT_ALIASES.setdefault(SCHEME, f"{__name__}:Transport")
