"""Models: stored whole with the end of their training, found again, deleted."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from store import jobs, models
from store.errors import ArtifactNotFound, EvaluationNotFound, ModelNotFound
from store.models import NewArtifact, NewEvaluation
from store.overview import overview
from store.sessions import Database
from store.tables import DEFAULT_PROJECT, Artifact, Evaluation, JobStatus
from tests.store.helpers import do, job, queue_training, ready_dataset, running_training, take
from tests.store.test_jobs import MODEL

WHOLE = replace(
    MODEL,
    metadata={"team": "a"},
    artifacts=[
        NewArtifact("model.onnx", "application/onnx", "sha256/aa/aa", "aa", 10),
        NewArtifact("model.json", "application/json", "sha256/bb/bb", "bb", 20),
    ],
    evaluation=NewEvaluation("val", {"AP": 0.5, "AP_small": None}, [{"id": 1, "AP": 0.5}]),
)


def test_a_model_comes_with_its_artifacts_and_evaluation(database: Database) -> None:
    claim = running_training(database)
    made = do(database, models.finish_training, claim, model=WHOLE, status_reason="early_stopped")
    row = job(database, claim.job_id)
    assert (row.status, row.status_reason) == (JobStatus.SUCCEEDED, "early_stopped")
    with database.read() as session:
        found = models.resolve(session, DEFAULT_PROJECT, made.id)
        assert (found.name, found.job_id, found.extra) == ("m", claim.job_id, {"team": "a"})
        names = [a.name for a in models.artifacts(session, DEFAULT_PROJECT, made.id)]
        assert names == ["model.json", "model.onnx"]
        assert models.artifact(session, DEFAULT_PROJECT, made.id, "model.onnx").blob == "sha256/aa/aa"
        evaluation = models.evaluation_of(session, DEFAULT_PROJECT, made.id)
        assert (evaluation.split, evaluation.metrics) == ("val", {"AP": 0.5, "AP_small": None})
        with pytest.raises(ArtifactNotFound):
            models.artifact(session, DEFAULT_PROJECT, made.id, "../model.onnx")


def test_a_model_that_cannot_be_stored_leaves_its_job_running(database: Database) -> None:
    claim = running_training(database)
    twice = replace(WHOLE, artifacts=[WHOLE.artifacts[0], WHOLE.artifacts[0]])
    with pytest.raises(Exception, match=r"(?i)unique|identity key"):
        do(database, models.finish_training, claim, model=twice)
    assert job(database, claim.job_id).status is JobStatus.RUNNING
    do(database, models.finish_training, claim, model=WHOLE)


def test_deleting_takes_artifacts_and_evaluations_along_but_not_the_job(database: Database) -> None:
    claim = running_training(database)
    made = do(database, models.finish_training, claim, model=WHOLE)
    do(database, models.delete, DEFAULT_PROJECT, made.id)
    with database.read() as session:
        assert session.scalars(select(Artifact)).all() == []
        assert session.scalars(select(Evaluation)).all() == []
        for verb in (models.get, models.artifacts, models.evaluation_of):
            with pytest.raises(ModelNotFound):
                verb(session, DEFAULT_PROJECT, made.id)
    assert job(database, claim.job_id).status is JobStatus.SUCCEEDED


def test_lists_and_projects(database: Database) -> None:
    dataset = ready_dataset(database)
    made = [
        do(
            database,
            models.finish_training,
            take(database, queue_training(database, dataset).id),
            model=MODEL,
        )
        for _ in range(3)
    ]
    with database.read() as session:
        found = models.list_(session, DEFAULT_PROJECT, limit=2)
        assert [m.id for m in found.items] == [made[2].id, made[1].id]
        assert found.has_more
        assert models.list_(session, "prj_other", limit=2).items == []
        with pytest.raises(ModelNotFound):
            models.get(session, "prj_other", made[0].id)
        with pytest.raises(EvaluationNotFound):
            models.evaluation_of(session, DEFAULT_PROJECT, made[0].id)


def test_the_overview_of_a_job_names_its_best_and_latest_numbers(database: Database) -> None:
    claim = running_training(database)
    rows = [("val", step, step, {"AP": ap}) for step, ap in ((1, 0.3), (2, 0.6), (3, None))]
    do(database, jobs.record_metrics, claim, [*rows, ("train", 4, 4.0, {"loss": 1.0})])
    made = do(database, models.finish_training, claim, model=MODEL)
    with database.read() as session:
        seen = overview(session, jobs.get(session, DEFAULT_PROJECT, claim.job_id))
    assert seen.model_id == made.id
    assert seen.best is not None
    assert seen.last is not None
    assert seen.train is not None
    assert (seen.best.step, seen.last.step, seen.train.step) == (2, 3, 4)
