"""Models: what a training leaves, with its artifacts and its evaluation; and imported weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from store import aliases, jobs, quotas, search_ends
from store.errors import (
    ArtifactNotFound,
    ComparisonUsesModel,
    EvaluationNotFound,
    ModelCannotPredict,
    ModelHasAlias,
    ModelInUse,
    ModelNotFound,
)
from store.ids import new_id
from store.jobs import Claim
from store.metadata import having
from store.paging import Order, Page, page
from store.tables import (
    FINISHED,
    Artifact,
    Comparison,
    ComparisonRun,
    Evaluation,
    EvaluationFile,
    Job,
    Model,
    Search,
)

WEIGHTS, GRAPH, MANIFEST = "model.safetensors", "model.onnx", "manifest.json"
# What a training leaves that is its evaluation's as well.
_MEASURED = ("report.json", "detections.json", "ground_truth.json", "images.jsonl")


@dataclass(frozen=True)
class NewArtifact:
    """A file of a model whose bytes are in the blobs already."""

    name: str
    media_type: str
    blob: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class NewEvaluation:
    """The model measured on a split of the dataset it was trained on."""

    split: str
    metrics: dict[str, Any]
    per_class: list[Any]


@dataclass(frozen=True)
class NewModel:
    """What a training hands over at its end."""

    name: str
    architecture: str
    loss: str
    classes: list[Any]  # [{"id": 3, "name": "car"}, …]
    config: dict[str, Any]
    metrics: dict[str, Any]
    artifacts: Sequence[NewArtifact]
    evaluation: NewEvaluation | None = None
    metadata: dict[str, str] = field(default_factory=dict)


def finish_training(
    session: Session, claim: Claim, *, model: NewModel, status_reason: str | None = None
) -> Model:
    """Store the model, its artifacts and its evaluation, and end the job, all or nothing.

    Raises `Fenced`, and its kind `CancelRequested` when a cancel came first.
    """
    jobs.succeed(session, claim, status_reason=status_reason)
    row = Model(
        id=new_id("mdl"),
        project_id=claim.project_id,
        job_id=claim.job_id,
        dataset_id=claim.dataset_id,
        name=model.name,
        architecture=model.architecture,
        loss=model.loss,
        classes=model.classes,
        config=model.config,
        metrics=model.metrics,
        extra=model.metadata,
    )
    session.add(row)
    session.flush()
    for artifact in model.artifacts:
        session.add(Artifact(model_id=row.id, **vars(artifact)))
    if model.evaluation is not None:
        evaluation = Evaluation(
            id=new_id("evl"),
            project_id=claim.project_id,
            model_id=row.id,
            job_id=claim.job_id,
            dataset_id=claim.dataset_id,
            **vars(model.evaluation),
        )
        session.add(evaluation)
        session.flush()
        for artifact in model.artifacts:
            if artifact.name in _MEASURED:
                session.add(EvaluationFile(evaluation_id=evaluation.id, **vars(artifact)))
    if "search" in claim.spec:
        search_ends.measured(session, claim.job_id, model.metrics)
    session.flush()
    session.refresh(row)
    return row


def import_weights(
    session: Session,
    *,
    project_id: str,
    name: str,
    architecture: str,
    classes: list[Any],
    config: dict[str, Any],
    weights: NewArtifact,
    metadata: dict[str, str] | None = None,
) -> Model:
    """A model to train from, which cannot predict: weights that were trained elsewhere.

    Args:
        architecture: name of the detector, or of a bare backbone.
        classes: of the detector, in the order of its labels; none of a bare backbone.
        config: `{"architecture": …}` of a detector, nothing of a bare backbone.

    Raises `StorageQuotaExceeded`, after which the transaction must not be committed.
    """
    quotas.hold_bytes(session, project_id)
    row = Model(
        id=new_id("mdl"),
        project_id=project_id,
        name=name,
        architecture=architecture,
        loss="",
        classes=classes,
        config=config,
        metrics={},
        extra=metadata or {},
    )
    session.add(row)
    session.flush()
    session.add(Artifact(model_id=row.id, **vars(weights)))
    session.flush()
    quotas.check_bytes(session, project_id)
    session.refresh(row)
    return row


def get(session: Session, project_id: str, model_id: str) -> Model:
    """Raises `ModelNotFound`."""
    model = session.scalar(select(Model).where(Model.id == model_id, Model.project_id == project_id))
    if model is None:
        raise ModelNotFound
    return model


def resolve(session: Session, project_id: str, reference: str) -> Model:
    """The model of this id, or the one that this alias means now. Raises `ModelNotFound`."""
    if reference.startswith("mdl_"):
        return get(session, project_id, reference)
    alias = aliases.find(session, project_id, reference)
    if alias is None:
        raise ModelNotFound
    return get(session, project_id, alias.model_id)


def change(
    session: Session,
    project_id: str,
    model_id: str,
    *,
    name: str | None = None,
    metadata: Callable[[dict[str, str]], dict[str, str]] | None = None,
) -> Model:
    """Another name, and other metadata, made of those it has. Raises `ModelNotFound`."""
    row = session.scalar(
        select(Model)
        .where(Model.id == model_id, Model.project_id == project_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if row is None:
        raise ModelNotFound
    if name is not None:
        row.name = name
    if metadata is not None:
        row.extra = metadata(dict(row.extra))
    session.flush()
    return row


def of_job(session: Session, project_id: str, job_id: str) -> Model | None:
    """The model that a training made, if it has and the model was not deleted."""
    return session.scalar(select(Model).where(Model.job_id == job_id, Model.project_id == project_id))


def list_(
    session: Session,
    project_id: str,
    *,
    limit: int,
    after: str | None = None,
    order: Order = "desc",
    dataset_id: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Page[Model]:
    """Models by age, the newest first unless `order` says otherwise; only those with this metadata."""
    statement = select(Model).where(Model.project_id == project_id)
    statement = statement.where(*having(session, Model.extra, metadata or {}))
    if dataset_id is not None:
        statement = statement.where(Model.dataset_id == dataset_id)
    return page(session, statement, Model.id, limit=limit, after=after, order=order)


def artifacts(session: Session, project_id: str, model_id: str) -> list[Artifact]:
    """Every artifact of a model, by name. Raises `ModelNotFound`."""
    get(session, project_id, model_id)
    return list(
        session.scalars(select(Artifact).where(Artifact.model_id == model_id).order_by(Artifact.name))
    )


def artifact(session: Session, project_id: str, model_id: str, name: str) -> Artifact:
    """Raises `ModelNotFound`, `ArtifactNotFound`."""
    get(session, project_id, model_id)
    found = session.get(Artifact, (model_id, name))
    if found is None:
        raise ArtifactNotFound
    return found


def with_graph(session: Session, project_id: str, reference: str) -> Model:
    """What `resolve` finds. Raises `ModelNotFound`, and `ModelCannotPredict` for imported weights."""
    model = resolve(session, project_id, reference)
    if session.get(Artifact, (model.id, GRAPH)) is None:
        raise ModelCannotPredict
    return model


def evaluation_of(session: Session, project_id: str, model_id: str) -> Evaluation:
    """The evaluation made at the end of the training. Raises `ModelNotFound`, `EvaluationNotFound`."""
    get(session, project_id, model_id)
    found = session.scalar(
        select(Evaluation).where(Evaluation.model_id == model_id).order_by(Evaluation.id).limit(1)
    )
    if found is None:
        raise EvaluationNotFound
    return found


def delete(session: Session, project_id: str, model_id: str) -> None:
    """The model goes with its artifacts and evaluations; the job stays.

    Raises `ModelNotFound`, `ModelHasAlias` while an alias means it, `ModelInUse` while a job that has not
    finished, or a search, starts from its weights, and `ComparisonUsesModel` while the comparison that it was
    trained for has not ended: what is found there stands by itself.
    """
    found = session.scalar(
        select(Model.id).where(Model.id == model_id, Model.project_id == project_id).with_for_update()
    )
    if found is None:
        raise ModelNotFound
    if session.scalar(select(exists().where(Job.initial_model_id == model_id, Job.status.not_in(FINISHED)))):
        raise ModelInUse
    if session.scalar(select(exists().where(Search.initial_model_id == model_id, Search.outcome.is_(None)))):
        raise ModelInUse("A search that has not ended starts its trials from this model; cancel it first.")
    compared = (
        select(Comparison.id)
        .join(ComparisonRun)
        .join(Model, Model.job_id == ComparisonRun.job_id)
        .where(Model.id == model_id, Comparison.outcome.is_(None))
    )
    if session.scalar(compared) is not None:
        raise ComparisonUsesModel
    names = aliases.of_model(session, model_id)
    if names:
        raise ModelHasAlias(f"This model is {', '.join(names)}; move or delete that alias first.")
    session.execute(delete_from(Model).where(Model.id == model_id))
