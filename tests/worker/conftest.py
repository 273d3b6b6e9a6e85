import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detector.data.records import Annotation, Category, DatasetIndex, ImageRecord
from store import jobs
from store.blobs import open_blobs
from store.queue import Hints
from store.sessions import Database, migrate
from store.tables import DEFAULT_PROJECT, Job, JobKind, JobStatus
from tests.worker.helpers import ready_dataset, until
from worker.cache import DatasetCache
from worker.kinds import Workshop
from worker.settings import WorkerSettings
from worker.supervise import Supervisor

FAKE_DETECTOR = [sys.executable, "-m", "tests.worker.fake_detector"]


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    """Quick times, and the fake detector. A lease outlives what a loaded machine stands still for."""
    return WorkerSettings(
        data=tmp_path / "data",
        heartbeat_seconds=0.2,
        lease_seconds=8.0,
        lease_margin_seconds=2.0,
        dispatch_seconds=0.5,
        detector_command=FAKE_DETECTOR,
        poll_seconds=0.02,
        apply_seconds=0.05,
        cancel_grace_seconds=0.5,
        shutdown_grace_seconds=2.0,
        stall_seconds=60.0,
    )


@pytest.fixture
def shop(settings: WorkerSettings) -> Iterator[Workshop]:
    migrate(settings.database_url)
    database = Database(settings.database_url)
    blobs = open_blobs(settings)
    hints = Hints(settings)
    yield Workshop(database, blobs, DatasetCache(settings.data / "cache", blobs), hints, settings)
    hints.close()
    database.dispose()


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


@pytest.fixture
def supervisor(shop: Workshop, stopping: threading.Event) -> Supervisor:
    return Supervisor(shop, worker="test", stopping=stopping)


@pytest.fixture
def dataset(shop: Workshop) -> str:
    """Id of a dataset that is ready."""
    index = DatasetIndex(
        format="coco",
        categories=[Category(3, "disc")],
        images=[ImageRecord(1, "train/1.jpg", "train", 4, 4, [Annotation(1, 3, (0, 0, 2, 2), 4)])],
    )
    return ready_dataset(shop, "shapes", {"train/1.jpg": b"bytes of an image"}, index)


@pytest.fixture
def submit(shop: Workshop, dataset: str) -> Callable[..., str]:
    """Makes a train job whose fake detector behaves as the keywords say; returns its id."""

    def submit_(**fake: Any) -> str:
        with shop.database.begin() as session:
            job = jobs.create(
                session,
                project_id=DEFAULT_PROJECT,
                kind=JobKind.TRAIN,
                queue="train",
                spec={"dataset_id": dataset, "config": {"fake": fake}},
                dataset_id=dataset,
            )
        return job.id

    return submit_


@pytest.fixture
def row(shop: Workshop) -> Callable[[str], Job]:
    """The job as it is now."""

    def row_(job_id: str) -> Job:
        with shop.database.read() as session:
            return jobs.get(session, DEFAULT_PROJECT, job_id)

    return row_


@pytest.fixture
def running(row: Callable[[str], Job]) -> Callable[[str], Job]:
    """Waits until the job has made a step under its present claim."""

    def running_(job_id: str, steps: int = 1) -> Job:
        def has_begun() -> Job | None:
            job = row(job_id)
            step = (job.progress or {}).get("step", 0)
            return job if job.status is JobStatus.RUNNING and step >= steps else None

        return until(has_begun)

    return running_
