"""This process's entry in the list of workers, and the order to take nothing more that comes back with it.

No job depends on it: the entry is for people, and for draining a worker before its host goes.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from store import jobs, workers
from store.errors import StoreError, WorkerNotFound
from store.ids import new_id
from store.monitoring import own_version
from store.queue import Hints
from store.sessions import Database
from worker import device
from worker.room import Room

log = logging.getLogger(__name__)


class Roster:
    """Reports in a thread of its own, from `start` to `stop`.

    Args:
        name: host and process, as jobs name their worker.
        room: the worker's disks; without room a worker of the train queue claims nothing.
        current: the job at hand.
        listen: called with False when this worker takes no jobs for now, so that the broker sends hints to
            others, and with True when it takes them again.
    """

    def __init__(
        self,
        database: Database,
        hints: Hints,
        room: Room,
        *,
        name: str,
        queue: str,
        heartbeat_seconds: float,
        current: Callable[[], str | None],
        listen: Callable[[bool], None] = lambda wanted: None,
    ) -> None:
        self.worker_id = new_id("wrk")
        self._database = database
        self._hints = hints
        self._room = room
        self._name = name
        self._queue = queue
        self._period = workers.report_period(heartbeat_seconds)
        self._current = current
        self._listen = listen
        self._draining = False
        self._listening = True
        self._registered = False
        self._is_away = False
        self._device = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="roster", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Leaves the list, if the database is there."""
        self._stopped.set()
        if not self._thread.is_alive():
            return
        self._thread.join(5.0)
        try:
            with self._database.begin() as session:
                workers.leave(session, self.worker_id)
        except (StoreError, SQLAlchemyError) as error:
            log.info("could not leave the list of workers: %s", error)

    def hold(self) -> str | None:
        """Why nothing may be claimed now; None when all is well."""
        if self._draining:
            return "this worker is draining"
        return self._lack()

    def report(self) -> None:
        """Once. Raises what the database raises."""
        lack = self._lack()
        self._database.run(lambda session: self._tell(session, lack), repeatable=True)
        wanted = self.hold() is None
        if wanted != self._listening:
            self._listening = wanted
            self._listen(wanted)
            if wanted:
                self._wake()

    def _tell(self, session: Session, lack: str | None) -> None:
        try:
            if not self._registered:
                raise WorkerNotFound
            order = workers.beat(session, self.worker_id, job_id=self._current(), blocked=lack)
            draining = order.draining
        except WorkerNotFound:
            self._device = self._device or device.describe()
            draining = workers.register(
                session,
                worker_id=self.worker_id,
                name=self._name,
                queue=self._queue,
                device=self._device,
                host=socket.gethostname(),
                pid=os.getpid(),
                version=own_version(),
                draining=self._draining,
                job_id=self._current(),
            ).draining
        self._registered = True
        self._draining = draining

    def _wake(self) -> None:
        """The hints of the time of rest went to others, or to nobody."""
        with self._database.read() as session:
            due = jobs.next_due(session, self._queue)
        if due is not None:
            self._hints.send(due, self._queue)

    def _lack(self) -> str | None:
        return self._room.lacking() if self._queue == "train" else None

    def _run(self) -> None:
        while True:
            try:
                self.report()
                self._is_away = False
            except (StoreError, SQLAlchemyError, OSError) as error:
                if not self._is_away:
                    log.warning("could not report to the list of workers: %s", error)
                self._is_away = True
            if self._stopped.wait(self._period):
                return
