"""What a dry run says before a training is asked for: steps, warnings about the data, and bytes on the disk.

The datasets are read by the validation itself; only the worker around it is not here.
"""

import inspect as sources
import io
import json
import re
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api import data_warnings, plans
from api.services import Services
from api.settings import Settings
from detector.config import SGD, MaskRCNN, SSDLite320
from detector.data import index_file
from detector.data.inspect import SplitOptions, inspect
from detector.footprint import footprint
from store import datasets, jobs, models
from store.tables import Job, JobMetric
from tests.api.helpers import claimed, encoded, picture

SSD = {"kind": "ssdlite320_mobilenet_v3_large"}
Box = tuple[str, float, float, float, float]  # class, x, y, width, height
CLASSES = ("car", "bus", "bike")
Uploaded = Callable[..., str]


def coco(images: dict[str, list[Box]], **each: Any) -> dict[str, bytes]:
    """Members of an archive; the folder of an image is its split. Images are 128 x 128 and all different.

    Args:
        each: added to every annotation.
    """
    members: dict[str, bytes] = {}
    documents: dict[str, dict[str, Any]] = {}
    for number, (name, boxes) in enumerate(images.items(), start=1):
        split, _, file = name.partition("/")
        document = documents.setdefault(split, {"images": [], "annotations": []})
        pixels = picture()
        pixels[:, :, 1] = number
        members[f"{split}/{file}"] = encoded(pixels)
        document["images"].append({"id": number, "file_name": file, "width": 128, "height": 128})
        for label, *box in boxes:
            annotation: dict[str, Any] = {
                "id": 1000 * number + len(document["annotations"]),
                "image_id": number,
            }
            annotation |= {"category_id": CLASSES.index(label) + 1, "bbox": box, "area": box[2] * box[3]}
            document["annotations"].append(annotation | each)
    for split, document in documents.items():
        document["categories"] = [{"id": k, "name": name} for k, name in enumerate(CLASSES, start=1)]
        members[f"annotations/{split}.json"] = json.dumps(document).encode()
    return members


@pytest.fixture
def uploaded(client: TestClient, services: Services, tmp_path: Path) -> Uploaded:
    """Uploads members and validates them as a worker would; the dataset's id."""

    def upload(members: dict[str, bytes], *, on_invalid: Any = "drop", val_fraction: float = 0.2) -> str:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in members.items():
                file.writestr(name, data)
        path = tmp_path / "archive.zip"
        path.write_bytes(buffer.getvalue())
        headers = {"Content-Type": "application/zip"}
        made = client.post("/v1/datasets", content=buffer.getvalue(), headers=headers).json()
        index, report = inspect(path, on_invalid=on_invalid, split=SplitOptions(val_fraction=val_fraction))
        assert index is not None, report.findings
        claim = claimed(services, made["validation_job_id"])
        services.database.run(
            lambda s: datasets.mark_ready(
                s,
                claim,
                index=services.blobs.put_bytes(index_file.encode(index)).key,
                format=index.format,
                summary=report.summary,
                images=[
                    {
                        "file_name": one.file_name,
                        "split": one.split,
                        "width": one.width,
                        "height": one.height,
                        "boxes": len(one.annotations),
                    }
                    for one in index.images
                ],
                findings=[msgspec.to_builtins(finding) for finding in report.findings],
            )
        )
        return str(made["id"])

    return upload


def planned(client: TestClient, dataset_id: str, **config: Any) -> dict[str, Any]:
    body = {"kind": "train", "dataset_id": dataset_id, "config": config}
    answer = client.post("/v1/jobs?dry_run=true", json=body)
    assert answer.status_code == 200, answer.text
    plan: dict[str, Any] = answer.json()
    return plan


def said(plan: dict[str, Any]) -> dict[str, str]:
    """The warnings' sentences by their codes, each there once."""
    found = {one["code"]: one["detail"] for one in plan["warnings"]}
    assert len(found) == len(plan["warnings"])
    return found


ALL: list[Box] = [(name, 8, 8, 60, 60) for name in CLASSES]


def test_nothing_is_said_of_a_dataset_that_is_well(client: TestClient, uploaded: Uploaded) -> None:
    images = {f"train/{k}.png": ALL for k in range(10)} | {f"val/{k}.png": ALL for k in range(20)}
    plan = planned(client, uploaded(coco(images)), batch_size=5, epochs=3)
    assert (plan["warnings"], plan["steps_per_epoch"], plan["steps"]) == ([], 2, 6)


