"""Any order of workers, losses, requests and finishes keeps a job consistent."""

import itertools
from typing import ClassVar

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from store import jobs, models
from store.errors import Conflict, Fenced
from store.jobs import Claim
from store.sessions import Database
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

    database: ClassVar[Database]

    def __init__(self) -> None:
        super().__init__()
        self.job_id = queue_training(self.database).id
        self.claims: list[Claim] = []
        self.cancel_accepted = False
        self.seen_events = 0
        self.steps = itertools.count(1)

    @property
    def status(self) -> JobStatus:
        return job(self.database, self.job_id).status

    @precondition(lambda self: self.status is JobStatus.RUNNING)
    @rule(progress=st.booleans())
    def pass_to_another_worker(self, progress: bool) -> None:
        """The commonest story: some steps, perhaps a checkpoint, more steps, and the worker is gone."""
        measure(self.database, self.claims[-1], next(self.steps))
        if progress:
            checkpoint(self.database, self.claims[-1], next(self.steps))
            measure(self.database, self.claims[-1], next(self.steps))
        self.lose_the_worker()
        self.claim()

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
        # Ends are kept rare, so that many attempts follow one another.
        verb=st.sampled_from(
            ["beat", "measure", "checkpoint"] * 3
            + ["release", "stall"]
            + ["succeed"] * 2
            + ["fail", "cancel"]
        ),
    )
    def write(self, data: st.DataObject, verb: str) -> None:
        claim = data.draw(st.sampled_from([*self.claims, self.claims[-1], self.claims[-1]]))
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

    @rule()
    def lose_the_worker(self) -> None:
        running = self.status is JobStatus.RUNNING
        if running:
            end_lease(self.database, self.job_id)
        assert (self.job_id in do(self.database, jobs.reap)) == running

    @rule(action=st.sampled_from(RequestedAction))
    def ask(self, action: RequestedAction) -> None:
        try:
            do(self.database, jobs.request, DEFAULT_PROJECT, self.job_id, action)
        except Conflict:
            return
        self.cancel_accepted |= action is RequestedAction.CANCEL

    @precondition(lambda self: self.status not in (JobStatus.QUEUED, JobStatus.RUNNING))
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


def test_any_order_keeps_a_job_consistent(sqlite_database: Database) -> None:
    JobMachine.database = sqlite_database
    run_state_machine_as_test(
        JobMachine,
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
        ),
    )
