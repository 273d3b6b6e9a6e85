"""Any order of submissions, claims, losses, requests, quotas, drains and ends does what the model here says.

The model is a second, plain description of a job's life; after every step the rows of both databases must be
as it says. The battery is short by default; `make machine` runs the long one:

    HARMONICDET_MACHINE_RUNS   runs on each database (default 12)
    HARMONICDET_MACHINE_STEPS  steps of a run (default 40)
    HARMONICDET_MACHINE_REPORT folder for a JSON of what was run on each database
"""

import json
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from store import datasets, jobs, models, quotas, workers
from store.clock import database_now
from store.errors import (
    ActionNotPossible,
    CancelRequested,
    DatasetInUse,
    DatasetNotFound,
    DatasetNotUsable,
    Fenced,
    JobAlreadyFinished,
    JobBeingCancelled,
    JobNotPaused,
    JobNotRetryable,
    JobNotStarted,
    QuotaExceeded,
    StoreError,
)
from store.ids import new_id
from store.jobs import Claim
from store.sessions import Database, migrate
from store.tables import (
    FINISHED,
    Checkpoint,
    Dataset,
    DatasetStatus,
    Evaluation,
    Job,
    JobEvent,
    JobKind,
    JobMetric,
    JobStatus,
    Model,
    Project,
    RequestedAction,
    Worker,
)
from tests.store.helpers import BOX, PROBLEM, change, do, end_lease
from tests.store.test_jobs import MODEL

RUNS = int(os.environ.get("HARMONICDET_MACHINE_RUNS", "12"))
STEPS = int(os.environ.get("HARMONICDET_MACHINE_STEPS", "40"))
REPORT = os.environ.get("HARMONICDET_MACHINE_REPORT")
LONG = RUNS > 100

MOST_JOBS = 7
LEASE = 3600.0
ANY = st.integers(0, 59)  # chosen among what there is
PROGRESS = ["measure", "evaluate", "checkpoint", "checkpoint", "drop"]
TRAIN, VALIDATE = JobKind.TRAIN, JobKind.VALIDATE
QUEUED, RUNNING, PAUSED = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED
SUCCEEDED, FAILED, CANCELLED = JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED
CANCEL, PAUSE, STOP = RequestedAction.CANCEL, RequestedAction.PAUSE, RequestedAction.STOP


@dataclass
class Data:
    """What a dataset should be."""

    id: str
    status: DatasetStatus = DatasetStatus.VALIDATING


@dataclass
class Life:
    """What a job should be."""

    id: str
    kind: JobKind
    data: Data
    priority: int = 0
    max_attempts: int = 20
    status: JobStatus = QUEUED
    requested: RequestedAction | None = None
    attempt: int = 0
    excused: int = 0
    stalls: int = 0
    delayed: bool = False
    reason: str | None = None
    checkpoint: int = -1
    checkpoints: list[int] = field(default_factory=list)
    metrics: dict[int, float | None] = field(default_factory=dict)  # AP by step; None: of training
    events: list[str] = field(default_factory=lambda: ["job.queued"])
    claims: list[Claim] = field(default_factory=list)

    def happens(self, event: str, **changes: Any) -> None:
        self.events.append(event)
        for name, value in changes.items():
            assert hasattr(self, name)
            setattr(self, name, value)

    def queue(self, event: str, **changes: Any) -> None:
        values = {"status": QUEUED, "requested": None, "reason": None, "delayed": False}
        self.happens(event, **(values | changes))

    def end(self, status: JobStatus, reason: str | None) -> None:
        self.happens(f"job.{status}", status=status, reason=reason, requested=None)

    def give_back(self, *, stalled: bool, reason: str | None) -> None:
        stalls, excused = self.stalls + int(stalled), self.excused + int(not stalled)
        spent = stalled and (stalls >= jobs.STALLS_ALLOWED or self.attempt - excused >= self.max_attempts)
        if self.requested is CANCEL:
            self.end(CANCELLED, "user_cancelled")
        elif self.requested is PAUSE:
            self.queue("job.paused", status=PAUSED, stalls=stalls, excused=excused)
        elif spent:
            self.end(FAILED, "worker_lost")
            self.stalls = stalls
        else:
            self.queue(
                "job.requeued",
                requested=self.requested,
                reason=reason,
                stalls=stalls,
                excused=excused,
                delayed=stalled,
            )


