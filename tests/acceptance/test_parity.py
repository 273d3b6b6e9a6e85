"""What the service answers over HTTP is what torch finds: architectures, losses, images of every kind."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detector import artifacts
from detector.export import Limits, compare, detect_one
from detector.images import decode, resize
from detector.runtime import Found
from tests.acceptance.service import IMAGES, RunningService

pytestmark = pytest.mark.acceptance

# (architecture, loss): the graph is the same whatever the loss was.
TRAINED = (
    ("ssdlite320_mobilenet_v3_large", "harmonic"),
    ("fasterrcnn_mobilenet_v3_large_320_fpn", "baseline"),
)


@pytest.fixture(scope="module")
def models(service: RunningService, dataset: str) -> dict[tuple[str, str], str]:
    """Ids of two models, trained for a few steps each."""
    jobs = {
        (kind, loss): service.submit(
            dataset,
            architecture={"kind": kind, "image_size": 128},
            loss=loss,
            epochs=1,
            batch_size=4,
            evaluate_every=1,
        )
        for kind, loss in TRAINED
    }
    ended = {key: service.ended(job_id) for key, job_id in jobs.items()}
    assert {key: job["error"] for key, job in ended.items()} == dict.fromkeys(jobs)
    return {key: job["model_id"] for key, job in ended.items()}


@pytest.fixture(scope="module")
def images(archive: Path) -> dict[str, bytes]:
    """One picture as JPEG and PNG files of several sizes and kinds."""
    with zipfile.ZipFile(archive) as zipped:
        source = Image.open(io.BytesIO(zipped.read(f"val/{IMAGES + 1:06d}.jpg")))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by a quarter

    def saved(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return {
        "as it is": saved(source),
        "larger": saved(source.resize((640, 480))),
        "wide": saved(source.resize((500, 140))),
        "tall": saved(source.resize((90, 333))),
        "greyscale": saved(source.convert("L")),
        "cmyk": saved(source.convert("CMYK")),
        "rotated": saved(source.resize((200, 100)), exif=exif),
        "transparent png": saved(source.convert("RGBA"), "PNG"),
    }


@pytest.mark.parametrize(("kind", "loss"), TRAINED)
def test_detections_over_http_are_those_of_torch(
    service: RunningService,
    models: dict[tuple[str, str], str],
    images: dict[str, bytes],
    tmp_path: Path,
    kind: str,
    loss: str,
) -> None:
    model_id = models[kind, loss]
    for name in ("model.safetensors", "model.json"):
        artifact = service.client.get(f"/v1/models/{model_id}/artifacts/{name}")
        (tmp_path / name).write_bytes(artifact.content)
    assert json.loads((tmp_path / "model.json").read_text())["architecture"] == kind
    detector, card = artifacts.load_model(tmp_path)
    labels = {named.id: label for label, named in enumerate(card.classes)}
    for name, data in images.items():
        answer = service.client.post(
            f"/v1/models/{model_id}/predict?score_threshold=0&max_detections=1000",
            content=data,
            headers={"content-type": "application/octet-stream"},
        )
        assert answer.status_code == 200, answer.text
        found = answer.json()["detections"]
        pixels = decode(data)
        own = pixels.shape[0], pixels.shape[1]
        assert (answer.json()["image"]["height"], answer.json()["image"]["width"]) == own
        over_http = Found(
            np.array([one["box"] for one in found], np.float32).reshape(-1, 4),
            np.array([one["score"] for one in found], np.float32),
            np.array([labels[one["class_id"]] for one in found], np.int64),
        )
        of_torch = detect_one(detector, resize(pixels, card.input.shape_for(*own)), own)
        compare(of_torch, over_http, Limits.of(detector), f"{name} of {kind} with {loss}")
