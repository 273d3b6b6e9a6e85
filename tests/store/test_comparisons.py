"""Comparisons: trainings side by side, and the one job that compares them when they have ended."""

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select

from store import comparisons, datasets, jobs, models, quotas, webhooks
from store.comparisons import NewArm, RequestOutcome
from store.errors import (
    ActionNotPossible,
    ComparisonAlreadyFinished,
    ComparisonBeingCancelled,
    ComparisonNotFound,
    ComparisonNotPausable,
    ComparisonNotPaused,
    ComparisonNotReady,
    ComparisonNotRetryable,
    ComparisonRunning,
    ComparisonUsesModel,
    DatasetInUse,
    DatasetNotFound,
    Fenced,
    QuotaExceeded,
)
from store.jobs import Claim
from store.models import NewArtifact
from store.sessions import Database
from store.tables import (
    DEFAULT_PROJECT,
    Comparison,
    Job,
    JobKind,
    JobStatus,
    RequestedAction,
    WebhookDelivery,
)
from tests.store.helpers import (
    PROBLEM,
    change,
    checkpoint,
    do,
    end_lease,
    event_types,
    job,
    make_due,
    ready_dataset,
    take,
    upload,
)
from tests.store.test_models import WHOLE

ARMS = [
    NewArm("baseline", {"loss": "baseline"}, {"loss": "baseline"}, {"loss": {"kind": "baseline"}, "seed": 0}),
    NewArm("ours", {}, {"epochs": 2}, {"loss": {"kind": "harmonic"}, "seed": 0}),
]
RESULT = {"verdict": {"ours": "better"}}
FILE = NewArtifact("comparison.json", "application/json", "sha256/cc/cc", "cc", 50)


def asked(database: Database, dataset: str | None = None, **changes: Any) -> tuple[str, list[str]]:
    """Ids of a comparison and its trainings, in the order in which they were made."""
    values: dict[str, Any] = {
        "project_id": DEFAULT_PROJECT,
        "dataset_id": dataset or ready_dataset(database).id,
        "config": {},
        "arms": ARMS,
        "seeds": [1, 2, 3],
        "baseline": "baseline",
    }
    row, made = database.run(lambda session: comparisons.create(session, **(values | changes)))
    return row.id, [one.id for one in made]


def trained(database: Database, job_id: str) -> str:
    """The training ends well; its model."""
    return do(database, models.finish_training, take(database, job_id), model=WHOLE).id


def fails(database: Database, job_id: str, code: str = "out_of_memory") -> None:
    error = PROBLEM | {"code": code, "detail": "No memory was left."}
    do(database, jobs.fail, take(database, job_id), reason=code, error=error)


def compared(database: Database, comparison_id: str, *files: NewArtifact) -> None:
    claim = take(database, comparing(database, comparison_id).id)
    do(database, comparisons.finish, claim, result=RESULT, files=files or [FILE])


def read(database: Database, comparison_id: str) -> tuple[Comparison, JobStatus, list[comparisons.Run]]:
    with database.read() as session:
        row = comparisons.get(session, DEFAULT_PROJECT, comparison_id)
        of_it = comparisons.runs(session, [comparison_id])
        listed = comparisons.list_(
            session, DEFAULT_PROJECT, limit=9, status=comparisons.status(row, of_it)
        ).items
    assert comparison_id in [one.id for one in listed], "the filter knows the status, too"
    return row, comparisons.status(row, of_it), of_it


def status(database: Database, comparison_id: str) -> str:
    return read(database, comparison_id)[1]


def comparing(database: Database, comparison_id: str) -> Job:
    """The job that compares, of which there is one."""
    with database.read() as session:
        row = comparisons.get(session, DEFAULT_PROJECT, comparison_id)
        assert row.job_id is not None
        return jobs.get(session, DEFAULT_PROJECT, row.job_id)


def compare_jobs(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).where(Job.kind == JobKind.COMPARE)) or 0


def act(
    database: Database,
    verb: Callable[..., RequestOutcome],
    comparison_id: str,
    project: str = DEFAULT_PROJECT,
) -> RequestOutcome:
    return do(database, verb, project, comparison_id)


