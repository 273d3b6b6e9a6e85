"""Jobs of every sort to poll, made by the verbs of the store."""

from typing import Any

from sqlalchemy.orm import Session

from detector.config import TrainConfig
from store import datasets, jobs, keys, models
from store.jobs import Claim
from store.keys import Scope
from store.sessions import Database
from store.tables import DEFAULT_PROJECT, Dataset, Job, JobKind

SECRET = "a secret of the benchmarks, long enough to be one"  # noqa: S105 - it guards nothing
_EPOCHS = 12
_STEPS = 26  # of an epoch
_NAMES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100", "AR_small")
_TRAINED = {"loss": 3.2112345, "classification": 1.1, "box": 2.1, "lr": 0.018, "images_per_second": 31.2}
_SUMMARY = {
    "images": 364,
    "annotations": 4888,
    "used": 4882,
    "fixed": 0,
    "dropped": 6,
    "negatives": 0,
    "crowds": 0,
    "splits": {"train": {"images": 291, "annotations": 3906}, "val": {"images": 73, "annotations": 976}},
    "categories": [{"id": 1, "name": "cell", "annotations": 4882, "images": 364}],
}
_IMAGE = {"file_name": "a.jpg", "split": "train", "width": 8, "height": 6, "boxes": 1}


def dataset(database: Database) -> Dataset:
    """A dataset that is ready."""
    made, validation = database.run(
        lambda session: datasets.create(
            session,
            project_id=DEFAULT_PROJECT,
            name="cells",
            options={"format": "auto"},
            archive="sha256/ab/ab",
            archive_sha256="ab",
            archive_bytes=10,
            metadata={},
        )
    )
    claim = _claimed(database, validation.id)
    database.run(
        lambda session: datasets.mark_ready(
            session,
            claim,
            index="sha256/cd/cd",
            format="coco",
            summary=_SUMMARY,
            images=[_IMAGE],
            findings=[],
        )
    )
    return made


def queued(database: Database, on: Dataset, count: int) -> list[str]:
    """Ids of trainings that wait for a worker, the first to be claimed first."""
    config = TrainConfig().model_dump(mode="json")

    def create(session: Session) -> Job:
        return jobs.create(
            session,
            project_id=DEFAULT_PROJECT,
            kind=JobKind.TRAIN,
            queue="train",
            spec={"dataset_id": on.id, "config": {"epochs": _EPOCHS, "batch_size": 8}},
            dataset_id=on.id,
            resolved_config=config,
            metadata={"experiment": "17"},
        )

    return database.run(lambda session: [create(session).id for _ in range(count)])


def running(database: Database, on: Dataset, *, epochs: int = _EPOCHS // 2) -> Claim:
    """A training in the hands of a worker, so many epochs of which are done and measured."""
    (job_id,) = queued(database, on, 1)
    claim = _claimed(database, job_id)
    rows: list[tuple[str, int, float, dict[str, Any]]] = []
    for epoch in range(1, epochs + 1):
        first = (epoch - 1) * _STEPS
        rows += [
            ("train", first + step, epoch - 1 + step / _STEPS, _TRAINED) for step in range(1, _STEPS + 1)
        ]
        rows.append(("val", epoch * _STEPS, float(epoch), dict.fromkeys(_NAMES, epoch / 1000 + 0.2)))
    database.run(lambda session: jobs.record_metrics(session, claim, rows))
    database.run(lambda session: jobs.set_phase(session, claim, "training"))
    progressed(database, claim, epochs * _STEPS)
    return claim


def progressed(database: Database, claim: Claim, step: int) -> None:
    """The training has come this far."""
    steps = _EPOCHS * _STEPS
    progress = {
        "epoch": step // _STEPS,
        "epochs": _EPOCHS,
        "step": step,
        "steps": steps,
        "fraction": step / steps,
        "eta_seconds": (steps - step) * 0.27,
    }
    database.run(lambda session: jobs.set_progress(session, claim, progress))


def succeeded(database: Database, on: Dataset) -> str:
    """Id of a training that has made a model."""
    claim = running(database, on)
    metrics = dict.fromkeys(_NAMES, 0.4)
    model = models.NewModel(
        name="cells",
        architecture="ssdlite320_mobilenet_v3_large",
        loss="harmonic",
        classes=[{"id": 1, "name": "cell"}],
        config={},
        metrics=metrics,
        artifacts=[],
        evaluation=models.NewEvaluation("val", metrics, []),
    )
    database.run(lambda session: models.finish_training(session, claim, model=model))
    return claim.job_id


def key(database: Database) -> str:
    """A new key that may read."""
    return database.run(
        lambda session: keys.create(
            session,
            secret=SECRET.encode(),
            project_id=DEFAULT_PROJECT,
            name="benchmark",
            scopes=[Scope.READ],
        )
    ).text


def _claimed(database: Database, job_id: str) -> Claim:
    claim = database.run(
        lambda session: jobs.claim(session, job_id, worker="train@host-1", lease_seconds=1e6)
    )
    if claim is None:
        raise RuntimeError(f"{job_id} is not to be had")
    return claim
