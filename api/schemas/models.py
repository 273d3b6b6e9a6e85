"""Models on the wire."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import ConfigDict

from api.schemas.common import Example, Identified, ListView, Shape
from store.tables import Artifact, Evaluation, Model

_METRICS: Example = {
    "AP": 0.412,
    "AP50": 0.731,
    "AP75": 0.401,
    "AP_small": None,
    "AP_medium": 0.355,
    "AP_large": 0.447,
    "AR1": 0.21,
    "AR10": 0.472,
    "AR100": 0.518,
    "AR_small": None,
    "AR_medium": 0.47,
    "AR_large": 0.55,
}
_ARTIFACT: Example = {
    "object": "artifact",
    "name": "model.onnx",
    "media_type": "application/octet-stream",
    "sha256": "5df6e0e2761359d30a8275058e299fcc0381534545f55cf43e41983f5d4c9456",
    "bytes": 8934211,
}
EXAMPLE: Example = {
    "id": "mdl_01jz4mp2q7r9s1t3v5w7x9y1z3",
    "object": "model",
    "name": "cells",
    "architecture": "ssdlite320_mobilenet_v3_large",
    "loss": "harmonic",
    "classes": [{"id": 1, "name": "Platelets"}, {"id": 2, "name": "RBC"}, {"id": 3, "name": "WBC"}],
    "config": {"epochs": 12, "batch_size": 8, "seed": 0},
    "metrics": _METRICS,
    "job_id": "job_01jz4m9a6hcy0p3t1w5x7z9b2d",
    "dataset_id": "ds_01jz4m8x0v3s7q9k2b5c6d7e8f",
    "metadata": {},
    "created_at": "2026-11-22T15:12:00.000Z",
}


class ClassView(Shape):
    """A class of objects; `id` is the dataset's own."""

    model_config = ConfigDict(extra="allow")

    id: int
    name: str


class ArtifactView(Shape):
    """A file of a model."""

    object: Literal["artifact"] = "artifact"
    name: str
    media_type: str
    sha256: str
    bytes: int

    @classmethod
    def of(cls, row: Artifact) -> Self:
        return cls(name=row.name, media_type=row.media_type, sha256=row.sha256, bytes=row.bytes)


class ArtifactList(Shape):
    """Every file of a model."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [_ARTIFACT],
                    "first_id": "model.onnx",
                    "last_id": "model.onnx",
                    "has_more": False,
                }
            ]
        }
    )

    object: Literal["list"] = "list"
    data: list[ArtifactView]
    first_id: str | None
    last_id: str | None
    has_more: Literal[False] = False
    """Always false: a model has few files."""


class EvaluationView(Shape):
    """A model measured on a split of a dataset."""

    id: str
    object: Literal["evaluation"] = "evaluation"
    dataset_id: str | None
    split: str
    metrics: dict[str, Any]
    """The 12 COCO numbers, 0 to 1; null where the split has no such object."""
    per_class: list[dict[str, Any]]
    """AP and AP50 of each class."""
    created_at: datetime

    @classmethod
    def of(cls, row: Evaluation) -> Self:
        return cls(
            id=row.id,
            dataset_id=row.dataset_id,
            split=row.split,
            metrics=row.metrics,
            per_class=row.per_class,
            created_at=row.created_at,
        )


class ModelView(Identified):
    """A trained detector."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: str
    object: Literal["model"] = "model"
    name: str
    architecture: str
    loss: str
    """`harmonic` or `baseline`."""
    classes: list[ClassView]
    """The classes it tells apart, with the dataset's own ids."""
    config: dict[str, Any]
    """The training config with every default filled in."""
    metrics: dict[str, Any]
    """The 12 COCO numbers of the evaluation at the end of its training, 0 to 1."""
    job_id: str | None
    """The job that made it."""
    dataset_id: str | None
    """The dataset it learned from; null once that is deleted."""
    metadata: dict[str, str]
    created_at: datetime

    @classmethod
    def of(cls, row: Model) -> Self:
        return cls.model_validate(_fields(row))


class ModelDetailView(ModelView):
    """A trained detector with its evaluation and files."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                EXAMPLE
                | {
                    "evaluation": {
                        "id": "evl_01jz4mp2q7r9s1t3v5w7x9y1z4",
                        "object": "evaluation",
                        "dataset_id": EXAMPLE["dataset_id"],
                        "split": "val",
                        "metrics": _METRICS,
                        "per_class": [{"id": 2, "name": "RBC", "AP": 0.44, "AP50": 0.76, "boxes": 967}],
                        "created_at": "2026-11-22T15:12:00.000Z",
                    },
                    "artifacts": [_ARTIFACT],
                }
            ]
        }
    )

    evaluation: EvaluationView | None
    """The evaluation at the end of its training."""
    artifacts: list[ArtifactView]
    """Its files, to be had at `/v1/models/{id}/artifacts/{name}`."""

    @classmethod
    def with_parts(cls, row: Model, evaluation: Evaluation | None, artifacts: list[Artifact]) -> Self:
        return cls.model_validate(
            _fields(row)
            | {
                "evaluation": None if evaluation is None else EvaluationView.of(evaluation),
                "artifacts": [ArtifactView.of(artifact) for artifact in artifacts],
            }
        )


class ModelList(ListView[ModelView]):
    """A page of models."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [EXAMPLE],
                    "first_id": EXAMPLE["id"],
                    "last_id": EXAMPLE["id"],
                    "has_more": False,
                }
            ]
        }
    )


def _fields(row: Model) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "architecture": row.architecture,
        "loss": row.loss,
        "classes": row.classes,
        "config": row.config,
        "metrics": row.metrics,
        "job_id": row.job_id,
        "dataset_id": row.dataset_id,
        "metadata": row.extra,
        "created_at": row.created_at,
    }
