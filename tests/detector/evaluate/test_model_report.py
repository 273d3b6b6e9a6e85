"""The report that a training leaves."""

import json
from pathlib import Path

import msgspec
import pytest

from detector.config import SSDLite320
from detector.data.loading import EvaluationSet
from detector.data.materialise import load
from detector.data.records import DatasetIndex
from detector.evaluate import model_report as module
from detector.evaluate.coco import evaluate, ground_truth
from detector.evaluate.model_report import Split, model_report, other_split
from detector.evaluate.split import detect
from detector.models import Detector
from tests.detector.helpers import config, run_training, write_dataset
from tests.detector.models.families import lively, small


@pytest.fixture(scope="module")
def detector() -> Detector:
    return lively(small(SSDLite320(image_size=128)))


@pytest.fixture(scope="module")
def index(dataset: Path) -> DatasetIndex:
    """With three classes, as the detector has."""
    given = load(dataset)
    return DatasetIndex("coco", [*given.categories, type(given.categories[0])(9, "third")], given.images)


def split(dataset: Path, index: DatasetIndex, detector: Detector, name: str) -> Split:
    images = [image for image in index.images if image.split == name]
    return Split(name, EvaluationSet(dataset, images, detector.input_spec))


def test_operating_points_are_chosen_on_one_split_and_reported_on_another(
    detector: Detector, dataset: Path, index: DatasetIndex
) -> None:
    chosen, other = (split(dataset, index, detector, name) for name in ("train", "val"))
    ids = [category.id for category in index.categories]
    found, elsewhere = (detect(detector, one.data, ids, batch_size=4) for one in (chosen, other))
    report = model_report(detector, index, chosen, found, other, batch_size=4)

    points = report["operating_points"]
    assert (points["chosen_split"], points["reported_split"]) == ("train", "val")
    point = points["best_f1"]["all"]
    assert (point["chosen"]["objects"], point["reported"]["objects"]) == (16, 8)
    assert point["chosen"]["threshold"] == point["reported"]["threshold"]
    truths = [ground_truth(one.data.images, index.categories) for one in (chosen, other)]
    assert report["bbox"]["metrics"] == evaluate(truths[0], found).metrics
    assert report["other_split"] == {
        "name": "val",
        "images": 4,
        "images_of_split": 4,
        "metrics": evaluate(truths[1], elsewhere).metrics,
    }


def test_what_suppression_costs_is_in_the_report(
    detector: Detector, dataset: Path, index: DatasetIndex
) -> None:
    evaluated = split(dataset, index, detector, "train")
    found = detect(detector, evaluated.data, [7, 3, 9], batch_size=4)
    report = model_report(detector, index, evaluated, found, None, batch_size=4)
    told = report["suppression"]
    assert told["objects"] == 16
    assert told["with_candidate"] == told["kept_best"] + told["lost_to_worse"] + told["lost_otherwise"] > 0
    assert report["other_split"] is None
    assert report["operating_points"]["reported_split"] == "train"


def test_of_a_large_split_a_part_is_reported_and_said_so(
    detector: Detector, dataset: Path, index: DatasetIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_IMAGES", 3)
    evaluated = split(dataset, index, detector, "train")
    found = detect(detector, evaluated.data, [7, 3, 9], batch_size=4)
    report = model_report(detector, index, evaluated, found, evaluated, batch_size=4)
    assert (report["images"], report["images_of_split"]) == (3, 8)
    assert report["suppression"]["objects"] == report["objects"] == 6
    assert (report["other_split"]["images"], report["other_split"]["images_of_split"]) == (3, 8)


def test_the_other_split_is_one_with_objects_that_had_no_part(index: DatasetIndex) -> None:
    def renamed(*names: str) -> DatasetIndex:
        images = [
            type(image)(k, image.file_name, name, image.width, image.height, list(image.annotations))
            for k, (name, image) in enumerate(zip(names, index.images, strict=False))
        ]
        return DatasetIndex("coco", index.categories, images)

    assert other_split(renamed("train", "val"), {"train", "val"}) is None
    assert other_split(renamed("train", "val", "more", "test"), {"train", "val"}) == "test"
    assert other_split(renamed("train", "val", "test"), {"train", "test"}) == "val"
    assert other_split(renamed("train", "val", "zoo", "more"), {"train", "val"}) == "more"
    bare = renamed("train", "val", "test")
    bare.images[2] = msgspec.structs.replace(bare.images[2], annotations=[])
    assert other_split(bare, {"train", "val"}) is None


def test_a_training_reports_on_the_split_that_it_has_left(tmp_path: Path) -> None:
    index = write_dataset(tmp_path / "data", train=4, val=4)
    images = [
        type(image)(image.id, image.file_name, "test", image.width, image.height, image.annotations)
        if image.id in (106, 107)
        else image
        for image in index.images
    ]
    (tmp_path / "data/dataset.json").write_bytes(
        msgspec.json.encode(DatasetIndex(index.format, index.categories, images))
    )
    run_training(tmp_path / "data", tmp_path / "run", config(epochs=1))
    report = json.loads((tmp_path / "run/artifacts/report.json").read_text())
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert report["bbox"]["metrics"] == result["metrics"]
    assert (report["split"], report["images"], report["other_split"]["images"]) == ("val", 2, 2)
    assert "report.json" in [one["name"] for one in result["artifacts"]]
    assert report["suppression"] is not None