def test_what_is_wrong_with_the_data_is_counted_and_named(client: TestClient, uploaded: Uploaded) -> None:
    images: dict[str, list[Box]] = {
        "train/a.png": [("car", 8, 8, 60, 60), ("car", 9, 9, 0, 5)],
        "train/b.png": [("car", 100, 8, 60, 60)],
        "train/c.png": [],
        "val/d.png": [("bus", 8, 8, 60, 60), ("car", 8, 8, 60, 60)],
    }
    members = coco(images)
    members["val/d.png"] = members["train/a.png"]
    dataset = uploaded(members, on_invalid="fix")
    plan = planned(client, dataset, batch_size=8)
    assert said(plan) == {
        "data_left_out": "1 of 5 annotations were left out by the validation (zero_size_box 1). "
        f"GET /v1/datasets/{dataset}/report names each.",
        "data_put_right": "1 of 4 annotations were put right by the validation (box_exceeds_image 1). "
        f"GET /v1/datasets/{dataset}/report names each.",
        "images_in_two_splits": "1 image is in two splits: where one of them is learned from and the other "
        "measured, AP promises too much. Take it out of one. "
        f"GET /v1/datasets/{dataset}/report names each.",
        "batch_larger_than_split": "batch_size is 8, but 'train' has 3 images: every epoch is one step with "
        "all of them, at the learning rate of a full batch. Set batch_size to 3 or less.",
        "classes_without_boxes": "2 of 3 classes have no box in 'train' (bus, bike) and will never be "
        "found. Add images that show them, or leave them out of the dataset.",
        "classes_with_few_boxes": "1 of 3 classes has fewer than 10 boxes in 'train' (car 2) and will hardly "
        "be found. Add images that show them.",
        "images_without_boxes": "1 of 3 images of 'train' have no box to learn from: all that they show is "
        "learned as background. Annotate them or take them out if they show objects.",
        "few_images_to_measure": "'val' has 1 image and 2 boxes: AP will go up and down by chance, and the "
        "best weights with it. Measure on more images.",
    }
    pointers = {one["code"]: one["pointer"] for one in plan["warnings"]}
    assert pointers["batch_larger_than_split"] == "/config/batch_size"
    assert pointers["data_left_out"] is None


def test_what_the_trainer_will_refuse_is_said_before(client: TestClient, uploaded: Uploaded) -> None:
    two = uploaded(coco({"train/a.png": ALL, "test/b.png": ALL, "val/c.png": []}))
    assert "nothing_to_learn" in said(planned(client, two, train_split="val", eval_split="test"))
    assert "AP will be null" in said(planned(client, two))["nothing_to_measure"]
    masks = said(planned(client, two, architecture="maskrcnn_resnet50_fpn"))
    assert "none of 3 objects to learn from has one" in masks["masks_missing"]


def test_the_test_split_decides_where_there_is_no_other(client: TestClient, uploaded: Uploaded) -> None:
    car: list[Box] = [("car", 8, 8, 60, 60)]
    dataset = uploaded(coco({"train/a.png": ALL, "train/b.png": ALL, "train/c.png": ALL, "test/d.png": car}))
    found = said(planned(client, dataset, batch_size=2))
    assert "'test' (1 image)" in found["eval_split_is_test"]
    assert found["classes_not_measured"].startswith("2 of 3 classes have no box in 'test' (bus, bike)")
    assert "1 whole batch of 2: 1 of 3 images are left out" in found["images_left_out_of_epochs"]
    assert "eval_split_is_test" not in said(planned(client, dataset, eval_split="test"))


def test_images_of_another_size_than_declared_are_counted(client: TestClient, uploaded: Uploaded) -> None:
    members = coco({"train/a.png": ALL, "train/b.png": ALL, "val/c.png": ALL})
    name = "annotations/train.json"
    members[name] = members[name].replace(b'"width": 128', b'"width": 256')
    found = said(planned(client, uploaded(members)))["image_sizes_differ"]
    assert found.startswith("2 images have another size than the annotations declare")


def test_boxes_are_measured_as_the_detector_sees_them(client: TestClient, uploaded: Uploaded) -> None:
    """Images of 128 pixels are enlarged to 320, then 6 pixels are 15 and 7 are 17.5."""
    small: list[Box] = [("car", 8, 8, 6, 6), ("bus", 40, 40, 3, 6), ("bike", 60, 60, 7, 2)]
    dataset = uploaded(coco({f"{split}/{k}.png": small for split in ("train", "val") for k in range(2)}))
    found = said(planned(client, dataset, architecture=SSD))["boxes_too_small"]
    assert found.startswith("4 of 6 boxes to learn from are less than 16 pixels wide and high")
    for architecture in (SSD | {"image_size": 352}, "retinanet_resnet50_fpn"):
        assert "boxes_too_small" not in said(planned(client, dataset, architecture=architecture))


