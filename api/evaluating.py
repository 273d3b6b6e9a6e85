"""What may be measured on what, and the evaluation that is made of it, with its job."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from api.bodies import JSON
from api.errors import invalid
from api.schemas.evaluations import EvaluationCreate, EvaluationOfDetections
from store import datasets, evaluations, models
from store.blobs import Blob
from store.errors import DatasetNotReady, DatasetNotUsable
from store.models import NewArtifact
from store.tables import Dataset, DatasetStatus, Evaluation, Job, Model


@dataclass(frozen=True)
class Subject:
    """A model, and what it is measured on."""

    model: Model
    dataset: Dataset
    split: str


def find(session: Session, project: str, said: EvaluationCreate) -> Subject:
    """What a request names, if the model can be measured on it.

    Raises `ModelNotFound`, `ModelCannotPredict`, `DatasetNotFound`, `DatasetNotUsable`, `DatasetNotReady`;
    `Invalid` for a split that is not there, and where model and dataset have no class in common.
    """
    model = models.with_graph(session, project, said.model)
    dataset = datasets.get(session, project, said.dataset_id)
    split = _split(dataset, said.split, pointer="/split")
    _require_common_class(model, dataset)
    return Subject(model, dataset, split)


def create(
    session: Session,
    project: str,
    said: EvaluationCreate | EvaluationOfDetections,
    blob: Blob | None,
    *,
    idempotency_key: str | None,
) -> tuple[Evaluation, Job]:
    """Its row and the queued job that makes it; `blob` has the detections, where they were uploaded.

    Raises what `find` and `store.evaluations.create` raise.
    """
    model, file = None, None
    if isinstance(said, EvaluationCreate):
        subject = find(session, project, said)
        model, dataset, split = subject.model, subject.dataset, subject.split
    else:
        dataset = datasets.get(session, project, said.dataset_id)
        split = _split(dataset, said.split, pointer="form:split")
    if blob is not None:
        file = NewArtifact(evaluations.DETECTIONS, JSON, blob.key, blob.sha256, blob.bytes)
    return evaluations.create(
        session,
        project_id=project,
        dataset_id=dataset.id,
        split=split,
        model_id=None if model is None else model.id,
        detections=file,
        options=said.options,
        priority=said.priority,
        metadata=said.metadata,
        idempotency_key=idempotency_key,
    )


def _split(dataset: Dataset, wanted: str, *, pointer: str) -> str:
    """Raises `DatasetNotUsable`, `DatasetNotReady`, and `Invalid` for a split that is not there."""
    if dataset.status is DatasetStatus.INVALID:
        raise DatasetNotUsable
    if dataset.status is not DatasetStatus.READY:
        raise DatasetNotReady("The dataset is still being validated; ask again when it is ready.")
    splits = list((dataset.summary or {}).get("splits", {}))
    if wanted == "auto":
        chosen = next((name for name in ("val", "test") if name in splits), None)
        if chosen is None and len(splits) == 1:
            chosen = splits[0]
    else:
        chosen = wanted if wanted in splits else None
    if chosen is None:
        detail = f"the dataset has no split {wanted!r}, only {', '.join(splits) or 'none'}"
        if wanted == "auto":
            detail = f"the dataset has neither val nor test; name one of {', '.join(splits) or 'none'}"
        raise invalid(pointer, "split_unknown", detail)
    return chosen


def _require_common_class(model: Model, dataset: Dataset) -> None:
    """Raises `Invalid` when the dataset has none of the model's classes; the job says what else differs."""
    known = {one["name"] for one in (dataset.summary or {}).get("categories", [])}
    if known.isdisjoint(one["name"] for one in model.classes):
        detail = "the dataset has none of the model's classes; they are matched by name, to the letter"
        raise invalid("/dataset_id", "classes_differ", detail)
