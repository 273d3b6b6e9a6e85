"""The `validate` job with the real `python -m detector inspect`."""

import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.data.synthetic import write_synthetic
from store import datasets, jobs
from store.tables import DEFAULT_PROJECT, Dataset, DatasetStatus, Job, JobKind, JobStatus
from tests.worker.conftest import FAKE_DETECTOR
from worker.kinds import Workshop
from worker.settings import WorkerSettings
from worker.supervise import Supervisor

Row = Callable[..., Job]


@pytest.fixture
def settings(settings: WorkerSettings) -> WorkerSettings:
    return settings.model_copy(update={"detector_command": [sys.executable, "-m", "detector"]})


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "shapes.zip"
    write_synthetic(path, images=4, val_images=2, size=64)
    return path


def upload(shop: Workshop, archive: Path, **options: Any) -> tuple[str, str]:
    """Ids of the dataset and of the job that validates it."""
    blob = shop.blobs.put_file(archive)
    with shop.database.begin() as session:
        dataset, job = datasets.create(
            session,
            project_id=DEFAULT_PROJECT,
            name="shapes",
            options=options,
            archive=blob.key,
            archive_sha256=blob.sha256,
            archive_bytes=blob.bytes,
        )
    return dataset.id, job.id


def dataset_row(shop: Workshop, dataset_id: str) -> Dataset:
    with shop.database.read() as session:
        return datasets.get(session, DEFAULT_PROJECT, dataset_id)


def waiting_training(shop: Workshop, dataset_id: str) -> str:
    with shop.database.begin() as session:
        return jobs.create(
            session,
            project_id=DEFAULT_PROJECT,
            kind=JobKind.TRAIN,
            queue="train",
            spec={"dataset_id": dataset_id, "config": {}},
            dataset_id=dataset_id,
        ).id


def test_a_good_archive_makes_a_dataset_ready_and_hints_the_training_that_waits_for_it(
    supervisor: Supervisor, shop: Workshop, archive: Path, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    hinted: list[tuple[str, str]] = []
    monkeypatch.setattr(shop.hints, "send", lambda job_id, queue: hinted.append((job_id, queue)))
    dataset_id, job_id = upload(shop, archive, format="auto")
    training = waiting_training(shop, dataset_id)
    assert not supervisor.work(training)  # not claimable yet

    assert supervisor.work(job_id)

    assert row(job_id).status is JobStatus.SUCCEEDED
    dataset = dataset_row(shop, dataset_id)
    assert (dataset.status, dataset.format) == (DatasetStatus.READY, "coco")
    assert dataset.summary is not None
    assert dataset.summary["images"] == 6
    with shop.database.read() as session:
        images = datasets.images(session, DEFAULT_PROJECT, dataset_id).items
    assert [image.split for image in images].count("val") == 2
    assert hinted == [(training, "train")]
    assert dataset.index is not None
    folder = shop.cache.fetch(dataset.archive, dataset.archive_sha256, dataset.index)
    assert len(list((folder / "images").iterdir())) == 6


def test_a_broken_archive_makes_the_dataset_invalid_and_fails_the_training_that_waits_for_it(
    supervisor: Supervisor, shop: Workshop, archive: Path, row: Row
) -> None:
    archive.write_bytes(archive.read_bytes()[:-100])
    dataset_id, job_id = upload(shop, archive)
    training = waiting_training(shop, dataset_id)

    supervisor.work(job_id)

    job = row(job_id)
    assert (job.status, job.status_reason) == (JobStatus.SUCCEEDED, "dataset_invalid")
    dataset = dataset_row(shop, dataset_id)
    assert dataset.status is DatasetStatus.INVALID
    assert dataset.error is not None
    assert dataset.error["code"] == "dataset_invalid"
    with shop.database.read() as session:
        assert datasets.report_findings(session, DEFAULT_PROJECT, dataset_id).items
    assert row(training).status_reason == "dataset_invalid"


def test_an_archive_without_annotations_says_so(
    supervisor: Supervisor, shop: Workshop, tmp_path: Path
) -> None:
    path = tmp_path / "empty.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    dataset_id, job_id = upload(shop, path)
    supervisor.work(job_id)
    dataset = dataset_row(shop, dataset_id)
    assert dataset.status is DatasetStatus.INVALID
    assert dataset.error is not None
    assert "annotation" in dataset.error["detail"]


def test_a_validation_that_dies_each_time_leaves_the_dataset_invalid(
    shop: Workshop, archive: Path, row: Row
) -> None:
    broken = Workshop(
        shop.database,
        shop.blobs,
        shop.cache,
        shop.hints,
        shop.settings.model_copy(update={"detector_command": [sys.executable, "-c", "raise SystemExit(9)"]}),
    )
    dataset_id, job_id = upload(shop, archive)
    Supervisor(broken, worker="test", stopping=threading.Event()).work(job_id)
    assert row(job_id).status is JobStatus.FAILED
    assert dataset_row(shop, dataset_id).status is DatasetStatus.INVALID


def test_a_detector_that_refuses_the_archive_outright_makes_the_dataset_invalid(
    shop: Workshop, archive: Path, row: Row
) -> None:
    refusing = Workshop(
        shop.database,
        shop.blobs,
        shop.cache,
        shop.hints,
        shop.settings.model_copy(update={"detector_command": FAKE_DETECTOR}),
    )
    dataset_id, job_id = upload(shop, archive)
    Supervisor(refusing, worker="test", stopping=threading.Event()).work(job_id)
    assert row(job_id).status is JobStatus.SUCCEEDED
    dataset = dataset_row(shop, dataset_id)
    assert dataset.error is not None
    assert (dataset.status, dataset.error["code"]) == (DatasetStatus.INVALID, "archive_refused")
    with shop.database.read() as session:
        (finding,) = datasets.report_findings(session, DEFAULT_PROJECT, dataset_id).items
    assert (finding.code, finding.action) == ("archive_refused", "rejected")
