"""Any order of workers, losses, requests and finishes keeps a job consistent."""

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from store import jobs, models
from store.errors import Conflict, Fenced
from store.jobs import Claim
from store.sessions import Database, migrate
from store.tables import DEFAULT_PROJECT, FINISHED, JobStatus, RequestedAction
from tests.store.helpers import (
    PROBLEM,
    checkpoint,
    do,
    end_lease,
    event_types,
    job,
    make_due,
    measure,
    queue_training,
    steps,
)
from tests.store.test_jobs import MODEL


class JobMachine(RuleBasedStateMachine):
    """One training and every claim ever made of it; only the newest may write, and only while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        url = f"sqlite:///{Path(self.directory.name) / 'machine.db'}"
        migrate(url)
        self.database = Database(url)
        self.job_id = queue_training(self.database).id
        self.claims: list[Claim] = []
        self.cancel_accepted = False
        self.seen_events = 0
        self.steps = itertools.count(1)

    def teardown(self) -> None:
        self.database.dispose()
        self.directory.cleanup()

    @property
    def status(self) -> JobStatus:
        return job(self.database, self.job_id).status

    @rule()
    def claim(self) -> None:
        claimable = self.status is JobStatus.QUEUED
        make_due(self.database, self.job_id)
        claim = do(self.database, jobs.claim, self.job_id, worker="w", lease_seconds=30)
        assert (claim is not None) == claimable
        if claim is not None:
            assert all(claim.token > earlier.token for earlier in self.claims)
            assert all(step <= claim.checkpoint_step for step in steps(self.database, self.job_id))
            self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        verb=st.sampled_from(
            ["beat", "measure", "checkpoint", "succeed", "fail", "release", "stall", "cancel"]
        ),
    )
    def write(self, data: st.DataObject, verb: str) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        ours = claim is self.claims[-1] and self.status is JobStatus.RUNNING
        cancelled = job(self.database, self.job_id).requested_action is RequestedAction.CANCEL
        step = next(self.steps)
        try:
            match verb:
                case "beat":
                    do(self.database, jobs.heartbeat, claim)
                case "measure":
                    measure(self.database, claim, step)
                case "checkpoint":
                    checkpoint(self.database, claim, step)
                case "succeed":
                    do(self.database, models.finish_training, claim, model=MODEL)
                case "fail":
                    do(self.database, jobs.fail, claim, reason="internal_error", error=PROBLEM)
                case "release" | "stall":
                    do(self.database, jobs.release, claim, stalled=verb == "stall")
                case "cancel" if cancelled:
                    do(self.database, jobs.cancel_now, claim)
        except Fenced:
            assert not ours or (verb == "succeed" and cancelled)
        else:
            assert ours or (verb == "cancel" and not cancelled)

    @precondition(lambda self: self.claims)
    @rule()
    def lose_the_worker(self) -> None:
        running = self.status is JobStatus.RUNNING
        if running:
            end_lease(self.database, self.job_id)
        assert do(self.database, jobs.reap) == ([self.job_id] if running else [])

    @rule(action=st.sampled_from(RequestedAction))
    def ask(self, action: RequestedAction) -> None:
        try:
            do(self.database, jobs.request, DEFAULT_PROJECT, self.job_id, action)
        except Conflict:
            return
        self.cancel_accepted |= action is RequestedAction.CANCEL

    @rule(verb=st.sampled_from([jobs.resume, jobs.retry]))
    def queue_again(self, verb: object) -> None:
        before = self.status
        try:
            outcome = do(
                self.database,
                jobs.resume if verb is jobs.resume else jobs.retry,
                DEFAULT_PROJECT,
                self.job_id,
            )
        except Conflict:
            assert before is not (JobStatus.PAUSED if verb is jobs.resume else JobStatus.FAILED)
            return
        if outcome.changed:
            self.cancel_accepted = False

    @invariant()
    def consistent(self) -> None:
        row = job(self.database, self.job_id)
        assert row.token == row.attempt == len(self.claims)
        assert row.stalls <= jobs.STALLS_ALLOWED
        assert (row.finished_at is not None) == (row.status in FINISHED)
        assert (row.lease_until > 0) == (row.status is JobStatus.RUNNING)
        assert row.requested_action is None or row.status in (JobStatus.RUNNING, JobStatus.QUEUED)
        if self.cancel_accepted:
            assert row.status is JobStatus.CANCELLED or row.requested_action is RequestedAction.CANCEL
        with self.database.read() as session:
            model = models.of_job(session, DEFAULT_PROJECT, self.job_id)
        assert (model is not None) == (row.status is JobStatus.SUCCEEDED)
        events = len(event_types(self.database, self.job_id))  # numbered 1, 2, 3, …
        assert row.next_event == events + 1
        assert events >= self.seen_events
        self.seen_events = events


JobMachine.TestCase.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestJobMachine = JobMachine.TestCase
