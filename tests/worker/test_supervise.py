import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from store import jobs, models
from store.errors import StorageFull, Unavailable
from store.tables import DEFAULT_PROJECT, Job, JobStatus, RequestedAction
from tests.worker.helpers import in_background, is_alive, until
from worker import oom
from worker.kinds import Workshop
from worker.room import Room
from worker.settings import WorkerSettings
from worker.supervise import Supervisor

Submit = Callable[..., str]
Row = Callable[..., Job]


def cancel(shop: Workshop, job_id: str) -> None:
    with shop.database.begin() as session:
        jobs.request(session, DEFAULT_PROJECT, job_id, RequestedAction.CANCEL)


def event_types(shop: Workshop, job_id: str) -> list[str]:
    with shop.database.read() as session:
        return [event.type for event in jobs.events(session, DEFAULT_PROJECT, job_id, limit=1000).items]


def train_steps(shop: Workshop, job_id: str) -> list[int]:
    with shop.database.read() as session:
        return [m.step for m in jobs.metrics(session, DEFAULT_PROJECT, job_id, split="train").items]


def last_process(mark: Path) -> int:
    return int(mark.read_text().split()[-1])


def test_a_training_ends_with_a_model_its_artifacts_its_evaluation_and_its_metrics(
    supervisor: Supervisor, shop: Workshop, submit: Submit, row: Row
) -> None:
    job_id = submit(steps=4, reason="early_stopped")

    assert supervisor.work(job_id)

    job = row(job_id)
    assert (job.status, job.status_reason, job.attempt) == (JobStatus.SUCCEEDED, "early_stopped", 1)
    assert job.progress is not None
    assert job.progress["step"] == 4
    assert "fake training from step 0" in job.log_tail
    assert train_steps(shop, job_id) == [1, 2, 3, 4]
    with shop.database.read() as session:
        model = models.of_job(session, DEFAULT_PROJECT, job_id)
        assert model is not None
        assert model.metrics == {"AP": 0.5, "AP50": 0.8, "AP75": None}
        assert models.evaluation_of(session, DEFAULT_PROJECT, model.id).split == "val"
        artifact = models.artifact(session, DEFAULT_PROJECT, model.id, "model.onnx")
    with shop.blobs.open(artifact.blob) as file:
        assert file.read() == b"model.onnx after 4 steps"
    types = event_types(shop, job_id)
    assert types[:2] == ["job.queued", "job.started"]
    assert "job.notice" in types
    assert types[-1] == "job.succeeded"


def test_nothing_is_left_of_a_run_but_the_last_two_checkpoints(
    supervisor: Supervisor, shop: Workshop, submit: Submit
) -> None:
    job_id = submit(steps=12, pace=0.1)

    supervisor.work(job_id)

    assert list((shop.settings.data / "runs").iterdir()) == []
    with shop.database.read() as session:
        kept = [c.blob for c in jobs.checkpoints(session, DEFAULT_PROJECT, job_id)]
    assert len(kept) == 2
    assert sorted(shop.blobs.iter(f"jobs/{job_id}/")) == sorted(kept)


def test_a_second_hint_for_a_claimed_job_does_nothing(
    supervisor: Supervisor, shop: Workshop, submit: Submit, running: Row, row: Row
) -> None:
    job_id = submit(steps=20, pace=0.05)
    other = Supervisor(shop, worker="other", stopping=threading.Event())
    with in_background(lambda: supervisor.work(job_id)):
        running(job_id)
        assert not other.work(job_id)
    assert not other.work(job_id)
    assert row(job_id).attempt == 1


def test_a_free_worker_claims_what_else_is_due_without_a_hint(
    supervisor: Supervisor, submit: Submit, row: Row
) -> None:
    first, second, third = submit(), submit(), submit()

    supervisor.work_off("train")

    assert [row(job_id).status for job_id in (first, second, third)] == [JobStatus.SUCCEEDED] * 3
    started = [row(job_id).started_at for job_id in (first, second, third)]
    assert started == sorted(started, key=str)


