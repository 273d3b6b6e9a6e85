"""Evaluations: detections measured on a split of a dataset, by a job of their own or as a training ends.

One that was asked for is made with its job, and is as far as that; the detections are a model's, or those of
a file that was uploaded.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from store import jobs, quotas
from store.errors import (
    EvaluationFileNotFound,
    EvaluationNotFound,
    EvaluationNotReady,
    EvaluationRunning,
    Fenced,
    IdempotencyMismatch,
)
from store.ids import new_id
from store.jobs import Claim
from store.metadata import having
from store.models import NewArtifact
from store.paging import Order, Page, page
from store.tables import FINISHED, Evaluation, EvaluationFile, Job, JobKind, JobStatus

QUEUE = "evaluate"
REPORT, DETECTIONS = "report.json", "detections.json"
GROUND_TRUTH, IMAGES = "ground_truth.json", "images.jsonl"


def create(
    session: Session,
    *,
    project_id: str,
    dataset_id: str,
    split: str,
    model_id: str | None = None,
    detections: NewArtifact | None = None,
    options: dict[str, Any] | None = None,
    priority: int = 0,
    metadata: dict[str, str] | None = None,
    idempotency_key: str | None = None,
) -> tuple[Evaluation, Job]:
    """An evaluation that is to be made, of a model or of given detections, and the job that makes it.

    Or those that the same key made within a day.

    Args:
        detections: `detections.json`, COCO results, whose bytes are in the blobs already.
        options: what is asked of the report.

    Raises `DatasetNotFound`, `DatasetNotUsable`, `ModelNotFound`, `IdempotencyMismatch`, and `QuotaExceeded`
    and `StorageQuotaExceeded`, after which the transaction must not be committed.
    """
    if (model_id is None) == (detections is None):
        raise ValueError("either a model or detections are evaluated")
    options = options or {}
    if detections is not None:
        quotas.hold_bytes(session, project_id)
    spec: dict[str, Any] = {"dataset_id": dataset_id, "split": split, "options": options}
    if model_id is not None:
        spec["model_id"] = model_id
    if detections is not None:
        spec["detections_sha256"] = detections.sha256
    job = jobs.create(
        session,
        project_id=project_id,
        kind=JobKind.EVALUATE,
        queue=QUEUE,
        spec=spec,
        dataset_id=dataset_id,
        initial_model_id=model_id,
        idempotency_key=idempotency_key,
        priority=priority,
        metadata=metadata,
    )
    earlier = _of_job(session, job.id)
    if earlier is not None:
        return earlier, job
    if job.next_event > 2:  # not a new one, and its evaluation was deleted
        raise IdempotencyMismatch
    row = Evaluation(
        id=new_id("evl"),
        project_id=project_id,
        model_id=model_id,
        job_id=job.id,
        dataset_id=dataset_id,
        split=split,
        options=options,
        metrics={},
        per_class=[],
        extra=metadata or {},
    )
    session.add(row)
    session.flush()
    if detections is not None:
        session.add(EvaluationFile(evaluation_id=row.id, **vars(detections)))
        session.flush()
        quotas.check_bytes(session, project_id)
    session.refresh(row)
    return row, job


def finish(
    session: Session,
    claim: Claim,
    *,
    metrics: Mapping[str, Any],
    per_class: Sequence[Any],
    files: Sequence[NewArtifact],
) -> None:
    """Store what was measured and end the job, all or nothing.

    Raises `Fenced`, and its kind `CancelRequested` when a cancel came first.
    """
    jobs.succeed(session, claim)
    evaluation_id = session.scalar(
        update(Evaluation)
        .where(Evaluation.job_id == claim.job_id)
        .values(metrics=dict(metrics), per_class=list(per_class))
        .returning(Evaluation.id)
        .execution_options(synchronize_session=False)
    )
    if evaluation_id is None:
        raise Fenced
    for file in files:
        session.add(EvaluationFile(evaluation_id=evaluation_id, **vars(file)))
    session.flush()


def get(session: Session, project_id: str, evaluation_id: str) -> tuple[Evaluation, Job | None]:
    """An evaluation and its job. Raises `EvaluationNotFound`."""
    row = session.execute(
        select(Evaluation, Job)
        .outerjoin(Job, Job.id == Evaluation.job_id)
        .where(Evaluation.id == evaluation_id, Evaluation.project_id == project_id)
    ).one_or_none()
    if row is None:
        raise EvaluationNotFound
    return row[0], row[1]


def given(session: Session, claim: Claim) -> EvaluationFile:
    """The detections that this job is to measure. Raises `EvaluationNotFound`, `EvaluationFileNotFound`."""
    row = _of_job(session, claim.job_id)
    if row is None:
        raise EvaluationNotFound
    found = session.get(EvaluationFile, (row.id, DETECTIONS))
    if found is None:
        raise EvaluationFileNotFound
    return found


def list_(
    session: Session,
    project_id: str,
    *,
    limit: int,
    after: str | None = None,
    order: Order = "desc",
    model_id: str | None = None,
    dataset_id: str | None = None,
    status: JobStatus | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Page[Evaluation]:
    """Evaluations by age, the newest first unless `order` says otherwise; only those with this metadata."""
    statement = select(Evaluation).where(Evaluation.project_id == project_id)
    statement = statement.where(*having(session, Evaluation.extra, metadata or {}))
    if model_id is not None:
        statement = statement.where(Evaluation.model_id == model_id)
    if dataset_id is not None:
        statement = statement.where(Evaluation.dataset_id == dataset_id)
    if status is not None:
        statement = statement.join(Job, Job.id == Evaluation.job_id).where(Job.status == status)
    return page(session, statement, Evaluation.id, limit=limit, after=after, order=order)


def jobs_of(session: Session, rows: Sequence[Evaluation]) -> dict[str, Job]:
    """The jobs of these evaluations, by id."""
    wanted = [row.job_id for row in rows if row.job_id is not None]
    return {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(wanted)))}


def file(session: Session, project_id: str, evaluation_id: str, name: str) -> EvaluationFile:
    """Raises `EvaluationNotFound`, `EvaluationNotReady` before its job has succeeded, and
    `EvaluationFileNotFound` for what an earlier version did not make."""
    _, job = get(session, project_id, evaluation_id)
    if job is not None and job.status is not JobStatus.SUCCEEDED:
        raise EvaluationNotReady(f"The job of this evaluation is {job.status}; this comes with its success.")
    found = session.get(EvaluationFile, (evaluation_id, name))
    if found is None:
        raise EvaluationFileNotFound
    return found


def delete(session: Session, project_id: str, evaluation_id: str) -> None:
    """The model, the dataset and the job stay.

    Raises `EvaluationNotFound`, and `EvaluationRunning` while its job has not finished.
    """
    row, job = get(session, project_id, evaluation_id)
    if job is not None:
        # The lock keeps the job from being retried meanwhile.
        status = session.scalar(select(Job.status).where(Job.id == job.id).with_for_update())
        if status not in FINISHED:
            raise EvaluationRunning
    session.execute(delete_from(Evaluation).where(Evaluation.id == row.id))


def _of_job(session: Session, job_id: str) -> Evaluation | None:
    return session.scalar(select(Evaluation).where(Evaluation.job_id == job_id))
