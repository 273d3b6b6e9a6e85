"""Searches: trials one after another, drawn by a job of their own, ended early where others were better."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select, update

from store import datasets, jobs, models, quotas, searches, webhooks
from store.errors import (
    ActionNotPossible,
    DatasetInUse,
    Fenced,
    JobNotRetryable,
    ModelInUse,
    QuotaExceeded,
    SearchAlreadyFinished,
    SearchBeingCancelled,
    SearchNotFound,
    SearchNotPausable,
    SearchNotPaused,
    SearchNotRetryable,
    SearchRunning,
)
from store.jobs import Claim
from store.searches import NewTrial, RequestOutcome, Trial
from store.sessions import Database
from store.tables import (
    DEFAULT_PROJECT,
    Job,
    JobKind,
    JobStatus,
    RequestedAction,
    Search,
    SearchTrial,
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

SPACE = {"optimizer.lr": {"kind": "float", "low": 0.001, "high": 0.1, "log": True}}
PRUNING = {"startup_trials": 2, "warmup_epochs": 1}
RESULT: dict[str, Any] = {"importances": None}


def asked(database: Database, dataset: str | None = None, **changes: Any) -> str:
    values: dict[str, Any] = {
        "project_id": DEFAULT_PROJECT,
        "dataset_id": dataset or ready_dataset(database).id,
        "config": {"epochs": 4},
        "resolved_config": {"epochs": 4, "batch_size": 8},
        "space": SPACE,
        "trials": 3,
        "pruning": PRUNING,
    }
    return database.run(lambda session: searches.create(session, **(values | changes)))[0].id


def get(database: Database, search_id: str) -> Search:
    with database.read() as session:
        return searches.get(session, DEFAULT_PROJECT, search_id)


def tried(database: Database, search_id: str) -> list[Trial]:
    with database.read() as session:
        return searches.trials(session, [search_id])


def status(database: Database, search_id: str) -> str:
    with database.read() as session:
        row = searches.get(session, DEFAULT_PROJECT, search_id)
        draws = searches.drawing(session, [row]).get(search_id)
        now = searches.status(row, searches.trials(session, [search_id]), draws)
        listed = searches.list_(session, DEFAULT_PROJECT, limit=9, status=now).items
    assert search_id in [one.id for one in listed], "the filter knows the status, too"
    return now


def drawing(database: Database, search_id: str) -> Claim:
    return take(database, str(get(database, search_id).job_id))


def draw(database: Database, search_id: str, claim: Claim | None = None) -> list[tuple[str, str]]:
    """A worker draws as many trials as it is asked for; (job, queue) of what can start."""
    claim = claim or drawing(database, search_id)
    with database.read() as session:
        task = searches.task(session, claim)
    assert task is not None
    new = [
        NewTrial({"optimizer.lr": 0.01 * number}, {"epochs": 4, "optimizer": {"lr": 0.01 * number}})
        for number in range(len(task.trials), len(task.trials) + task.count)
    ]
    hints: list[tuple[str, str]] = do(database, searches.finish, claim, drawn=new, result=RESULT)
    return hints


def ends(database: Database, claim: Claim, ap: float | None = 0.3) -> None:
    """The training of a trial ends well."""
    do(database, models.finish_training, claim, model=replace(WHOLE, metrics={"AP": ap, "AP50": 0.9}))


def measure(database: Database, claim: Claim, epoch: int, ap: float | None, split: str = "val") -> None:
    rows: list[tuple[str, int, float, dict[str, Any]]]
    rows = [(split, epoch * 10, float(epoch), {"AP": ap}), ("train", epoch * 10, float(epoch), {"loss": 1.0})]
    do(database, jobs.record_metrics, claim, rows)


def fails(database: Database, job_id: str, code: str = "non_finite_loss") -> None:
    error = PROBLEM | {"code": code, "detail": "The loss is not finite."}
    do(database, jobs.fail, take(database, job_id), reason=code, error=error)


def last(database: Database, search_id: str) -> str:
    """Job of the trial that was begun last."""
    return tried(database, search_id)[-1].job_id


def done(database: Database, search_id: str, *values: float) -> None:
    """Trials one after the other, measured after every epoch with what they have at the end."""
    for value in values:
        draw(database, search_id)
        claim = take(database, last(database, search_id))
        for epoch in range(1, 5):
            measure(database, claim, epoch, value)
        ends(database, claim, value)


def act(database: Database, verb: Callable[..., RequestOutcome], search_id: str) -> RequestOutcome:
    return do(database, verb, DEFAULT_PROJECT, search_id)


def searching(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).where(Job.kind == JobKind.SEARCH)) or 0


# Its course


def test_trials_follow_one_another_until_they_are_summed_up(database: Database) -> None:
    search = asked(database, name="rates", priority=3, metadata={"a": "b"})
    assert (status(database, search), tried(database, search)) == ("queued", [])
    first = job(database, str(get(database, search).job_id))
    assert (first.kind, first.queue, first.priority, first.spec) == (
        "search",
        "evaluate",
        3,
        {"search_id": search},
    )
    for number in range(3):
        ((hinted, queue),) = draw(database, search)
        (*_, one) = tried(database, search)
        assert (one.job_id, queue, one.number) == (hinted, "train", number)
        made = job(database, hinted)
        assert (made.kind, made.priority, made.extra, made.spec["name"]) == (
            "train",
            3,
            {"a": "b"},
            f"rates: trial {number}",
        )
        assert made.spec["search"] == {"id": search, "trial": number, "params": one.params}
        assert (
            made.resolved_config
            == made.spec["config"]
            == {
                "epochs": 4,
                "optimizer": {"lr": 0.01 * number},
            }
        )
        assert get(database, search).job_id is None, "nothing is to be drawn while the trial runs"
        claim = take(database, hinted)
        assert status(database, search) == "running"
        ends(database, claim, 0.3 - 0.1 * abs(number - 1))
        with database.read() as session:
            ((follows, queue),) = searches.startable(session, hinted)
        assert (follows, queue) == (get(database, search).job_id, "evaluate")
    assert draw(database, search) == []
    row = get(database, search)
    assert (row.outcome, row.result, row.error, row.job_id) == ("succeeded", RESULT, None, None)
    assert row.finished_at is not None
    assert status(database, search) == "succeeded"
    assert [one.value for one in tried(database, search)] == pytest.approx([0.2, 0.3, 0.2])
    best = searches.best(tried(database, search))
    assert best is not None
    assert (best.number, best.model_id is not None) == (1, True)
    assert searching(database) == 4


def test_several_trials_run_beside_one_another(database: Database) -> None:
    search = asked(database, trials=5, parallel=3)
    assert len(draw(database, search)) == 3
    assert searching(database) == 1
    running = [take(database, one.job_id) for one in tried(database, search)]
    ends(database, running[0])
    drawn = drawing(database, search)  # has been asked for one
    with database.read() as session:
        task = searches.task(session, drawn)
    assert task is not None
    assert task.count == 1
    ends(database, running[1])
    assert searching(database) == 2, "there is one already"
    new = [NewTrial({"optimizer.lr": 0.05}, {"epochs": 4})]
    hints = do(database, searches.finish, drawn, drawn=new, result=RESULT)
    assert [queue for _, queue in hints] == ["train", "evaluate"], "the other place is to be filled, too"
    draw(database, search)
    assert len(tried(database, search)) == 5
    assert get(database, search).job_id is None
    for one in tried(database, search):
        if one.status is JobStatus.QUEUED:
            ends(database, take(database, one.job_id))
    assert get(database, search).job_id is None, "one trial still runs"
    ends(database, running[2])
    draw(database, search)
    assert status(database, search) == "succeeded"


def test_two_trials_that_end_at_once_make_one_job(database: Database) -> None:
    search = asked(database, trials=4, parallel=2)
    draw(database, search)
    claims = [take(database, one.job_id) for one in tried(database, search)]
    begin = threading.Barrier(2)

    def end(claim: Claim) -> None:
        begin.wait()
        ends(database, claim)

    threads = [threading.Thread(target=end, args=(claim,)) for claim in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert searching(database) == 2
    with database.read() as session:
        task = searches.task(session, drawing(database, search))
    assert task is not None
    assert task.count == 2


def test_a_lost_worker_draws_again_and_nothing_is_begun_twice(database: Database) -> None:
    search = asked(database)
    claim = drawing(database, search)
    end_lease(database, claim.job_id)
    database.run(jobs.reap)
    make_due(database, claim.job_id)
    draw(database, search)
    new = [NewTrial({"optimizer.lr": 9.0}, {})]
    with pytest.raises(Fenced):
        do(database, searches.finish, claim, drawn=new, result=RESULT)
    assert [one.params for one in tried(database, search)] == [{"optimizer.lr": 0.0}]


# Pruning


def test_a_trial_below_the_median_is_asked_to_end(database: Database) -> None:
    search = asked(database, trials=5)
    done(database, search, 0.5, 0.25)
    draw(database, search)
    claim = take(database, last(database, search))
    measure(database, claim, 1, 0.1)
    assert job(database, claim.job_id).requested_action is None, "it is still warming up"
    measure(database, claim, 2, 0.29)
    assert job(database, claim.job_id).requested_action is RequestedAction.CANCEL
    with database.read() as session:
        events = jobs.events(session, DEFAULT_PROJECT, claim.job_id).items
    assert (events[-1].type, events[-1].data) == (
        "job.cancel_requested",
        {"reason": "pruned", "epoch": 2.0, "metric": "AP", "best": 0.29, "median": 0.375},
    )
    before = searching(database)
    do(database, jobs.cancel_now, claim)
    one = tried(database, search)[-1]
    assert (one.status, one.status_reason, one.pruned, one.value) == ("cancelled", "pruned", True, None)
    assert searching(database) == before + 1, "its place is free"
    drawn = drawing(database, search)
    with database.read() as session:
        task = searches.task(session, drawn)
    assert task is not None
    assert task.courses == {claim.job_id: [(1.0, 0.1), (2.0, 0.29)]}
    # What was pruned is in no median.
    draw(database, search, drawn)
    claim = take(database, last(database, search))
    measure(database, claim, 2, 0.31)
    assert job(database, claim.job_id).requested_action is RequestedAction.CANCEL


@pytest.mark.parametrize(
    ("why", "aps", "changes"),
    [
        ("the best so far is not below", [(1, 0.5), (2, 0.1)], {}),
        ("there is nothing left to save", [(4, 0.1)], {}),
        ("nobody was measured there", [(2.5, 0.1)], {}),
        ("it was not measured", [(2, None)], {}),
        ("it was not asked for", [(2, 0.1)], {"pruning": None}),
        ("too few have succeeded", [(2, 0.1)], {"pruning": {"startup_trials": 3, "warmup_epochs": 0}}),
        ("it is as good", [(2, 0.375)], {}),
    ],
)
def test_a_trial_goes_on_where(
    database: Database, why: str, aps: list[tuple[float, float | None]], changes: dict[str, Any]
) -> None:
    search = asked(database, trials=5, **changes)
    done(database, search, 0.5, 0.25)
    draw(database, search)
    claim = take(database, last(database, search))
    for epoch, ap in aps:
        rows = [("val", int(epoch * 10), float(epoch), {"AP": ap})]
        do(database, jobs.record_metrics, claim, rows)
    assert job(database, claim.job_id).requested_action is None, why


def test_numbers_of_training_steps_prune_nothing(database: Database) -> None:
    search = asked(database, trials=5)
    done(database, search, 0.5, 0.25)
    draw(database, search)
    claim = take(database, last(database, search))
    do(database, jobs.record_metrics, claim, [("train", 20, 2.0, {"AP": 0.0})])
    assert job(database, claim.job_id).requested_action is None


def test_a_pruned_trial_whose_worker_is_lost_has_ended(database: Database) -> None:
    search = asked(database, trials=5)
    done(database, search, 0.5, 0.25)
    draw(database, search)
    claim = take(database, last(database, search))
    measure(database, claim, 2, 0.0)
    measure(database, claim, 3, 0.0)  # asked once
    end_lease(database, claim.job_id)
    database.run(jobs.reap)
    one = tried(database, search)[-1]
    assert (one.status, one.status_reason) == ("cancelled", "pruned")
    assert event_types(database, claim.job_id)[-2:] == ["job.cancel_requested", "job.cancelled"]


def test_a_pruned_trial_that_is_retried_is_judged_anew(database: Database) -> None:
    search = asked(database, trials=3)
    done(database, search, 0.5, 0.25)
    draw(database, search)
    claim = take(database, last(database, search))
    measure(database, claim, 2, 0.0)
    do(database, jobs.cancel_now, claim)
    draw(database, search)
    assert status(database, search) == "succeeded"
    with pytest.raises(SearchNotRetryable):
        act(database, searches.retry, search)
    do(database, jobs.retry, DEFAULT_PROJECT, claim.job_id)
    assert status(database, search) == "running"
    assert not tried(database, search)[-1].pruned
    again = take(database, claim.job_id)
    measure(database, again, 2, 0.5)
    ends(database, again, 0.6)
    draw(database, search)
    best = searches.best(tried(database, search))
    assert best is not None
    assert (status(database, search), best.job_id) == ("succeeded", claim.job_id)


# Ends that are none or no good ones


def test_a_trial_that_fails_is_one_of_those_asked_for(database: Database) -> None:
    search = asked(database)
    draw(database, search)
    fails(database, last(database, search))
    done(database, search, 0.1, 0.2)
    draw(database, search)
    assert status(database, search) == "succeeded"
    assert [one.value for one in tried(database, search)] == [None, 0.1, 0.2]


def test_a_search_without_a_success_fails_and_says_why(database: Database) -> None:
    search = asked(database, trials=20)
    for _ in range(5):
        draw(database, search)
        fails(database, last(database, search))
    row = get(database, search)
    assert (row.outcome, len(tried(database, search))) == ("failed", 5), "it is not for their values"
    assert row.error is not None
    assert row.error["code"] == "no_trial_succeeded"
    assert "The loss is not finite." in row.error["detail"]
    assert [one["pointer"] for one in row.error["errors"]] == [f"/trials/{number}" for number in range(5)]
    outcome = act(database, searches.retry, search)
    assert len(outcome.startable) == 5
    assert status(database, search) == "running"
    for one in tried(database, search):
        ends(database, take(database, one.job_id))
    draw(database, search)
    assert len(tried(database, search)) == 6, "what was not begun is begun"


def test_a_job_that_cannot_draw_ends_the_search_with_what_runs(database: Database) -> None:
    search = asked(database, parallel=2)
    draw(database, search)
    first, second = tried(database, search)
    ends(database, take(database, first.job_id))
    claim = drawing(database, search)
    do(database, jobs.fail, claim, reason="internal_error", error=PROBLEM | {"code": "search_invalid"})
    assert status(database, search) == "running", "what was begun goes on"
    ends(database, take(database, second.job_id))
    row = get(database, search)
    assert (row.outcome, row.error and row.error["code"]) == ("failed", "search_invalid")
    ((hinted, queue),) = act(database, searches.retry, search).startable
    assert (hinted != claim.job_id, queue) == (True, "evaluate")
    with pytest.raises(SearchNotFound):
        do(database, jobs.retry, DEFAULT_PROJECT, claim.job_id)
    done(database, search, 0.5)
    draw(database, search)
    assert status(database, search) == "succeeded"


def test_the_job_that_draws_may_be_retried_by_itself(database: Database) -> None:
    search = asked(database)
    claim = drawing(database, search)
    do(database, jobs.fail, claim, reason="internal_error", error=PROBLEM)
    assert status(database, search) == "failed"
    do(database, jobs.retry, DEFAULT_PROJECT, claim.job_id)
    assert status(database, search) == "queued"
    done(database, search, 0.1, 0.2, 0.3)
    draw(database, search)
    assert status(database, search) == "succeeded"


def test_a_dataset_that_turns_out_invalid_ends_it(database: Database) -> None:
    dataset, validation = upload(database)
    search = asked(database, dataset.id)
    assert jobs_due(database) == [], "it waits for its dataset"
    do(
        database,
        datasets.mark_invalid,
        take(database, validation.id),
        format=None,
        summary=None,
        findings=[],
        error=PROBLEM | {"code": "dataset_invalid"},
    )
    row = get(database, search)
    assert (row.outcome, row.error and row.error["code"]) == ("failed", "dataset_invalid")


def jobs_due(database: Database) -> list[str]:
    with database.read() as session:
        due = jobs.next_due(session, "evaluate")
    return [] if due is None else [due]


# What is asked of it


def test_cancel_ends_what_runs_and_begins_nothing(database: Database) -> None:
    search = asked(database, trials=4, parallel=2)
    draw(database, search)
    first, second = tried(database, search)
    claim = take(database, first.job_id)
    assert act(database, searches.cancel, search).changed
    assert not act(database, searches.cancel, search).changed
    assert tried(database, search)[1].status is JobStatus.CANCELLED
    assert status(database, search) == "running"
    for verb in (searches.pause, searches.resume, searches.retry):
        with pytest.raises(SearchBeingCancelled):
            act(database, verb, search)
    do(database, jobs.cancel_now, claim)
    assert status(database, search) == "cancelled"
    assert tried(database, search)[0].status_reason == "user_cancelled"
    assert searching(database) == 1
    assert not act(database, searches.cancel, search).changed
    # And it goes on from there.
    assert len(act(database, searches.retry, search).startable) == 2
    for one in (first, second):
        ends(database, take(database, one.job_id))
    draw(database, search)
    assert len(tried(database, search)) == 4


def test_cancel_while_it_draws(database: Database) -> None:
    search = asked(database)
    claim = drawing(database, search)
    act(database, searches.cancel, search)
    assert status(database, search) == "queued"
    with pytest.raises(Fenced):  # `CancelRequested`
        do(database, searches.finish, claim, drawn=[NewTrial({}, {})], result=RESULT)
    do(database, jobs.cancel_now, claim)
    assert (status(database, search), tried(database, search)) == ("cancelled", [])
    waiting = asked(database)
    do(database, jobs.request, DEFAULT_PROJECT, str(get(database, waiting).job_id), RequestedAction.CANCEL)
    assert status(database, waiting) == "cancelled", "whoever cancels its job means the search"


def test_a_paused_search_begins_nothing_until_it_is_resumed(database: Database) -> None:
    search = asked(database)
    draw(database, search)
    take(database, last(database, search))
    with pytest.raises(SearchNotPaused):
        act(database, searches.resume, search)
    (one,) = tried(database, search)
    assert act(database, searches.pause, search).changed
    assert not act(database, searches.pause, search).changed
    with pytest.raises(SearchNotPaused, match="still save"):
        act(database, searches.resume, search)
    claim = running(database, one.job_id)
    checkpoint(database, claim, 10)
    assert do(database, jobs.release, claim, stalled=False) is JobStatus.PAUSED
    assert status(database, search) == "paused"
    ((hinted, _),) = act(database, searches.resume, search).startable
    assert hinted == one.job_id
    assert not act(database, searches.resume, search).changed
    # A trial that ends before it can pause does not begin the next one.
    claim = take(database, one.job_id)
    act(database, searches.pause, search)
    ends(database, claim)
    assert (status(database, search), get(database, search).job_id) == ("paused", None)
    with pytest.raises(DatasetInUse):
        do(database, datasets.delete, DEFAULT_PROJECT, str(get(database, search).dataset_id))
    ((_, queue),) = act(database, searches.resume, search).startable
    assert queue == "evaluate"
    done(database, search, 0.1, 0.2)
    with pytest.raises(SearchNotPausable):
        act(database, searches.pause, search)
    draw(database, search)
    for verb in (searches.pause, searches.resume, searches.cancel):
        with pytest.raises(SearchAlreadyFinished):
            act(database, verb, search)


def test_what_is_drawn_while_it_is_paused_is_drawn_again_later(database: Database) -> None:
    search = asked(database)
    claim = drawing(database, search)
    act(database, searches.pause, search)
    new = [NewTrial({"optimizer.lr": 0.5}, {"epochs": 4})]
    assert do(database, searches.finish, claim, drawn=new, result=RESULT) == []
    assert (status(database, search), tried(database, search)) == ("paused", [])
    act(database, searches.resume, search)
    draw(database, search)
    assert len(tried(database, search)) == 1


def running(database: Database, job_id: str) -> Claim:
    """The claim that was made before."""
    found = job(database, job_id)
    return Claim(
        job_id=job_id,
        project_id=found.project_id,
        kind=found.kind,
        queue=found.queue,
        spec=found.spec,
        dataset_id=found.dataset_id,
        resolved_config=found.resolved_config,
        token=found.token,
        attempt=found.attempt,
        worker=found.worker or "",
        lease_seconds=60.0,
        checkpoint_key=None,
        checkpoint_sha256=None,
        checkpoint_step=-1,
        requested_action=found.requested_action,
        max_attempts=20,
        progress_timeout_seconds=0.0,
    )


def test_a_trial_is_not_stopped_early_and_a_success_not_retried(database: Database) -> None:
    search = asked(database)
    draw(database, search)
    claim = take(database, last(database, search))
    checkpoint(database, claim, 10)
    with pytest.raises(ActionNotPossible):
        do(database, jobs.request, DEFAULT_PROJECT, claim.job_id, RequestedAction.STOP)
    ends(database, claim)
    with pytest.raises(JobNotRetryable):
        do(database, jobs.retry, DEFAULT_PROJECT, claim.job_id)
    assert not act(database, searches.retry, search).changed, "all of it is under way"


def test_values_outlive_models_and_jobs_outlive_the_search(database: Database) -> None:
    search = asked(database, trials=1)
    with pytest.raises(SearchRunning):
        do(database, searches.delete, DEFAULT_PROJECT, search)
    done(database, search, 0.25)
    (one,) = tried(database, search)
    do(database, models.delete, DEFAULT_PROJECT, str(one.model_id))
    draw(database, search)
    best = searches.best(tried(database, search))
    assert best is not None
    assert (best.value, best.model_id) == (0.25, None)
    do(database, searches.delete, DEFAULT_PROJECT, search)
    with pytest.raises(SearchNotFound):
        get(database, search)
    assert job(database, one.job_id).status is JobStatus.SUCCEEDED


def test_what_trials_start_from_is_kept(database: Database) -> None:
    first = asked(database, trials=1)
    done(database, first, 0.25)
    model = str(tried(database, first)[0].model_id)
    search = asked(database, initial_model_id=model)
    draw(database, search)
    assert job(database, last(database, search)).initial_model_id == model
    with pytest.raises(ModelInUse):
        do(database, models.delete, DEFAULT_PROJECT, model)
    with database.read() as session, pytest.raises(SearchNotFound):
        searches.get(session, "prj_other", search)


def test_the_quota_is_asked_once(database: Database) -> None:
    search = asked(database, parallel=3)
    do(database, quotas.limit, DEFAULT_PROJECT, max_queued_jobs=1)
    try:
        with pytest.raises(QuotaExceeded):
            asked(database)
        assert len(draw(database, search)) == 3
    finally:
        do(database, quotas.limit, DEFAULT_PROJECT, max_queued_jobs=0)


def test_webhooks_are_told_of_its_end(database: Database) -> None:
    with database.begin() as session:
        hook = webhooks.create(
            session, project_id=DEFAULT_PROJECT, url="https://example.org", events=["search.*"]
        )
    try:
        search = asked(database, trials=1, name="rates")
        done(database, search, 0.2)
        draw(database, search)
        with database.read() as session:
            told = session.scalars(select(WebhookDelivery).where(WebhookDelivery.webhook_id == hook.id)).all()
        assert [one.type for one in told] == ["search.succeeded"]
        assert search in told[0].body
    finally:
        with database.begin() as session:
            webhooks.delete(session, DEFAULT_PROJECT, hook.id)


def test_equal_values_are_best_once(database: Database) -> None:
    search = asked(database, trials=3)
    done(database, search, 0.2, 0.3, 0.3)
    found = tried(database, search)
    best = searches.best(found)
    assert best is not None
    assert best.number == 1
    assert searches.best(found[:0]) is None

    def forget(session: Any) -> None:
        session.execute(update(SearchTrial).values(value=None))

    database.run(forget)
    assert searches.best(tried(database, search)) is None


def test_lists_by_dataset_and_metadata(database: Database) -> None:
    dataset = ready_dataset(database)
    one = asked(database, dataset.id, metadata={"team": "a"})
    other = asked(database)

    def listed(**by: Any) -> Sequence[str]:
        with database.read() as session:
            return [row.id for row in searches.list_(session, DEFAULT_PROJECT, limit=9, **by).items]

    assert listed() == [other, one]
    assert listed(dataset_id=dataset.id) == listed(metadata={"team": "a"}) == [one]


def test_a_trial_changed_behind_its_back_is_seen(database: Database) -> None:
    """A pause that the rows show, asked of a trial by itself."""
    search = asked(database)
    draw(database, search)
    change(database, last(database, search), status=JobStatus.PAUSED)
    assert status(database, search) == "paused"
