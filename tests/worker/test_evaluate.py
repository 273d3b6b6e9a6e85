"""The `evaluate` job with the real `python -m detector evaluate`, and a graph that finds red and green."""

import json
import sys
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

from detector.data.records import Annotation, Category, DatasetIndex, ImageRecord
from detector.evaluate.coco import evaluate
from store import evaluations, jobs, models
from store.models import NewArtifact, NewModel
from store.tables import DEFAULT_PROJECT, Evaluation, Job, JobKind, JobStatus
from tests.api.tiny_model import CARD, tiny_model
from tests.worker.helpers import ready_dataset
from worker.kinds import Workshop
from worker.settings import WorkerSettings
from worker.supervise import Supervisor

Row = Callable[..., Job]


@pytest.fixture
def settings(settings: WorkerSettings) -> WorkerSettings:
    # On a busy machine a process may take its time to import what it needs, and a heartbeat its.
    patience = {"stall_seconds": 600.0, "lease_seconds": 120.0, "lease_margin_seconds": 10.0}
    return settings.model_copy(update={"detector_command": [sys.executable, "-m", "detector"], **patience})


def picture(red: tuple[int, int, int, int] | None) -> bytes:
    """Black, with a red box xyxy."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    if red is not None:
        pixels[red[1] : red[3], red[0] : red[2], 0] = 230
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def dataset(shop: Workshop) -> str:
    """A red box that is where it is said to be, and one that is not; and a class that no model knows."""
    boxes = {4: (8, 8, 40, 40), 9: (0, 0, 20, 20)}
    index = DatasetIndex(
        "coco",
        [Category(3, "red"), Category(8, "blue")],
        [
            ImageRecord(4, "val/4.png", "val", 64, 64, [Annotation(1, 3, (8, 8, 40, 40), 1024)]),
            ImageRecord(9, "val/9.png", "val", 64, 64, [Annotation(2, 8, (30, 30, 60, 60), 900)]),
        ],
    )
    files = {f"val/{number}.png": picture(box) for number, box in boxes.items()}
    return ready_dataset(shop, "reds", files, index)


@pytest.fixture
def model(shop: Workshop, dataset: str) -> str:
    """Id of a model of red and green things."""
    files = {"model.onnx": tiny_model(), "model.json": orjson.dumps(CARD)}
    blobs = {name: shop.blobs.put_bytes(data) for name, data in files.items()}
    with shop.database.begin() as session:
        job = jobs.create(
            session,
            project_id=DEFAULT_PROJECT,
            kind=JobKind.TRAIN,
            queue="train",
            spec={},
            dataset_id=dataset,
        )
        claim = jobs.claim(session, job.id, worker="test", lease_seconds=60)
        assert claim is not None
        new = NewModel(
            name="reds and greens",
            architecture=CARD["architecture"],
            loss=CARD["loss"],
            classes=CARD["classes"],
            config={},
            metrics={},
            artifacts=[
                NewArtifact(name, "application/octet-stream", blob.key, blob.sha256, blob.bytes)
                for name, blob in blobs.items()
            ],
        )
        return models.finish_training(session, claim, model=new).id


@pytest.fixture
def ask(shop: Workshop, dataset: str) -> Callable[..., tuple[Evaluation, Job]]:
    """Asks for an evaluation."""

    def ask_(**changes: Any) -> tuple[Evaluation, Job]:
        values: dict[str, Any] = {"project_id": DEFAULT_PROJECT, "dataset_id": dataset, "split": "val"}
        with shop.database.begin() as session:
            return evaluations.create(session, **(values | changes))

    return ask_


def uploaded(shop: Workshop, detections: Any) -> NewArtifact:
    blob = shop.blobs.put_bytes(json.dumps(detections).encode())
    return NewArtifact("detections.json", "application/json", blob.key, blob.sha256, blob.bytes)


def file(shop: Workshop, evaluation: Evaluation, name: str) -> Any:
    with shop.database.read() as session:
        row = evaluations.file(session, DEFAULT_PROJECT, evaluation.id, name)
    with shop.blobs.open(row.blob) as opened:
        return json.load(opened)


def test_a_model_is_measured_as_it_is_served(
    supervisor: Supervisor, shop: Workshop, model: str, ask: Callable[..., tuple[Evaluation, Job]], row: Row
) -> None:
    evaluation, job = ask(model_id=model, options={"score_threshold": 0.25, "precision": 0.5})
    assert supervisor.work(job.id)

    done = row(job.id)
    assert done.status is JobStatus.SUCCEEDED, done.log_tail
    assert done.progress is not None
    assert (done.progress["step"], done.progress["fraction"]) == (2, 1.0)
    report = file(shop, evaluation, "report.json")
    found, truth = file(shop, evaluation, "detections.json"), file(shop, evaluation, "ground_truth.json")
    with shop.database.read() as session:
        kept, _ = evaluations.get(session, DEFAULT_PROJECT, evaluation.id)
    # The red box is found under the dataset's id of the class, not the model's; blue things nobody finds.
    assert {one["category_id"] for one in found} == {3}
    assert kept.metrics == report["bbox"]["metrics"] == evaluate(truth, found).metrics
    by_class = {one["name"]: one["AP"] for one in kept.per_class}
    assert by_class["red"] == pytest.approx(1.0)
    assert by_class["blue"] == 0.0
    assert (report["confusion"]["score_threshold"], report["split"]) == (0.25, "val")
    lacking, foreign = report["warnings"]
    assert "'green'" in lacking
    assert "'blue'" in foreign
    with shop.database.read() as session:
        told = jobs.events(session, DEFAULT_PROJECT, job.id).items
    assert [e.data["message"] for e in told if e.type == "job.notice"] == report["warnings"]


def test_detections_of_any_program_need_no_images(
    supervisor: Supervisor,
    shop: Workshop,
    ask: Callable[..., tuple[Evaluation, Job]],
    row: Row,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [{"image_id": 4, "category_id": 3, "bbox": [8, 8, 32, 32], "score": 12.5}]
    evaluation, job = ask(detections=uploaded(shop, found), options={"score_threshold": -2.0})
    monkeypatch.setattr(shop.cache, "fetch", lambda *_: pytest.fail("nothing is unpacked"))
    assert supervisor.work(job.id)
    assert row(job.id).status is JobStatus.SUCCEEDED, row(job.id).log_tail
    report = file(shop, evaluation, "report.json")
    assert report["bbox"]["metrics"]["AP"] == pytest.approx(0.5)
    assert report["confusion"]["score_threshold"] == -2.0
    assert file(shop, evaluation, "detections.json") == found


def test_the_error_names_each_fault_of_the_detections(
    supervisor: Supervisor, shop: Workshop, ask: Callable[..., tuple[Evaluation, Job]], row: Row
) -> None:
    found = [
        {"image_id": 5, "category_id": 3, "bbox": [8, 8, 32, 32], "score": 0.5},
        {"image_id": 4, "category_id": 3, "bbox": [8, 8, 32, 32], "score": float("inf")},
    ]
    _, job = ask(detections=uploaded(shop, found))
    supervisor.work(job.id)
    failed = row(job.id)
    assert (failed.status, failed.status_reason) == (JobStatus.FAILED, "results_invalid")
    assert failed.error is not None
    assert failed.error["code"] == "results_invalid"
    assert [(one["pointer"], one["code"]) for one in failed.error["errors"]] == [
        ("/0/image_id", "unknown_image"),
        ("/1/score", "invalid_score"),
    ]


def test_a_model_whose_file_is_gone_says_so(
    supervisor: Supervisor, shop: Workshop, model: str, ask: Callable[..., tuple[Evaluation, Job]], row: Row
) -> None:
    _, job = ask(model_id=model)
    with shop.database.read() as session:
        shop.blobs.delete(models.artifact(session, DEFAULT_PROJECT, model, "model.onnx").blob)
    supervisor.work(job.id)
    failed = row(job.id)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error["code"] == "model_invalid"
