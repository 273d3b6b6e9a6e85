"""`python -m worker --queue train`: one worker process, with the flags Celery needs for it."""

import argparse
import logging
import os
import socket
import sys
import threading
import warnings
from typing import get_args

from celery import signals
from celery.exceptions import SecurityWarning

from store import logs, tracing
from store import settings as store_settings
from store.blobs import open_blobs
from store.caretaker import Caretaker
from store.errors import SettingsInvalid
from store.monitoring import exposed
from store.queue import Hints
from store.sessions import Database
from worker import instruments
from worker.app import create_app, listen
from worker.cache import DatasetCache
from worker.health import Pulse
from worker.kinds import Workshop
from worker.room import Room
from worker.roster import Roster
from worker.settings import Queue, WorkerSettings
from worker.supervise import Supervisor
from worker.tasks import register

log = logging.getLogger("worker")


def main(arguments: list[str] | None = None) -> int:
    """Runs until SIGTERM or Ctrl-C: then the job at hand is given back after a checkpoint."""
    parser = argparse.ArgumentParser(prog="python -m worker", description="Works on the jobs of one queue.")
    parser.add_argument("--queue", choices=get_args(Queue), required=True)
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    options = parser.parse_args(arguments)
    logs.configure(level=options.log_level)
    for noisy in ("celery.app.trace", "celery.worker.strategy", "kombu"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("kombu.connection").setLevel(logging.ERROR)  # a folder has no host name
    try:
        settings = store_settings.read(WorkerSettings)
    except SettingsInvalid as error:
        parser.exit(2, f"{error}\n")
    logs.configure(settings.log_format, options.log_level)
    try:
        tracing.configure(settings, options.queue)
        _work(settings, options.queue, options.log_level)
    except SettingsInvalid as error:
        parser.exit(2, f"{error}\n")
    return 0


def _work(settings: WorkerSettings, queue: str, log_level: str) -> None:
    database = Database(settings.database_url)
    blobs = open_blobs(settings)
    stopping = threading.Event()
    host = socket.gethostname()
    hints = Hints(settings)
    cache = DatasetCache(settings.data / "cache", blobs, settings.cache_bytes)
    shop = Workshop(database, blobs, cache, hints, settings)
    name = f"{queue}@{host}:{os.getpid()}"
    roster = Roster(
        database,
        hints,
        Room(settings.volumes, settings.min_free_bytes),
        name=name,
        queue=queue,
        heartbeat_seconds=settings.heartbeat_seconds,
        current=lambda: supervisor.current,
        listen=lambda wanted: listen(celery, queue, wanted=wanted),
    )
    supervisor = Supervisor(
        shop, worker=name, worker_id=roster.worker_id, stopping=stopping, hold=roster.hold
    )
    supervisor.runs.sweep()
    cache.trim()
    app = create_app(settings)
    register(app, supervisor, queue)
    caretaker = Caretaker(database, hints, settings)
    pulse = Pulse(settings.data, queue)

    # Celery finishes the task at hand before it ends; telling the supervisor is what makes that soon.
    @signals.worker_shutting_down.connect(weak=False)
    def stop(**_: object) -> None:
        stopping.set()

    @signals.worker_ready.connect(weak=False)
    def ready(**_: object) -> None:
        log.info("ready for the %s queue", queue)
        caretaker.start()
        pulse.start()
        roster.start()

    # In a container everybody is root, and without pickle that gives nothing away.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    celery = app.Worker(
        queues=[queue],
        hostname=f"{queue}@{host}-{os.getpid()}",
        pool="threads",
        concurrency=1,
        loglevel=log_level,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        optimization="fair",
        quiet=True,
    )
    registry = instruments.registry(settings, queue, lambda: supervisor.current)
    try:
        with exposed(registry, settings):
            celery.start()
    finally:
        stopping.set()
        roster.stop()
        caretaker.stop()
        pulse.stop()
        hints.close()
        database.dispose()


if __name__ == "__main__":
    sys.exit(main())
