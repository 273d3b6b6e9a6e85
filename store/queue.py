"""Hints: messages that say "look at job X". Losing one costs a little time, never a job.

Sent by task name, so that nobody who sends one imports a worker.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from store import folder
from store.settings import StoreSettings

logger = logging.getLogger(__name__)

TASK = "job.run"
QUEUES = ("train", "evaluate", "ingest")
DAY = 24 * 3600
SOCKET_SECONDS = 1.0


def broker_options(settings: StoreSettings) -> dict[str, Any]:
    """Celery's settings that sender and receiver share. Makes the folders of the filesystem transport."""
    return {
        "broker_url": f"{folder.SCHEME}://" if _in_folder(settings) else settings.broker_url,
        "broker_transport_options": _transport_options(settings),
        "broker_connection_timeout": SOCKET_SECONDS,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_publish_retry": False,
        "task_default_queue": QUEUES[0],
        # The default exchange needs no binding: a message goes to the queue of its name.
        "task_queues": [Queue(name, Exchange(""), routing_key=name) for name in QUEUES],
        "task_create_missing_queues": False,
    }


def _in_folder(settings: StoreSettings) -> bool:
    return settings.broker_url.startswith("filesystem")


def _transport_options(settings: StoreSettings) -> dict[str, Any]:
    if not _in_folder(settings):
        return {
            "visibility_timeout": DAY,
            "socket_connect_timeout": SOCKET_SECONDS,
            "socket_timeout": SOCKET_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": 10,
        }
    root = settings.data / "broker"
    for name in ("messages", "control", "processed"):
        (root / name).mkdir(parents=True, exist_ok=True)
    return {
        "data_folder_in": str(root / "messages"),
        "data_folder_out": str(root / "messages"),
        "control_folder": str(root / "control"),
        "processed_folder": str(root / "processed"),
        "polling_interval": 0.2,
    }


class Hints:
    """Sends hints. Never raises, and never takes longer than `patience_seconds`, whatever the broker does."""

    def __init__(self, settings: StoreSettings, *, patience_seconds: float = 2.0) -> None:
        self._patience = patience_seconds
        self._busy = threading.Lock()
        self._app = Celery("harmonicdet-hints", set_as_current=False)
        self._app.conf.update(broker_options(settings))
        # Fail at the first refusal instead of trying for ever: the dispatcher tries again.
        self._app.conf.broker_transport_options = {
            **self._app.conf.broker_transport_options,
            "max_retries": 0,
            "interval_start": 0,
            "interval_step": 0,
            "interval_max": 0,
        }

    def send(self, job_id: str, queue: str) -> bool:
        """Tell the workers of `queue` to look at a job; False when that could not be done in time."""
        return self._within_patience(
            lambda: self._app.send_task(TASK, args=[job_id], queue=queue, retry=False, ignore_result=True)
        )

    def ping(self) -> bool:
        """Whether the broker answers."""
        return self._within_patience(self._connect)

    def close(self) -> None:
        """Close the connections to the broker."""
        self._within_patience(self._app.close)

    def _connect(self) -> None:
        with self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=1)

    def _within_patience(self, action: Callable[[], Any]) -> bool:
        """Run `action` on a thread of its own: looking up a dead host's name cannot be interrupted."""
        if not self._busy.acquire(timeout=self._patience):
            return False
        done: list[bool] = []

        def run() -> None:
            try:
                action()
                done.append(True)
            except Exception as error:
                logger.warning("the broker does not take messages: %s: %s", type(error).__name__, error)
            finally:
                self._busy.release()

        thread = threading.Thread(target=run, name="hint", daemon=True)
        thread.start()
        thread.join(self._patience)
        return bool(done)
