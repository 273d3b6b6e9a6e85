"""Old blobs go, blobs that anything refers to or may soon refer to stay."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from store import chores, collect, datasets, jobs, models
from store.__main__ import main
from store.blobs import LocalBlobs
from store.collect import CHORE, Collector
from store.errors import BlobsForeign, ChoreTaken
from store.sessions import Database
from store.settings import StoreSettings
from store.tables import Base, Chore
from tests.store.helpers import do, end_lease, measure, queue_training, ready_dataset, take

# Blobs are made old by the times of their files.
pytestmark = pytest.mark.embedded

GRACE = 100.0


@pytest.fixture
def blobs(settings: StoreSettings) -> LocalBlobs:
    return LocalBlobs(Path(settings.blobs))


def age(blobs: LocalBlobs, *keys: str, seconds: float = 2 * GRACE) -> None:
    """As if they had been put that long ago; without keys all of them."""
    for key in keys or tuple(blobs.iter()):
        path = blobs.local_path(key)
        assert path is not None
        os.utime(path, (time.time() - seconds,) * 2)


def dataset_on(database: Database, blobs: LocalBlobs) -> str:
    """A ready dataset whose archive and index are blobs; its id."""
    archive, index = blobs.put_bytes(b"zip"), blobs.put_bytes(b"index")
    dataset = ready_dataset(database)

    def write(session: Session) -> None:
        session.execute(update(type(dataset)).values(archive=archive.key, index=index.key))

    database.run(write)
    return dataset.id


def save(database: Database, blobs: LocalBlobs, claim: jobs.Claim, step: int) -> str:
    key = f"jobs/{claim.job_id}/{claim.token}/step-{step:08d}.pt"
    blob = blobs.put_bytes(f"{key}".encode(), key=key)
    do(
        database,
        jobs.record_checkpoint,
        claim,
        key=key,
        sha256=blob.sha256,
        bytes=blob.bytes,
        step=step,
        epoch=1.0,
    )
    return key


def collected(database: Database, blobs: LocalBlobs) -> dict[str, Any]:
    collect.adopt(database, blobs)
    planned = collect.plan(database, blobs, grace_seconds=GRACE)
    return collect.collect(database, blobs, planned)


def test_what_a_row_refers_to_stays_and_the_rest_goes_when_it_is_old(
    database: Database, blobs: LocalBlobs
) -> None:
    dataset_on(database, blobs)
    old, young = blobs.put_bytes(b"old").key, blobs.put_bytes(b"young").key
    kept = sorted(blobs.iter())
    age(blobs)
    age(blobs, young, seconds=GRACE / 2)
    collect.adopt(database, blobs)
    planned = collect.plan(database, blobs, grace_seconds=GRACE)
    assert [entry.key for entry in planned.unreferenced] == [old]
    assert planned.bytes == 3
    assert blobs.exists(old)  # a plan deletes nothing
    gone = collect.collect(database, blobs, planned)
    assert gone["unreferenced"] == {"blobs": 1, "bytes": 3}
    assert sorted(blobs.iter()) == sorted({*kept, collect.IDENTITY} - {old})
    assert collected(database, blobs)["unreferenced"]["blobs"] == 0


def test_every_attempt_but_the_running_one_leaves_only_what_its_job_keeps(
    database: Database, blobs: LocalBlobs
) -> None:
    dataset_on(database, blobs)
    first = take(database, queue_training(database).id)
    kept = save(database, blobs, first, 1)
    shipped = f"jobs/{first.job_id}/{first.token}/step-00000002.pt"
    blobs.put_bytes(b"shipped, and then the worker was lost", key=shipped)
    age(blobs)
    assert collected(database, blobs)["dead_attempts"]["blobs"] == 0  # it may be about to be recorded
    end_lease(database, first.job_id)
    do(database, jobs.reap)
    assert collected(database, blobs)["dead_attempts"]["blobs"] == 1
    assert (blobs.exists(kept), blobs.exists(shipped)) == (True, False)


def test_of_many_checkpoints_the_best_and_the_last_two_are_kept(
    database: Database, blobs: LocalBlobs
) -> None:
    dataset_on(database, blobs)
    claim = take(database, queue_training(database).id)
    keys = {step: save(database, blobs, claim, step) for step in (10, 20, 30, 40, 50)}
    rows = [("val", step, 1.0, {"AP": ap}) for step, ap in ((9, 0.1), (19, 0.7), (29, 0.7), (39, 0.2))]
    do(database, jobs.record_metrics, claim, rows)
    measure(database, claim, 45)
    age(blobs)
    gone = collected(database, blobs)
    assert gone["old_checkpoints"]["blobs"] == 2
    assert {step for step, key in keys.items() if blobs.exists(key)} == {20, 40, 50}
    with database.read() as session:
        rows_left = jobs.checkpoints(session, claim.project_id, claim.job_id)
    assert [row.step for row in rows_left] == [20, 40, 50]


def test_a_blob_that_is_put_again_between_plan_and_collection_stays(
    database: Database, blobs: LocalBlobs
) -> None:
    dataset_on(database, blobs)
    again, referred = blobs.put_bytes(b"again").key, blobs.put_bytes(b"referred").key
    age(blobs)
    collect.adopt(database, blobs)
    planned = collect.plan(database, blobs, grace_seconds=GRACE)
    assert {entry.key for entry in planned.unreferenced} == {again, referred}
    blobs.put_bytes(b"again")
    do(
        database,
        datasets.create,
        project_id="prj_default",
        name="late",
        options={},
        archive=referred,
        archive_sha256="ab",
        archive_bytes=1,
    )
    assert collect.collect(database, blobs, planned)["unreferenced"]["blobs"] == 0
    assert blobs.exists(again)
    assert blobs.exists(referred)


@pytest.mark.parametrize("same", [True, False])
def test_a_put_while_somebody_discards_is_not_lost(
    blobs: LocalBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    """The put comes right after the discarding process has looked, and has to wait for it."""
    key = blobs.put_bytes(b"shared", key="jobs/a/1/x").key
    age(blobs, key)
    other = LocalBlobs(blobs.root)
    putting = threading.Thread(
        target=lambda: other.put_bytes(b"shared" if same else b"longer than before", key=key)
    )
    unlink = Path.unlink

    def late(path: Path, missing_ok: bool = False) -> None:
        if path.name == "x":
            monkeypatch.undo()
            putting.start()
            putting.join(0.3)  # it cannot end before we let go
            assert putting.is_alive()
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", late)
    assert blobs.discard(key, older_than_seconds=GRACE)
    putting.join()
    assert blobs.size(key) == (6 if same else 18)


def test_blobs_of_another_database_are_never_touched(database: Database, blobs: LocalBlobs) -> None:
    stranger = blobs.put_bytes(b"of somebody else").key
    age(blobs)
    assert collected(database, blobs)["unreferenced"]["blobs"] == 0  # nothing here is known to this database
    dataset_on(database, blobs)
    blobs.delete(stranger)
    collected(database, blobs)

    def forget(session: Session) -> None:
        session.execute(update(Chore).where(Chore.name == "blobs").values(outcome={"identity": "other"}))

    database.run(forget)
    with pytest.raises(BlobsForeign, match="another database"):
        collected(database, blobs)


def test_a_mark_that_a_crash_has_kept_from_the_blobs_is_made_again(
    database: Database, blobs: LocalBlobs
) -> None:
    dataset_on(database, blobs)
    collect.adopt(database, blobs)
    with blobs.open(collect.IDENTITY) as file:
        identity = file.read()
    blobs.delete(collect.IDENTITY)
    collect.adopt(database, blobs)
    with blobs.open(collect.IDENTITY) as file:
        assert file.read() == identity


def test_only_one_process_collects_and_only_when_it_is_due(
    database: Database, blobs: LocalBlobs, settings: StoreSettings
) -> None:
    dataset_on(database, blobs)
    do(database, chores.take, CHORE, holder="somebody", seconds=60, now=True)
    with pytest.raises(ChoreTaken):
        collect.run(database, blobs, settings)
    do(database, chores.done, CHORE, holder="somebody", again_in_seconds=0, outcome={})
    outcome = collect.run(database, blobs, settings, now=False)
    assert outcome["unreferenced"] == {"blobs": 0, "bytes": 0}
    with pytest.raises(ChoreTaken):
        collect.run(database, blobs, settings, now=False)  # done a moment ago
    collect.run(database, blobs, settings)
    with database.read() as session:
        assert chores.outcome(session, CHORE) == outcome


def test_who_takes_too_long_loses_the_chore_and_stops(database: Database) -> None:
    held = collect.Held(database)
    assert do(database, chores.take, CHORE, holder=held.holder, seconds=60, now=True)
    held.check()
    do(database, chores.extend, CHORE, holder=held.holder, seconds=-1.0)
    assert do(database, chores.take, CHORE, holder="other", seconds=60, now=True)
    with pytest.raises(ChoreTaken):
        held.check()
    do(database, chores.done, CHORE, holder="other", again_in_seconds=0, outcome={})


def test_the_collector_works_in_the_background(
    sqlite_database: Database, blobs: LocalBlobs, settings: StoreSettings
) -> None:
    dataset_on(sqlite_database, blobs)
    old = blobs.put_bytes(b"old").key
    age(blobs)
    quick = settings.model_copy(update={"collect_seconds": 0.1, "collect_grace_seconds": GRACE})
    collector = Collector(sqlite_database, quick)
    collector.start()
    give_up = time.monotonic() + 20
    while blobs.exists(old) and time.monotonic() < give_up:
        time.sleep(0.02)
    collector.stop()
    assert not blobs.exists(old)
    never = Collector(sqlite_database, settings.model_copy(update={"collect_seconds": 0.0}))
    never.start()
    assert never._thread is None


def test_bytes_are_counted_by_what_refers_to_them(database: Database, blobs: LocalBlobs) -> None:
    dataset_on(database, blobs)
    claim = take(database, queue_training(database).id)
    key = save(database, blobs, claim, 1)
    weights = blobs.put_bytes(b"weights")
    file = models.NewArtifact("model.onnx", "x", weights.key, weights.sha256, weights.bytes)
    new = models.NewModel("m", "a", "l", [], {}, {}, [file])
    do(database, models.finish_training, claim, model=new)
    blobs.put_bytes(b"nothing refers to this")
    counted = collect.usage(database, blobs)
    assert (counted.datasets, counted.checkpoints, counted.artifacts) == (8, blobs.size(key), 7)
    assert (counted.unreferenced, counted.other) == (22, 0)


def test_every_column_of_blobs_is_known() -> None:
    """Whoever adds a column that holds blob keys has to mark it, or its blobs would be collected."""
    marked = {f"{column.class_.__tablename__}.{column.key}" for column in collect.columns()}
    assert marked == {
        "dataset.archive",
        "dataset.index",
        "job.checkpoint_key",
        "checkpoint.blob",
        "artifact.blob",
        "evaluation_file.blob",
        "comparison_file.blob",
    }
    looks_like_one = {"archive", "index", "blob", "checkpoint_key", "report", "thumbnail", "blob_key"}
    named = {f"{table.name}.{c.name}" for table in Base.metadata.sorted_tables for c in table.columns}
    assert {name for name in named if name.split(".")[1] in looks_like_one} <= marked


def test_the_command_says_what_it_would_collect_and_then_does(
    sqlite_database: Database,
    sqlite_url: str,
    blobs: LocalBlobs,
    settings: StoreSettings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset_on(sqlite_database, blobs)
    old = blobs.put_bytes(b"old").key
    age(blobs, seconds=2 * settings.collect_grace_seconds)
    monkeypatch.setenv("HARMONICDET_DATA", str(settings.data))
    monkeypatch.setenv("HARMONICDET_DATABASE_URL", sqlite_url)
    assert main(["collect", "--dry-run"]) == 0
    assert old in capsys.readouterr().out
    assert blobs.exists(old)
    assert main(["collect"]) == 0
    assert '"unreferenced": {"blobs": 1, "bytes": 3}' in capsys.readouterr().out
    assert not blobs.exists(old)