def test_classes_that_no_anchor_fits_are_named(client: TestClient, uploaded: Uploaded) -> None:
    """SSDlite's smallest anchor is a fifth of the image, here 25.6 pixels of 128: 18 x 18 are just below half
    of its area, 19 x 18 just above. RetinaNet's is of 32 pixels, so half of it 512, at any size."""
    shown: list[Box] = [("car", 8, 8, 19, 18), ("bus", 40, 40, 18, 18), ("bike", 60, 60, 7, 40)]
    dataset = uploaded(coco({f"{split}/{k}.png": shown for split in ("train", "val") for k in range(2)}))
    for size in (224, 320, 640):
        found = planned(client, dataset, architecture=SSD | {"image_size": size})["warnings"]
        [warning] = [one for one in found if one["code"] == "classes_smaller_than_anchors"]
        assert warning["pointer"] == "/config/architecture"
        assert warning["detail"].startswith(
            "2 of 3 classes have mostly boxes (bus 2 of 2, bike 2 of 2) of less than half the area of the "
            f"smallest anchor of {SSD['kind']}, {size / 5:.0f} x {size / 5:.0f} pixels of the resized image"
        )
        assert "image_size" not in warning["detail"]  # it would enlarge the anchors, too
    retinanet = {"kind": "retinanet_resnet50_fpn", "max_size": 1333}
    found = said(planned(client, dataset, architecture=retinanet | {"image_size": 160}))
    assert found["classes_smaller_than_anchors"].startswith(
        "2 of 3 classes have mostly boxes (bus 2 of 2, bike"
    )
    assert "Raise image_size" in found["classes_smaller_than_anchors"]
    for other in (retinanet | {"image_size": 192}, "fcos_resnet50_fpn", "fasterrcnn_resnet50_fpn"):
        assert "classes_smaller_than_anchors" not in said(planned(client, dataset, architecture=other))


def test_masks_that_are_there_are_seen(client: TestClient, uploaded: Uploaded) -> None:
    polygon = [[8.0, 8.0, 68.0, 8.0, 68.0, 68.0]]
    members = coco({"train/a.png": ALL, "val/b.png": ALL}, segmentation=polygon)
    document = json.loads(members["annotations/train.json"])
    del document["annotations"][0]["segmentation"]
    members["annotations/train.json"] = json.dumps(document).encode()
    found = said(planned(client, uploaded(members), architecture="maskrcnn_resnet50_fpn"))
    assert found["masks_incomplete"].startswith("1 of 3 objects to learn from have no mask")


def test_classes_that_a_model_does_not_know_are_named(
    client: TestClient, services: Services, uploaded: Uploaded
) -> None:
    dataset = uploaded(coco({"train/a.png": ALL, "val/b.png": ALL}))
    weights = services.blobs.put_bytes(b"weights")
    new = models.NewModel(
        name="cars",
        architecture=SSD["kind"],
        loss="baseline",
        classes=[{"id": 1, "name": "bus"}, {"id": 2, "name": "Car"}],
        config={"architecture": SSD},
        metrics={},
        artifacts=[
            models.NewArtifact(
                models.WEIGHTS, "application/octet-stream", weights.key, weights.sha256, weights.bytes
            )
        ],
        evaluation=models.NewEvaluation("val", {}, []),
    )
    job = client.post("/v1/jobs", json={"kind": "train", "dataset_id": dataset}).json()["id"]
    claim = claimed(services, job)
    model = services.database.run(lambda s: models.finish_training(s, claim, model=new).id)
    start = {"kind": "model", "model": model}
    found = said(planned(client, dataset, architecture=SSD | {"initial_weights": start}))
    assert found["classes_new_to_model"] == (
        f"2 of 3 classes have no part in {model} (car, bike) and start random; 1 of its 2 classes are kept. "
        "Classes are the same only where their names are, letter by letter."
    )
    other = {"kind": "fasterrcnn_mobilenet_v3_large_320_fpn", "initial_weights": start}
    found = said(planned(client, dataset, architecture=other))
    assert "only its backbone is kept" in found["only_backbone_kept"]
    assert "classes_new_to_model" not in found


