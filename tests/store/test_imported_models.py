"""Imported weights, and models that jobs start from: found, kept as long as they are needed, then deleted."""

from typing import Any

import pytest
from sqlalchemy import select

from store import jobs, models
from store.errors import ModelCannotPredict, ModelInUse, ModelNotFound
from store.models import NewArtifact
from store.sessions import Database
from store.tables import DEFAULT_PROJECT, Artifact, Model, RequestedAction
from tests.store.helpers import PROBLEM, checkpoint, do, job, queue_training, take
from tests.store.test_models import WHOLE

WEIGHTS = NewArtifact("model.safetensors", "application/octet-stream", "sha256/cc/cc", "cc", 30)


def imported(database: Database, **changes: Any) -> Model:
    values: dict[str, Any] = {
        "project_id": DEFAULT_PROJECT,
        "name": "backbone",
        "architecture": "mobilenet_v2",
        "classes": [],
        "config": {},
        "weights": WEIGHTS,
    }
    return do(database, models.import_weights, **(values | changes))


def test_imported_weights_are_a_model_without_job_metrics_and_graph(database: Database) -> None:
    made = imported(database, metadata={"from": "a friend"})
    with database.read() as session:
        found = models.get(session, DEFAULT_PROJECT, made.id)
        assert (found.job_id, found.dataset_id, found.metrics) == (None, None, {})
        assert found.extra == {"from": "a friend"}
        assert [a.name for a in models.artifacts(session, DEFAULT_PROJECT, made.id)] == ["model.safetensors"]
        with pytest.raises(ModelCannotPredict):
            models.with_graph(session, DEFAULT_PROJECT, made.id)
        with pytest.raises(ModelNotFound):
            models.with_graph(session, "prj_other", made.id)


def test_a_trained_model_can_predict(database: Database) -> None:
    made = do(database, models.finish_training, take(database, queue_training(database).id), model=WHOLE)
    with database.read() as session:
        models.with_graph(session, DEFAULT_PROJECT, made.id)


def test_a_job_starts_only_from_a_model_of_its_project(database: Database) -> None:
    with pytest.raises(ModelNotFound):
        queue_training(database, initial_model_id="mdl_none")
    made = imported(database)
    row = queue_training(database, initial_model_id=made.id)
    assert job(database, row.id).initial_model_id == made.id


def test_a_model_that_a_job_starts_from_stays_until_the_job_has_ended(database: Database) -> None:
    made = imported(database)
    queued = queue_training(database, initial_model_id=made.id)
    with pytest.raises(ModelInUse):
        do(database, models.delete, DEFAULT_PROJECT, made.id)
    claim = take(database, queued.id)
    with pytest.raises(ModelInUse):
        do(database, models.delete, DEFAULT_PROJECT, made.id)
    do(database, jobs.fail, claim, reason="internal_error", error=PROBLEM)
    do(database, models.delete, DEFAULT_PROJECT, made.id)
    with database.read() as session:
        assert session.scalars(select(Artifact)).all() == []
    assert job(database, queued.id).initial_model_id == made.id


def test_a_job_without_its_model_is_retried_only_from_a_checkpoint(database: Database) -> None:
    made = imported(database)
    first, second = (queue_training(database, initial_model_id=made.id) for _ in range(2))
    for row, steps in ((first, 0), (second, 4)):
        claim = take(database, row.id)
        if steps:
            checkpoint(database, claim, steps)
        do(database, jobs.fail, claim, reason="internal_error", error=PROBLEM)
    do(database, models.delete, DEFAULT_PROJECT, made.id)
    with pytest.raises(ModelNotFound):
        do(database, jobs.retry, DEFAULT_PROJECT, first.id)
    do(database, jobs.retry, DEFAULT_PROJECT, second.id)


def test_a_paused_job_keeps_its_model(database: Database) -> None:
    made = imported(database)
    queued = queue_training(database, initial_model_id=made.id)
    do(database, jobs.request, DEFAULT_PROJECT, queued.id, RequestedAction.PAUSE)
    with pytest.raises(ModelInUse):
        do(database, models.delete, DEFAULT_PROJECT, made.id)
