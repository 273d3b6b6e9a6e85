"""Every transition of a job, on SQLite and on PostgreSQL."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy.orm import Session

from store import datasets, jobs, models, workers
from store.clock import database_now
from store.errors import (
    ActionNotPossible,
    CancelRequested,
    DatasetNotFound,
    DatasetNotUsable,
    Fenced,
    IdempotencyMismatch,
    JobAlreadyFinished,
    JobBeingCancelled,
    JobNotFound,
    JobNotPaused,
    JobNotRetryable,
    JobNotStarted,
)
from store.jobs import Claim, MetricPlace
from store.models import NewModel
from store.sessions import Database
from store.tables import DEFAULT_PROJECT, DatasetStatus, Job, JobKind, JobStatus, RequestedAction
from tests.store.helpers import (
    PROBLEM,
    change,
    checkpoint,
    do,
    end_lease,
    event_types,
    job,
    make_due,
    measure,
    queue_training,
    ready_dataset,
    running_training,
    steps,
    take,
    upload,
)

CANCEL, PAUSE, STOP = RequestedAction.CANCEL, RequestedAction.PAUSE, RequestedAction.STOP
MODEL = NewModel(
    name="m",
    architecture="ssd",
    loss="harmonic",
    classes=[{"id": 1, "name": "cell"}],
    config={},
    metrics={"AP": 0.5},
    artifacts=[],
)


def ask(database: Database, job_id: str, action: RequestedAction) -> jobs.RequestOutcome:
    return database.run(lambda session: jobs.request(session, DEFAULT_PROJECT, job_id, action))


def at_once(*actions: Callable[[], object]) -> list[Any]:
    """Run the actions on threads that start together; what each returned or raised."""
    barrier = threading.Barrier(len(actions))
    results: list[Any] = [None] * len(actions)

    def run(index: int) -> None:
        barrier.wait()
        try:
            results[index] = actions[index]()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


class TestClaim:
    def test_a_claim_makes_the_job_running_under_a_new_token(self, database: Database) -> None:
        queued = queue_training(database, resolved_config={"epochs": 3}, metadata={"who": "me"})
        claim = take(database, queued.id)
        assert (claim.token, claim.attempt, claim.checkpoint_step) == (1, 1, -1)
        assert claim.spec == {"config": {"epochs": 3}}
        assert claim.resolved_config == {"epochs": 3}
        row = job(database, queued.id)
        assert (row.status, row.worker, row.phase) == (JobStatus.RUNNING, "worker-1", "preparing")
        assert row.started_at is not None
        assert row.heartbeat_at is not None
        assert 25 < row.lease_until - row.heartbeat_at.timestamp() < 31
        assert event_types(database, queued.id) == ["job.queued", "job.started"]

    def test_second_delivery_of_a_claimed_job_does_nothing(self, database: Database) -> None:
        claim = running_training(database)
        before = job(database, claim.job_id)
        again = database.run(
            lambda session: jobs.claim(session, claim.job_id, worker="worker-2", lease_seconds=30)
        )
        assert again is None
        after = job(database, claim.job_id)
        assert (after.token, after.attempt, after.worker) == (before.token, before.attempt, "worker-1")
        assert event_types(database, claim.job_id) == ["job.queued", "job.started"]

    def test_of_many_claimers_at_once_one_wins(self, database: Database) -> None:
        queued = queue_training(database)

        def claimer(number: int) -> Callable[[], Claim | None]:
            return lambda: database.run(
                lambda session: jobs.claim(session, queued.id, worker=f"w{number}", lease_seconds=30)
            )

        results = at_once(*(claimer(number) for number in range(8)))
        won = [result for result in results if result is not None]
        assert len(won) == 1
        assert isinstance(won[0], Claim)
        assert job(database, queued.id).attempt == 1

    def test_a_job_that_is_not_due_yet_cannot_be_claimed(self, database: Database) -> None:
        queued = queue_training(database)
        change(database, queued.id, not_before=database_now() + 60)
        assert (
            database.run(lambda session: jobs.claim(session, queued.id, worker="w", lease_seconds=30)) is None
        )

    def test_the_name_of_a_worker_may_be_long(self, database: Database) -> None:
        claim = take(database, queue_training(database).id, worker="w" * 500)
        assert len(job(database, claim.job_id).worker or "") == 200


class TestFence:
    def writes(self, claim: Claim) -> dict[str, Callable[[Session], object]]:
        return {
            "heartbeat": lambda s: jobs.heartbeat(s, claim, 30),
            "phase": lambda s: jobs.set_phase(s, claim, "training"),
            "progress": lambda s: jobs.set_progress(s, claim, {"step": 1}),
            "log": lambda s: jobs.set_log_tail(s, claim, "zombie"),
            "event": lambda s: jobs.append_event(s, claim, "notice", {}),
            "metrics": lambda s: jobs.record_metrics(s, claim, [("train", 99, 1.0, {"loss": 1.0})]),
            "checkpoint": lambda s: jobs.record_checkpoint(
                s, claim, key="zombie", sha256="0", bytes=1, step=99, epoch=1.0
            ),
            "forget": lambda s: jobs.forget_checkpoint(s, claim),
            "drop": lambda s: jobs.drop_checkpoints(s, claim),
            "succeed": lambda s: jobs.succeed(s, claim),
            "finish": lambda s: models.finish_training(s, claim, model=MODEL),
            "fail": lambda s: jobs.fail(s, claim, reason="internal_error", error=PROBLEM),
            "cancel": lambda s: jobs.cancel_now(s, claim),
            "release": lambda s: jobs.release(s, claim, stalled=False, reason="zombie"),
        }

    def test_every_write_of_a_zombie_is_refused_after_another_worker_claimed(
        self, database: Database
    ) -> None:
        zombie = running_training(database)
        end_lease(database, zombie.job_id)
        assert database.run(jobs.reap) == [zombie.job_id]
        make_due(database, zombie.job_id)
        current = take(database, zombie.job_id, worker="worker-2")
        assert current.token == zombie.token + 1
        before = event_types(database, zombie.job_id)
        for name, write in self.writes(zombie).items():
            with pytest.raises(Fenced):
                database.run(write)
            assert job(database, zombie.job_id).worker == "worker-2", name
        row = job(database, zombie.job_id)
        assert (row.status, row.checkpoint_step, row.log_tail) == (JobStatus.RUNNING, -1, "")
        assert steps(database, zombie.job_id) == []
        assert event_types(database, zombie.job_id) == before
        with database.read() as session:
            assert models.of_job(session, DEFAULT_PROJECT, zombie.job_id) is None

    def test_every_write_is_refused_while_the_job_waits_in_the_queue(self, database: Database) -> None:
        zombie = running_training(database)
        end_lease(database, zombie.job_id)
        database.run(jobs.reap)
        for write in self.writes(zombie).values():
            with pytest.raises(Fenced):
                database.run(write)

    def test_a_fenced_write_leaves_nothing_of_its_transaction(self, database: Database) -> None:
        claim = running_training(database)

        def write(session: Session) -> None:
            jobs.append_event(session, claim, "notice", {})
            change_token = jobs.Claim(**{**vars(claim), "token": claim.token + 5})
            jobs.append_event(session, change_token, "notice", {})

        with pytest.raises(Fenced):
            database.run(write)
        assert "notice" not in event_types(database, claim.job_id)

    def test_a_write_waits_for_the_reaper_and_is_then_refused(self, database: Database) -> None:
        """The fence is decided by the row as it is when its lock is had, not as it was before."""
        claim = running_training(database)
        end_lease(database, claim.job_id)
        reaped, entered = threading.Event(), threading.Event()
        outcome: list[BaseException] = []

        def zombie() -> None:
            reaped.wait(10)
            entered.set()
            try:
                database.run(lambda s: jobs.record_metrics(s, claim, [("train", 1, 0.1, {"loss": 1.0})]))
            except Fenced as error:
                outcome.append(error)

        thread = threading.Thread(target=zombie)
        thread.start()
        with database.begin() as session:
            assert jobs.reap(session) == [claim.job_id]
            reaped.set()
            entered.wait(10)
            thread.join(0.2)  # it waits for our lock
            assert thread.is_alive()
        thread.join(30)
        assert len(outcome) == 1
        assert steps(database, claim.job_id) == []


class TestWorking:
    def test_a_heartbeat_extends_the_lease_and_brings_what_was_asked(self, database: Database) -> None:
        claim = running_training(database)
        change(database, claim.job_id, lease_until=database_now() + 1)
        assert database.run(lambda s: jobs.heartbeat(s, claim, 30)) is None
        assert database.run(jobs.reap) == []
        row = job(database, claim.job_id)
        assert row.heartbeat_at is not None
        assert row.lease_until > row.heartbeat_at.timestamp() + 20
        ask(database, claim.job_id, PAUSE)
        assert database.run(lambda s: jobs.heartbeat(s, claim)) is PAUSE

    def test_phase_and_progress_show(self, database: Database) -> None:
        claim = running_training(database)
        database.run(lambda s: jobs.set_phase(s, claim, "training"))
        database.run(lambda s: jobs.set_progress(s, claim, {"step": 5, "eta_seconds": float("inf")}))
        row = job(database, claim.job_id)
        assert (row.phase, row.progress) == ("training", {"step": 5, "eta_seconds": None})
        assert event_types(database, claim.job_id)[-1] == "job.phase"

    def test_metrics_take_what_json_cannot_hold_as_null(self, database: Database) -> None:
        claim = running_training(database)
        rows = [("train", 1, 0.1, {"loss": float("nan")}), ("val", 1, 0.1, {"AP": 0.5})]
        database.run(lambda s: jobs.record_metrics(s, claim, rows))
        with database.read() as session:
            found = jobs.metrics(session, DEFAULT_PROJECT, claim.job_id).items
        assert [(m.split, m.metrics) for m in found] == [("train", {"loss": None}), ("val", {"AP": 0.5})]

    def test_a_step_reported_twice_is_one_row_with_the_later_values(self, database: Database) -> None:
        claim = running_training(database)
        for loss in (2.0, 1.0):
            rows = [("train", 7, 0.7, {"loss": loss})]
            do(database, jobs.record_metrics, claim, rows)
        with database.read() as session:
            (metric,) = jobs.metrics(session, DEFAULT_PROJECT, claim.job_id).items
        assert metric.metrics == {"loss": 1.0}

    def test_no_metrics_is_a_write_like_any_other(self, database: Database) -> None:
        claim = running_training(database)
        database.run(lambda s: jobs.record_metrics(s, claim, []))

    def test_a_log_may_hold_any_bytes(self, database: Database) -> None:
        claim = running_training(database)
        database.run(lambda s: jobs.set_log_tail(s, claim, "a\0b\udc80c"))
        assert job(database, claim.job_id).log_tail == "a\ufffdb\ufffdc"

    def test_a_checkpoint_moves_the_pointer_and_forgives_stalls(self, database: Database) -> None:
        claim = running_training(database)
        change(database, claim.job_id, stalls=2)
        checkpoint(database, claim, 100)
        row = job(database, claim.job_id)
        assert (row.checkpoint_step, row.stalls) == (100, 0)
        assert row.checkpoint_key == f"jobs/{claim.job_id}/1/step-00000100.pt"
        assert row.checkpoint_sha256 == f"{100:064x}"

    def test_the_last_two_checkpoints_are_kept(self, database: Database) -> None:
        claim = running_training(database)
        for step in (10, 20, 30, 40):
            checkpoint(database, claim, step)
        dropped = database.run(lambda s: jobs.drop_checkpoints(s, claim))
        assert sorted(dropped) == [f"jobs/{claim.job_id}/1/step-{step:08d}.pt" for step in (10, 20)]
        with database.read() as session:
            assert [c.step for c in jobs.checkpoints(session, DEFAULT_PROJECT, claim.job_id)] == [30, 40]

    def test_an_unreadable_checkpoint_gives_way_to_the_one_before(self, database: Database) -> None:
        claim = running_training(database)
        for step in (10, 20):
            measure(database, claim, step - 5, step)
            checkpoint(database, claim, step)
        measure(database, claim, 25)
        end_lease(database, claim.job_id)
        database.run(jobs.reap)
        make_due(database, claim.job_id)
        second = take(database, claim.job_id)
        assert second.checkpoint_step == 20
        back = database.run(lambda s: jobs.forget_checkpoint(s, second))
        assert (back.checkpoint_step, back.checkpoint_sha256) == (10, f"{10:064x}")
        assert steps(database, claim.job_id) == [5, 10]
        start = database.run(lambda s: jobs.forget_checkpoint(s, back))
        assert (start.checkpoint_step, start.checkpoint_key) == (-1, None)
        assert steps(database, claim.job_id) == []
        assert job(database, claim.job_id).checkpoint_step == -1

    def test_events_of_many_writers_are_numbered_without_gaps(self, database: Database) -> None:
        claim = running_training(database)

        def writer() -> None:
            for _ in range(5):
                database.run(lambda s: jobs.append_event(s, claim, "notice", {}))

        assert at_once(writer, writer, writer) == [None] * 3
        assert len(event_types(database, claim.job_id)) == 2 + 15


class TestEnds:
    def test_success_ends_the_lease_and_the_wishes(self, database: Database) -> None:
        claim = running_training(database)
        ask(database, claim.job_id, STOP)
        database.run(lambda s: jobs.succeed(s, claim, status_reason="stopped"))
        row = job(database, claim.job_id)
        assert (row.status, row.status_reason) == (JobStatus.SUCCEEDED, "stopped")
        assert (row.requested_action, row.phase, row.lease_until) == (None, None, 0.0)
        assert row.finished_at is not None
        assert event_types(database, claim.job_id)[-1] == "job.succeeded"

    def test_finish_stores_model_and_status_together(self, database: Database) -> None:
        claim = running_training(database)
        model = database.run(lambda s: models.finish_training(s, claim, model=MODEL))
        assert job(database, claim.job_id).status is JobStatus.SUCCEEDED
        with database.read() as session:
            found = models.of_job(session, DEFAULT_PROJECT, claim.job_id)
        assert found is not None
        assert found.id == model.id
        assert found.dataset_id == claim.dataset_id

    def test_failure_keeps_the_problem(self, database: Database) -> None:
        claim = running_training(database)
        database.run(lambda s: jobs.fail(s, claim, reason="non_finite_loss", error=PROBLEM))
        row = job(database, claim.job_id)
        assert (row.status, row.status_reason, row.error) == (JobStatus.FAILED, "non_finite_loss", PROBLEM)
        assert event_types(database, claim.job_id)[-1] == "job.failed"

    def test_a_cancel_before_the_finish_wins(self, database: Database) -> None:
        claim = running_training(database)
        ask(database, claim.job_id, CANCEL)
        with pytest.raises(CancelRequested):
            database.run(lambda s: models.finish_training(s, claim, model=MODEL))
        database.run(lambda s: jobs.cancel_now(s, claim))
        row = job(database, claim.job_id)
        assert (row.status, row.status_reason) == (JobStatus.CANCELLED, "user_cancelled")
        with database.read() as session:
            assert models.of_job(session, DEFAULT_PROJECT, claim.job_id) is None

    def test_a_cancel_before_a_failure_wins(self, database: Database) -> None:
        claim = running_training(database)
        ask(database, claim.job_id, CANCEL)
        database.run(lambda s: jobs.fail(s, claim, reason="internal_error", error=PROBLEM))
        assert job(database, claim.job_id).status is JobStatus.CANCELLED

    def test_a_cancel_after_the_finish_is_refused(self, database: Database) -> None:
        claim = running_training(database)
        database.run(lambda s: jobs.succeed(s, claim))
        with pytest.raises(JobAlreadyFinished):
            ask(database, claim.job_id, CANCEL)

    def test_of_cancel_and_finish_at_once_exactly_one_wins(self, database: Database) -> None:
        dataset = ready_dataset(database)
        for _ in range(6):
            claim = take(database, queue_training(database, dataset).id)
            finished, cancelled = at_once(
                partial(do, database, models.finish_training, claim, model=MODEL),
                partial(ask, database, claim.job_id, CANCEL),
            )
            row = job(database, claim.job_id)
            if isinstance(finished, Exception):
                assert isinstance(finished, CancelRequested)
                assert not isinstance(cancelled, Exception)
                assert (row.status, row.requested_action) == (JobStatus.RUNNING, CANCEL)
                do(database, jobs.cancel_now, claim)
            else:
                assert isinstance(cancelled, JobAlreadyFinished)
                assert row.status is JobStatus.SUCCEEDED

    def test_release_without_a_stall_queues_at_once(self, database: Database) -> None:
        claim = running_training(database)
        status = database.run(lambda s: jobs.release(s, claim, stalled=False))
        assert status is JobStatus.QUEUED
        again = take(database, claim.job_id)
        assert (again.token, again.attempt) == (2, 2)
        assert job(database, claim.job_id).stalls == 0

    def test_release_honours_a_pause_and_a_cancel(self, database: Database) -> None:
        for action, expected in ((PAUSE, JobStatus.PAUSED), (CANCEL, JobStatus.CANCELLED)):
            claim = running_training(database)
            ask(database, claim.job_id, action)
            status = do(database, jobs.release, claim, stalled=False)
            row = job(database, claim.job_id)
            assert status is row.status is expected
            assert row.requested_action is None

    def test_three_stalled_releases_fail_with_the_last_reason(self, database: Database) -> None:
        queued = queue_training(database)
        statuses = []
        for _ in range(3):
            make_due(database, queued.id)
            claim = take(database, queued.id)
            do(database, jobs.set_log_tail, claim, "Killed")
            statuses.append(do(database, jobs.release, claim, stalled=True, reason="out_of_memory"))
        assert statuses == [JobStatus.QUEUED, JobStatus.QUEUED, JobStatus.FAILED]
        row = job(database, queued.id)
        assert row.status_reason == "out_of_memory"
        assert row.error is not None
        assert row.error["code"] == "out_of_memory"
        assert row.error["log_tail"] == "Killed"


class TestReap:
    def test_a_live_lease_is_left_alone(self, database: Database) -> None:
        running_training(database)
        assert database.run(jobs.reap) == []

    def test_a_lost_job_is_queued_again_with_growing_delay(self, database: Database) -> None:
        queued = queue_training(database)
        delays = []
        for _ in range(2):
            make_due(database, queued.id)
            take(database, queued.id)
            end_lease(database, queued.id)
            assert database.run(jobs.reap) == [queued.id]
            row = job(database, queued.id)
            assert (row.status, row.status_reason) == (JobStatus.QUEUED, "worker_lost")
            assert row.heartbeat_at is not None
            delays.append(round(row.not_before - row.heartbeat_at.timestamp()))
            assert database.run(lambda s: jobs.claim(s, queued.id, worker="w", lease_seconds=30)) is None, (
                "not before its delay is over"
            )
        assert delays == [2, 4]

    def test_three_losses_without_a_checkpoint_fail_the_job(self, database: Database) -> None:
        queued = queue_training(database)
        for _ in range(3):
            make_due(database, queued.id)
            claim = take(database, queued.id)
            do(database, jobs.set_log_tail, claim, "last words")
            end_lease(database, queued.id)
            database.run(jobs.reap)
        row = job(database, queued.id)
        assert (row.status, row.status_reason, row.stalls) == (JobStatus.FAILED, "worker_lost", 3)
        assert row.error is not None
        assert (row.error["code"], row.error["log_tail"]) == ("worker_lost", "last words")
        assert event_types(database, queued.id)[-1] == "job.failed"

    def test_a_checkpoint_in_each_attempt_lets_it_go_on_for_ever(self, database: Database) -> None:
        queued = queue_training(database)
        for attempt in range(1, 6):
            make_due(database, queued.id)
            claim = take(database, queued.id)
            assert claim.attempt == attempt
            assert claim.checkpoint_step == (attempt - 1) * 10 or claim.checkpoint_step == -1
            checkpoint(database, claim, attempt * 10)
            end_lease(database, queued.id)
            database.run(jobs.reap)
        row = job(database, queued.id)
        assert (row.status, row.stalls, row.checkpoint_step) == (JobStatus.QUEUED, 1, 50)

    def test_metrics_after_the_checkpoint_are_replaced_by_the_next_attempt(self, database: Database) -> None:
        claim = running_training(database)
        measure(database, claim, 1, 2)
        checkpoint(database, claim, 2)
        measure(database, claim, 3, 4)
        end_lease(database, claim.job_id)
        database.run(jobs.reap)
        assert steps(database, claim.job_id) == [1, 2, 3, 4], "the dead attempt's stay until somebody goes on"
        make_due(database, claim.job_id)
        second = take(database, claim.job_id)
        assert steps(database, claim.job_id) == [1, 2]
        measure(database, second, 3, 4, 5)
        with database.read() as session:
            found = jobs.metrics(session, DEFAULT_PROJECT, claim.job_id).items
        assert [m.metrics["attempt"] for m in found] == [1, 1, 2, 2, 2]

    def test_what_was_asked_of_a_lost_job_is_done(self, database: Database) -> None:
        for action, expected in (
            (CANCEL, JobStatus.CANCELLED),
            (PAUSE, JobStatus.PAUSED),
            (STOP, JobStatus.QUEUED),
        ):
            claim = running_training(database)
            ask(database, claim.job_id, action)
            end_lease(database, claim.job_id)
            database.run(jobs.reap)
            row = job(database, claim.job_id)
            assert row.status is expected
            assert row.requested_action is (STOP if action is STOP else None)

    def test_a_stop_survives_the_loss_of_the_worker(self, database: Database) -> None:
        claim = running_training(database)
        ask(database, claim.job_id, STOP)
        end_lease(database, claim.job_id)
        database.run(jobs.reap)
        make_due(database, claim.job_id)
        assert take(database, claim.job_id).requested_action is STOP

    def test_many_reapers_at_once_take_each_job_once(self, database: Database) -> None:
        dataset = ready_dataset(database)
        lost = [take(database, queue_training(database, dataset).id).job_id for _ in range(6)]
        for job_id in lost:
            end_lease(database, job_id)
        reapers: list[Callable[[], list[str]]] = [lambda: database.run(jobs.reap) for _ in range(4)]
        results = at_once(*reapers)
        taken = [job_id for result in results if isinstance(result, list) for job_id in result]
        assert sorted(taken) == sorted(lost)
        assert {job(database, job_id).stalls for job_id in lost} == {1}

    def test_a_heartbeat_that_comes_first_keeps_the_job(self, database: Database) -> None:
        claim = running_training(database)
        end_lease(database, claim.job_id)
        database.run(lambda s: jobs.heartbeat(s, claim, 30))
        assert database.run(jobs.reap) == []


class TestRequests:
    def test_cancel_of_a_queued_job_is_immediate(self, database: Database) -> None:
        queued = queue_training(database)
        outcome = ask(database, queued.id, CANCEL)
        assert outcome.changed
        assert (outcome.job.status, outcome.job.status_reason) == (JobStatus.CANCELLED, "user_cancelled")
        assert not ask(database, queued.id, CANCEL).changed, "a repeat changes nothing"
        assert event_types(database, queued.id) == ["job.queued", "job.cancelled"]

    def test_cancel_of_a_running_job_is_asked_of_its_worker(self, database: Database) -> None:
        claim = running_training(database)
        outcome = ask(database, claim.job_id, CANCEL)
        assert outcome.changed
        assert (outcome.job.status, outcome.job.requested_action) == (JobStatus.RUNNING, CANCEL)
        assert not ask(database, claim.job_id, CANCEL).changed
        assert event_types(database, claim.job_id)[-1] == "job.cancel_requested"
        with pytest.raises(JobBeingCancelled):
            ask(database, claim.job_id, PAUSE)

    def test_a_cancel_overrides_a_pause(self, database: Database) -> None:
        claim = running_training(database)
        ask(database, claim.job_id, PAUSE)
        assert ask(database, claim.job_id, CANCEL).job.requested_action is CANCEL

    def test_pause_and_resume_go_on_from_the_checkpoint(self, database: Database) -> None:
        claim = running_training(database)
        checkpoint(database, claim, 40)
        ask(database, claim.job_id, PAUSE)
        database.run(lambda s: jobs.release(s, claim, stalled=False))
        assert not ask(database, claim.job_id, PAUSE).changed
        resumed = database.run(lambda s: jobs.resume(s, DEFAULT_PROJECT, claim.job_id))
        assert resumed.changed
        assert take(database, claim.job_id).checkpoint_step == 40

    def test_a_queued_job_pauses_at_once(self, database: Database) -> None:
        queued = queue_training(database)
        assert ask(database, queued.id, PAUSE).job.status is JobStatus.PAUSED
        assert database.run(lambda s: jobs.next_due(s, "train")) is None

    def test_only_a_paused_job_resumes(self, database: Database) -> None:
        claim = running_training(database)
        with pytest.raises(JobNotPaused):
            database.run(lambda s: jobs.resume(s, DEFAULT_PROJECT, claim.job_id))

    def test_stop_needs_something_to_stop_at(self, database: Database) -> None:
        queued = queue_training(database)
        with pytest.raises(JobNotStarted):
            ask(database, queued.id, STOP)
        claim = take(database, queued.id)
        checkpoint(database, claim, 10)
        database.run(lambda s: jobs.release(s, claim, stalled=False))
        assert ask(database, queued.id, STOP).job.requested_action is STOP
        assert take(database, queued.id).requested_action is STOP

    def test_retry_takes_up_a_failed_job_from_its_checkpoint(self, database: Database) -> None:
        claim = running_training(database)
        checkpoint(database, claim, 30)
        database.run(lambda s: jobs.fail(s, claim, reason="out_of_memory", error=PROBLEM))
        outcome = database.run(lambda s: jobs.retry(s, DEFAULT_PROJECT, claim.job_id))
        row = outcome.job
        assert (row.status, row.error, row.finished_at, row.status_reason) == (
            JobStatus.QUEUED,
            None,
            None,
            None,
        )
        assert take(database, claim.job_id).checkpoint_step == 30

    def test_retry_of_what_succeeded_or_runs_is_refused(self, database: Database) -> None:
        claim = running_training(database)
        with pytest.raises(JobNotRetryable):
            database.run(lambda s: jobs.retry(s, DEFAULT_PROJECT, claim.job_id))
        database.run(lambda s: jobs.succeed(s, claim))
        with pytest.raises(JobNotRetryable):
            database.run(lambda s: jobs.retry(s, DEFAULT_PROJECT, claim.job_id))

    def test_another_project_sees_no_such_job(self, database: Database) -> None:
        queued = queue_training(database)
        with pytest.raises(JobNotFound):
            database.run(lambda s: jobs.request(s, "prj_other", queued.id, CANCEL))
        with database.read() as session, pytest.raises(JobNotFound):
            jobs.events(session, "prj_other", queued.id)

    def test_a_validation_cannot_be_paused(self, database: Database) -> None:
        _, validation = upload(database)
        with pytest.raises(ActionNotPossible):
            ask(database, validation.id, PAUSE)


class TestDispatch:
    INTERVAL = 30.0

    def due(self, database: Database) -> list[tuple[str, str]]:
        return database.run(lambda s: jobs.due_for_hint(s, interval_seconds=self.INTERVAL))

    def test_a_new_job_is_announced_by_its_maker_first(self, database: Database) -> None:
        queued = queue_training(database)
        assert self.due(database) == []
        change(database, queued.id, dispatched_at=database_now() - self.INTERVAL - 1)
        assert self.due(database) == [(queued.id, "train")]
        assert self.due(database) == [], "it was announced just now"

    def test_the_interval_doubles_up_to_sixteen_times(self, database: Database) -> None:
        queued = queue_training(database)
        gaps = []
        for _ in range(8):
            for times in (1, 2, 4, 8, 16):
                change(database, queued.id, dispatched_at=database_now() - times * self.INTERVAL - 1)
                if self.due(database):
                    gaps.append(times)
                    break
        assert gaps == [1, 1, 2, 4, 8, 16, 16, 16]

    def test_a_hint_that_could_not_be_sent_does_not_space_out_the_next(self, database: Database) -> None:
        queued = queue_training(database)
        for _ in range(4):
            change(database, queued.id, dispatched_at=database_now() - self.INTERVAL - 1)
            assert self.due(database)
            database.run(lambda s: jobs.hints_failed(s, [queued.id]))

    def test_running_waiting_and_delayed_jobs_are_not_announced(self, database: Database) -> None:
        dataset, validation = upload(database)
        waiting = queue_training(database, dataset)
        delayed = queue_training(database)
        running = running_training(database)
        for job_id in (validation.id, waiting.id, delayed.id, running.job_id):
            change(database, job_id, dispatched_at=0.0)
        change(database, delayed.id, not_before=database_now() + 60)
        assert self.due(database) == [(validation.id, "ingest")]

    def test_a_job_taken_from_a_lost_worker_is_announced_when_its_delay_is_over(
        self, database: Database
    ) -> None:
        claim = running_training(database)
        end_lease(database, claim.job_id)
        database.run(jobs.reap)
        assert self.due(database) == []
        make_due(database, claim.job_id)
        assert self.due(database) == [(claim.job_id, "train")]

    def test_many_dispatchers_at_once_announce_each_job_once(self, database: Database) -> None:
        dataset = ready_dataset(database)
        queued = [queue_training(database, dataset).id for _ in range(6)]
        for job_id in queued:
            change(database, job_id, dispatched_at=0.0)
        results = at_once(*([lambda: self.due(database)] * 4))
        announced = [job_id for result in results if isinstance(result, list) for job_id, _ in result]
        assert sorted(announced) == sorted(queued)

    def test_a_look_says_whether_there_is_anything_to_do(self, database: Database) -> None:
        def anything() -> bool:
            with database.read() as session:
                return jobs.anything_due(session, interval_seconds=self.INTERVAL)

        claim = running_training(database)
        assert not anything()
        end_lease(database, claim.job_id)
        assert anything()
        database.run(jobs.reap)
        assert not anything()
        make_due(database, claim.job_id)
        assert anything()


class TestQueue:
    def test_priority_first_then_age(self, database: Database) -> None:
        dataset = ready_dataset(database)
        low, high, low_too = (
            queue_training(database, dataset, priority=priority).id for priority in (0, 5, 0)
        )

        def positions() -> list[int | None]:
            with database.read() as session:
                found = [jobs.get(session, DEFAULT_PROJECT, j) for j in (low, high, low_too)]
                return [jobs.queue_position(session, j) for j in found]

        assert positions() == [2, 1, 3]
        assert database.run(lambda s: jobs.next_due(s, "train")) == high
        take(database, high)
        assert positions() == [1, None, 2]
        assert database.run(lambda s: jobs.next_due(s, "train")) == low
        assert database.run(lambda s: jobs.next_due(s, "ingest")) is None

    def test_a_job_waits_for_room_on_a_disk_where_no_worker_has_any(self, database: Database) -> None:
        waiting = queue_training(database)

        def reason() -> str | None:
            with database.read() as session:
                return jobs.waiting_for(session, jobs.get(session, DEFAULT_PROJECT, waiting.id))

        def worker(name: str, blocked: str | None, queue: str = "train") -> None:
            told = {"name": name, "queue": queue, "device": "cpu", "host": "h", "pid": 1, "version": "1"}
            database.run(lambda s: workers.register(s, worker_id=f"wrk_{name}", **told))  # type: ignore[arg-type]
            database.run(lambda s: workers.beat(s, f"wrk_{name}", blocked=blocked))

        try:
            worker("full", "12 MB are free")
            assert reason() == "worker_disk_full"
            worker("other", None, queue="ingest")
            assert reason() == "worker_disk_full"
            worker("free", None)
            assert reason() == "worker"
            database.run(lambda s: workers.drain(s, "wrk_free"))
            assert reason() == "worker_disk_full"
            worker("full", None)
            assert reason() == "worker"
        finally:
            for name in ("full", "other", "free"):
                database.run(lambda s, name=name: workers.leave(s, f"wrk_{name}"))  # type: ignore[misc]

    def test_what_a_queued_job_waits_for(self, database: Database) -> None:
        dataset, validation = upload(database)
        waiting = queue_training(database, dataset)

        def reasons() -> list[str | None]:
            with database.read() as session:
                found = [jobs.get(session, DEFAULT_PROJECT, j) for j in (validation.id, waiting.id)]
                return [jobs.waiting_for(session, j) for j in found]

        assert reasons() == ["worker", "dataset"]
        claim = take(database, validation.id)
        assert reasons() == [None, "dataset"]
        database.run(
            lambda s: datasets.mark_ready(
                s, claim, index="i", format="coco", summary={}, images=[], findings=[]
            )
        )
        assert reasons() == [None, "worker"]


class TestDatasetsOfJobs:
    def test_a_training_waits_for_its_dataset(self, database: Database) -> None:
        dataset, validation = upload(database)
        waiting = queue_training(database, dataset)
        assert database.run(lambda s: jobs.claim(s, waiting.id, worker="w", lease_seconds=30)) is None
        assert database.run(lambda s: jobs.next_due(s, "train")) is None
        claim = take(database, validation.id)
        woken = database.run(
            lambda s: datasets.mark_ready(
                s, claim, index="i", format="coco", summary={}, images=[], findings=[]
            )
        )
        assert woken == [(waiting.id, "train")]
        assert database.run(lambda s: jobs.next_due(s, "train")) == waiting.id
        take(database, waiting.id)

    def test_an_invalid_dataset_fails_what_waited_for_it(self, database: Database) -> None:
        dataset, validation = upload(database)
        waiting, paused = queue_training(database, dataset), queue_training(database, dataset)
        ask(database, paused.id, PAUSE)
        claim = take(database, validation.id)
        failed = database.run(
            lambda s: datasets.mark_invalid(s, claim, format="coco", summary={}, findings=[], error=PROBLEM)
        )
        assert failed == [waiting.id, paused.id]
        row = job(database, waiting.id)
        assert (row.status, row.status_reason, row.error) == (JobStatus.FAILED, "dataset_invalid", PROBLEM)
        with pytest.raises(DatasetNotUsable):
            queue_training(database, dataset)
        with pytest.raises(DatasetNotUsable):
            database.run(lambda s: jobs.retry(s, DEFAULT_PROJECT, waiting.id))

    @pytest.mark.parametrize("how", ["lost", "failed", "cancelled", "cancelled while running"])
    def test_a_validation_without_a_verdict_leaves_the_dataset_invalid(
        self, database: Database, how: str
    ) -> None:
        dataset, validation = upload(database)
        waiting = queue_training(database, dataset)
        if how == "lost":
            change(database, validation.id, stalls=2)
            take(database, validation.id)
            end_lease(database, validation.id)
            database.run(jobs.reap)
            code = "worker_lost"
        elif how == "failed":
            claim = take(database, validation.id)
            database.run(lambda s: jobs.fail(s, claim, reason="internal_error", error=PROBLEM))
            code = "internal_error"
        elif how == "cancelled":
            ask(database, validation.id, CANCEL)
            code = "validation_cancelled"
        else:
            claim = take(database, validation.id)
            ask(database, validation.id, CANCEL)
            database.run(lambda s: jobs.cancel_now(s, claim))
            code = "validation_cancelled"
        with database.read() as session:
            found = datasets.get(session, DEFAULT_PROJECT, dataset.id)
        assert found.status is DatasetStatus.INVALID
        assert found.error is not None
        assert found.error["code"] == code
        assert job(database, waiting.id).status is JobStatus.FAILED

    def test_a_retried_validation_may_come_to_a_verdict_after_all(self, database: Database) -> None:
        dataset, validation = upload(database)
        ask(database, validation.id, CANCEL)
        database.run(lambda s: jobs.retry(s, DEFAULT_PROJECT, validation.id))
        with database.read() as session:
            assert datasets.get(session, DEFAULT_PROJECT, dataset.id).status is DatasetStatus.VALIDATING
        claim = take(database, validation.id)
        database.run(
            lambda s: datasets.mark_ready(
                s, claim, index="i", format="coco", summary={}, images=[], findings=[]
            )
        )
        with database.read() as session:
            assert datasets.get(session, DEFAULT_PROJECT, dataset.id).status is DatasetStatus.READY

    def test_a_training_needs_a_dataset_of_its_project(self, database: Database) -> None:
        with pytest.raises(DatasetNotFound):
            database.run(
                lambda s: jobs.create(
                    s,
                    project_id=DEFAULT_PROJECT,
                    kind=JobKind.TRAIN,
                    queue="train",
                    spec={},
                    dataset_id="ds_0",
                )
            )
        with pytest.raises(ValueError, match="need a dataset"):
            database.run(
                lambda s: jobs.create(
                    s, project_id=DEFAULT_PROJECT, kind=JobKind.TRAIN, queue="train", spec={}
                )
            )


class TestIdempotency:
    def test_the_same_key_and_request_is_the_same_job(self, database: Database) -> None:
        dataset = ready_dataset(database)
        first = queue_training(database, dataset, idempotency_key="k")
        assert queue_training(database, dataset, idempotency_key="k").id == first.id
        assert event_types(database, first.id) == ["job.queued"]

    def test_the_same_key_for_another_request_is_refused(self, database: Database) -> None:
        dataset = ready_dataset(database)
        queue_training(database, dataset, idempotency_key="k")
        with pytest.raises(IdempotencyMismatch):
            queue_training(database, dataset, idempotency_key="k", spec={"config": {"epochs": 4}})

    def test_a_key_is_free_again_after_a_day(self, database: Database) -> None:
        dataset = ready_dataset(database)
        first = queue_training(database, dataset, idempotency_key="k")
        change(database, first.id, created_at=database_now() - 24 * 3600 - 1)
        second = queue_training(database, dataset, idempotency_key="k")
        assert second.id != first.id

    def test_many_at_once_make_one_job(self, database: Database) -> None:
        dataset = ready_dataset(database)
        makers: list[Callable[[], Job]] = [
            lambda: queue_training(database, dataset, idempotency_key="k") for _ in range(6)
        ]
        results = at_once(*makers)
        assert all(isinstance(result, Job) for result in results), results
        assert len({result.id for result in results if isinstance(result, Job)}) == 1

    def test_an_upload_repeated_is_the_same_dataset(self, database: Database) -> None:
        first, validation = upload(database, idempotency_key="k")
        again, same = upload(database, idempotency_key="k")
        assert (again.id, same.id) == (first.id, validation.id)
        with pytest.raises(IdempotencyMismatch):
            upload(database, idempotency_key="k", name="other")
        with pytest.raises(IdempotencyMismatch):
            queue_training(database, idempotency_key="k")
        with database.read() as session:
            listed = datasets.list_(session, DEFAULT_PROJECT, limit=10).items
        assert [d.archive_sha256 for d in listed].count("ab") == 1 or len(listed) == 2


class TestReading:
    def test_lists_are_pages_by_key(self, database: Database) -> None:
        dataset = ready_dataset(database)
        made = [queue_training(database, dataset).id for _ in range(5)]
        with database.read() as session:
            first = jobs.list_(session, DEFAULT_PROJECT, limit=2, kind=JobKind.TRAIN)
            assert [j.id for j in first.items] == made[:2:-1]
            assert first.has_more
            rest = jobs.list_(session, DEFAULT_PROJECT, limit=3, after=first.items[-1].id, kind=JobKind.TRAIN)
            assert [j.id for j in rest.items] == made[2::-1]
            assert not rest.has_more
            oldest = jobs.list_(session, DEFAULT_PROJECT, limit=1, order="asc", status=JobStatus.QUEUED)
            assert [j.id for j in oldest.items] == made[:1]
            assert jobs.list_(session, "prj_other", limit=5).items == []

    def test_pages_of_metrics_may_end_between_the_splits_of_a_step(self, database: Database) -> None:
        claim = running_training(database)
        splits = ("train", "test", "val")  # of training first
        rows = [(split, step, 1.0, {"x": 1.0}) for step in (1, 2, 3) for split in sorted(splits)]
        database.run(lambda s: jobs.record_metrics(s, claim, rows))
        seen: list[tuple[int, str]] = []
        after = None
        with database.read() as session:
            while True:
                found = jobs.metrics(session, DEFAULT_PROJECT, claim.job_id, after=after, limit=2)
                seen += [(m.step, m.split) for m in found.items]
                if not found.has_more:
                    break
                after = MetricPlace(found.items[-1].step, found.items[-1].split)
        assert seen == [(step, split) for step in (1, 2, 3) for split in splits]

    def test_what_is_measured_at_a_step_comes_after_what_was_trained_to_it(self, database: Database) -> None:
        claim = running_training(database)

        def after(place: MetricPlace) -> list[tuple[int, str]]:
            with database.read() as session:
                found = jobs.metrics(session, DEFAULT_PROJECT, claim.job_id, after=place).items
            return [(m.step, m.split) for m in found]

        measure(database, claim, 1, 2)
        assert after(MetricPlace(2, "train")) == []
        database.run(lambda s: jobs.record_metrics(s, claim, [("test", 2, 1.0, {"AP": 0.5})]))
        assert after(MetricPlace(2, "train")) == [(2, "test")]
        assert after(MetricPlace(2, "test")) == []
        assert after(MetricPlace(2, None)) == []
        assert after(MetricPlace(1, "val")) == [(2, "train"), (2, "test")]

    def test_events_are_read_from_a_number_on(self, database: Database) -> None:
        claim = running_training(database)
        with database.read() as session:
            found = jobs.events(session, DEFAULT_PROJECT, claim.job_id, after=1)
        assert [(e.number, e.type, e.attempt) for e in found.items] == [(2, "job.started", 1)]
        assert found.items[0].data == {"worker": "worker-1", "resumed_from_step": 0}
