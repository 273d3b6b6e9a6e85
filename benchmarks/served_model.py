"""A detector that has learned nothing, in a store of its own, and the API that serves it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
import torch

from benchmarks import polled_jobs
from benchmarks.http_load import Server, free_port, served
from detector.artifacts import CARD, GRAPH, card_of
from detector.config import SSDLite320, TrainConfig
from detector.data.records import Category
from detector.export import export
from detector.models import build
from store import models
from store.blobs import LocalBlobs
from store.models import NewArtifact
from store.sessions import Database, migrate

SIZE = 320
"""Side of the square that the network sees."""


@dataclass(frozen=True)
class Files:
    """A model as a training leaves it."""

    graph: Path
    card: Path


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def picture() -> bytes:
    """A JPEG of smooth noise, 640 x 480."""
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    smooth = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(smooth), quality=90)
    return encoded


def written(folder: Path) -> Files:
    """The graph and the card of an SSDlite320 of random weights."""
    torch.manual_seed(0)
    config = TrainConfig(architecture=SSDLite320())
    detector = build(config.architecture, config.loss, 3).eval()
    files = Files(folder / GRAPH, folder / CARD)
    export(detector, files.graph)
    categories = [Category(k, f"kind {k}") for k in range(3)]
    files.card.write_text(card_of(config, detector, categories).model_dump_json())
    return files


def stored(data: Path, files: Files, count: int = 1) -> list[str]:
    """Ids of so many models in a new store. They share the bytes of their files, nothing else."""
    url = f"sqlite:///{data}/harmonicdet.db"
    data.mkdir()
    migrate(url)
    blobs = LocalBlobs(data / "blobs")
    artifacts = []
    for path, media_type in ((files.graph, "application/octet-stream"), (files.card, "application/json")):
        blob = blobs.put_file(path)
        artifacts.append(NewArtifact(path.name, media_type, blob.key, blob.sha256, blob.bytes))
    database = Database(url)
    dataset = polled_jobs.dataset(database)
    new = models.NewModel(
        name="untrained",
        architecture="ssdlite320_mobilenet_v3_large",
        loss="harmonic",
        classes=[{"id": k, "name": f"kind {k}"} for k in range(3)],
        config={},
        metrics={},
        artifacts=artifacts,
        evaluation=models.NewEvaluation("val", {}, []),
    )
    made = []
    for _ in range(count):
        finish = partial(
            models.finish_training, claim=polled_jobs.running(database, dataset, epochs=1), model=new
        )
        made.append(database.run(finish).id)
    database.dispose()
    return made


def asked(model: str, jpeg: bytes, query: str = "") -> bytes:
    """The request for a prediction as it goes over the wire."""
    return posted(f"/v1/models/{model}/predict{query}", jpeg)


def posted(path: str, jpeg: bytes) -> bytes:
    """A JPEG as the body of a POST."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {len(jpeg)}\r\n\r\n"
    ).encode() + jpeg


@contextmanager
def api(data: Path, log: Path, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """The API on this store, a process of its own, with as many threads as cores for predictions."""
    port = free_port()
    told = {
        "HARMONICDET_DATA": str(data),
        "HARMONICDET_PORT": str(port),
        "HARMONICDET_PREDICT_THREADS": str(cores()),
        **(settings or {}),
    }
    with served(["-m", "api"], port, "/healthz", log, told) as server:
        yield server
