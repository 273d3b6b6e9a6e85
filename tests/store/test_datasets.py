"""Datasets: uploaded, validated, listed, deleted."""

import pytest

from store import datasets, jobs, models
from store.errors import DatasetInUse, DatasetNotFound, Fenced
from store.sessions import Database
from store.tables import DEFAULT_PROJECT, Dataset, DatasetStatus, JobStatus, RequestedAction
from tests.store.helpers import (
    BOX,
    PROBLEM,
    do,
    end_lease,
    job,
    make_due,
    queue_training,
    ready_dataset,
    take,
    upload,
)
from tests.store.test_jobs import MODEL

FINDING = {
    "severity": "error",
    "code": "zero_size_box",
    "location": "Annotations/a.xml:23",
    "message": "The box has no area: 3, 3, 3, 9.",
    "action": "dropped",
}


def read(database: Database, dataset_id: str) -> Dataset:
    with database.read() as session:
        return datasets.get(session, DEFAULT_PROJECT, dataset_id)


def test_an_upload_is_validating_until_its_job_says_more(database: Database) -> None:
    dataset, validation = upload(database, metadata={"site": "a"})
    assert dataset.status is DatasetStatus.VALIDATING
    assert dataset.validation_job_id == validation.id
    assert (validation.queue, validation.spec) == ("ingest", {"dataset_id": dataset.id})
    assert read(database, dataset.id).extra == {"site": "a"}


def test_ready_comes_with_images_and_findings(database: Database) -> None:
    dataset, validation = upload(database)
    claim = take(database, validation.id)
    warning = FINDING | {"severity": "warning", "location": "bad\0name\udcff"}
    images = [BOX | {"file_name": f"{i}.jpg", "split": "val" if i % 2 else "train"} for i in range(4)]
    do(
        database,
        datasets.mark_ready,
        claim,
        index="sha256/cd/cd",
        format="voc",
        summary={"images": 4},
        images=images,
        findings=[FINDING, warning],
    )
    found = read(database, dataset.id)
    assert (found.status, found.format, found.index) == (DatasetStatus.READY, "voc", "sha256/cd/cd")
    assert found.summary == {"images": 4}
    assert found.validated_at is not None
    assert job(database, validation.id).status is JobStatus.SUCCEEDED
    with database.read() as session:
        first = datasets.report_findings(session, DEFAULT_PROJECT, dataset.id, limit=1)
        assert [f.code for f in first.items] == ["zero_size_box"]
        assert first.has_more
        rest = datasets.report_findings(session, DEFAULT_PROJECT, dataset.id, after=0)
        assert [f.location for f in rest.items] == ["bad\ufffdname\ufffd"]
        only = datasets.report_findings(session, DEFAULT_PROJECT, dataset.id, severity="error")
        assert len(only.items) == 1
        val = datasets.images(session, DEFAULT_PROJECT, dataset.id, split="val")
        assert [(i.position, i.file_name) for i in val.items] == [(1, "1.jpg"), (3, "3.jpg")]


def test_invalid_is_a_verdict_and_so_a_success_of_its_job(database: Database) -> None:
    dataset, validation = upload(database)
    claim = take(database, validation.id)
    do(database, datasets.mark_invalid, claim, format=None, summary=None, findings=[FINDING], error=PROBLEM)
    found = read(database, dataset.id)
    assert (found.status, found.error, found.summary) == (DatasetStatus.INVALID, PROBLEM, None)
    row = job(database, validation.id)
    assert (row.status, row.status_reason) == (JobStatus.SUCCEEDED, "dataset_invalid")


def test_the_verdict_of_a_zombie_is_refused_whole(database: Database) -> None:
    dataset, validation = upload(database)
    zombie = take(database, validation.id)
    end_lease(database, validation.id)
    database.run(jobs.reap)
    make_due(database, validation.id)
    current = take(database, validation.id)
    with pytest.raises(Fenced):
        do(database, datasets.mark_invalid, zombie, format=None, summary=None, findings=[], error=PROBLEM)
    assert read(database, dataset.id).status is DatasetStatus.VALIDATING
    do(database, datasets.mark_ready, current, index="i", format="coco", summary={}, images=[], findings=[])
    assert read(database, dataset.id).status is DatasetStatus.READY


def test_a_dataset_in_use_is_not_deleted(database: Database) -> None:
    dataset, validation = upload(database)
    with pytest.raises(DatasetInUse):
        do(database, datasets.delete, DEFAULT_PROJECT, dataset.id)
    claim = take(database, validation.id)
    do(database, datasets.mark_ready, claim, index="i", format="coco", summary={}, images=[BOX], findings=[])
    training = queue_training(database, dataset)
    for _ in range(2):  # queued, then paused
        with pytest.raises(DatasetInUse):
            do(database, datasets.delete, DEFAULT_PROJECT, dataset.id)
        do(database, jobs.request, DEFAULT_PROJECT, training.id, RequestedAction.PAUSE)
    do(database, jobs.request, DEFAULT_PROJECT, training.id, RequestedAction.CANCEL)
    do(database, datasets.delete, DEFAULT_PROJECT, dataset.id)
    with pytest.raises(DatasetNotFound):
        read(database, dataset.id)
    with pytest.raises(DatasetNotFound):
        do(database, jobs.retry, DEFAULT_PROJECT, training.id)


def test_models_and_jobs_survive_their_dataset(database: Database) -> None:
    dataset = ready_dataset(database)
    claim = take(database, queue_training(database, dataset).id)
    model = do(database, models.finish_training, claim, model=MODEL)
    do(database, datasets.delete, DEFAULT_PROJECT, dataset.id)
    with database.read() as session:
        assert models.get(session, DEFAULT_PROJECT, model.id).dataset_id is None
    assert job(database, claim.job_id).dataset_id is None


def test_another_project_sees_nothing(database: Database) -> None:
    dataset, _ = upload(database)
    for verb in (datasets.get, datasets.delete, datasets.report_findings, datasets.images):
        with pytest.raises(DatasetNotFound):
            do(database, verb, "prj_other", dataset.id)
    with database.read() as session:
        assert datasets.list_(session, "prj_other", limit=5).items == []


def test_lists_are_pages_newest_first(database: Database) -> None:
    made = [upload(database)[0].id for _ in range(3)]
    ready = ready_dataset(database)
    with database.read() as session:
        first = datasets.list_(session, DEFAULT_PROJECT, limit=2)
        assert [d.id for d in first.items] == [ready.id, made[2]]
        rest = datasets.list_(session, DEFAULT_PROJECT, limit=2, after=made[2])
        assert [d.id for d in rest.items] == [made[1], made[0]]
        assert not rest.has_more
        only = datasets.list_(session, DEFAULT_PROJECT, limit=9, status=DatasetStatus.READY)
        assert [d.id for d in only.items] == [ready.id]