class JobMachine(RuleBasedStateMachine):
    """A project with its quotas, its datasets, jobs and workers; every claim ever made may still write."""

    database: ClassVar[Database]
    counts: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.lives: list[Life] = []
        self.data: list[Data] = []
        self.workers: list[str] = []
        self.draining: set[str] = set()
        self.max_queued = self.max_running = 0
        self.clock = 0  # steps of training, over all jobs
        self.counts["runs"] += 1
        self.project = new_id("prj")

        def make(session: Session) -> None:
            session.add(Project(id=self.project, name=self.project))

        self.database.run(make)

    @initialize(ready=st.sampled_from([True, True, True, False]), attempts=st.sampled_from([20, 4, 3]))
    def begin(self, ready: bool, attempts: int) -> None:
        """Two workers, a dataset and a training are there, most often running on a valid one."""
        self.start_worker()
        self.start_worker()
        self.upload()
        if ready:
            self.claim(self.lives[0], self.workers[0])
            self.verdict(0, valid=True)
        self.submit(0, 0, attempts)
        self.claim(self.lives[-1], self.workers[0])

    # Helpers

    def counted(self, status: JobStatus) -> int:
        return sum(life.status is status for life in self.lives if life.kind is TRAIN)

    def queue_is_full(self) -> bool:
        """Whether one more would be too many."""
        return self.max_queued > 0 and self.counted(QUEUED) + 1 > self.max_queued

    def may_run(self, life: Life) -> bool:
        return life.kind is VALIDATE or not self.max_running or self.counted(RUNNING) < self.max_running

    def claimable(self, life: Life) -> bool:
        ready = life.kind is VALIDATE or life.data.status is DatasetStatus.READY
        return life.status is QUEUED and not life.delayed and ready and self.may_run(life)

    def due(self, queue: str) -> list[Life]:
        kind = TRAIN if queue == "train" else VALIDATE
        waiting = [life for life in self.lives if life.kind is kind and self.claimable(life)]
        return sorted(waiting, key=lambda life: (-life.priority, life.id))

    def pick(self, number: int, *statuses: JobStatus) -> Life:
        """A job, one in these statuses if there is any."""
        fitting = [life for life in self.lives if life.status in statuses] or self.lives
        return fitting[number % len(fitting)]

    def attempted(self, what: str, expected: type[StoreError] | None, act: Callable[[], Any]) -> Any:
        """The result of `act`, which must be refused with exactly the error that the model expects."""
        try:
            result = act()
        except StoreError as error:
            if type(error) is not expected:
                raise
            self.counts[f"{what}: {error.code}"] += 1
            return None
        assert expected is None, (what, expected)
        self.counts[what] += 1
        return result

    def unsettle(self, data: Data, status: DatasetStatus) -> None:
        """A dataset got its verdict; an invalid one fails what waits for it."""
        data.status = status
        if status is DatasetStatus.INVALID:
            for life in sorted(self.lives, key=lambda life: life.id):
                if life.data is data and life.kind is TRAIN and life.status in (QUEUED, PAUSED):
                    life.end(FAILED, "dataset_invalid")

    def ended(self, life: Life) -> None:
        """A validation that ended without a verdict leaves its dataset invalid."""
        open_ = life.kind is VALIDATE and life.data.status is DatasetStatus.VALIDATING
        if open_ and life.status in (FAILED, CANCELLED):
            self.unsettle(life.data, DatasetStatus.INVALID)

    # What users do

    @precondition(lambda self: len(self.lives) < MOST_JOBS and len(self.data) < 2)
    @rule()
    def upload(self) -> None:
        dataset, job = self.database.run(
            lambda session: datasets.create(
                session,
                project_id=self.project,
                name="cells",
                options={},
                archive="sha256/ab/ab",
                archive_sha256="ab",
                archive_bytes=10,
            )
        )
        self.data.append(Data(dataset.id))
        self.lives.append(Life(job.id, VALIDATE, self.data[-1]))

    @precondition(lambda self: len(self.lives) < MOST_JOBS)
    @rule(number=ANY, priority=st.integers(-1, 1), max_attempts=st.sampled_from([1, 2, 3, 4, 20]))
    def submit(self, number: int, priority: int, max_attempts: int) -> None:
        data = self.data[number % len(self.data)]
        expected: type[StoreError] | None = None
        if data.status is DatasetStatus.INVALID:
            expected = DatasetNotUsable
        elif self.queue_is_full():
            expected = QuotaExceeded
        job = self.attempted(
            "submit",
            expected,
            lambda: do(
                self.database,
                jobs.create,
                project_id=self.project,
                kind=TRAIN,
                queue="train",
                spec={},
                dataset_id=data.id,
                priority=priority,
                max_attempts=max_attempts,
            ),
        )
        if job is not None:
            self.lives.append(Life(job.id, TRAIN, data, priority, max_attempts))

    @rule(number=ANY, action=st.sampled_from([CANCEL, PAUSE, PAUSE, STOP, STOP]))
    def ask(self, number: int, action: RequestedAction) -> None:
        life = self.pick(number, QUEUED, RUNNING, PAUSED) if number % 4 else self.pick(number)
        repeated = {
            CANCEL: life.status is CANCELLED,
            PAUSE: life.status is PAUSED,
            STOP: life.status is SUCCEEDED and life.reason == "stopped",
        }[action] or (life.requested is action and life.status not in FINISHED)
        expected: type[StoreError] | None = None
        if not repeated:
            if life.status in FINISHED:
                expected = JobAlreadyFinished
            elif life.requested is CANCEL:
                expected = JobBeingCancelled
            elif action is not CANCEL and life.kind is VALIDATE:
                expected = ActionNotPossible
            elif action is STOP and life.status is not RUNNING and life.checkpoint < 0:
                expected = JobNotStarted
            elif action is STOP and life.status is PAUSED and self.queue_is_full():
                expected = QuotaExceeded
        outcome = self.attempted(
            f"{action}", expected, lambda: do(self.database, jobs.request, self.project, life.id, action)
        )
        if outcome is None:
            return
        assert outcome.changed is not repeated
        if repeated:
            return
        if life.status is RUNNING:
            life.happens(f"job.{action}_requested", requested=action)
        elif action is CANCEL:
            life.end(CANCELLED, "user_cancelled")
            self.ended(life)
        elif action is PAUSE:
            life.happens("job.paused", status=PAUSED, requested=None)
        else:
            anew = {"stalls": 0, "excused": life.attempt} if life.status is PAUSED else {}
            life.queue("job.stop_requested", requested=STOP, **anew)

    @rule(number=ANY, verb=st.sampled_from(["resume", "retry"]))
    def queue_again(self, number: int, verb: str) -> None:
        (self.resume if verb == "resume" else self.retry)(number)

    def resume(self, number: int) -> None:
        life = self.pick(number, PAUSED)
        expected: type[StoreError] | None = None
        if life.status not in (QUEUED, PAUSED):
            expected = JobNotPaused
        elif life.status is PAUSED and self.queue_is_full():
            expected = QuotaExceeded
        outcome = self.attempted(
            "resume", expected, lambda: do(self.database, jobs.resume, self.project, life.id)
        )
        if outcome is not None and outcome.changed:
            assert life.status is PAUSED
            life.queue("job.resumed", stalls=0, excused=life.attempt)

    def retry(self, number: int) -> None:
        life = self.pick(number, FAILED, CANCELLED)
        expected: type[StoreError] | None = None
        if life.status is not QUEUED:
            if life.status not in (FAILED, CANCELLED):
                expected = JobNotRetryable
            elif life.data not in self.data:
                expected = DatasetNotFound
            elif life.kind is TRAIN and life.data.status is DatasetStatus.INVALID:
                expected = DatasetNotUsable
            elif life.kind is TRAIN and self.queue_is_full():
                expected = QuotaExceeded
        outcome = self.attempted(
            "retry", expected, lambda: do(self.database, jobs.retry, self.project, life.id)
        )
        if outcome is not None and outcome.changed:
            assert life.status in (FAILED, CANCELLED)
            life.queue("job.retried", stalls=0, excused=life.attempt)
            if life.kind is VALIDATE:
                life.data.status = DatasetStatus.VALIDATING

    @rule(
        number=ANY,
        what=st.sampled_from(["quotas", "quotas", "drain", "undrain", "undrain", "worker", "delete"]),
        queued=st.sampled_from([0, 0, 1, 3]),
        running=st.sampled_from([0, 0, 1, 2]),
    )
    def manage(self, number: int, what: str, queued: int, running: int) -> None:
        """What an operator does, and now and then the owner of a dataset."""
        match what:
            case "quotas":
                self.set_quotas(queued, running)
            case "drain" | "undrain":
                self.drain(number, what == "drain")
            case "worker" if len(self.workers) < 4:
                self.start_worker()
            case "delete" if len(self.data) > 1:
                self.delete_dataset(number)

    def delete_dataset(self, number: int) -> None:
        data = self.data[number % len(self.data)]
        used = any(life.data is data and life.status not in FINISHED for life in self.lives)
        self.attempted(
            "delete dataset",
            DatasetInUse if used else None,
            lambda: do(self.database, datasets.delete, self.project, data.id),
        )
        if not used:
            self.data.remove(data)

    def set_quotas(self, queued: int, running: int) -> None:
        self.max_queued, self.max_running = queued, running
        do(
            self.database,
            quotas.limit,
            self.project,
            max_queued_jobs=queued,
            max_running_jobs=running,
        )

    # What workers do

    def start_worker(self) -> None:
        worker_id = new_id("wrk")
        do(
            self.database,
            workers.register,
            worker_id=worker_id,
            name=worker_id,
            queue="train",
            device="cpu",
            host="h",
            pid=1,
            version="1",
        )
        self.workers.append(worker_id)

    def drain(self, number: int, draining: bool) -> None:
        worker_id = self.workers[number % len(self.workers)]
        _, changed = do(self.database, workers.drain, worker_id, draining)
        assert changed == (draining is not (worker_id in self.draining))
        (self.draining.add if draining else self.draining.discard)(worker_id)
        assert do(self.database, workers.beat, worker_id).draining is draining

    def claim(self, life: Life, worker_id: str) -> None:
        """Following a hint, which may be a wrong or an old one."""
        possible = self.claimable(life) and worker_id not in self.draining
        claim = do(self.database, jobs.claim, life.id, worker="w", lease_seconds=LEASE, worker_id=worker_id)
        assert (claim is not None) == possible, life
        if claim is not None:
            self.took(life, claim)

    def took(self, life: Life, claim: Claim) -> None:
        life.happens("job.started", status=RUNNING, reason=None, attempt=life.attempt + 1)
        life.metrics = {step: ap for step, ap in life.metrics.items() if step <= life.checkpoint}
        told = (claim.job_id, claim.token, claim.attempt, claim.checkpoint_step, claim.requested_action)
        assert told == (life.id, life.attempt, life.attempt, life.checkpoint, life.requested)
        assert claim.max_attempts == life.max_attempts
        life.claims.append(claim)
        self.counts["claim"] += 1

    @rule(number=ANY, worker=ANY)
    def follow_a_hint(self, number: int, worker: int) -> None:
        self.claim(self.pick(number, QUEUED), self.workers[worker % len(self.workers)])

    @rule(queue=st.sampled_from(["train", "train", "ingest"]), worker=ANY)
    def claim_the_next(self, queue: str, worker: int) -> None:
        worker_id = self.workers[worker % len(self.workers)]
        due = [] if worker_id in self.draining else self.due(queue)
        claim = do(
            self.database, jobs.claim_next, queue, worker="w", lease_seconds=LEASE, worker_id=worker_id
        )
        assert (claim and claim.job_id) == (due[0].id if due else None)
        if claim is not None:
            self.took(due[0], claim)

    @precondition(lambda self: self.counted(RUNNING))
    @rule(number=ANY, verbs=st.lists(st.sampled_from(PROGRESS), min_size=1, max_size=4))
    def progress(self, number: int, verbs: list[str]) -> None:
        """The commonest thing to happen."""
        running = [life for life in self.lives if life.status is RUNNING and life.kind is TRAIN]
        life = running[number % len(running)]
        for verb in verbs:
            self.write(life, life.claims[-1], verb)

    @precondition(lambda self: self.counted(RUNNING))
    @rule(number=ANY, progress=st.booleans())
    def pass_to_another_worker(self, number: int, progress: bool) -> None:
        """The commonest fault: some steps, perhaps a checkpoint, more steps, and the worker is gone."""
        running = [life for life in self.lives if life.status is RUNNING and life.kind is TRAIN]
        life = running[number % len(running)]
        for verb in ["measure", "checkpoint", "evaluate"] if progress else ["measure"]:
            self.write(life, life.claims[-1], verb)
        self.lose(life)
        self.time_passes(life)
        self.claim(life, self.workers[0])

    @precondition(lambda self: self.counted(RUNNING))
    @rule(
        number=ANY, end=st.sampled_from(["release", "stall", "stall", "succeed", "succeed stopped", "fail"])
    )
    def end_an_attempt(self, number: int, end: str) -> None:
        running = [life for life in self.lives if life.status is RUNNING and life.kind is TRAIN]
        life = running[number % len(running)]
        self.write(life, life.claims[-1], "cancel" if life.requested is CANCEL and number % 2 else end)

    @precondition(lambda self: any(life.claims for life in self.lives))
    @rule(
        number=ANY,
        old=st.sampled_from([-1, -1, -1, -2, -3]),
        # Ends are kept rare, so that many attempts follow one another.
        verb=st.sampled_from(
            ["beat", "measure", "checkpoint", "phase", "event", "log", "drop", "forget"] * 2
            + ["release", "stall", "succeed", "succeed stopped", "fail", "cancel"]
        ),
    )
    def write_with_any_claim(self, number: int, old: int, verb: str) -> None:
        """The newest claim of a job, or a zombie's."""
        having = [life for life in self.lives if life.claims]
        having = [life for life in having if life.status is RUNNING] or having
        life = having[number % len(having)]
        claim = life.claims[max(old, -len(life.claims))]
        if not (verb == "cancel" and claim is life.claims[-1] and life.requested is not CANCEL):
            self.write(life, claim, verb)

    def write(self, life: Life, claim: Claim, verb: str) -> None:
        if verb == "forget" and claim.checkpoint_step != life.checkpoint:
            verb = "beat"  # only the one that the claim began with can be found unreadable
        if life.kind is VALIDATE and verb not in ("beat", "phase", "release", "stall", "fail", "cancel"):
            verb = "beat"
        ours = claim is life.claims[-1] and life.status is RUNNING
        expected: type[StoreError] | None = None if ours else Fenced
        if ours and verb.startswith("succeed") and life.requested is CANCEL:
            expected = CancelRequested
        self.clock += 1
        what = verb if claim is life.claims[-1] else f"{verb} of an old claim"
        act: Callable[[Session], Any] = getattr(self, f"_{verb.split()[0]}")(claim, verb)
        done = self.attempted(what, expected, lambda: (self.database.run(act),))
        if done is not None:
            self.written(life, claim, verb, done[0])

    def written(self, life: Life, claim: Claim, verb: str, result: Any) -> None:
        """What the model makes of a write that was accepted."""
        match verb:
            case "beat":
                assert result == life.requested
            case "measure":
                life.metrics[self.clock] = None
            case "evaluate":
                life.metrics[self.clock] = self.clock % 5 / 10
            case "checkpoint":
                life.checkpoints.append(self.clock)
                life.happens("job.checkpoint", checkpoint=self.clock, stalls=0)
            case "phase":
                life.happens("job.phase")
            case "event":
                life.happens("job.notice")
            case "drop":
                kept = self.kept(life)
                assert {int(key[-11:-3]) for key in result} == set(life.checkpoints) - kept
                life.checkpoints = sorted(kept)
            case "forget":
                life.checkpoints = [step for step in life.checkpoints if step < max(claim.checkpoint_step, 0)]
                before = max(life.checkpoints, default=-1)
                life.happens("job.checkpoint_forgotten", checkpoint=before)
                life.metrics = {step: ap for step, ap in life.metrics.items() if step <= before}
                assert result.checkpoint_step == before
                life.claims[-1] = result
            case "release" | "stall":
                life.give_back(stalled=verb == "stall", reason=None)
                assert result is life.status
                self.ended(life)
            case "succeed" | "succeed stopped":
                life.end(SUCCEEDED, "stopped" if verb == "succeed stopped" else None)
            case "fail":
                if life.requested is CANCEL:
                    life.end(CANCELLED, "user_cancelled")
                else:
                    life.end(FAILED, "internal_error")
                self.ended(life)
            case "cancel":
                life.end(CANCELLED, "user_cancelled")
                self.ended(life)

    def kept(self, life: Life) -> set[int]:
        """The last two checkpoints, the one to go on from, and the first since the highest AP."""
        kept = {*life.checkpoints[-2:], life.checkpoint} & set(life.checkpoints)
        measured = {step: ap for step, ap in life.metrics.items() if ap is not None}
        if measured:
            best = min(measured, key=lambda step: (-measured[step], step))
            kept |= {min((step for step in life.checkpoints if step >= best), default=life.checkpoint)}
        return kept & set(life.checkpoints)

    def _beat(self, claim: Claim, _: str) -> Callable[[Session], Any]:
        return lambda session: jobs.heartbeat(session, claim)

    def _measure(self, claim: Claim, _: str) -> Callable[[Session], Any]:
        return lambda session: jobs.record_metrics(
            session, claim, [("train", self.clock, 1.0, {"loss": 1.0})]
        )

    def _evaluate(self, claim: Claim, _: str) -> Callable[[Session], Any]:
        ap = self.clock % 5 / 10
        return lambda session: jobs.record_metrics(session, claim, [("val", self.clock, 1.0, {"AP": ap})])

    def _checkpoint(self, claim: Claim, _: str) -> Callable[[Session], Any]:
        key = f"jobs/{claim.job_id}/{claim.token}/step-{self.clock:08d}.pt"
        return lambda session: jobs.record_checkpoint(
            session, claim, key=key, sha256="ab", bytes=1, step=self.clock, epoch=1.0
        )

    def _phase(self, claim: Claim, _: str) -> Callable[[Session], Any]:
        return lambda session: jobs.set_phase(session, claim, "training")

    def _event(self, claim: Claim, _: str) -> Callable[[Session], Any]:
        return lambda session: jobs.append_event(session, claim, "job.notice", {})

    def _log(self, claim: Claim, _: str) -> Callable[[Session], Any]:
        return lambda session: jobs.set_log_tail(session, claim, f"{self.clock}\n")

    def _drop(self, claim: Claim, _: str) -> Callable[[Session], Any]:
        return lambda session: jobs.drop_checkpoints(session, claim)

    def _forget(self, claim: Claim, _: str) -> Callable[[Session], Any]:
        return lambda session: jobs.forget_checkpoint(session, claim)

    def _release(self, claim: Claim, _: str) -> Callable[[Session], Any]:
        return lambda session: jobs.release(session, claim, stalled=False)

    def _stall(self, claim: Claim, _: str) -> Callable[[Session], Any]:
        return lambda session: jobs.release(session, claim, stalled=True)

    def _succeed(self, claim: Claim, verb: str) -> Callable[[Session], Any]:
        reason = "stopped" if verb == "succeed stopped" else None
        return lambda session: models.finish_training(session, claim, model=MODEL, status_reason=reason)

    def _fail(self, claim: Claim, _: str) -> Callable[[Session], Any]:
        return lambda session: jobs.fail(session, claim, reason="internal_error", error=PROBLEM)

    def _cancel(self, claim: Claim, _: str) -> Callable[[Session], Any]:
        return lambda session: jobs.cancel_now(session, claim)

    @precondition(
        lambda self: (
            any(life.kind is VALIDATE and life.status is RUNNING for life in self.lives)
            or (self.clock % 3 == 0 and any(life.kind is VALIDATE and life.claims for life in self.lives))
        )
    )
    @rule(number=ANY, valid=st.sampled_from([True, True, False]))
    def verdict(self, number: int, valid: bool) -> None:
        """A validation ends, or a zombie of it tries to."""
        having = [life for life in self.lives if life.kind is VALIDATE and life.claims]
        having = [life for life in having if life.status is RUNNING] or having
        life = having[number % len(having)]
        claim = life.claims[-1]
        expected: type[StoreError] | None = None
        if life.status is not RUNNING:
            expected = Fenced
        elif life.requested is CANCEL:
            expected = CancelRequested

        def ready(session: Session) -> tuple[object]:
            kwargs: dict[str, Any] = {"index": "sha256/cd/cd", "format": "coco", "summary": {}}
            return (datasets.mark_ready(session, claim, images=[BOX], findings=[], **kwargs),)

        def invalid(session: Session) -> tuple[object]:
            kwargs: dict[str, Any] = {"format": None, "summary": None, "error": PROBLEM}
            return (datasets.mark_invalid(session, claim, findings=[], **kwargs),)

        done = self.attempted(
            "ready" if valid else "invalid",
            expected,
            lambda: self.database.run(ready if valid else invalid),
        )
        if done is not None:
            life.end(SUCCEEDED, None if valid else "dataset_invalid")
            self.unsettle(life.data, DatasetStatus.READY if valid else DatasetStatus.INVALID)

    # What time and any process do

    def lose(self, life: Life) -> None:
        end_lease(self.database, life.id)
        reaped = do(self.database, jobs.reap)
        assert reaped == [life.id]
        life.give_back(stalled=True, reason="worker_lost")
        self.ended(life)
        self.counts["reap"] += 1

    @rule(number=ANY)
    def lose_a_worker(self, number: int) -> None:
        running = [life for life in self.lives if life.status is RUNNING]
        if running:
            self.lose(running[number % len(running)])
        assert do(self.database, jobs.reap) == []

    @precondition(lambda self: any(life.delayed and life.status is QUEUED for life in self.lives))
    @rule(number=ANY)
    def a_delay_passes(self, number: int) -> None:
        delayed = [life for life in self.lives if life.delayed and life.status is QUEUED]
        self.time_passes(delayed[number % len(delayed)])

    def time_passes(self, life: Life) -> None:
        if life.status is QUEUED and life.delayed:
            change(self.database, life.id, not_before=0.0)
            life.delayed = False

    @rule(number=ANY)
    def look(self, number: int) -> None:
        if number % 2:
            self.dispatch()
        else:
            self.look_at_the_queue(number // 2)

    def dispatch(self) -> None:
        """What can be claimed is announced, by priority then age; what cannot is not."""
        hinted = do(self.database, jobs.due_for_hint, interval_seconds=0.0)
        due = sorted(self.due("train") + self.due("ingest"), key=lambda life: (-life.priority, life.id))
        assert hinted == [(life.id, "train" if life.kind is TRAIN else "ingest") for life in due]
        self.counts["dispatch"] += 1

    def look_at_the_queue(self, number: int) -> None:
        life = self.pick(number, QUEUED)
        with self.database.read() as session:
            row = jobs.get(session, self.project, life.id)
            waiting, place = jobs.waiting_for(session, row), jobs.queue_position(session, row)
        if life.status is not QUEUED:
            assert (waiting, place) == (None, None)
            return
        if life.kind is TRAIN and life.data.status is DatasetStatus.VALIDATING:
            assert waiting == "dataset"
        elif life.delayed:
            assert waiting == "delay"
        else:
            assert waiting == ("worker" if self.may_run(life) else "quota")
        ahead = [
            other
            for other in self.lives
            if other.status is QUEUED
            and other.kind is life.kind
            and (-other.priority, other.id) < (-life.priority, life.id)
        ]
        assert place == len(ahead) + 1
        self.counts["look"] += 1

    # What must hold after each of them

    @invariant()
    def the_rows_are_as_the_model_says(self) -> None:
        self.counts["steps"] += 1
        with self.database.read() as session:
            self.compare(session)

    def compare(self, session: Session) -> None:
        def of_job(table: Any, value: Any) -> Any:
            return select(value).where(table.job_id == Job.id).correlate(Job).scalar_subquery()

        rows = session.execute(
            select(
                Job,
                of_job(JobEvent, func.count()),
                of_job(JobEvent, func.coalesce(func.max(JobEvent.number), 0)),
                of_job(JobMetric, func.count()),
                of_job(JobMetric, func.coalesce(func.sum(JobMetric.step), 0)),
                of_job(Checkpoint, func.count()),
                of_job(Checkpoint, func.coalesce(func.sum(Checkpoint.step), 0)),
                of_job(Model, func.count()),
            )
            .where(Job.project_id == self.project)
            .order_by(Job.id)
        ).all()
        lives = sorted(self.lives, key=lambda life: life.id)
        assert [row[0].id for row in rows] == [life.id for life in lives]
        for (job, events, last, metrics, steps, kept, kept_steps, made), life in zip(
            rows, lives, strict=True
        ):
            is_ = (job.status, job.requested_action, job.attempt, job.excused, job.stalls)
            assert is_ == (life.status, life.requested, life.attempt, life.excused, life.stalls), life
            assert job.checkpoint_step == life.checkpoint
            assert job.token == job.attempt == len(life.claims)
            if job.status is not PAUSED:
                assert job.status_reason == life.reason
            assert (job.not_before > time.time() + 600) == life.delayed or job.status is not QUEUED
            assert (job.finished_at is not None) == (job.status in FINISHED)
            assert (job.lease_until > 0) == (job.status is RUNNING)
            assert (job.error is not None) == (job.status is FAILED)
            assert job.attempt - job.excused <= job.max_attempts
            assert job.requested_action is None or job.status in (RUNNING, QUEUED)
            assert events == last == job.next_event - 1 == len(life.events), life
            assert (metrics, steps) == (len(life.metrics), sum(life.metrics)), life
            assert (kept, kept_steps) == (len(life.checkpoints), sum(life.checkpoints)), life
            assert made == int(job.status is SUCCEEDED and job.kind is TRAIN)
        found = session.execute(select(Dataset.id, Dataset.status).where(Dataset.project_id == self.project))
        assert {row.id: row.status for row in found.all()} == {data.id: data.status for data in self.data}

    def teardown(self) -> None:
        """Events of all attempts are whole and in order; then nothing is left for the next run."""
        with self.database.read() as session:
            for life in self.lives:
                told = session.execute(
                    select(JobEvent.number, JobEvent.type)
                    .where(JobEvent.job_id == life.id)
                    .order_by(JobEvent.number)
                ).all()
                assert [tuple(event) for event in told] == list(enumerate(life.events, start=1))
        self.database.run(self.clear)

    def clear(self, session: Session) -> None:
        for table in (Evaluation, Model, Job, Dataset):
            session.execute(delete(table).where(table.project_id == self.project))
        session.execute(delete(Worker).where(Worker.id.in_(self.workers)))
        session.execute(delete(Project).where(Project.id == self.project))


@pytest.fixture(params=["sqlite", "postgresql"])
def battery(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database of each kind, SQLite in memory where that can be. No delay ends by itself."""
    monkeypatch.setattr(jobs, "REQUEUE_SECONDS", 3600.0)
    folder = None
    if request.param == "sqlite":
        memory = Path("/dev/shm")
        folder = tempfile.mkdtemp(prefix="harmonicdet-", dir=memory if memory.is_dir() else None)
        url = f"sqlite:///{folder}/harmonicdet.db"
        migrate(url)
    else:
        url = str(request.getfixturevalue("postgresql_server").new_database())
        migrate(url)
    JobMachine.database = Database(url)
    JobMachine.counts = Counter()
    yield request.param
    JobMachine.database.dispose()
    if folder is not None:
        shutil.rmtree(folder)


@pytest.mark.timeout(0 if LONG else 300)
def test_any_order_does_what_the_model_says(battery: str) -> None:
    began, cpu = time.monotonic(), time.process_time()
    run_state_machine_as_test(
        JobMachine,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=not LONG,
            print_blob=True,
            phases=[Phase.generate],  # what fails is short enough to be read
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    counts = JobMachine.counts
    assert counts["runs"] >= RUNS
    if REPORT:
        figures = {
            "database": battery,
            "seconds": round(time.monotonic() - began),
            "cpu_seconds": round(time.process_time() - cpu),
            **dict(sorted(counts.items())),
        }
        Path(REPORT).mkdir(parents=True, exist_ok=True)
        Path(REPORT, f"machine-{battery}.json").write_text(json.dumps(figures, indent=1) + "\n")


def test_the_model_would_notice(battery: str) -> None:
    """A machine whose rows are changed behind its back fails: the comparison is not an empty one."""
    machine = JobMachine()
    machine.begin(ready=True, attempts=3)
    machine.the_rows_are_as_the_model_says()
    change(JobMachine.database, machine.lives[-1].id, stalls=1, lease_until=database_now())
    with pytest.raises(AssertionError):
        machine.the_rows_are_as_the_model_says()
    JobMachine.database.run(machine.clear)
