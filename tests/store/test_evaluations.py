"""Evaluations: made with their job, finished with it, and gone with what they are of."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from store import collect, datasets, evaluations, jobs, models, quotas
from store.errors import (
    ActionNotPossible,
    CancelRequested,
    DatasetInUse,
    EvaluationFileNotFound,
    EvaluationNotFound,
    EvaluationNotReady,
    EvaluationRunning,
    Fenced,
    IdempotencyMismatch,
    ModelInUse,
    ModelNotFound,
    QuotaExceeded,
    StorageQuotaExceeded,
)
from store.models import NewArtifact
from store.sessions import Database
from store.tables import DEFAULT_PROJECT, Evaluation, EvaluationFile, Job, JobStatus, RequestedAction
from tests.store.helpers import do, end_lease, job, ready_dataset, running_training, take
from tests.store.test_models import WHOLE

DETECTIONS = NewArtifact("detections.json", "application/json", "sha256/dd/dd", "dd", 30)
REPORT = NewArtifact("report.json", "application/json", "sha256/ee/ee", "ee", 40)
METRICS = {"AP": 0.25, "AP50": None}


def trained(database: Database, *artifacts: NewArtifact) -> str:
    """Id of a model."""
    new = replace(WHOLE, artifacts=[*WHOLE.artifacts, *artifacts])
    return do(database, models.finish_training, running_training(database), model=new).id


def asked(database: Database, **changes: Any) -> tuple[Evaluation, Job]:
    values: dict[str, Any] = {"project_id": DEFAULT_PROJECT, "split": "val", "options": {"precision": 0.8}}
    if not changes.keys() & {"model_id", "detections"}:
        values["detections"] = DETECTIONS
    if "dataset_id" not in changes:
        values["dataset_id"] = ready_dataset(database).id
    return database.run(lambda session: evaluations.create(session, **(values | changes)))


def finished(database: Database, job_id: str, *files: NewArtifact) -> None:
    do(database, evaluations.finish, take(database, job_id), metrics=METRICS, per_class=[], files=files)


def names(database: Database, evaluation_id: str) -> list[str]:
    statement = select(EvaluationFile.name).where(EvaluationFile.evaluation_id == evaluation_id)
    with database.read() as session:
        return list(session.scalars(statement.order_by(EvaluationFile.name)))


def test_what_was_asked_for_is_queued_and_ends_with_its_files(database: Database) -> None:
    model = trained(database)
    row, made = asked(database, model_id=model, metadata={"a": "b"})
    assert (made.kind, made.queue, made.status) == ("evaluate", "evaluate", JobStatus.QUEUED)
    assert made.spec["model_id"] == model
    with database.read() as session:
        with pytest.raises(EvaluationNotReady):
            evaluations.file(session, DEFAULT_PROJECT, row.id, "report.json")
        with pytest.raises(EvaluationNotFound):
            evaluations.get(session, "prj_other", row.id)
    finished(database, made.id, REPORT, DETECTIONS)
    with database.read() as session:
        found, its_job = evaluations.get(session, DEFAULT_PROJECT, row.id)
        assert its_job is not None
        assert (found.metrics, its_job.status) == (METRICS, JobStatus.SUCCEEDED)
        assert evaluations.file(session, DEFAULT_PROJECT, row.id, "report.json").blob == REPORT.blob
        with pytest.raises(EvaluationFileNotFound):
            evaluations.file(session, DEFAULT_PROJECT, row.id, "images.jsonl")
    assert names(database, row.id) == ["detections.json", "report.json"]


def test_a_worker_that_has_lost_the_job_stores_nothing(database: Database) -> None:
    row, made = asked(database)
    old = take(database, made.id)
    end_lease(database, made.id)
    do(database, jobs.reap)
    with pytest.raises(Fenced):
        do(database, evaluations.finish, old, metrics=METRICS, per_class=[], files=[REPORT])
    assert names(database, row.id) == ["detections.json"]
    assert job(database, made.id).status is JobStatus.QUEUED


def test_a_cancel_that_came_first_wins(database: Database) -> None:
    row, made = asked(database)
    claim = take(database, made.id)
    do(database, jobs.request, DEFAULT_PROJECT, made.id, RequestedAction.CANCEL)
    with pytest.raises(CancelRequested):
        do(database, evaluations.finish, claim, metrics=METRICS, per_class=[], files=[REPORT])
    do(database, jobs.cancel_now, claim)
    with database.read() as session:
        assert evaluations.get(session, DEFAULT_PROJECT, row.id)[0].metrics == {}


def test_it_can_be_cancelled_and_retried_but_not_paused(database: Database) -> None:
    row, made = asked(database)
    for action in (RequestedAction.PAUSE, RequestedAction.STOP):
        with pytest.raises(ActionNotPossible):
            do(database, jobs.request, DEFAULT_PROJECT, made.id, action)
    do(database, jobs.request, DEFAULT_PROJECT, made.id, RequestedAction.CANCEL)
    assert do(database, jobs.retry, DEFAULT_PROJECT, made.id).job.status is JobStatus.QUEUED
    do(database, jobs.request, DEFAULT_PROJECT, made.id, RequestedAction.CANCEL)
    do(database, evaluations.delete, DEFAULT_PROJECT, row.id)
    with pytest.raises(EvaluationNotFound):
        do(database, jobs.retry, DEFAULT_PROJECT, made.id)


def test_what_an_evaluation_needs_stays_until_it_has_ended(database: Database) -> None:
    model = trained(database)
    row, made = asked(database, model_id=model)
    with pytest.raises(ModelInUse):
        do(database, models.delete, DEFAULT_PROJECT, model)
    with pytest.raises(DatasetInUse):
        do(database, datasets.delete, DEFAULT_PROJECT, str(row.dataset_id))
    with pytest.raises(EvaluationRunning):
        do(database, evaluations.delete, DEFAULT_PROJECT, row.id)
    finished(database, made.id, REPORT)
    do(database, datasets.delete, DEFAULT_PROJECT, str(row.dataset_id))
    do(database, models.delete, DEFAULT_PROJECT, model)
    with database.read() as session, pytest.raises(EvaluationNotFound):
        evaluations.get(session, DEFAULT_PROJECT, row.id)
    assert names(database, row.id) == []
    assert job(database, made.id).status is JobStatus.SUCCEEDED


def test_the_same_key_is_the_same_evaluation(database: Database) -> None:
    dataset = ready_dataset(database).id
    first, made = asked(database, dataset_id=dataset, idempotency_key="k")
    again, same = asked(database, dataset_id=dataset, idempotency_key="k")
    assert (first.id, made.id) == (again.id, same.id)
    with pytest.raises(IdempotencyMismatch):
        asked(database, dataset_id=dataset, idempotency_key="k", split="train")
    finished(database, made.id)
    do(database, evaluations.delete, DEFAULT_PROJECT, first.id)
    with pytest.raises(IdempotencyMismatch):
        asked(database, dataset_id=dataset, idempotency_key="k")


def test_it_counts_towards_the_quota_and_needs_its_model(database: Database) -> None:
    dataset = ready_dataset(database).id
    with pytest.raises(ModelNotFound):
        asked(database, dataset_id=dataset, model_id="mdl_none")
    do(database, quotas.limit, DEFAULT_PROJECT, max_queued_jobs=1)
    try:
        asked(database, dataset_id=dataset)
        with pytest.raises(QuotaExceeded):
            asked(database, dataset_id=dataset)
    finally:
        do(database, quotas.limit, DEFAULT_PROJECT, max_queued_jobs=0)


def test_detections_count_towards_the_bytes_of_the_project(database: Database) -> None:
    dataset = ready_dataset(database).id
    kept = do(database, quotas.used, DEFAULT_PROJECT).total
    do(database, quotas.limit, DEFAULT_PROJECT, max_bytes=kept + DETECTIONS.bytes)
    try:
        asked(database, dataset_id=dataset)
        assert do(database, quotas.used, DEFAULT_PROJECT).total == kept + DETECTIONS.bytes
        other = replace(DETECTIONS, blob="sha256/ff/ff", sha256="ff")
        with pytest.raises(StorageQuotaExceeded):
            asked(database, dataset_id=dataset, detections=other)
    finally:
        do(database, quotas.limit, DEFAULT_PROJECT, max_bytes=0)


def test_a_trainings_evaluation_has_the_files_that_its_model_has(database: Database) -> None:
    model = trained(database, REPORT, DETECTIONS)
    with database.read() as session:
        (row,) = evaluations.list_(session, DEFAULT_PROJECT, limit=5, model_id=model).items
        assert evaluations.file(session, DEFAULT_PROJECT, row.id, "report.json").blob == REPORT.blob
    assert names(database, row.id) == ["detections.json", "report.json"]


def test_lists_by_model_dataset_status_and_metadata(database: Database) -> None:
    model = trained(database)
    row, made = asked(database, model_id=model, metadata={"a": "b"})
    other, _ = asked(database, dataset_id=str(row.dataset_id))
    finished(database, made.id)

    def listed(**wanted: Any) -> list[str]:
        with database.read() as session:
            found = evaluations.list_(session, DEFAULT_PROJECT, **({"limit": 9} | wanted)).items
            assert all(one.job_id in evaluations.jobs_of(session, found) for one in found)
            return [one.id for one in found]

    assert listed(model_id=model)[0] == row.id
    assert listed(dataset_id=row.dataset_id) == [other.id, row.id]
    assert listed(status=JobStatus.QUEUED) == [other.id]
    assert listed(metadata={"a": "b"}) == [row.id]
    assert listed(after=other.id, limit=1) == [row.id]
    assert len(listed()) == 3  # that of the training too


def test_its_files_are_no_garbage(sqlite_database: Database) -> None:
    assert EvaluationFile.blob in collect.columns()
    asked(sqlite_database)
    with sqlite_database.read() as session:
        assert collect._wanted(session, [DETECTIONS.blob, "sha256/zz/zz"]) == {DETECTIONS.blob}
