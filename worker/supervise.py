"""One claimed job from claim to end: start the detector, turn its events into rows, carry requests to it.

Every write is fenced by the claim's token, so a supervisor that has lost its job can do no harm; it finds
out, kills its child and walks away.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from detector.events import (
    EXIT_ABANDONED,
    EXIT_COMPLETE,
    EXIT_INTERRUPTED,
    EXIT_STORAGE_FULL,
    AnyEvent,
    CheckpointEvent,
    ErrorEvent,
    EventReader,
    MetricEvent,
    NoticeEvent,
    PhaseEvent,
    ProgressEvent,
)
from store import comparisons, context, jobs, searches, tracing
from store.blobs import Blob
from store.errors import (
    BlobCorrupt,
    BlobNotFound,
    BlobsUnavailable,
    CancelRequested,
    Fenced,
    StorageFull,
    StoreError,
    Unavailable,
)
from store.jobs import Claim, Outcome
from store.tables import JobKind, JobStatus, RequestedAction
from worker import instruments
from worker.cache import DatasetsInUse
from worker.child import Child
from worker.compare import Compare
from worker.evaluate import Evaluate
from worker.failures import JobFailed, log_tail, problem, status_reason
from worker.forwarding import ForwardedLog
from worker.kinds import Ending, Kind, Workshop
from worker.lease import Lease
from worker.oom import OomWatch
from worker.room import Room, is_full_disk
from worker.rundirs import RunDirectories
from worker.search import Search
from worker.stalls import StallWatch
from worker.train import Train
from worker.validate import Validate

log = logging.getLogger(__name__)
T = TypeVar("T")

KINDS: Mapping[JobKind, Kind] = {
    JobKind.TRAIN: Train(),
    JobKind.EVALUATE: Evaluate(),
    JobKind.COMPARE: Compare(),
    JobKind.SEARCH: Search(),
    JobKind.VALIDATE: Validate(),
}


class _Claimant(TypedDict):
    worker: str
    worker_id: str | None
    lease_seconds: float


class Supervisor:
    """Works for one queue of this process.

    Args:
        worker: name in the jobs' rows.
        worker_id: entry in the list of workers, through which it may be drained.
        stopping: set when the process is told to end.
        hold: says why nothing may be claimed now, for example a draining worker or a disk without room; None
            when all is well.
    """

    def __init__(
        self,
        shop: Workshop,
        *,
        worker: str,
        worker_id: str | None = None,
        stopping: threading.Event,
        hold: Callable[[], str | None] = lambda: None,
        kinds: Mapping[JobKind, Kind] = KINDS,
    ) -> None:
        self._shop = shop
        self._worker = worker
        self._worker_id = worker_id
        self._stopping = stopping
        self._hold = hold
        self._is_idle = False
        self._kinds = kinds
        self._last_words: dict[str, str] = {}
        self.runs = RunDirectories(shop.settings.data / "runs")
        self.current: str | None = None
        """The job at hand."""

    def work_off(self, queue: str) -> None:
        """Works on what is due in the queue, the first one first, until nothing is.

        Whatever job a hint names, it is only a reason to look: hints come in the order of submissions, not of
        priorities. Without a database there is nothing to do: another hint will come.
        """

        def first(session: Session) -> Claim | None:
            return jobs.claim_next(session, queue, **self._claimant)

        try:
            while self._is_anything_due(queue) and self._work(first):
                pass
        except (StoreError, SQLAlchemyError) as error:
            log.warning("nothing can be claimed: %s", error)

    def work(self, job_id: str) -> bool:
        """Claims the job and works on it to its end, of whatever sort. False: it is not to be had."""
        return self._work(lambda session: jobs.claim(session, job_id, **self._claimant))

    @property
    def _claimant(self) -> _Claimant:
        return {
            "worker": self._worker,
            "worker_id": self._worker_id,
            "lease_seconds": self._shop.settings.lease_seconds,
        }

    def _is_anything_due(self, queue: str) -> bool:
        """A look without a write transaction: most hints come when somebody else has the job already."""
        with self._shop.database.read() as session:
            return jobs.next_due(session, queue, worker_id=self._worker_id) is not None

    def _work(self, take: Callable[[Session], Claim | None]) -> bool:
        if self._stopping.is_set() or self._is_held():
            return False
        since = time.monotonic()
        claim = self._shop.database.run(take)
        if claim is None:
            log.info("there is nothing to be had")
            return False
        context.request_id.set(claim.request_id)
        context.attempt.set(context.Attempt(claim.job_id, claim.attempt))
        try:
            with tracing.work(f"{claim.kind} attempt", claim.traceparent, attributes=context.fields()):
                self._attempt(claim, since)
        finally:
            context.attempt.set(None)
            context.request_id.set(None)
        return True

    def _attempt(self, claim: Claim, since: float) -> None:
        job_id = claim.job_id
        log.info("%s claimed, attempt %d", job_id, claim.attempt)
        self.current = job_id
        try:
            with (
                instruments.timed(claim.kind),
                self.runs.open(claim.job_id, claim.token) as run,
                DatasetsInUse(self._shop.cache) as in_use,
            ):
                shop = replace(self._shop, cache=in_use)
                kind = self._kinds[claim.kind]
                _Attempt(shop, claim, kind, run, self._stopping, since, self._last_words).work()
        except OSError as error:  # there is no making a run directory
            log.exception("%s: attempt %d cannot begin", job_id, claim.attempt)
            self._hand_back(claim, error)
        finally:
            self.current = None

    def _hand_back(self, claim: Claim, error: OSError) -> None:
        failure = _breakage(error)

        def release(session: Session) -> None:
            told = problem(failure, "")
            jobs.release(session, claim, stalled=True, reason=status_reason(failure.code), error=told)

        try:
            self._shop.database.run(release, repeatable=True)
            instruments.ended(claim.kind, "requeued", status_reason(failure.code))
        except Fenced:
            log.warning("%s: attempt %d is no longer ours", claim.job_id, claim.attempt)
            instruments.ended(claim.kind, "fenced")

    def _is_held(self) -> bool:
        why = self._hold()
        if (why is not None) != self._is_idle:
            self._is_idle = why is not None
            if why is not None:
                log.warning("claims nothing: %s", why)
            else:
                log.info("claims jobs again")
        return self._is_idle


class _Order(Enum):
    """What the child was told to do."""

    CANCEL = "cancel"
    PAUSE = "pause"  # end with a checkpoint: the user wants it, or the worker has to go
    STOP = "stop"  # train no further: evaluate and export
    STALL = "stall"


class _Attempt:
    """One claim of one job.

    `last_words` holds, by job, what an attempt of this process could not tell any more, for the next one.
    """

    def __init__(
        self,
        shop: Workshop,
        claim: Claim,
        kind: Kind,
        run: Path,
        stopping: threading.Event,
        since: float,
        last_words: dict[str, str],
    ) -> None:
        self._shop = shop
        self._claim = claim
        self._kind = kind
        self._run = run
        self._stopping = stopping
        self._last_words = last_words
        self._log = run / "log.txt"
        self._notes: list[str] = []  # ends of the log that its own disk would not take
        self._logged = ""
        self._child: Child | None = None
        self._order: _Order | None = None
        self._error: ErrorEvent | None = None
        self._has_spoken = False
        self._verdict = ""
        self._is_hurried = False  # a pause that has to be as quick as the end of this process
        self._pending: list[AnyEvent] = []
        self._has_succeeded = False
        self._step = max(claim.checkpoint_step, 0)
        self._batch_size = _batch_size(claim)
        self._told_log = ForwardedLog(self._log) if shop.settings.log_format == "json" else None
        self._reader = EventReader(run)
        self._oom = OomWatch()
        settings = shop.settings
        self._room = Room(settings.volumes, settings.min_free_bytes)
        # The disk was full to the last byte when the database took no word; no heartbeat came in time since.
        self._is_exhausted = False
        self._noticed: set[str] = set()
        self._stalls = StallWatch(
            [self._log, run / "events.jsonl"],
            silent_seconds=settings.stall_seconds,
            progress_seconds=claim.progress_timeout_seconds or settings.progress_seconds,
        )
        self._lease = Lease(
            self._beat,
            since=since,
            every=settings.heartbeat_seconds,
            ttl=settings.lease_seconds,
            margin=settings.lease_margin_seconds,
            on_lost=self._fence,
            on_extended=self._extend,
        )
        self._lease.requested = claim.requested_action

    def work(self) -> None:
        """Returns when the job has ended, was given back, or is somebody else's."""
        try:
            with self._lease:
                try:
                    end = self._work()
                except Fenced:
                    raise
                except JobFailed as failure:
                    end = self._failed(failure)
                except BlobsUnavailable:  # and somebody wants this to end: no fault of the job
                    end = self._given_back
                except (OSError, StorageFull, DBAPIError) as error:  # another attempt may fare better
                    log.exception("%s: attempt %d broke off", self._claim.job_id, self._claim.attempt)
                    end = self._lost(_breakage(error))
                except Exception as error:
                    log.exception("%s: attempt %d failed", self._claim.job_id, self._claim.attempt)
                    self._note(f"The worker failed: {error!r}")
                    end = self._failed(JobFailed("internal_error", f"The worker failed: {error}"))
                finally:
                    if self._child is not None:
                        self._child.reap()
                self._end(end)
            if self._has_succeeded:
                self._kind.succeeded(self._shop, self._claim)
        except Fenced:
            self._see_exhaustion()
            if self._lease.cut_off and self._give_back_after_all():
                instruments.ended(self._claim.kind, "requeued", "worker_lost")
                return
            instruments.ended(self._claim.kind, "fenced")
            log.warning("%s: attempt %d is no longer ours", self._claim.job_id, self._claim.attempt)
            if self._is_exhausted:
                self._last_words[self._claim.job_id] = (
                    f"Attempt {self._claim.attempt} ended because no room was left on the worker's disk, "
                    "not even to say so."
                )

    # The course of it

    def _work(self) -> Ending:
        self._begin()
        resume = self._fetch_checkpoint()
        arguments = self._insist(lambda: self._kind.prepare(self._shop, self._claim, self._run))
        if resume is not None:
            arguments += ["--resume", str(resume)]
        self._lease.check()
        if self._lease.requested is RequestedAction.CANCEL:
            return self._cancelled
        if self._should_pause():
            return self._given_back
        if self._lease.requested is RequestedAction.STOP:
            self._order = _Order.STOP
            arguments.append("--stop")
        if self._told_log is not None:
            self._told_log.begin()
        self._child = Child([*self._shop.settings.detector_command, *arguments, "--supervised"], self._log)
        self._child.may_live_until(self._lease.until)
        log.info("%s: %s runs as process %d", self._claim.job_id, arguments[0], self._child.pid)
        code = self._watch(self._child)
        if self._order is not _Order.CANCEL:  # the user waits for the end, not for the last lines
            self._store_events()
        if self._told_log is not None:
            self._told_log.forward(last=True)
        log.info("%s: process %d has ended with %d", self._claim.job_id, self._child.pid, code)
        return self._conclude(code)

    def _end(self, end: Ending) -> None:
        """The job's last transaction. A cancel that was asked for in time wins over every other end."""
        tail = self._tail()

        def last(session: Session) -> tuple[list[tuple[str, str]], Outcome]:
            jobs.set_log_tail(session, self._claim, tail)
            startable = end(session)
            startable += comparisons.startable(session, self._claim.job_id)
            startable += searches.startable(session, self._claim.job_id)
            return startable, jobs.outcome(session, self._claim.job_id)

        def cancel(session: Session) -> tuple[list[tuple[str, str]], Outcome]:
            return self._cancelled(session), jobs.outcome(session, self._claim.job_id)

        try:
            startable, outcome = self._write(last)
        except CancelRequested:
            startable, outcome = self._write(cancel)
        instruments.ended(self._claim.kind, *outcome)
        tracing.note(outcome.status, reason=outcome.reason)
        log.info(
            "%s: attempt %d ends, the job is %s", self._claim.job_id, self._claim.attempt, outcome.status
        )
        self._has_succeeded = outcome.status == JobStatus.SUCCEEDED
        for job_id, queue in startable:
            self._shop.hints.send(job_id, queue)

    def _begin(self) -> None:
        """The log goes on where the last attempt's ended."""
        words = self._last_words.get(self._claim.job_id)
        if words is not None:
            self._notice("storage_full", words)
        if self._claim.attempt == 1:
            return
        with self._shop.database.read() as session:
            before = jobs.get(session, self._claim.project_id, self._claim.job_id).log_tail
        step = self._claim.checkpoint_step
        start = f"from step {step}" if self._claim.checkpoint_key else "from the start"
        self._log.write_text(f"{before}--- attempt {self._claim.attempt}, {start} ---\n")

    def _fetch_checkpoint(self) -> Path | None:
        """The newest checkpoint that can be read back, in the run directory."""
        destination = self._run / "resume.pt"
        while (key := self._claim.checkpoint_key) is not None:
            try:
                self._fetch(key, destination)
            except (BlobNotFound, BlobCorrupt) as error:
                lost = f"The checkpoint of step {self._claim.checkpoint_step} cannot be read back: {error}"
                self._note(lost)
                self._claim = self._write(lambda session: jobs.forget_checkpoint(session, self._claim))
                if self._claim.checkpoint_key is None:
                    raise JobFailed("checkpoint_corrupt", f"{lost} There is none before it.") from error
            else:
                return destination
        return None

    def _fetch(self, key: str, destination: Path) -> None:
        sha256 = self._claim.checkpoint_sha256 or ""
        self._insist(lambda: self._shop.blobs.fetch(key, destination, sha256))

    def _watch(self, child: Child) -> int:
        """Lives with the child until it has ended; returns its exit code."""
        settings = self._shop.settings
        kill_at = float("inf")
        apply_at = 0.0
        while (code := child.poll()) is None:
            now = time.monotonic()
            if now >= apply_at:
                self._look_around()
                try:
                    self._apply_events()
                except Unavailable as error:  # the events are kept for the next round
                    self._see_exhaustion()
                    log.warning("%s: events wait: %s", self._claim.job_id, error)
                apply_at = time.monotonic() + settings.apply_seconds
            self._lease.check()
            kill_at = min(kill_at, now + self._carry_on(child))
            if now >= kill_at:
                child.kill()
            self._lease.wait(settings.poll_seconds)
        return code

    def _carry_on(self, child: Child) -> float:
        """Tells the child what has been asked of it; after how many seconds it must have ended."""
        settings, requested, order = self._shop.settings, self._lease.requested, self._order
        if requested is RequestedAction.CANCEL:
            if order is not _Order.CANCEL:
                self._order = _Order.CANCEL
                child.terminate()
                return settings.cancel_grace_seconds
        elif order in (None, _Order.STOP) and self._should_pause():
            self._order = _Order.PAUSE
            child.terminate()
            return self._grace_of_pause()
        elif order is _Order.PAUSE:
            if self._stopping.is_set() and not self._is_hurried:
                return self._grace_of_pause()
        elif order is not _Order.STALL and (verdict := self._stalls.verdict()) is not None:
            self._order, self._verdict = _Order.STALL, verdict
            return 0.0
        elif order is None and requested is RequestedAction.STOP and self._has_spoken:
            self._order = _Order.STOP
            child.finish()
        return float("inf")

    def _should_pause(self) -> bool:
        return self._stopping.is_set() or self._lease.requested is RequestedAction.PAUSE

    def _grace_of_pause(self) -> float:
        self._is_hurried = self._stopping.is_set()
        settings = self._shop.settings
        return settings.shutdown_grace_seconds if self._is_hurried else settings.pause_grace_seconds

    def _conclude(self, code: int) -> Ending:
        """What the child's end means for the job."""
        if self._order is _Order.CANCEL:
            return self._cancelled
        if code == EXIT_COMPLETE and (self._run / "result.json").exists():
            return self._insist(lambda: self._kind.result(self._shop, self._claim, self._run))
        if self._order is _Order.PAUSE:
            return self._given_back
        if self._order is _Order.STALL:
            return self._lost(JobFailed("stalled", self._verdict))
        error = self._error
        if code == EXIT_STORAGE_FULL or (error is not None and error.code == "storage_full"):
            told = error.message if error is not None else "No room is left on the disk of the run directory."
            return self._lost(JobFailed("storage_full", told))
        # One of the detector's own processes may be the victim, and the detector fail by its absence.
        if (code == -9 or (error is not None and error.code == "internal_error")) and self._oom.has_killed():
            return self._failed(
                JobFailed("out_of_memory", "The kernel killed the detector: no memory was left.")
            )
        if error is not None:
            return self._failed(JobFailed(error.code, error.message, error.hint, error.faults))
        if code < 0:  # a stranger's signal
            return self._lost(JobFailed("worker_lost", f"The detector was ended by {_signal_name(-code)}."))
        if code == EXIT_ABANDONED:  # this process was frozen for a while, but not for too long
            return self._lost(JobFailed("worker_lost", "The detector has not heard of its worker in time."))
        if code == EXIT_INTERRUPTED:
            return self._lost(JobFailed("worker_lost", "The detector was asked to end by somebody else."))
        return self._failed(JobFailed("internal_error", f"The detector ended with exit code {code}."))

    def _look_around(self) -> None:
        self._oom.look()
        if self._told_log is not None:
            self._told_log.forward()
        lacking = self._room.lacking()
        if lacking is not None:
            self._notice("storage_low", lacking)

    def _notice(self, code: str, message: str) -> None:
        """Tells the user, once an attempt."""
        if code not in self._noticed:
            self._noticed.add(code)
            self._pending.append(NoticeEvent(code=code, message=message))

    # Events to rows

    def _apply_events(self) -> None:
        """Reads what the child has told since the last call and stores it in one fenced transaction."""
        told = self._reader.read()
        self._count(told)
        self._has_spoken = self._has_spoken or bool(told)
        self._stalls.see(told)
        self._pending += told
        if not self._pending:
            return
        events = self._pending
        for event in events:
            if isinstance(event, ErrorEvent):
                self._error = event
        shipped = self._ship_checkpoint(events)
        unneeded = self._shop.database.run(
            lambda session: self._store(session, events, shipped), repeatable=True
        )
        self._pending = []
        if "storage_full" in self._noticed:
            self._last_words.pop(self._claim.job_id, None)
        for key in unneeded:
            self._shop.blobs.delete(key)

    def _count(self, told: list[AnyEvent]) -> None:
        """The steps of a training; those of an evaluation are images of another pace."""
        for event in told:
            if isinstance(event, PhaseEvent):
                tracing.note(event.phase)
            elif isinstance(event, ProgressEvent) and self._claim.kind is JobKind.TRAIN:
                instruments.trained(event.step - self._step, self._batch_size)
                self._step = max(self._step, event.step)

    def _ship_checkpoint(self, events: list[AnyEvent]) -> tuple[CheckpointEvent, Blob] | None:
        """Copies the newest checkpoint to the blobs, under the claim's token; the row follows the bytes."""
        for event in reversed(events.copy()):
            if isinstance(event, CheckpointEvent):
                key = f"jobs/{self._claim.job_id}/{self._claim.token}/step-{event.step:08d}.pt"
                try:
                    blob = self._shop.blobs.put_file(self._run / event.path, key=key)
                except (OSError, StorageFull) as error:
                    # Gone already, for the trainer keeps the last few only, or no room: a later one may do.
                    log.warning("%s: checkpoint %s is not kept: %s", self._claim.job_id, event.path, error)
                    if is_full_disk(error):
                        self._notice(
                            "storage_full",
                            f"The checkpoint of step {event.step} is not kept: no room is left for it. "
                            "The one before stays.",
                        )
                    continue
                if blob.sha256 == event.sha256:
                    instruments.checkpoint_bytes.inc(blob.bytes)
                    return event, blob
                log.error("%s: %s is not what the trainer has written", self._claim.job_id, event.path)
                self._shop.blobs.delete(key)
        return None

    def _store(
        self, session: Session, events: list[AnyEvent], shipped: tuple[CheckpointEvent, Blob] | None
    ) -> list[str]:
        """Blob keys of checkpoints that are no longer needed once this is committed."""
        claim = self._claim
        metrics: list[tuple[str, int, float, dict[str, Any]]] = []
        progress: ProgressEvent | None = None
        for event in events:
            if isinstance(event, PhaseEvent):
                jobs.set_phase(session, claim, event.phase)
            elif isinstance(event, ProgressEvent):
                progress = event
            elif isinstance(event, MetricEvent):
                metrics.append((event.split, event.step, event.epoch, event.values))
            elif isinstance(event, NoticeEvent):
                jobs.append_event(
                    session, claim, "job.notice", {"code": event.code, "message": event.message}
                )
        if metrics:
            jobs.record_metrics(session, claim, metrics)
        if progress is not None:
            jobs.set_progress(session, claim, progress.model_dump(exclude={"type"}))
        if shipped is None:
            return []
        checkpoint, blob = shipped
        jobs.record_checkpoint(
            session,
            claim,
            key=blob.key,
            sha256=blob.sha256,
            bytes=blob.bytes,
            step=checkpoint.step,
            epoch=checkpoint.epoch,
        )
        return jobs.drop_checkpoints(session, claim)

    def _store_events(self) -> None:
        """The last events, which must not be lost."""
        self._insist(self._apply_events)

    # Heartbeat, log, ends

    def _beat(self) -> RequestedAction | None:
        tail = self._tail()

        def beat(session: Session) -> RequestedAction | None:
            requested = jobs.heartbeat(session, self._claim, self._shop.settings.lease_seconds)
            if tail != self._logged:
                jobs.set_log_tail(session, self._claim, tail)
            return requested

        requested = self._shop.database.run(beat, repeatable=True)
        self._logged = tail
        return requested

    def _fence(self) -> None:
        if self._child is not None:
            self._child.kill()

    def _extend(self, until: float) -> None:
        self._is_exhausted = False
        if self._child is not None:
            self._child.may_live_until(until)

    def _cancelled(self, session: Session) -> list[tuple[str, str]]:
        jobs.cancel_now(session, self._claim)
        return []

    def _given_back(self, session: Session) -> list[tuple[str, str]]:
        """In good order: nothing has gone wrong."""
        jobs.release(session, self._claim, stalled=False, reason=None)
        return []

    def _give_back_after_all(self) -> bool:
        """The database was away, and that is no fault of the job: no stall, if nobody has taken it yet."""
        give_up = time.monotonic() + 2 * self._shop.settings.lease_seconds

        reason = "storage_full" if self._is_exhausted else "worker_lost"

        def release(session: Session) -> None:
            jobs.release(session, self._claim, stalled=False, reason=reason)

        while not self._stopping.is_set() and time.monotonic() < give_up:
            try:
                self._shop.database.run(release, repeatable=True)
            except Fenced:
                return False
            except (StoreError, SQLAlchemyError):
                self._stopping.wait(0.5)
            else:
                log.warning("%s: given back, for the database was away", self._claim.job_id)
                return True
        return False

    def _lost(self, failure: JobFailed) -> Ending:
        """The attempt has come to nothing after its last checkpoint; another may fare better."""
        self._note(failure.detail)
        reason = status_reason(failure.code)
        error = problem(failure, self._tail())

        def release(session: Session) -> list[tuple[str, str]]:
            jobs.release(session, self._claim, stalled=True, reason=reason, error=error)
            return []

        return release

    def _failed(self, failure: JobFailed) -> Ending:
        own = self._kind.failure(self._shop, self._claim, self._run, failure)
        if own is not None:
            return own
        error = problem(failure, self._tail())

        def fail(session: Session) -> list[tuple[str, str]]:
            jobs.fail(session, self._claim, reason=status_reason(failure.code), error=error)
            return []

        return fail

    def _note(self, line: str) -> None:
        """A line at the end of the log."""
        try:
            with self._log.open("a") as file:
                file.write(line + "\n")
        except OSError:
            self._notes.append(line)

    def _tail(self) -> str:
        return log_tail(self._log) + "".join(f"{line}\n" for line in self._notes)

    def _write(self, write: Callable[[Session], T]) -> T:
        return self._insist(lambda: self._shop.database.run(write, repeatable=True))

    def _insist(self, act: Callable[[], T]) -> T:
        """Repeats while the database or the object store is away, as long as the lease lives.

        Raises `BlobsUnavailable` when the job or this process is to end meanwhile.
        """
        while True:
            self._lease.check()
            try:
                return act()
            except Unavailable as error:
                log.warning("%s: waits: %s", self._claim.job_id, error)
                wanted = self._lease.requested is RequestedAction.CANCEL or self._should_pause()
                if isinstance(error, BlobsUnavailable) and wanted:
                    raise
                self._see_exhaustion()
                self._lease.wait(0.5)

    def _see_exhaustion(self) -> None:
        """A database on the same full disk takes no word: what is seen now is told when there is room."""
        self._is_exhausted = self._is_exhausted or self._room.is_exhausted()


def _breakage(error: Exception) -> JobFailed:
    if is_full_disk(error):
        return JobFailed("storage_full", f"The worker has no room left on its disk: {error}")
    return JobFailed("worker_lost", f"The worker could not go on: {error}")


def _batch_size(claim: Claim) -> int:
    """Images of a step of a training; 0 where its config does not say."""
    config = claim.resolved_config or claim.spec.get("config", {})
    size = config.get("batch_size", 0) if isinstance(config, dict) else 0
    return size if isinstance(size, int) else 0


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
