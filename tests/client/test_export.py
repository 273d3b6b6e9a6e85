"""Predictions as annotations: what is written is a dataset of the service, and others read it."""

import asyncio
import json
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pycocotools.mask import area

from harmonicdet import AsyncClient, Client
from harmonicdet.client import Dataset, ModelDetail, NotFound, StatusError
from harmonicdet.client.annotations import named_once
from tests.api.conftest import app, in_process, migrated, server, settings
from tests.api.helpers import archive, trained, validated
from tests.api.served import Served
from worker.cache import DatasetCache
from worker.kinds import Workshop
from worker.settings import WorkerSettings
from worker.supervise import Supervisor

__all__ = ["app", "in_process", "migrated", "server", "settings"]

Layout = Literal["coco", "yolo", "voc"]


@pytest.fixture
def client(server: Served) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{server.port}", timeout=10, sleep=lambda _: None) as client:
        yield client


@pytest.fixture
def model(client: Client, server: Served) -> Callable[..., ModelDetail]:
    """Makes the tiny model, which finds what is red and what is green."""

    def make(**card: Any) -> ModelDetail:
        dataset = client.datasets.upload(archive())
        validated(server.services, dataset.raw)
        job = client.train(dataset, epochs=2)
        trained(server.services, job.id, **card)
        return job.wait().model()

    return make


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two folders: with the same name in both, one that lies on its side, one with nothing on it."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    _photograph(160, 96, red=(10, 20, 70, 60), green=(90, 30, 150, 90)).save(first / "a.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    _photograph(200, 120, red=(20, 10, 120, 100)).save(first / "naïve.jpg", quality=98, exif=turned)
    _photograph(64, 64).save(first / "nothing.png")
    _photograph(101, 77, green=(3, 5, 90, 71)).save(second / "a.jpg", quality=98)
    (second / "notes.txt").write_text("no image")
    return [first, second]


def _photograph(width: int, height: int, **boxes: tuple[int, int, int, int]) -> Image.Image:
    pixels = np.zeros((height, width, 3), np.uint8)
    for colour, (x1, y1, x2, y2) in boxes.items():
        pixels[y1:y2, x1:x2, ("red", "green").index(colour)] = 240
    return Image.fromarray(pixels)


def ingested(server: Served, dataset: Dataset) -> None:
    """A worker of the service validates it."""
    services = server.services
    terms = WorkerSettings(
        data=services.settings.data, detector_command=[sys.executable, "-m", "detector"], poll_seconds=0.02
    )
    cache = DatasetCache(terms.data / "cache", services.blobs)
    shop = Workshop(services.database, services.blobs, cache, services.hints, terms)
    Supervisor(shop, worker="test", stopping=threading.Event()).work(dataset.validation_job_id)


@pytest.mark.parametrize("layout", ["coco", "yolo", "voc"])
def test_what_is_written_is_taken_back_by_the_service(
    layout: Layout,
    client: Client,
    server: Served,
    model: Callable[..., ModelDetail],
    folders: list[Path],
    tmp_path: Path,
) -> None:
    trained_model = model()
    done = trained_model.export(folders, tmp_path / "out.zip", format=layout, score_threshold=0.3)
    files = [folders[0] / name for name in ("a.png", "naïve.jpg", "nothing.png")] + [folders[1] / "a.jpg"]
    names = ["a.png", "naïve.jpg", "nothing.png", "a-2.jpg"]
    asked = [trained_model.predict(file, score_threshold=0.3) for file in files]
    assert [len(one) for one in asked] == [2, 1, 0, 1]
    assert done == (tmp_path / "out.zip", 4, 4)
    dataset = client.datasets.upload(done.path)
    ingested(server, dataset)
    dataset = dataset.wait()
    assert dataset.format == layout
    # Nothing was wrong with it, and no box was changed.
    assert {one.code for one in client.datasets.report(dataset)} <= {"split_made"}
    found = {one.file_name.rpartition("/")[2]: one for one in client.datasets.images(dataset)}
    assert found.keys() == set(names)
    for name, prediction in zip(names, asked, strict=True):
        taken = found[name]
        assert (taken.width, taken.height) == (prediction.image.width, prediction.image.height)
        rounding = {"coco": 0.0015, "yolo": 1e-6 * max(taken.width, taken.height), "voc": 0.005}[layout]
        boxes = {(one.category, tuple(one.box)) for one in taken.boxes}
        for one in prediction.detections:
            near = [box for category, box in boxes if category == one.class_name]
            assert len(near) == 1
            assert near[0] == pytest.approx(one.box, abs=rounding + 1e-9)
        assert len(boxes) == len(prediction)


