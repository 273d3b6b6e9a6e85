"""The `compare` job with the real `python -m detector compare`, on what fake trainings leave."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from detector.compare import intervals
from store import comparisons, jobs, models
from store.clock import database_now
from store.comparisons import NewArm
from store.errors import BlobsUnavailable
from store.models import NewArtifact
from store.tables import DEFAULT_PROJECT, Comparison, Job, JobStatus
from tests.detector.compare.builders import detections, truth
from tests.store.helpers import take
from tests.store.test_comparisons import fails
from tests.store.test_models import WHOLE
from tests.worker.fake_detector import measured
from tests.worker.helpers import until
from worker.kinds import Workshop
from worker.settings import WorkerSettings
from worker.supervise import Supervisor

Ask = Callable[..., str]
Row = Callable[[str], Job]
HOSTILE = "../../<b>sharp</b>"


@pytest.fixture
def settings(settings: WorkerSettings) -> WorkerSettings:
    return settings.model_copy(update={"stall_seconds": 600.0})


@pytest.fixture
def ask(shop: Workshop, dataset: str) -> Ask:
    """A comparison of one that finds things roughly and one that finds them well; its id."""

    def ask_(seeds: int = 3) -> str:
        new = [
            NewArm(name, {"loss": name}, {}, {"fake": {"steps": 2, "blur": blur}})
            for name, blur in {"plain": 8.0, HOSTILE: 2.0}.items()
        ]
        with shop.database.begin() as session:
            row, _ = comparisons.create(
                session,
                project_id=DEFAULT_PROJECT,
                dataset_id=dataset,
                config={},
                arms=new,
                seeds=range(1, seeds + 1),
                baseline="plain",
                name="blurs",
            )
        return row.id

    return ask_


def read(shop: Workshop, comparison_id: str) -> tuple[Comparison, list[comparisons.Run]]:
    with shop.database.read() as session:
        row = comparisons.get(session, DEFAULT_PROJECT, comparison_id)
        return row, comparisons.runs(session, [comparison_id])


def found(shop: Workshop, comparison_id: str) -> dict[str, Any]:
    """What the report says, without the ids of jobs."""
    with shop.database.read() as session:
        row = comparisons.file(session, DEFAULT_PROJECT, comparison_id, "comparison.json")
    with shop.blobs.open(row.blob) as file:
        report: dict[str, Any] = json.load(file)
    for arm in report["arms"]:
        for run in arm["runs"]:
            assert run.pop("job").startswith("job_")
    return report


@pytest.fixture
def killable(settings: WorkerSettings, shop: Workshop, tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Starts a worker process."""
    path = tmp_path / "settings.json"
    path.write_text(settings.model_dump_json(exclude_none=True))
    started = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.worker.killable", str(path)]
        started.append(subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_comparison_is_the_same_whoever_was_killed_meanwhile(
    supervisor: Supervisor, shop: Workshop, ask: Ask, row: Row, killable: Callable[[], Any]
) -> None:
    undisturbed = ask()
    for run in read(shop, undisturbed)[1]:
        files = measured(run.seed, (8.0, 2.0)[run.arm])
        trained(shop, run, **{name.removesuffix(".json"): json.loads(data) for name, data in files.items()})
    supervisor.work_off("evaluate")
    done, _ = read(shop, undisturbed)
    assert done.outcome is JobStatus.SUCCEEDED, row(str(done.job_id)).log_tail
    assert done.result is not None
    assert done.result["verdict"] == {HOSTILE: "better"}
    assert done.result["paired"] == {"data_order": True, "initial_weights": True}
    assert not list((shop.settings.data / "runs").iterdir())

    disturbed = ask()
    _, runs = read(shop, disturbed)
    victim = runs[1].job_id
    worker = killable()
    until(lambda: (row(victim).progress or {}).get("step", 0) >= 1 and row(victim).finished_at is None, 60)
    _kill(worker)
    _lapse(shop, row)
    worker = killable()

    def compares() -> Job | None:
        job_id = read(shop, disturbed)[0].job_id
        job = row(job_id) if job_id is not None else None
        return job if job is not None and job.progress is not None else None

    comparing = until(compares, 60)
    _kill(worker)
    _lapse(shop, row)
    supervisor.work_off("evaluate")
    done, runs = read(shop, disturbed)
    assert done.outcome is JobStatus.SUCCEEDED, row(comparing.id).log_tail
    assert done.job_id == comparing.id
    assert row(comparing.id).attempt == 2
    assert row(victim).attempt >= 2
    assert found(shop, disturbed) == found(shop, undisturbed)


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def _lapse(shop: Workshop, row: Row) -> None:
    """Its lease ends; the job is due again."""
    (lost,) = until(lambda: shop.database.run(jobs.reap), 20)
    until(lambda: row(lost).not_before <= _now(shop), 20)


def _now(shop: Workshop) -> float:
    with shop.database.read() as session:
        return session.scalar(select(database_now())) or 0.0


def trained(shop: Workshop, run: comparisons.Run, **files: Any) -> None:
    """The training ends with these files, as a worker's would."""
    blobs = {name: shop.blobs.put_bytes(json.dumps(value).encode()) for name, value in files.items()}
    artifacts = [
        NewArtifact(f"{name}.json", "application/json", blob.key, blob.sha256, blob.bytes)
        for name, blob in blobs.items()
    ]
    model = replace(WHOLE, artifacts=artifacts, evaluation=None)
    claim = take(shop.database, run.job_id)
    steps = [("train", step, step / 2, {"loss": 1 / step}) for step in (1, 2)]
    shop.database.run(lambda session: jobs.record_metrics(session, claim, steps))
    shop.database.run(lambda session: models.finish_training(session, claim, model=model))


def test_what_is_missing_is_told(
    supervisor: Supervisor, shop: Workshop, ask: Ask, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = ask(seeds=5)
    _, runs = read(shop, comparison)
    for run in runs[:-1]:
        if run is runs[1]:
            fails(shop.database, run.job_id)
        else:
            there = detections(truth(), run.seed, 8.0)
            trained(shop, run, ground_truth=truth(), detections=there)
    trained(shop, runs[-1], ground_truth=truth())
    fetch, away = shop.blobs.fetch, ["the object store"]

    def fetch_(key: str, destination: Path, sha256: str) -> None:
        if "/2/" in str(destination) and away:  # in the middle of it, once
            raise BlobsUnavailable(away.pop())
        fetch(key, destination, sha256)

    monkeypatch.setattr(shop.blobs, "fetch", fetch_)
    supervisor.work_off("evaluate")
    done, _ = read(shop, comparison)
    assert done.outcome is JobStatus.SUCCEEDED, row(str(done.job_id)).log_tail
    report = found(shop, comparison)
    assert not away
    assert report["seeds"] == [1, 3, 4]
    reasons = [[run.get("failed") for run in arm["runs"]] for arm in report["arms"]]
    assert reasons == [[None, "out_of_memory", None, None, None], [None] * 4 + ["files_lost"]]
    assert report["verdict"] == {HOSTILE: "inconclusive"}


def test_the_service_and_the_detector_ask_for_as_many_seeds() -> None:
    assert comparisons.FEWEST_SEEDS == intervals.FEWEST_SEEDS


def test_trainings_that_cannot_be_compared_say_why(
    supervisor: Supervisor, shop: Workshop, ask: Ask, row: Row
) -> None:
    comparison = ask()
    for run in read(shop, comparison)[1]:
        trained(shop, run, ground_truth={"images": []}, detections=[])
    supervisor.work_off("evaluate")
    done, _ = read(shop, comparison)
    assert done.outcome is JobStatus.FAILED
    assert done.error is not None
    assert done.error["code"] == "comparison_invalid", done.error
    assert row(str(done.job_id)).status is JobStatus.FAILED
