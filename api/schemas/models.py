"""Models on the wire."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, RootModel, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from api.schemas.common import Body, Example, Identified, ListView, Metadata, MetadataPatch, Name, Shape
from detector.config import WITH_MASKS, Architecture
from detector.origins import BACKBONES, BackboneName
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


class ClassCreate(Body):
    """A class of objects."""

    id: int = Field(ge=0, lt=2**31)
    """Its id; class ids of predictions are those of the dataset that is trained on later."""
    name: Name
    """Its name: by it the class is found again in another dataset."""


class ModelCreate(Body):
    """What is said about weights besides their bytes: an architecture and its classes, or a backbone."""

    name: Name = "imported weights"
    """A name for people; need not be unique."""
    architecture: Architecture | None = None
    """The detector that these are weights of: its name, or an object with its options."""
    classes: list[Name | ClassCreate] = Field(default_factory=list, max_length=10_000)
    """The detector's classes in the order of its labels, without background: names, or `{id, name}`."""
    backbone: BackboneName | None = None
    """The classifier that these are weights of, in torchvision's layout; nothing else is then needed."""
    metadata: Metadata = Field(default_factory=dict)
    """Up to 50 names and values of your own."""

    @model_validator(mode="after")
    def _one_network(self) -> Self:
        if (self.architecture is None) == (self.backbone is None):
            raise ValueError("give either architecture (with classes) or backbone")
        if (self.architecture is None) != (not self.classes):
            raise ValueError("classes are needed with architecture, and make no sense with backbone")
        for what, values in (
            ("names", [one["name"] for one in self.class_map]),
            ("ids", [one["id"] for one in self.class_map]),
        ):
            if len(set(values)) != len(values):
                raise ValueError(f"the {what} of classes must differ")
        return self

    @property
    def network(self) -> str:
        """Name of the detector or of the backbone."""
        return str(self.backbone) if self.architecture is None else self.architecture.kind

    @property
    def class_map(self) -> list[dict[str, Any]]:
        """The classes as a model keeps them; those given by name alone are numbered from 1."""
        return [
            {"id": number, "name": one} if isinstance(one, str) else one.model_dump()
            for number, one in enumerate(self.classes, start=1)
        ]


class ModelPatch(Body):
    """What to change (a JSON merge patch): what is left out stays as it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "cells, best of May", "metadata": {"stage": "reviewed", "ticket": None}}]
        }
    )

    name: Name | SkipJsonSchema[None] = None
    """Another name for people."""
    metadata: MetadataPatch | None = None
    """Names and values of your own to set; a null in place of a value takes that name away, a null in place
    of all takes all away."""

    @field_validator("name", mode="before")
    @classmethod
    def _a_model_has_a_name(cls, value: object) -> object:
        if value is None:
            raise ValueError("a model cannot be without a name")
        return value


EXAMPLE: Example = {
    "id": "mdl_01jz4mp2q7r9s1t3v5w7x9y1z3",
    "object": "model",
    "name": "cells",
    "source": "trained",
    "part": "detector",
    "architecture": "ssdlite320_mobilenet_v3_large",
    "loss": "harmonic",
    "masks": False,
    "classes": [{"id": 1, "name": "Platelets"}, {"id": 2, "name": "RBC"}, {"id": 3, "name": "WBC"}],
    "config": {"epochs": 12, "batch_size": 8, "seed": 0},
    "metrics": _METRICS,
    "job_id": "job_01jz4m9a6hcy0p3t1w5x7z9b2d",
    "dataset_id": "ds_01jz4m8x0v3s7q9k2b5c6d7e8f",
    "metadata": {},
    "created_at": "2026-11-22T15:12:00.000Z",
}

IMPORTED_EXAMPLE: Example = EXAMPLE | {
    "name": "mobilenet_v2, ImageNet",
    "source": "imported",
    "part": "backbone",
    "architecture": "mobilenet_v2",
    "loss": None,
    "classes": [],
    "config": {},
    "metrics": {},
    "job_id": None,
    "dataset_id": None,
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


class ModelFile(RootModel[dict[str, Any] | list[dict[str, Any]]]):
    """A file of a model that is JSON: its card, its report, its manifest, COCO ground truth or detections."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [[{"image_id": 7, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.9}]]
        }
    )


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


class ModelEvaluationView(Shape):
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
    """A trained detector, or imported weights to train from."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: str
    object: Literal["model"] = "model"
    name: str
    source: Literal["trained", "imported"]
    """`trained` by a job of this service; `imported` ones are to be trained from and cannot predict."""
    part: Literal["detector", "backbone"]
    """Whether it is a whole detector, or the bare `backbone` of one."""
    architecture: str
    """Name of the detector, or of the backbone."""
    loss: str | None
    """`harmonic` or `baseline`; null for an imported one."""
    masks: bool
    """Whether it gives a mask of every object beside its box."""
    classes: list[ClassView]
    """The classes it tells apart, with the dataset's own ids."""
    config: dict[str, Any]
    """The training config with every default filled in; of an imported detector its architecture alone."""
    metrics: dict[str, Any]
    """The 12 COCO numbers of the evaluation at the end of its training, 0 to 1; none of an imported one."""
    job_id: str | None
    """The job that made it; null for an imported one."""
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
                    "aliases": ["production"],
                }
            ]
        }
    )

    evaluation: ModelEvaluationView | None
    """The evaluation at the end of its training."""
    artifacts: list[ArtifactView]
    """Its files, to be had at `/v1/models/{id}/artifacts/{name}`."""
    aliases: list[str]
    """The names that mean this model now, see `/v1/model-aliases`."""

    @classmethod
    def with_parts(
        cls, row: Model, evaluation: Evaluation | None, artifacts: list[Artifact], aliases: list[str]
    ) -> Self:
        return cls.model_validate(
            _fields(row)
            | {
                "evaluation": None if evaluation is None else ModelEvaluationView.of(evaluation),
                "artifacts": [ArtifactView.of(artifact) for artifact in artifacts],
                "aliases": aliases,
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
        "source": "imported" if row.job_id is None else "trained",
        "part": "backbone" if row.architecture in BACKBONES else "detector",
        "architecture": row.architecture,
        "loss": row.loss or None,
        "masks": row.architecture in WITH_MASKS,
        "classes": row.classes,
        "config": row.config,
        "metrics": row.metrics,
        "job_id": row.job_id,
        "dataset_id": row.dataset_id,
        "metadata": row.extra,
        "created_at": row.created_at,
    }
