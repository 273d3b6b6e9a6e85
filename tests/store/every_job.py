"""A job of every kind and in every state, made by the verbs."""

from typing import Any

from store import datasets, jobs, models, projects, quotas
from store.clock import database_now
from store.sessions import Database
from store.tables import DEFAULT_PROJECT, RequestedAction
from tests.store.helpers import (
    BOX,
    PROBLEM,
    change,
    do,
    end_lease,
    measure,
    queue_training,
    running_training,
    take,
    upload,
)
from tests.store.test_evaluations import asked, finished
from tests.store.test_models import WHOLE

_PROGRESS = {"step": 7, "steps": 30, "fraction": 1, "eta_seconds": 1e-7, "images_per_second": 31.25}
_HARD: dict[str, Any] = {
    "config": {
        "epochs": 3,
        "lr": 1e-5,
        "big": 2**70,
        "large": 1e22,
        "small": 5e-324,
        "third": 1 / 3,
        "text": '\u00e4\u4e2d\U0001f600 </script> \u2028 \\ " \x7f',
        "list": [1, 1.0, None, True, {"a": []}],
    }
}


def every_job(database: Database) -> dict[str, tuple[str, str]]:
    """(project, job) by what is special about it."""
    made = _queued(database) | _running(database) | _ended(database)
    return {name: (DEFAULT_PROJECT, job_id) for name, job_id in made.items()} | _of_a_full_project(database)


def _queued(database: Database) -> dict[str, str]:
    validating, validation = upload(database)
    delayed = running_training(database).job_id
    end_lease(database, delayed)
    do(database, jobs.reap)
    change(database, delayed, not_before=database_now() + 1000)  # longer than any test
    given_back = running_training(database)
    do(database, jobs.release, given_back, reason="worker_stopped", stalled=False)
    return {
        "a validation": validation.id,
        "waits for its dataset": queue_training(database, validating).id,
        "waits after a lost worker": delayed,
        "given back": given_back.job_id,
        "waits for a worker": queue_training(database).id,
        "before them": queue_training(database, priority=7, metadata={"b": "2", "a": "1"}).id,
        "behind them": queue_training(database, priority=-7, spec=_HARD, resolved_config=_HARD["config"]).id,
        "with its own limits": queue_training(database, max_attempts=3, progress_timeout_seconds=90.5).id,
        "an evaluation": asked(database)[1].id,
    }


def _running(database: Database) -> dict[str, str]:
    begun = running_training(database)
    measured = running_training(database)
    measure(database, measured, 1, 2, 30)
    values: list[tuple[str, int, float, dict[str, Any]]] = [
        ("val", 10, 1.0, {"AP": 0.25, "AP50": None}),
        ("val", 20, 2.0, {"AP": 0.5}),
        ("test", 20, 2.0, {"AP": 0.5, "segm_AP": 1}),  # a tie at the same step
        ("val", 30, 3, {"AP": float("nan"), "other": {"deep": [1e300]}}),
    ]
    do(database, jobs.record_metrics, measured, values)
    do(database, jobs.set_phase, measured, "evaluating")
    do(database, jobs.set_progress, measured, _PROGRESS)
    without_ap = running_training(database)
    do(database, jobs.record_metrics, without_ap, [("val", 1, 0.5, {"loss": 2}), ("val", 2, 1.0, {})])
    stopping = running_training(database)
    do(database, jobs.request, DEFAULT_PROJECT, stopping.job_id, RequestedAction.STOP)
    again = running_training(database)
    measure(database, again, 5, 10)
    end_lease(database, again.job_id)
    do(database, jobs.reap)
    evaluation = asked(database)[1]
    take(database, evaluation.id)
    return {
        "just begun": begun.job_id,
        "measured": measured.job_id,
        "measured without AP": without_ap.job_id,
        "to be stopped": stopping.job_id,
        "measured by the attempt before": again.job_id,
        "an evaluation at work": evaluation.id,
    }


def _ended(database: Database) -> dict[str, str]:
    made = running_training(database)
    measure(database, made, 3)
    do(database, models.finish_training, made, model=WHOLE, status_reason="early_stopped")
    failed = running_training(database)
    do(database, jobs.fail, failed, reason="out_of_memory", error=PROBLEM | {"more": {"x": 1.5}})
    cancelled, paused = (queue_training(database).id for _ in range(2))
    do(database, jobs.request, DEFAULT_PROJECT, cancelled, RequestedAction.CANCEL)
    do(database, jobs.request, DEFAULT_PROJECT, paused, RequestedAction.PAUSE)
    _, evaluation = asked(database)
    finished(database, evaluation.id)
    _, validation = upload(database)
    claim = take(database, validation.id)
    do(
        database,
        datasets.mark_ready,
        claim,
        index="sha256/cd/cd",
        format="coco",
        summary={},
        images=[BOX],
        findings=[],
    )
    return {
        "with a model": made.job_id,
        "failed": failed.job_id,
        "cancelled": cancelled,
        "paused": paused,
        "an evaluation that is done": evaluation.id,
        "a validation that is done": validation.id,
    }


def _of_a_full_project(database: Database) -> dict[str, tuple[str, str]]:
    project = database.run(lambda session: projects.ensure(session, "a small team")).id
    database.run(lambda session: quotas.limit(session, project, max_running_jobs=1))
    dataset, validation = upload(database, project_id=project)
    do(
        database,
        datasets.mark_ready,
        take(database, validation.id),
        index="sha256/cd/cd",
        format="coco",
        summary={},
        images=[BOX],
        findings=[],
    )
    first, second = (queue_training(database, dataset, project_id=project) for _ in range(2))
    take(database, first.id)
    return {"waits for the quota": (project, second.id), "of a full project": (project, first.id)}
