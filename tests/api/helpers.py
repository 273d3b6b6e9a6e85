"""What tests do in a worker's stead, and images they send."""

import io
import math
import zipfile
from typing import Any

import numpy as np
import orjson
from httpx2 import Response
from numpy.typing import NDArray
from PIL import Image
from redis import Redis

from api.services import Services
from api.settings import Settings
from detector.origins import SIGNATURES
from store import datasets, jobs, models
from store.blobs import open_blobs
from store.jobs import Claim
from tests.api.tiny_model import CARD, tiny_model

SUMMARY: dict[str, Any] = {
    "images": 10,
    "annotations": 30,
    "used": 29,
    "fixed": 0,
    "dropped": 1,
    "negatives": 0,
    "crowds": 0,
    "splits": {"train": {"images": 8, "annotations": 24}, "val": {"images": 2, "annotations": 5}},
    "categories": [{"id": 7, "name": "red", "annotations": 15, "images": 9}],
}
FINDING: dict[str, Any] = {
    "severity": "error",
    "code": "zero_size_box",
    "location": "annotations/train.json#/annotations/17/bbox",
    "message": "The box [3, 4, 0, 0] has no area.",
    "action": "dropped",
}
_RECALLS = ("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large")
COCO_NAMES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", *_RECALLS)
METRICS = dict.fromkeys(COCO_NAMES, 0.5)
QUEUES = ("train", "evaluate", "ingest")
# A dataset and a job that do not exist.
ABSENT = "01jz4m8x0v3s7q9k2b5c6d7e8f"


def archive(text: str = "hello") -> bytes:
    """A small zip; what is in it matters to the worker only."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(zipfile.ZipInfo("a.txt"), text)  # without the time, so that it is the same each time
    return buffer.getvalue()


def claimed(services: Services, job_id: str) -> Claim:
    """The job in the hands of a worker."""
    claim = services.database.run(lambda s: jobs.claim(s, job_id, worker="test@here", lease_seconds=60))
    assert claim is not None
    return claim


def validated(
    services: Services, dataset: dict[str, Any], findings: list[dict[str, Any]] | None = None
) -> None:
    """The dataset becomes ready."""
    claim = claimed(services, dataset["validation_job_id"])
    services.database.run(
        lambda s: datasets.mark_ready(
            s,
            claim,
            index=services.blobs.put_bytes(b'{"format":"coco","categories":[],"images":[]}').key,
            format="coco",
            summary=SUMMARY,
            images=[],
            findings=findings or [],
        )
    )


def rejected(services: Services, dataset: dict[str, Any]) -> None:
    """The dataset becomes invalid: its zip is broken."""
    claim = claimed(services, dataset["validation_job_id"])
    finding = FINDING | {
        "code": "archive_broken",
        "location": "",
        "message": "The file is no zip archive.",
        "action": "rejected",
    }
    error = {
        "type": "about:blank",
        "title": "The dataset is invalid",
        "status": None,
        "code": "dataset_invalid",
        "detail": "The file is no zip archive.",
    }
    services.database.run(
        lambda s: datasets.mark_invalid(s, claim, format=None, summary=None, findings=[finding], error=error)
    )


def trained(services: Services, job_id: str, *, manifest: dict[str, Any] | None = None, **card: Any) -> str:
    """The job ends with the tiny model; the model's id."""
    claim = claimed(services, job_id)
    files = {
        "model.onnx": (tiny_model(masks=card.get("masks", False)), "application/octet-stream"),
        "model.json": (orjson.dumps(CARD | card), "application/json"),
        "detections.json": (b"[]", "application/json"),
    }
    if manifest is not None:
        files["manifest.json"] = (orjson.dumps(manifest), "application/json")
    blobs = {name: services.blobs.put_bytes(data) for name, (data, _) in files.items()}
    new = models.NewModel(
        name="reds and greens",
        architecture=card.get("architecture", CARD["architecture"]),
        loss=CARD["loss"],
        classes=CARD["classes"],
        config={"epochs": 1},
        metrics=METRICS,
        artifacts=[
            models.NewArtifact(name, media_type, blobs[name].key, blobs[name].sha256, blobs[name].bytes)
            for name, (_, media_type) in files.items()
        ],
        evaluation=models.NewEvaluation("val", METRICS, [{"id": 7, "name": "red", "AP": 0.5}]),
    )
    return services.database.run(lambda s: models.finish_training(s, claim, model=new).id)


def backbone() -> bytes:
    """A safetensors file with the one tensor by which a mobilenet_v3_large is known."""
    name, shape = SIGNATURES["mobilenet_v3_large"]
    size = 2 * math.prod(shape)
    header = orjson.dumps({f"features.{name}": {"dtype": "F16", "shape": shape, "data_offsets": [0, size]}})
    return len(header).to_bytes(8, "little") + header + bytes(size)


def picture(height: int = 128, width: int = 128) -> NDArray[np.uint8]:
    """Black, with a red box from (32, 16) to (96, 64)."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[16:64, 32:96, 0] = 230
    return pixels


def encoded(pixels: NDArray[np.uint8], kind: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def problem(response: Response, status: int, code: str) -> dict[str, Any]:
    """The problem object, which is as it must be."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["code"] == code, body
    assert body["status"] == status
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    return body


def hints(settings: Settings) -> set[tuple[str, str]]:
    """The hints that wait for workers: queue, and what tells one from another."""
    if settings.broker_url.startswith("filesystem"):
        names = [path.name for path in (settings.data / "broker" / "messages").iterdir()]
        return {(name.split(".")[-2], name) for name in names}
    with Redis.from_url(settings.broker_url, decode_responses=True) as broker:
        return {(queue, hint) for queue in QUEUES for hint in broker.lrange(queue, 0, -1)}


def stored_files(settings: Settings) -> list[str]:
    """Every blob, and every file that is being staged."""
    staged = [path for path in settings.staging.rglob("*") if path.is_file()]
    names = [f"staging/{path.relative_to(settings.staging)}" for path in staged]
    return sorted([*names, *open_blobs(settings).iter()])
