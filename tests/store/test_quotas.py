"""Quotas hold when everybody comes at once."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.orm import Session

from store import collect, datasets, jobs, models, quotas, uploads
from store.__main__ import main
from store.blobs import Blob
from store.errors import QuotaExceeded, StorageQuotaExceeded
from store.models import NewArtifact
from store.quotas import Bytes
from store.sessions import Database
from store.tables import DEFAULT_PROJECT, Dataset, Job, JobStatus, RequestedAction
from tests.store.helpers import (
    checkpoint,
    do,
    queue_training,
    ready_dataset,
    running_training,
    upload,
)


@pytest.fixture(autouse=True)
def no_limits(database: Database) -> None:
    """PostgreSQL's database is shared by the tests."""
    do(database, quotas.limit, DEFAULT_PROJECT, max_queued_jobs=0, max_running_jobs=0, max_bytes=0)


def archive(database: Database, number: int, size: int = 30) -> None:
    upload(database, archive=f"sha256/{number}", archive_sha256=str(number), archive_bytes=size)


def weights(database: Database, number: int, size: int = 30) -> None:
    file = NewArtifact(models.WEIGHTS, "application/octet-stream", f"sha256/w{number}", "w", size)
    database.run(
        lambda s: models.import_weights(
            s,
            project_id=DEFAULT_PROJECT,
            name="w",
            architecture="resnet18",
            classes=[],
            config={},
            weights=file,
        )
    )


def parts(database: Database, number: int, size: int = 30) -> None:
    database.run(
        lambda s: uploads.create(
            s, project_id=DEFAULT_PROJECT, length=size, told="", keep_seconds=60, most=100
        )
    )


def used(database: Database) -> Bytes:
    with database.read() as session:
        return quotas.used(session, DEFAULT_PROJECT)


def test_each_blob_is_counted_once(database: Database) -> None:
    start = used(database)
    upload(database, archive="sha256/a", archive_bytes=100)
    upload(database, archive="sha256/a", archive_bytes=100)
    weights(database, 1, 7)
    weights(database, 1, 7)
    parts(database, 1, 1000)
    claim = running_training(database)
    checkpoint(database, claim, 5)
    found = used(database)
    assert found.datasets - start.datasets == 110  # and that of the running training
    assert found.models - start.models == 7
    assert found.checkpoints - start.checkpoints == 100
    assert found.uploads - start.uploads == 1000
    assert found.total == sum(vars(found).values())


def test_every_blob_has_a_place_in_the_count() -> None:
    files = {"artifact.blob", "evaluation_file.blob", "comparison_file.blob"}
    counted = {"dataset.archive", "checkpoint.blob", *files}
    # A small file beside its archive, and one of the checkpoints.
    not_counted = {"dataset.index", "job.checkpoint_key"}
    known = {f"{column.class_.__tablename__}.{column.key}" for column in collect.columns()}
    assert known == counted | not_counted


@pytest.mark.parametrize("kinds", [[archive], [weights], [parts], [archive, weights, parts]])
def test_bytes_of_many_at_once_stay_within_the_quota(
    database: Database, kinds: list[Callable[[Database, int], None]]
) -> None:
    room = used(database).total
    do(database, quotas.limit, DEFAULT_PROJECT, max_bytes=room + 100)

    def keep(number: int) -> bool:
        try:
            kinds[number % len(kinds)](database, 1000 + number)
        except StorageQuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(keep, range(12))) == 3
    assert used(database).total == room + 90
    assert not keep(99)
    do(database, quotas.limit, DEFAULT_PROJECT, max_bytes=0)
    assert keep(99)


def test_what_a_worker_makes_is_never_refused(database: Database) -> None:
    claim = running_training(database)
    do(database, quotas.limit, DEFAULT_PROJECT, max_bytes=1)
    checkpoint(database, claim, 5)
    assert (do(database, quotas.bytes_left, DEFAULT_PROJECT) or 0) < 0
    with pytest.raises(StorageQuotaExceeded):
        archive(database, 1)


def test_a_deleted_dataset_makes_room(database: Database) -> None:
    room = used(database).total
    do(database, quotas.limit, DEFAULT_PROJECT, max_bytes=room + 50)
    first, job = upload(database, archive="sha256/first", archive_bytes=50)
    with pytest.raises(StorageQuotaExceeded):
        archive(database, 2)
    do(database, jobs.request, DEFAULT_PROJECT, job.id, RequestedAction.CANCEL)
    do(database, datasets.delete, DEFAULT_PROJECT, first.id)
    archive(database, 2)


def test_an_upload_was_counted_when_it_began(database: Database) -> None:
    room = used(database).total
    do(database, quotas.limit, DEFAULT_PROJECT, max_bytes=room + 30)
    begun = database.run(
        lambda s: uploads.create(s, project_id=DEFAULT_PROJECT, length=30, told="", keep_seconds=60, most=9)
    )

    def become(session: Session) -> tuple[Dataset, Job]:
        blob = Blob("sha256/parts", "parts", 30)
        return uploads.become_dataset(
            session,
            project_id=DEFAULT_PROJECT,
            upload_id=begun.id,
            blob=blob,
            name="x",
            options={},
            metadata={},
        )

    database.run(become)
    assert used(database).total == room + 30


def test_submissions_at_once_stay_within_the_queue(database: Database) -> None:
    dataset = ready_dataset(database)
    with database.read() as session:
        queued = len(jobs.list_(session, DEFAULT_PROJECT, limit=1000, status=JobStatus.QUEUED).items)
    do(database, quotas.limit, DEFAULT_PROJECT, max_queued_jobs=queued + 3)

    def submit(_: int) -> bool:
        try:
            queue_training(database, dataset)
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(submit, range(12))) == 3


def test_claims_at_once_stay_within_what_may_run(database: Database) -> None:
    dataset = ready_dataset(database)
    waiting = [queue_training(database, dataset).id for _ in range(8)]
    do(database, quotas.limit, DEFAULT_PROJECT, max_running_jobs=2)

    def claim(job_id: str) -> bool:
        found = database.run(lambda s: jobs.claim(s, job_id, worker="w", lease_seconds=30))
        return found is not None

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(claim, waiting)) == 2


def test_the_command_shows_and_sets_them(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HARMONICDET_DATABASE_URL", sqlite_url)
    assert main(["quotas", "--max-bytes", "500", "--max-queued-jobs", "7"]) == 0
    assert main(["quotas"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "project": DEFAULT_PROJECT,
        "max_queued_jobs": 7,
        "max_running_jobs": 0,
        "max_bytes": 500,
        "bytes": 0,
    }