def test_with_await_the_same_bytes_are_written(
    client: Client, server: Served, model: Callable[..., ModelDetail], folders: list[Path], tmp_path: Path
) -> None:
    made = model()
    told: list[tuple[int, int]] = []

    async def export() -> None:
        async with AsyncClient(f"http://127.0.0.1:{server.port}", timeout=10) as awaited:
            await awaited.models.export(
                made, folders[0], tmp_path / "b.zip", told=lambda done, whole: told.append((done, whole))
            )

    made.export(folders[0], tmp_path / "a.zip")
    asyncio.run(export())
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_results_of_a_dataset_belong_to_its_images(
    client: Client, server: Served, model: Callable[..., ModelDetail], folders: list[Path], tmp_path: Path
) -> None:
    made = model()
    made.export(folders, tmp_path / "set.zip", score_threshold=0.3)
    dataset = client.datasets.upload(tmp_path / "set.zip", val_fraction=0.5)
    ingested(server, dataset)
    results = made.export(dataset, tmp_path / "results.json", format="coco-results", split="val")
    assert results.images == 2
    ids = {one.image_id for one in client.datasets.images(dataset, split="val")}
    assert {one["image_id"] for one in json.loads(results.path.read_text())} <= ids
    assert client.evaluations.of_detections(results.path, dataset, split="val").status == "queued"
    made.export(dataset.id, tmp_path / "again", with_images=False)
    documents = {
        path.name: json.loads(path.read_text()) for path in (tmp_path / "again" / "annotations").iterdir()
    }
    assert documents.keys() == {"instances_train.json", "instances_val.json"}
    assert {one["id"] for one in documents["instances_val.json"]["images"]} == ids
    assert not (tmp_path / "again" / "images").exists()


def test_pycocotools_reads_both_of_coco(
    model: Callable[..., ModelDetail],
    folders: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = model(masks=True, architecture="maskrcnn_resnet50_fpn")
    made.export(folders, tmp_path / "coco", score_threshold=0.3)
    made.export(folders, tmp_path / "results.json", format="coco-results", score_threshold=0.3)
    truth = COCO(str(tmp_path / "coco" / "annotations" / "instances_default.json"))
    for kind in ("bbox", "segm"):
        evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "results.json")), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        # The hole in each mask is filled in its outline.
        assert evaluation.stats[1] == 1.0
        assert kind == "segm" or evaluation.stats[0] == 1.0
    for one in truth.loadAnns(truth.getAnnIds()):
        assert area(truth.annToRLE(one)) == pytest.approx(one["area"], rel=0.05)
    capsys.readouterr()


def test_what_broke_leaves_nothing_behind_and_what_is_there_stays(
    client: Client, model: Callable[..., ModelDetail], folders: list[Path], tmp_path: Path
) -> None:
    made = model()
    (tmp_path / "out.zip").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        made.export(folders, tmp_path / "out.zip")
    assert (tmp_path / "out.zip").read_bytes() == b"mine"
    (folders[1] / "b.png").write_bytes(b"no image")
    for target in ("new.zip", "new"):
        with pytest.raises(StatusError, match="image"):
            made.export(folders, tmp_path / target)
    with pytest.raises(NotFound):
        client.models.export("production", folders, tmp_path / "new.zip")
    assert {path.name for path in tmp_path.iterdir()} == {"data", "first", "second", "out.zip"}


def test_the_same_images_make_the_same_zip(
    model: Callable[..., ModelDetail], folders: list[Path], tmp_path: Path
) -> None:
    made = model()
    for name in ("a.zip", "b.zip"):
        made.export(folders, tmp_path / name, format="yolo", at_once=1 if name == "a.zip" else 8)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as written:
        assert {"data.yaml", "classes.txt", "labels/a-2.txt", "images/a-2.jpg"} <= set(written.namelist())
        assert written.read("classes.txt") == b"red\ngreen\n"


def test_names_are_unique_without_their_suffix_too() -> None:
    assert named_once(["x/a.jpg", "y/a.png", "A.jpg", "b.jpg", "a-2.jpg"]) == [
        "a.jpg",
        "a-2.png",
        "A-3.jpg",
        "b.jpg",
        "a-2-2.jpg",
    ]
