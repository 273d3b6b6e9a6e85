"""Keeps a claim alive, and fences its own holder when that no longer works.

Two threads: one beats, and may hang in the database as long as it likes; the other only watches the monotonic
clock. When no heartbeat has succeeded for `ttl - margin` the watcher fences, `margin` before anybody else can
claim the job.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from store.errors import Fenced, StoreError
from store.tables import RequestedAction
from worker import instruments

log = logging.getLogger(__name__)


class Lease:
    """Use as a context manager around the work.

    Args:
        beat: one heartbeat; returns what was asked of the job, raises `Fenced` when the claim is gone.
        since: monotonic time taken before the claim was made.
        every, ttl, margin: seconds.
        on_lost: called once, from one of the two threads, when the claim must be taken for lost.
        on_extended: called after every good heartbeat with the monotonic time until which the claim is ours.
    """

    def __init__(
        self,
        beat: Callable[[], RequestedAction | None],
        *,
        since: float,
        every: float,
        ttl: float,
        margin: float,
        on_lost: Callable[[], None],
        on_extended: Callable[[float], None] = lambda until: None,
    ) -> None:
        self._beat = beat
        self._good_at = since
        self._every = every
        self._alive_for = ttl - margin
        self._margin = margin
        self._on_lost = on_lost
        self._on_extended = on_extended
        self._done = threading.Event()
        self._lost = threading.Event()
        self._lock = threading.Lock()
        # Each in a copy of the context, so that their lines in the log name the job.
        self._threads = [
            threading.Thread(target=copy_context().run, args=(run,), name=name, daemon=True)
            for name, run in (("heartbeat", self._beat_on), ("lease-watch", self._watch))
        ]
        self.requested: RequestedAction | None = None
        self.cut_off = False
        """Whether the lease was lost because the database did not answer, while this process was well."""

    @property
    def lost(self) -> bool:
        return self._lost.is_set()

    @property
    def until(self) -> float:
        """Monotonic time at which the claim is lost unless a heartbeat succeeds before."""
        return self._good_at + self._alive_for

    def check(self) -> None:
        """Raises `Fenced` when the claim is lost."""
        if self.lost:
            raise Fenced

    def wait(self, seconds: float) -> None:
        """Sleeps, but no longer than the lease lives."""
        self._lost.wait(seconds)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            # A heartbeat that hangs in the database must not hold the worker; its row write is fenced.
            thread.join(timeout=self._every)

    def _beat_on(self) -> None:
        while not self._done.wait(self._every):
            if self.lost:
                return
            before = time.monotonic()
            try:
                requested = self._beat()
            except Fenced:
                # After the job's own end the row is no longer running: no surprise.
                if not self._done.is_set():
                    self._lose("the claim belongs to somebody else")
                return
            except (StoreError, SQLAlchemyError, OSError) as error:
                log.warning("heartbeat failed: %s", error)
                instruments.heartbeats_failed.inc()
                continue
            self._good_at = before
            if not self.lost:
                self._on_extended(self.until)
            if requested is not None:
                self.requested = requested

    def _watch(self) -> None:
        while True:
            left = self.until - time.monotonic()
            if left <= 0:
                # A process that was frozen or starved itself comes here late.
                self.cut_off = not self.lost and left > -self._margin
                self._lose(f"no heartbeat has succeeded for {self._alive_for:g} s")
                return
            if self._done.wait(left):
                return

    def _lose(self, why: str) -> None:
        with self._lock:
            if self.lost:
                return
            self._lost.set()
        log.error("the lease is lost: %s", why)
        instruments.leases_lost.inc()
        self._on_lost()