def test_a_hint_without_a_database_is_let_go(
    supervisor: Supervisor,
    shop: Workshop,
    submit: Submit,
    row: Row,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job_id = submit()

    def away(*_: object, **__: object) -> object:
        raise Unavailable

    monkeypatch.setattr(shop.database, "run", away)
    supervisor.work_off("train")
    monkeypatch.undo()
    assert "nothing can be claimed" in caplog.text
    assert row(job_id).status is JobStatus.QUEUED


def test_the_first_of_the_queue_by_priority_then_age_is_claimed(
    supervisor: Supervisor, shop: Workshop, submit: Submit, row: Row
) -> None:
    old, urgent, last = submit(), submit(), submit()
    with shop.database.begin() as session:
        jobs.get(session, DEFAULT_PROJECT, urgent).priority = 1

    supervisor.work_off("train")

    started = sorted((row(job_id).started_at, job_id) for job_id in (old, urgent, last))
    assert [job_id for _, job_id in started] == [urgent, old, last]


def test_a_worker_that_is_late_for_the_first_job_takes_the_next(
    supervisor: Supervisor, shop: Workshop, submit: Submit, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = submit(), submit()
    looks = iter([first])
    really_due = jobs.next_due

    def outdated(*arguments: Any, **options: Any) -> str | None:
        # Somebody else claims between the look and the claim.
        seen = next(looks, None)
        if seen is None:
            return really_due(*arguments, **options)
        with shop.database.begin() as session:
            assert jobs.claim(session, first, worker="faster", lease_seconds=60) is not None
        return seen

    monkeypatch.setattr(jobs, "next_due", outdated)
    supervisor.work_off("train")

    assert row(first).worker == "faster"
    assert row(second).status is JobStatus.SUCCEEDED


def test_cancel_in_training_ends_the_process_and_the_job(
    supervisor: Supervisor, shop: Workshop, submit: Submit, running: Row, row: Row, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    job_id = submit(steps=1000, pace=0.05, mark=str(mark))
    with in_background(lambda: supervisor.work(job_id)) as work:
        running(job_id)
        start = time.monotonic()
        cancel(shop, job_id)
        work.join(10)
        assert time.monotonic() - start < 2.0
    job = row(job_id)
    assert (job.status, job.status_reason) == (JobStatus.CANCELLED, "user_cancelled")
    assert not is_alive(last_process(mark))


def test_cancel_of_a_trainer_that_ignores_sigterm_kills_it(
    supervisor: Supervisor, shop: Workshop, submit: Submit, running: Row, row: Row, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    job_id = submit(steps=1000, pace=0.05, stubborn=True, mark=str(mark))
    with in_background(lambda: supervisor.work(job_id)) as work:
        running(job_id)
        start = time.monotonic()
        cancel(shop, job_id)
        work.join(10)
        assert time.monotonic() - start < 3.0
    assert row(job_id).status is JobStatus.CANCELLED
    assert not is_alive(last_process(mark))


def test_cancel_while_exporting_leaves_no_model(
    supervisor: Supervisor, shop: Workshop, submit: Submit, row: Row
) -> None:
    job_id = submit(steps=1, slow_finish=30)
    with in_background(lambda: supervisor.work(job_id)):
        until(lambda: row(job_id).phase == "exporting")
        cancel(shop, job_id)
    assert row(job_id).status is JobStatus.CANCELLED
    with shop.database.read() as session:
        assert models.of_job(session, DEFAULT_PROJECT, job_id) is None


def test_cancel_while_preparing_never_starts_the_trainer(
    supervisor: Supervisor,
    shop: Workshop,
    submit: Submit,
    row: Row,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mark = tmp_path / "mark"
    job_id = submit(mark=str(mark))
    fetch = shop.cache.fetch

    def slow_fetch(archive: str, sha256: str, index: str) -> Path:
        cancel(shop, job_id)
        time.sleep(1.0)
        return fetch(archive, sha256, index)

    monkeypatch.setattr(shop.cache, "fetch", slow_fetch)
    supervisor.work(job_id)
    assert row(job_id).status is JobStatus.CANCELLED
    assert not mark.exists()


def test_cancel_just_before_the_result_is_stored_wins(
    supervisor: Supervisor, shop: Workshop, submit: Submit, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(steps=1)
    put = shop.blobs.put_file

    def cancel_meanwhile(path: Path, *, key: str | None = None) -> object:
        if path.name == "model.onnx":
            cancel(shop, job_id)
        return put(path, key=key)

    monkeypatch.setattr(shop.blobs, "put_file", cancel_meanwhile)
    supervisor.work(job_id)
    assert row(job_id).status is JobStatus.CANCELLED
    with shop.database.read() as session:
        assert models.of_job(session, DEFAULT_PROJECT, job_id) is None


def test_a_supervisor_whose_job_was_given_to_another_kills_its_trainer_and_writes_nothing(
    supervisor: Supervisor, shop: Workshop, submit: Submit, running: Row, row: Row, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    job_id = submit(steps=1000, pace=0.05, mark=str(mark))
    with in_background(lambda: supervisor.work(job_id)) as work:
        running(job_id)
        steal(shop, job_id)
        work.join(5)
        assert not is_alive(last_process(mark))
    job = row(job_id)
    assert (job.status, job.worker, job.attempt) == (JobStatus.RUNNING, "thief", 2)
    assert max(train_steps(shop, job_id)) <= job.checkpoint_step


def steal(shop: Workshop, job_id: str) -> None:
    """What happens to a job whose worker was frozen past its lease."""
    with shop.database.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(lease_until=0.0))
        assert jobs.reap(session) == [job_id]
        session.execute(update(Job).where(Job.id == job_id).values(not_before=0.0))
        assert jobs.claim(session, job_id, worker="thief", lease_seconds=60) is not None


def test_a_supervisor_cut_off_from_the_database_kills_its_trainer_before_the_lease_ends(
    supervisor: Supervisor,
    shop: Workshop,
    submit: Submit,
    running: Row,
    row: Row,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mark = tmp_path / "mark"
    job_id = submit(steps=1000, pace=0.05, mark=str(mark))

    def cut(*_: object, **__: object) -> object:
        raise Unavailable

    with in_background(lambda: supervisor.work(job_id)) as work:
        running(job_id)
        monkeypatch.setattr(shop.database, "run", cut)
        start = time.monotonic()
        until(lambda: not is_alive(last_process(mark)))
        assert time.monotonic() - start < shop.settings.lease_seconds - 0.5
        work.join(10)
    monkeypatch.undo()
    assert row(job_id).status is JobStatus.RUNNING  # whoever reaps it gives it on


def test_a_job_whose_lease_ended_in_an_outage_is_given_back_without_a_stall(
    supervisor: Supervisor,
    shop: Workshop,
    submit: Submit,
    running: Row,
    row: Row,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mark = tmp_path / "mark"
    job_id = submit(steps=1000, pace=0.05, checkpoint_every=1000, mark=str(mark))

    def cut(*_: object, **__: object) -> object:
        raise Unavailable

    with in_background(lambda: supervisor.work(job_id)):
        running(job_id)
        monkeypatch.setattr(shop.database, "run", cut)
        until(lambda: not is_alive(last_process(mark)))
        monkeypatch.undo()
    job = row(job_id)
    assert (job.status, job.status_reason, job.stalls) == (JobStatus.QUEUED, "worker_lost", 0)


def test_a_short_absence_of_the_database_costs_nothing(
    supervisor: Supervisor,
    shop: Workshop,
    submit: Submit,
    running: Row,
    row: Row,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = submit(steps=40, pace=0.05)

    def away(*_: object, **__: object) -> object:
        raise Unavailable

    with in_background(lambda: supervisor.work(job_id)):
        running(job_id)
        monkeypatch.setattr(shop.database, "run", away)
        time.sleep(0.8)
        monkeypatch.undo()
    assert row(job_id).status is JobStatus.SUCCEEDED
    assert train_steps(shop, job_id) == list(range(1, 41))


def test_a_worker_told_to_stop_gives_the_job_back_with_its_checkpoint_and_without_a_stall(
    supervisor: Supervisor,
    shop: Workshop,
    stopping: threading.Event,
    submit: Submit,
    running: Row,
    row: Row,
) -> None:
    job_id = submit(steps=1000, pace=0.05, checkpoint_every=1000)
    with in_background(lambda: supervisor.work_off("train")):
        running(job_id)
        stopping.set()
    job = row(job_id)
    assert (job.status, job.stalls) == (JobStatus.QUEUED, 0)
    assert job.checkpoint_step > 0

    shorten(shop, job_id, steps=job.checkpoint_step + 3)
    assert Supervisor(shop, worker="next", stopping=threading.Event()).work(job_id)

    after = row(job_id)
    assert (after.status, after.attempt) == (JobStatus.SUCCEEDED, 2)
    assert train_steps(shop, job_id) == list(range(1, job.checkpoint_step + 4))
    assert f"--- attempt 2, from step {job.checkpoint_step} ---" in after.log_tail
    assert "fake training from step 0" in after.log_tail


def shorten(shop: Workshop, job_id: str, *, steps: int) -> None:
    with shop.database.begin() as session:
        job = jobs.get(session, DEFAULT_PROJECT, job_id)
        job.spec = job.spec | {"config": {"fake": {"steps": steps}}}


def test_a_stubborn_trainer_does_not_keep_a_worker_from_stopping(
    supervisor: Supervisor, stopping: threading.Event, submit: Submit, running: Row, row: Row, shop: Workshop
) -> None:
    job_id = submit(steps=1000, pace=0.05, stubborn=True)
    with in_background(lambda: supervisor.work_off("train")) as work:
        running(job_id)
        start = time.monotonic()
        stopping.set()
        work.join(10)
        assert time.monotonic() - start < shop.settings.shutdown_grace_seconds + 1
    job = row(job_id)
    assert (job.status, job.stalls) == (JobStatus.QUEUED, 0)


def test_a_trainer_without_a_sign_of_life_is_killed_and_counts_as_a_stall(
    shop: Workshop, submit: Submit, row: Row, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    impatient = Workshop(
        shop.database,
        shop.blobs,
        shop.cache,
        shop.hints,
        shop.settings.model_copy(update={"stall_seconds": 4.0}),
    )
    job_id = submit(steps=5, hang_at=2, mark=str(mark), checkpoint_every=100)
    Supervisor(impatient, worker="test", stopping=threading.Event()).work(job_id)
    job = row(job_id)
    assert (job.status, job.stalls, job.status_reason) == (JobStatus.QUEUED, 1, "worker_lost")
    assert job.error is not None
    assert (job.error["code"], job.error["detail"]) == (
        "stalled",
        "The detector gave no sign of life for 4 s.",
    )
    assert "no sign of life" in job.log_tail
    assert not is_alive(last_process(mark))


def test_a_trainer_that_talks_without_making_a_step_is_killed_and_counts_as_a_stall(
    shop: Workshop, submit: Submit, row: Row, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    job_id = submit(steps=5, chatter_at=2, mark=str(mark), checkpoint_every=100)
    with shop.database.begin() as session:
        jobs.get(session, DEFAULT_PROJECT, job_id).progress_timeout_seconds = 0.5
    Supervisor(shop, worker="test", stopping=threading.Event()).work(job_id)
    job = row(job_id)
    assert (job.status, job.stalls, job.status_reason) == (JobStatus.QUEUED, 1, "worker_lost")
    assert job.error is not None
    assert job.error["detail"] == "The training made no step for 0.5 s, after step 1."
    assert "progress_timeout_seconds" in job.error["hint"]
    assert not is_alive(last_process(mark))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("out_of_memory", "out_of_memory"),
        ("non_finite_loss", "non_finite_loss"),
        ("dataset_invalid", "dataset_invalid"),
        ("checkpoint_corrupt", "checkpoint_corrupt"),
        ("export_mismatch", "export_mismatch"),
        ("weights_unavailable", "internal_error"),
        ("internal_error", "internal_error"),
    ],
)
def test_an_error_of_the_detector_reaches_the_job_with_code_hint_and_last_log_lines(
    supervisor: Supervisor, submit: Submit, row: Row, code: str, reason: str
) -> None:
    job_id = submit(fail_at=2, code=code)
    supervisor.work(job_id)
    job = row(job_id)
    assert (job.status, job.status_reason) == (JobStatus.FAILED, reason)
    assert job.error is not None
    assert job.error["code"] == code
    assert job.error["detail"] == "As asked."
    assert job.error["hint"] == "Ask less."
    assert "about to fail" in job.error["log_tail"]


def test_an_exit_without_a_word_is_an_internal_error(
    supervisor: Supervisor, submit: Submit, row: Row
) -> None:
    job_id = submit(crash_at=2, exit_code=7)
    supervisor.work(job_id)
    job = row(job_id)
    assert (job.status, job.status_reason) == (JobStatus.FAILED, "internal_error")
    assert job.error is not None
    assert "exit code 7" in job.error["detail"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_trainer_killed_from_outside_counts_as_a_stall(
    supervisor: Supervisor, submit: Submit, row: Row, number: signal.Signals
) -> None:
    job_id = submit(crash_at=1, signal=int(number))
    supervisor.work(job_id)
    job = row(job_id)
    assert (job.status, job.stalls) == (JobStatus.QUEUED, 1)


def test_a_kill_by_the_kernel_for_memory_is_out_of_memory(
    supervisor: Supervisor, submit: Submit, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([4, 5])
    monkeypatch.setattr(oom, "kills", lambda: next(counts, 5))
    job_id = submit(crash_at=1, signal=int(signal.SIGKILL))
    supervisor.work(job_id)
    job = row(job_id)
    assert (job.status, job.status_reason) == (JobStatus.FAILED, "out_of_memory")
    assert job.error is not None
    assert "batch_size" in job.error["hint"]


def test_a_job_whose_trainer_dies_three_times_without_progress_is_given_up(
    supervisor: Supervisor, shop: Workshop, submit: Submit, row: Row
) -> None:
    job_id = submit(crash_at=1, signal=int(signal.SIGKILL))
    for _ in range(3):
        with shop.database.begin() as session:
            jobs.get(session, DEFAULT_PROJECT, job_id).not_before = 0.0
        assert supervisor.work(job_id)
    job = row(job_id)
    assert (job.status, job.status_reason, job.attempt) == (JobStatus.FAILED, "worker_lost", 3)
    assert job.error is not None
    assert "The detector was ended by signal 9 (SIGKILL)." in job.error["detail"]
    assert "fake training" in job.error["log_tail"]


def test_a_detector_without_room_on_its_disk_is_tried_again_and_the_job_says_why(
    supervisor: Supervisor, submit: Submit, row: Row
) -> None:
    job_id = submit(full_at=3)
    supervisor.work(job_id)
    job = row(job_id)
    assert (job.status, job.status_reason, job.checkpoint_step) == (JobStatus.QUEUED, "storage_full", 2)
    assert job.error is not None
    assert job.error["code"] == "storage_full"
    assert "room" in job.error["hint"]


def test_a_checkpoint_without_room_in_the_store_is_left_out_and_the_job_says_so(
    supervisor: Supervisor, shop: Workshop, submit: Submit, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(steps=12, pace=0.1)
    put = shop.blobs.put_file

    def full(path: Path, *, key: str | None = None) -> object:
        if 3 <= int(path.stem[5:] if path.suffix == ".pt" else 0) <= 6:
            raise StorageFull
        return put(path, key=key)

    monkeypatch.setattr(shop.blobs, "put_file", full)
    supervisor.work(job_id)
    assert row(job_id).status is JobStatus.SUCCEEDED
    with shop.database.read() as session:
        told = jobs.events(session, DEFAULT_PROJECT, job_id, limit=1000).items
    notices = [event.data["message"] for event in told if event.data.get("code") == "storage_full"]
    assert len(notices) == 1
    assert "is not kept: no room" in notices[0]


def test_what_an_attempt_could_not_tell_on_a_full_disk_the_next_one_tells(
    supervisor: Supervisor,
    shop: Workshop,
    submit: Submit,
    running: Row,
    row: Row,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = submit(steps=1000, pace=0.05)
    monkeypatch.setattr(Room, "is_exhausted", lambda _: True)
    with in_background(lambda: supervisor.work(job_id)):
        running(job_id)
        steal(shop, job_id)
    with shop.database.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(lease_until=0.0))
        jobs.reap(session)
        session.execute(update(Job).where(Job.id == job_id).values(not_before=0.0))
    shorten(shop, job_id, steps=row(job_id).checkpoint_step + 2)
    supervisor.work(job_id)
    assert row(job_id).status is JobStatus.SUCCEEDED
    with shop.database.read() as session:
        told = jobs.events(session, DEFAULT_PROJECT, job_id, limit=1000).items
    (notice,) = [event for event in told if event.data.get("code") == "storage_full"]
    assert notice.attempt == 3
    assert "Attempt 1 ended because no room was left" in notice.data["message"]


def test_a_full_disk_that_has_room_again_is_not_the_reason_of_a_later_outage(
    supervisor: Supervisor,
    shop: Workshop,
    submit: Submit,
    running: Row,
    row: Row,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mark = tmp_path / "mark"
    job_id = submit(steps=1000, pace=0.05, mark=str(mark))
    refused: list[bool] = []

    def away(*_: object, **__: object) -> object:
        refused.append(True)
        raise Unavailable

    with in_background(lambda: supervisor.work(job_id)):
        running(job_id)
        with monkeypatch.context() as full:
            full.setattr(Room, "is_exhausted", lambda _: True)
            full.setattr(shop.database, "run", away)
            until(lambda: len(refused) > 5)
        beaten = row(job_id).heartbeat_at
        until(lambda: row(job_id).heartbeat_at != beaten)
        with monkeypatch.context() as cut:
            cut.setattr(shop.database, "run", away)
            until(lambda: not is_alive(last_process(mark)))
    job = row(job_id)
    assert (job.status, job.status_reason, job.stalls) == (JobStatus.QUEUED, "worker_lost", 0)


def test_a_heartbeat_that_comes_too_late_leaves_the_full_disk_the_reason(
    supervisor: Supervisor,
    shop: Workshop,
    submit: Submit,
    running: Row,
    row: Row,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mark = tmp_path / "mark"
    job_id = submit(steps=1000, pace=0.05, mark=str(mark))
    run, refused, has_room = shop.database.run, [], threading.Event()
    monkeypatch.setattr(Room, "is_exhausted", lambda _: not has_room.is_set())

    def away(*_: object, **__: object) -> object:
        refused.append(True)
        raise Unavailable

    def slow(*arguments: Any, **options: Any) -> object:
        has_room.wait(20)
        return run(*arguments, **options)

    with in_background(lambda: supervisor.work(job_id)):
        running(job_id)
        monkeypatch.setattr(shop.database, "run", away)
        until(lambda: len(refused) > 5)
        monkeypatch.setattr(shop.database, "run", slow)
        until(lambda: not is_alive(last_process(mark)))
        has_room.set()
    job = row(job_id)
    assert (job.status, job.status_reason, job.stalls) == (JobStatus.QUEUED, "storage_full", 0)


def test_a_worker_on_hold_claims_nothing_and_says_why(
    shop: Workshop, submit: Submit, row: Row, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = submit(steps=1)
    holds = ["The disk is full.", "The disk is full.", None]
    supervisor = Supervisor(shop, worker="test", stopping=threading.Event(), hold=lambda: holds.pop(0))
    assert not supervisor.work(job_id)
    assert not supervisor.work(job_id)
    assert row(job_id).status is JobStatus.QUEUED
    assert caplog.text.count("claims nothing: The disk is full.") == 1
    assert supervisor.work(job_id)
    assert row(job_id).status is JobStatus.SUCCEEDED


def test_a_job_whose_run_directory_cannot_be_made_goes_back_to_the_queue(
    shop: Workshop, submit: Submit, row: Row, settings: WorkerSettings
) -> None:
    job_id = submit(steps=1)
    (settings.data / "runs").write_text("a file in the way")
    assert Supervisor(shop, worker="test", stopping=threading.Event()).work(job_id)
    job = row(job_id)
    assert (job.status, job.stalls, job.status_reason) == (JobStatus.QUEUED, 1, "worker_lost")
    assert job.error is not None
    assert "could not go on" in job.error["detail"]


def lose_checkpoints(shop: Workshop, job_id: str, *, how_many: int) -> None:
    with shop.database.read() as session:
        kept = jobs.checkpoints(session, DEFAULT_PROJECT, job_id)
    for checkpoint in kept[-how_many:]:
        shop.blobs.put_bytes(json.dumps({"step": 0}).encode(), key=checkpoint.blob)


def interrupted_job(
    supervisor: Supervisor, stopping: threading.Event, submit: Submit, running: Row, row: Row
) -> Job:
    job_id = submit(steps=1000, pace=0.05)
    with in_background(lambda: supervisor.work(job_id)):
        running(job_id, steps=3)
        stopping.set()
    stopping.clear()
    return row(job_id)


def test_a_corrupt_checkpoint_falls_back_to_the_one_before(
    supervisor: Supervisor,
    shop: Workshop,
    stopping: threading.Event,
    submit: Submit,
    running: Row,
    row: Row,
) -> None:
    job = interrupted_job(supervisor, stopping, submit, running, row)
    with shop.database.read() as session:
        before, last = jobs.checkpoints(session, DEFAULT_PROJECT, job.id)
    lose_checkpoints(shop, job.id, how_many=1)
    shorten(shop, job.id, steps=last.step + 2)
    supervisor.work(job.id)
    after = row(job.id)
    assert after.status is JobStatus.SUCCEEDED
    assert f"fake training from step {before.step}" in after.log_tail
    assert train_steps(shop, job.id) == list(range(1, last.step + 3))


def test_a_job_without_a_readable_checkpoint_fails_honestly(
    supervisor: Supervisor,
    shop: Workshop,
    stopping: threading.Event,
    submit: Submit,
    running: Row,
    row: Row,
) -> None:
    job = interrupted_job(supervisor, stopping, submit, running, row)
    lose_checkpoints(shop, job.id, how_many=2)
    supervisor.work(job.id)
    after = row(job.id)
    assert (after.status, after.status_reason) == (JobStatus.FAILED, "checkpoint_corrupt")


def test_the_trainer_is_not_handed_the_passwords_of_the_service(
    supervisor: Supervisor,
    submit: Submit,
    running: Row,
    stopping: threading.Event,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HARMONICDET_DATABASE_URL", "postgresql://user:zaunkoenig7351@host/name")
    monkeypatch.setenv("HARMONICDET_SECRETS_DIR", "/run/secrets")
    for name in (
        "DATABASE_PASSWORD",
        "BROKER_PASSWORD",
        "S3_ACCESS_KEY_ID",
        "S3_SECRET_ACCESS_KEY",
        "SECRET",
    ):
        monkeypatch.setenv(f"HARMONICDET_{name}", "zaunkoenig7351")
    mark = tmp_path / "mark"
    job_id = submit(steps=1000, pace=0.05, mark=str(mark))
    with in_background(lambda: supervisor.work(job_id)):
        running(job_id)
        environment = Path(f"/proc/{last_process(mark)}/environ").read_bytes()
        stopping.set()
    assert b"zaunkoenig7351" not in environment
    assert b"SECRETS_DIR" not in environment
    assert b"PYTHONUNBUFFERED" in environment


def test_the_directories_of_killed_workers_are_swept_and_held_ones_kept(
    supervisor: Supervisor, shop: Workshop
) -> None:
    root = shop.settings.data / "runs"
    abandoned = root / "job_a-1"
    abandoned.mkdir(parents=True)
    unborn = root / ".job_b-1"
    unborn.mkdir()
    with supervisor.runs.open("job_c", 1) as held:
        os.utime(held, (0, 0))
        supervisor.runs.sweep()
        assert not abandoned.exists()
        assert unborn.exists()
        assert held.exists()
        os.utime(unborn, (0, 0))
        supervisor.runs.sweep()
        assert not unborn.exists()
    assert not held.exists()
