"""From the artifacts of a model to a detector in memory."""

from api.inference.cache import LoadedModel
from detector.runtime import ModelCard, OnnxDetector
from store import models
from store.blobs import Blobs
from store.sessions import Database


def load(database: Database, blobs: Blobs, project_id: str, model_id: str) -> LoadedModel:
    """Reads `model.json` and `model.onnx`. Raises `ArtifactNotFound`, `BlobNotFound`, `ModelInvalid`."""
    with database.read() as session:
        card = models.artifact(session, project_id, model_id, "model.json")
        graph = models.artifact(session, project_id, model_id, "model.onnx")
    with blobs.open(card.blob) as file:
        parsed = ModelCard.model_validate_json(file.read())
    path = blobs.local_path(graph.blob)
    if path is None:
        with blobs.open(graph.blob) as file:
            return LoadedModel(OnnxDetector(file.read(), parsed), graph.bytes)
    return LoadedModel(OnnxDetector(path, parsed), graph.bytes)
