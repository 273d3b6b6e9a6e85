"""From the artifacts of a model to a detector in memory."""

import logging
import time
from pathlib import Path

from api.inference.cache import LoadedModel
from detector.runtime import ModelCard, OnnxDetector
from store import models
from store.blobs import Blobs
from store.sessions import Database

_logger = logging.getLogger(__name__)


def load(database: Database, blobs: Blobs, project_id: str, model_id: str) -> LoadedModel:
    """Reads `model.json` and `model.onnx`. Raises `ArtifactNotFound`, `BlobNotFound`, `ModelInvalid`."""
    with database.read() as session:
        card = models.artifact(session, project_id, model_id, "model.json")
        graph = models.artifact(session, project_id, model_id, "model.onnx")
    with blobs.open(card.blob) as file:
        parsed = ModelCard.model_validate_json(file.read())
    onnx: Path | bytes | None = blobs.local_path(graph.blob)
    if onnx is None:
        with blobs.open(graph.blob) as file:
            onnx = file.read()
    began = time.monotonic()
    detector = OnnxDetector(onnx, parsed)
    seconds = time.monotonic() - began
    _logger.info("%s is loaded after %.1f s and runs on %s", model_id, seconds, detector.provider)
    return LoadedModel(detector, graph.bytes)