def test_it_is_made_of_trainings_that_differ_in_their_config_only(database: Database) -> None:
    comparison, ids = asked(database, name="losses", priority=3, metadata={"a": "b"})
    made = [job(database, one) for one in ids]
    assert ids == sorted(ids), "they are claimed in this order"
    assert [one.spec["comparison"] for one in made] == [
        {"id": comparison, "arm": arm, "seed": seed} for seed in (1, 2, 3) for arm in ("baseline", "ours")
    ]
    assert made[0].spec["config"] == {"loss": "baseline", "seed": 1}
    assert made[1].resolved_config == {"loss": {"kind": "harmonic"}, "seed": 1}
    assert made[5].spec["name"] == "losses: ours, seed 3"
    assert {(one.kind, one.queue, one.priority, one.extra["a"]) for one in made} == {
        ("train", "train", 3, "b")
    }
    row, now, runs = read(database, comparison)
    assert (row.name, row.extra, now, row.job_id) == ("losses", {"a": "b"}, JobStatus.QUEUED, None)
    assert [(run.arm, run.seed) for run in runs] == list(itertools.product((0, 1), (1, 2, 3)))
    with database.read() as session, pytest.raises(ComparisonNotFound):
        comparisons.get(session, "prj_other", comparison)


def test_the_last_training_makes_the_job_that_compares(database: Database) -> None:
    comparison, ids = asked(database, priority=5)
    for one in ids[:-1]:
        trained(database, one)
    assert status(database, comparison) == JobStatus.RUNNING
    assert compare_jobs(database) == 0
    with database.read() as session:
        assert comparisons.startable(session, ids[0]) == []
        with pytest.raises(ComparisonNotReady):
            comparisons.file(session, DEFAULT_PROJECT, comparison, "comparison.json")
    trained(database, ids[-1])
    made = comparing(database, comparison)
    assert (made.kind, made.queue, made.status, made.priority) == ("compare", "evaluate", "queued", 5)
    assert made.spec == {"comparison_id": comparison}
    assert event_types(database, made.id) == ["job.queued"]
    with database.read() as session:
        assert comparisons.startable(session, ids[-1]) == [(made.id, "evaluate")]
        assert jobs.next_due(session, "evaluate") == made.id
    assert do(database, jobs.due_for_hint, interval_seconds=1000.0) == [(made.id, "evaluate")]
    assert status(database, comparison) == JobStatus.RUNNING
    compared(database, comparison)
    row, now, _ = read(database, comparison)
    assert (now, row.result, row.error) == (JobStatus.SUCCEEDED, RESULT, None)
    assert row.finished_at is not None
    with database.read() as session:
        assert comparisons.file(session, DEFAULT_PROJECT, comparison, "comparison.json").blob == FILE.blob
        assert comparisons.startable(session, ids[-1]) == []