@pytest.mark.embedded  # one disk for worker and blobs
def test_the_disk_is_told_and_whether_it_suffices(
    client: TestClient, settings: Settings, uploaded: Uploaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = coco({"train/a.png": ALL, "val/b.png": ALL})
    dataset = uploaded(members)
    disk = planned(client, dataset, architecture=SSD)["disk"]
    images = [len(data) for name, data in members.items() if name.endswith(".png")]
    # Each in whole blocks of 4 KiB, as is the index.
    assert disk["dataset_bytes"] == sum(-(-size // 4096) * 4096 for size in images) + 4096
    # The sizes themselves are held against real files in tests/detector/test_footprint.py.
    assert 36e6 < disk["checkpoint_bytes"] < 38e6
    assert disk["worker_bytes"] == (
        disk["dataset_bytes"] + 4 * disk["checkpoint_bytes"] + disk["artifacts_bytes"]
    )
    assert disk["store_bytes"] == 4 * disk["checkpoint_bytes"] + disk["artifacts_bytes"]
    assert disk["total_bytes"] == disk["worker_bytes"] + 2 * disk["checkpoint_bytes"]
    assert disk["has_room"] is (disk["total_bytes"] <= disk["free_bytes"])
    adamw = planned(client, dataset, architecture=SSD, optimizer="adamw")["disk"]
    assert adamw["checkpoint_bytes"] > 1.2 * disk["checkpoint_bytes"]
    masks = planned(client, dataset, architecture="maskrcnn_resnet50_fpn")["disk"]
    size = footprint(MaskRCNN(), 3)
    told = size.model_bytes + size.evaluation_bytes(1, 3, mask_width=128)
    assert told < masks["artifacts_bytes"] < told + 4096  # with the objects that are to be found

    def nearly_full(asked: Settings) -> int:
        assert asked is settings
        return int(disk["total_bytes"]) - 1

    monkeypatch.setattr("api.plans.bytes_to_spare", nearly_full)
    plan = planned(client, dataset, architecture=SSD)
    assert plan["disk"]["has_room"] is False
    assert f"may write {disk['total_bytes'] / 1e6:,.0f} MB" in said(plan)["storage_low"]


def test_nothing_is_known_of_a_dataset_that_is_validating(
    client: TestClient, dataset: dict[str, Any]
) -> None:
    plan = planned(client, dataset["id"])
    names = ("steps_per_epoch", "steps", "warnings", "disk", "memory", "time")
    assert [plan[name] for name in names] == [None] * 6


def test_the_memory_is_told_as_far_as_it_is_known(client: TestClient, uploaded: Uploaded) -> None:
    dataset = uploaded(coco({f"train/{k}.png": ALL for k in range(3)} | {"val/v.png": ALL}))
    memory = planned(client, dataset, architecture=SSD)["memory"]
    assert memory == {
        "state_bytes": footprint(SSDLite320(), 3).state_bytes(SGD()),
        "images_bytes": 3 * 3 * 128 * 128,
    }
    adamw = planned(client, dataset, architecture=SSD, optimizer="adamw", image_cache_mib=0)["memory"]
    assert adamw["state_bytes"] > 1.2 * memory["state_bytes"]
    assert adamw["images_bytes"] == 0


def test_the_time_is_that_of_trainings_like_it(
    client: TestClient, services: Services, uploaded: Uploaded
) -> None:
    dataset = uploaded(coco({f"train/{k}.png": ALL for k in range(4)} | {"val/v.png": ALL}))
    config: dict[str, Any] = {"architecture": SSD, "batch_size": 2}
    assert planned(client, dataset, **config)["time"] is None

    def took(step_seconds: float, **changes: Any) -> str:
        """A training of 100 steps and 20 seconds of all else has ended; its id."""
        body = {"kind": "train", "dataset_id": dataset, "config": config | changes}
        job_id = str(client.post("/v1/jobs", json=body).json()["id"])
        claim = claimed(services, job_id)
        rows: list[tuple[str, int, float, dict[str, Any]]] = [
            ("train", step, step / 2, {"loss": 1.0}) for step in (10, 60, 100)
        ]
        services.database.run(lambda s: jobs.record_metrics(s, claim, rows))
        services.database.run(lambda s: jobs.succeed(s, claim))

        def happened(session: Session) -> None:
            begun = datetime.now(UTC)
            for step in (10, 60, 100):
                at = begun + timedelta(seconds=15 + step * step_seconds)
                session.execute(
                    update(JobMetric)
                    .where(JobMetric.job_id == job_id, JobMetric.step == step)
                    .values(created_at=at)
                )
            ended = begun + timedelta(seconds=20 + 100 * step_seconds)
            session.execute(update(Job).where(Job.id == job_id).values(started_at=begun, finished_at=ended))

        services.database.run(happened)
        return job_id

    took(0.05)  # too short to be timed
    took(1.0, batch_size=4)
    took(1.0, architecture=SSD | {"image_size": 352})
    assert planned(client, dataset, **config)["time"] is None
    like = [took(seconds, epochs=7, loss="baseline") for seconds in (0.4, 9.0, 0.5)]
    found = planned(client, dataset, **config, epochs=30)
    assert found["steps"] == 60
    assert found["time"] == {"seconds": 50.0, "step_seconds": 0.5, "trainings": like[::-1]}


def test_every_warning_is_in_the_documentation() -> None:
    code = re.compile(r'(?:_warning\(\s*|code=)"([a-z_]+)"')
    codes = set(code.findall(sources.getsource(data_warnings) + sources.getsource(plans)))
    table = Path(__file__).parents[2] / "docs" / "jobs.md"
    section = table.read_text().split("## Before it begins")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    assert codes == set(re.findall(r"`([a-z]+_[a-z_]+)`", "\n".join(rows)))
    assert len(codes) > 15
