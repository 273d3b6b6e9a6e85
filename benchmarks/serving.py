"""Predictions over HTTP against the bare loop on the same cores. Goal: 0.9 times as many images a second.

Reference: as many threads as cores, each decoding a JPEG, resizing it and running the same graph in ONNX
Runtime, nothing else. Ours: the API as a process of its own, four connections that ask again once answered;
the client shares the cores. The detector is an SSDlite320 of random weights, the picture 640 x 480.
"""

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import simplejpeg
import torch

from benchmarks import polled_jobs
from benchmarks.harness import console, interleaved, report
from benchmarks.http_load import free_port, load, served
from detector.artifacts import CARD, GRAPH, card_of
from detector.config import SSDLite320, TrainConfig
from detector.data.records import Category
from detector.export import export
from detector.models import build
from store import models
from store.blobs import LocalBlobs
from store.models import NewArtifact
from store.sessions import Database, migrate

IMAGES = 40  # of a round
CONNECTIONS = 4
ROUNDS = 6
GOAL = 0.9


def main() -> bool:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        graph, size = folder / GRAPH, 320
        write_model(graph, folder / CARD)
        jpeg = picture()
        model = stored(folder / "data", graph, folder / CARD)
        port = free_port()
        told = {
            "HARMONICDET_DATA": str(folder / "data"),
            "HARMONICDET_PORT": str(port),
            "HARMONICDET_PREDICT_THREADS": str(cores()),
            "HARMONICDET_RATE_LIMIT": "off",
        }
        asked = (
            f"POST /v1/models/{model}/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
            f"Content-Length: {len(jpeg)}\r\n\r\n"
        ).encode() + jpeg
        with served(["-m", "api"], port, "/healthz", folder / "api.log", told) as server:

            def over_http() -> None:
                load(server, [asked], total=IMAGES, connections=CONNECTIONS, status=200)

            times = interleaved(over_http, bare_loop(graph, jpeg, size), ROUNDS)
            resident = server.process.memory_info().rss / 2**20
    case = f"{IMAGES} images of 640 x 480, {cores()} cores, {CONNECTIONS} connections"
    met = report("serving", GOAL, [(case, *times)])
    console.print(f"the API process has {resident:.0f} MiB resident with one model; goal: at most 350")
    return met


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def picture() -> bytes:
    """A JPEG of smooth noise."""
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    smooth = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(smooth), quality=90)
    return encoded


def write_model(graph: Path, card: Path) -> None:
    """The graph and the card of a detector that has learned nothing."""
    torch.manual_seed(0)
    config = TrainConfig(architecture=SSDLite320())
    detector = build(config.architecture, config.loss, 3).eval()
    export(detector, graph)
    categories = [Category(k, f"kind {k}") for k in range(3)]
    card.write_text(card_of(config, detector, categories).model_dump_json())


def stored(data: Path, graph: Path, card: Path) -> str:
    """Id of the model in a new store."""
    url = f"sqlite:///{data}/harmonicdet.db"
    data.mkdir()
    migrate(url)
    blobs = LocalBlobs(data / "blobs")
    files = []
    for path, media_type in ((graph, "application/octet-stream"), (card, "application/json")):
        blob = blobs.put_file(path)
        files.append(NewArtifact(path.name, media_type, blob.key, blob.sha256, blob.bytes))
    database = Database(url)
    claim = polled_jobs.running(database, polled_jobs.dataset(database))
    model = models.NewModel(
        name="untrained",
        architecture="ssdlite320_mobilenet_v3_large",
        loss="harmonic",
        classes=[{"id": k, "name": f"kind {k}"} for k in range(3)],
        config={},
        metrics={},
        artifacts=files,
        evaluation=models.NewEvaluation("val", {}, []),
    )
    made = database.run(lambda session: models.finish_training(session, claim, model=model))
    database.dispose()
    return made.id


def bare_loop(graph: Path, jpeg: bytes, size: int) -> Callable[[], None]:
    """Decodes, resizes and runs `IMAGES` times, divided among as many threads as there are cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [
        onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for _ in range(cores())
    ]
    pool = ThreadPoolExecutor(cores())

    def work(session: onnxruntime.InferenceSession) -> None:
        for _ in repeat(None, IMAGES // cores()):
            pixels = simplejpeg.decode_jpeg(jpeg)
            resized = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)
            session.run(None, {"image": resized})

    def loop() -> None:
        list(pool.map(work, sessions))

    return loop


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