def test_trainings_that_end_at_once_make_one_job(database: Database) -> None:
    comparison, ids = asked(database)
    claims = [take(database, one) for one in ids]
    ready = threading.Barrier(len(claims))
    ended: list[str] = []

    def end(claim: Claim) -> None:
        ready.wait()
        do(database, models.finish_training, claim, model=WHOLE)
        ended.append(claim.job_id)

    threads = [threading.Thread(target=end, args=(one,)) for one in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(ended) == ids
    assert compare_jobs(database) == 1
    assert comparing(database, comparison).status is JobStatus.QUEUED


def test_a_failed_training_costs_its_seed(sqlite_database: Database) -> None:
    comparison, ids = asked(sqlite_database, seeds=[1, 2, 3, 4])
    fails(sqlite_database, ids[2])
    for one in set(ids) - {ids[2]}:
        trained(sqlite_database, one)
    assert comparing(sqlite_database, comparison).status is JobStatus.QUEUED
    compared(sqlite_database, comparison)
    assert status(sqlite_database, comparison) == JobStatus.SUCCEEDED


def test_too_few_seeds_fail_it_with_the_reasons_and_a_retry_goes_on(database: Database) -> None:
    comparison, ids = asked(database)
    claim = take(database, ids[2])
    checkpoint(database, claim, 7)
    error = PROBLEM | {"code": "out_of_memory", "detail": "No memory was left."}
    do(database, jobs.fail, claim, reason="out_of_memory", error=error)
    do(database, jobs.request, DEFAULT_PROJECT, ids[1], RequestedAction.CANCEL)
    models_ = [trained(database, one) for one in (ids[0], *ids[3:])]
    row, now, _ = read(database, comparison)
    assert (now, row.job_id) == (JobStatus.FAILED, None)
    assert row.error is not None
    assert row.error["code"] == "too_few_seeds"
    assert row.error["detail"].startswith(
        "1 of 3 seeds were trained in every arm, and a comparison needs 3: 2 "
    )
    assert [(one["pointer"], one["code"]) for one in row.error["errors"]] == [
        ("/arms/0", "out_of_memory"),
        ("/arms/1", "cancelled"),
    ]
    outcome = act(database, comparisons.retry, comparison)
    assert outcome.startable == ((ids[1], "train"), (ids[2], "train"))
    assert (outcome.comparison.outcome, outcome.comparison.error) == (None, None)
    assert status(database, comparison) == JobStatus.RUNNING
    assert act(database, comparisons.retry, comparison).changed is False
    assert take(database, ids[2]).checkpoint_step == 7
    with pytest.raises(ComparisonUsesModel):
        do(database, models.delete, DEFAULT_PROJECT, models_[0])
    trained(database, ids[1])
    end_lease(database, ids[2])
    do(database, jobs.reap)
    make_due(database, ids[2])
    trained(database, ids[2])
    compared(database, comparison)
    assert status(database, comparison) == JobStatus.SUCCEEDED
    assert [job(database, one).attempt for one in ids] == [1, 1, 3, 1, 1, 1]


def test_what_fails_to_compare_is_compared_again(database: Database) -> None:
    comparison, ids = asked(database)
    for one in ids:
        trained(database, one)
    made = comparing(database, comparison).id
    fails(database, made, "internal_error")
    row, now, _ = read(database, comparison)
    assert (now, row.error and row.error["code"]) == (JobStatus.FAILED, "internal_error")
    datasets_gone = str(row.dataset_id)
    do(database, datasets.delete, DEFAULT_PROJECT, datasets_gone)
    outcome = act(database, comparisons.retry, comparison)
    assert (outcome.startable, status(database, comparison)) == (((made, "evaluate"),), JobStatus.RUNNING)
    compared(database, comparison)
    assert status(database, comparison) == JobStatus.SUCCEEDED
    with pytest.raises(ComparisonNotRetryable):
        act(database, comparisons.retry, comparison)


def test_a_training_that_is_taken_up_again_is_compared_by_another_job(database: Database) -> None:
    comparison, ids = asked(database, seeds=[1, 2, 3, 4])
    fails(database, ids[0])
    for one in ids[1:]:
        trained(database, one)
    first = take(database, comparing(database, comparison).id)
    do(database, jobs.retry, DEFAULT_PROJECT, ids[0])
    assert status(database, comparison) == JobStatus.RUNNING
    do(database, comparisons.finish, first, result={"verdict": "old"}, files=[FILE])  # ends, and says nothing
    row, now, _ = read(database, comparison)
    assert (now, row.result, row.job_id) == (JobStatus.RUNNING, None, None)
    trained(database, ids[0])
    assert comparing(database, comparison).id != first.job_id
    compared(database, comparison)
    assert (compare_jobs(database), status(database, comparison)) == (2, JobStatus.SUCCEEDED)


def test_what_was_found_stays_until_the_next_time(sqlite_database: Database) -> None:
    comparison, ids = asked(sqlite_database, seeds=[1, 2, 3, 4])
    fails(sqlite_database, ids[0])
    for one in ids[1:]:
        trained(sqlite_database, one)
    compared(sqlite_database, comparison, FILE, replace(FILE, name="comparison.md"))
    old = comparing(sqlite_database, comparison)
    act(sqlite_database, comparisons.retry, comparison)
    change(sqlite_database, old.id, status=JobStatus.FAILED)
    with pytest.raises(ComparisonNotFound):  # another one compares now
        do(sqlite_database, jobs.retry, DEFAULT_PROJECT, old.id)
    do(sqlite_database, jobs.request, DEFAULT_PROJECT, ids[0], RequestedAction.CANCEL)
    with sqlite_database.read() as session:
        assert comparisons.file(session, DEFAULT_PROJECT, comparison, FILE.name).blob == FILE.blob
    compared(sqlite_database, comparison, replace(FILE, blob="sha256/dd/dd"))
    with sqlite_database.read() as session:
        assert comparisons.file(session, DEFAULT_PROJECT, comparison, FILE.name).blob == "sha256/dd/dd"
        with pytest.raises(ComparisonNotReady):
            comparisons.file(session, DEFAULT_PROJECT, comparison, "comparison.md")


def test_pause_and_resume_are_of_all_trainings(database: Database) -> None:
    comparison, ids = asked(database)
    trained(database, ids[0])
    claim = take(database, ids[1])
    assert act(database, comparisons.pause, comparison).changed
    assert not act(database, comparisons.pause, comparison).changed
    assert [job(database, one).status for one in ids[2:]] == [JobStatus.PAUSED] * 4
    assert status(database, comparison) == JobStatus.RUNNING
    with pytest.raises(ComparisonNotPaused, match="in a moment"):
        act(database, comparisons.resume, comparison)
    do(database, jobs.release, claim, stalled=False)
    assert status(database, comparison) == JobStatus.PAUSED
    assert [one for one, _ in act(database, comparisons.resume, comparison).startable] == ids[1:]
    assert status(database, comparison) == JobStatus.RUNNING
    with pytest.raises(ComparisonNotPaused):
        act(database, comparisons.resume, comparison)
    with pytest.raises(ActionNotPossible, match="to its end"):
        do(database, jobs.request, DEFAULT_PROJECT, ids[1], RequestedAction.STOP)
    for one in ids[1:]:
        trained(database, one)
    with pytest.raises(ComparisonNotPausable):
        act(database, comparisons.pause, comparison)
    compared(database, comparison)
    for verb in (comparisons.pause, comparisons.resume, comparisons.cancel):
        with pytest.raises(ComparisonAlreadyFinished):
            act(database, verb, comparison)


def test_a_cancel_ends_every_job_and_nothing_is_compared(database: Database) -> None:
    comparison, ids = asked(database)
    for one in ids[:4]:
        trained(database, one)
    claim = take(database, ids[4])
    assert act(database, comparisons.cancel, comparison).changed
    assert not act(database, comparisons.cancel, comparison).changed
    assert job(database, ids[5]).status is JobStatus.CANCELLED
    assert status(database, comparison) == JobStatus.RUNNING
    for verb in (comparisons.pause, comparisons.resume, comparisons.retry):
        with pytest.raises(ComparisonBeingCancelled):
            act(database, verb, comparison)
    with pytest.raises(ComparisonRunning):
        do(database, comparisons.delete, DEFAULT_PROJECT, comparison)
    do(database, jobs.cancel_now, claim)
    row, now, _ = read(database, comparison)
    assert (now, row.cancelling, row.error, compare_jobs(database)) == (JobStatus.CANCELLED, False, None, 0)
    assert not act(database, comparisons.cancel, comparison).changed
    outcome = act(database, comparisons.retry, comparison)
    assert [one for one, _ in outcome.startable] == ids[4:]
    for one in ids[4:]:
        trained(database, one)
    act(database, comparisons.cancel, comparison)
    assert comparing(database, comparison).status is JobStatus.CANCELLED
    assert status(database, comparison) == JobStatus.CANCELLED


def test_what_was_cancelled_before_it_began_has_ended(sqlite_database: Database) -> None:
    comparison, _ = asked(sqlite_database)
    act(sqlite_database, comparisons.pause, comparison)
    assert status(sqlite_database, comparison) == JobStatus.PAUSED
    act(sqlite_database, comparisons.cancel, comparison)
    assert status(sqlite_database, comparison) == JobStatus.CANCELLED


def test_trainings_cancelled_one_by_one_are_a_cancelled_comparison(sqlite_database: Database) -> None:
    comparison, ids = asked(sqlite_database)
    for one in ids:
        do(sqlite_database, jobs.request, DEFAULT_PROJECT, one, RequestedAction.CANCEL)
    row, now, _ = read(sqlite_database, comparison)
    assert (now, row.error) == (JobStatus.CANCELLED, None)


@pytest.mark.parametrize(
    ("verb", "then"),
    [(comparisons.retry, JobStatus.RUNNING), (comparisons.cancel, JobStatus.CANCELLED)],
)
def test_one_whose_last_training_was_ended_by_the_version_before_is_put_right(
    sqlite_database: Database, verb: Callable[..., RequestOutcome], then: JobStatus
) -> None:
    comparison, ids = asked(sqlite_database)
    for one in ids[:-1]:
        trained(sqlite_database, one)
    change(sqlite_database, ids[-1], status=JobStatus.SUCCEEDED)
    act(sqlite_database, verb, comparison)
    assert status(sqlite_database, comparison) == then
    assert compare_jobs(sqlite_database) == int(then is JobStatus.RUNNING)
    assert not act(sqlite_database, verb, comparison).changed


def test_an_invalid_dataset_fails_it(sqlite_database: Database) -> None:
    dataset, validation = upload(sqlite_database)
    comparison, _ = asked(sqlite_database, dataset.id)
    do(
        sqlite_database,
        datasets.mark_invalid,
        take(sqlite_database, validation.id),
        format=None,
        summary=None,
        findings=[],
        error=PROBLEM | {"code": "dataset_invalid"},
    )
    row, now, _ = read(sqlite_database, comparison)
    assert now == JobStatus.FAILED
    assert row.error is not None
    assert {one["code"] for one in row.error["errors"]} == {"dataset_invalid"}


def test_lost_workers_cost_attempts_only(sqlite_database: Database) -> None:
    comparison, ids = asked(sqlite_database)
    for one in ids:
        take(sqlite_database, one)
        end_lease(sqlite_database, one)
    assert sorted(do(sqlite_database, jobs.reap)) == ids
    for one in ids:
        make_due(sqlite_database, one)
        trained(sqlite_database, one)
    made = comparing(sqlite_database, comparison).id
    old = take(sqlite_database, made)
    end_lease(sqlite_database, made)
    do(sqlite_database, jobs.reap)
    assert status(sqlite_database, comparison) == JobStatus.RUNNING
    make_due(sqlite_database, made)
    compared(sqlite_database, comparison)
    with pytest.raises(Fenced):
        do(sqlite_database, comparisons.finish, old, result={}, files=[])
    assert read(sqlite_database, comparison)[0].result == RESULT


def test_what_it_needs_stays_until_it_has_ended(sqlite_database: Database) -> None:
    comparison, ids = asked(sqlite_database)
    model = trained(sqlite_database, ids[0])
    dataset = str(read(sqlite_database, comparison)[0].dataset_id)
    with pytest.raises(ComparisonUsesModel):
        do(sqlite_database, models.delete, DEFAULT_PROJECT, model)
    for one in ids[1:]:
        trained(sqlite_database, one)
    with pytest.raises(DatasetInUse):
        do(sqlite_database, datasets.delete, DEFAULT_PROJECT, dataset)
    compared(sqlite_database, comparison)
    do(sqlite_database, models.delete, DEFAULT_PROJECT, model)
    do(sqlite_database, datasets.delete, DEFAULT_PROJECT, dataset)
    row, now, runs = read(sqlite_database, comparison)
    assert (now, row.dataset_id, runs[0].model_id) == (JobStatus.SUCCEEDED, None, None)
    do(sqlite_database, comparisons.delete, DEFAULT_PROJECT, comparison)
    with sqlite_database.read() as session, pytest.raises(ComparisonNotFound):
        comparisons.get(session, DEFAULT_PROJECT, comparison)
    assert job(sqlite_database, ids[0]).status is JobStatus.SUCCEEDED


def test_a_comparison_is_queued_as_a_whole_or_not_at_all(database: Database) -> None:
    dataset = ready_dataset(database).id
    do(database, quotas.limit, DEFAULT_PROJECT, max_queued_jobs=6)
    try:
        with pytest.raises(QuotaExceeded):
            asked(database, dataset, seeds=[1, 2, 3, 4])
        with pytest.raises(DatasetNotFound):
            asked(database, "ds_none")
        comparison, ids = asked(database, dataset)
        with pytest.raises(QuotaExceeded):
            asked(database, dataset)
        for one in ids:
            trained(database, one)
        do(database, quotas.limit, DEFAULT_PROJECT, max_queued_jobs=1)
        assert comparing(database, comparison).status is JobStatus.QUEUED
    finally:
        do(database, quotas.limit, DEFAULT_PROJECT, max_queued_jobs=0)


def test_the_job_that_compares_is_made_over_a_full_quota(sqlite_database: Database) -> None:
    dataset = ready_dataset(sqlite_database).id
    comparison, ids = asked(sqlite_database, dataset)
    for one in ids[:-1]:
        trained(sqlite_database, one)
    claim = take(sqlite_database, ids[-1])
    asked(sqlite_database, dataset)
    do(sqlite_database, quotas.limit, DEFAULT_PROJECT, max_queued_jobs=1)
    try:
        do(sqlite_database, models.finish_training, claim, model=WHOLE)
        assert comparing(sqlite_database, comparison).status is JobStatus.QUEUED
    finally:
        do(sqlite_database, quotas.limit, DEFAULT_PROJECT, max_queued_jobs=0)


def test_its_files_count_towards_the_bytes_of_the_project(database: Database) -> None:
    comparison, ids = asked(database)
    for one in ids:
        trained(database, one)
    before = do(database, quotas.used, DEFAULT_PROJECT)
    compared(database, comparison)
    after = do(database, quotas.used, DEFAULT_PROJECT)
    assert (after.comparisons - before.comparisons, after.total - before.total) == (FILE.bytes, FILE.bytes)


def test_webhooks_are_told_of_its_end(sqlite_database: Database) -> None:
    hook = do(
        sqlite_database,
        webhooks.create,
        project_id=DEFAULT_PROJECT,
        url="https://example.org/hook",
        events=["comparison.*"],
    ).id
    comparison, ids = asked(sqlite_database, name="losses")
    for one in ids:
        fails(sqlite_database, one)
    act(sqlite_database, comparisons.retry, comparison)
    for one in ids:
        trained(sqlite_database, one)
    compared(sqlite_database, comparison)
    with sqlite_database.read() as session:
        sent = session.scalars(select(WebhookDelivery).where(WebhookDelivery.webhook_id == hook)).all()
    do(sqlite_database, webhooks.delete, DEFAULT_PROJECT, hook)
    assert sorted(one.type for one in sent) == ["comparison.failed", "comparison.succeeded"]
    (told,) = [one.body for one in sent if one.type == "comparison.succeeded"]
    assert '"verdict":{"ours":"better"}' in told
    assert f'"id":"{comparison}"' in told


def test_lists_by_dataset_status_and_metadata(database: Database) -> None:
    dataset = ready_dataset(database).id
    first, _ = asked(database, dataset, metadata={"a": "b"})
    second, ids = asked(database, dataset)
    other, _ = asked(database)
    take(database, ids[0])

    def listed(**wanted: Any) -> Sequence[str]:
        with database.read() as session:
            found = comparisons.list_(session, DEFAULT_PROJECT, **({"limit": 9} | wanted)).items
            return [one.id for one in found]

    assert sorted(listed()) == sorted([first, second, other])
    assert sorted(listed(dataset_id=dataset)) == sorted([first, second])
    assert listed(metadata={"a": "b"}) == [first]
    assert listed(status=JobStatus.RUNNING) == [second]
    assert sorted(listed(status=JobStatus.QUEUED)) == sorted([first, other])
    assert listed(status=JobStatus.PAUSED) == []
