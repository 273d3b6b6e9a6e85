from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.data.synthetic import write_synthetic
from tests.acceptance.service import IMAGES, RunningService


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic dataset, as a COCO zip."""
    path = tmp_path_factory.mktemp("archive") / "shapes.zip"
    write_synthetic(path, images=IMAGES, val_images=4, size=128)
    return path


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A running service for the tests of one file."""
    with RunningService(tmp_path_factory.mktemp("service") / "data") as running:
        yield running
    assert running.left() == []


@pytest.fixture(scope="module")
def dataset(service: RunningService, archive: Path) -> str:
    """Id of a dataset that is ready in `service`."""
    return service.upload(archive)


@pytest.fixture(scope="module")
def unbroken(service: RunningService, dataset: str) -> str:
    """Id of a training that nobody has disturbed."""
    job_id = service.submit(dataset)
    job = service.ended(job_id)
    assert job["status"] == "succeeded", (job, service.logs())
    return job_id
