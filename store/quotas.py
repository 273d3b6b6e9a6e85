"""How many jobs of a project may wait and run at once, and how many bytes may be kept for it.

Validations are not counted, so that an upload never waits behind a training. Whoever adds to what is limited
holds the project's row first, and then looks: two that come at once are counted one after the other.

Bytes are those of the blobs that the project's rows refer to, each blob once, and of uploads that have begun,
as long as they said they will be. What a worker makes is counted and never refused: a training that ends is
worth more than a limit. So a project may have more than its quota; it can then upload nothing.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, literal, or_, select, union_all, update
from sqlalchemy.orm import Session

from store.clock import database_now
from store.errors import ProjectNotFound, QuotaExceeded, StorageQuotaExceeded
from store.tables import (
    Artifact,
    Checkpoint,
    Comparison,
    ComparisonFile,
    Dataset,
    Evaluation,
    EvaluationFile,
    Job,
    JobKind,
    JobStatus,
    Model,
    Project,
    Upload,
)


@dataclass(frozen=True)
class Quotas:
    """Most jobs and bytes of a project; 0 is no limit."""

    max_queued_jobs: int
    max_running_jobs: int
    max_bytes: int


def of(session: Session, project_id: str) -> Quotas:
    """Raises `ProjectNotFound`."""
    row = session.execute(
        select(Project.max_queued_jobs, Project.max_running_jobs, Project.max_bytes).where(
            Project.id == project_id
        )
    ).one_or_none()
    if row is None:
        raise ProjectNotFound
    return Quotas(row.max_queued_jobs, row.max_running_jobs, row.max_bytes)


def limit(
    session: Session,
    project_id: str,
    *,
    max_queued_jobs: int | None = None,
    max_running_jobs: int | None = None,
    max_bytes: int | None = None,
) -> Quotas:
    """Change the quotas given; what is there already is left alone. Raises `ProjectNotFound`."""
    given = {
        "max_queued_jobs": max_queued_jobs,
        "max_running_jobs": max_running_jobs,
        "max_bytes": max_bytes,
    }
    values = {name: value for name, value in given.items() if value is not None}
    if any(value < 0 for value in values.values()):
        raise ValueError("a quota is 0 (no limit) or more")
    if values:
        session.execute(
            update(Project)
            .where(Project.id == project_id)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
    return of(session, project_id)


def hold_queue(session: Session, project_id: str) -> None:
    """Before a job is queued: keep others from queueing one in this project, if that has a limit."""
    session.execute(
        select(Project.id)
        .where(Project.id == project_id, Project.max_queued_jobs > 0)
        .with_for_update(key_share=True)
    )


def check_queue(session: Session, project_id: str) -> None:
    """After a job was queued: raise `QuotaExceeded` if it is one too many. The caller undoes it."""
    most = of(session, project_id).max_queued_jobs
    if most and _count(session, project_id, JobStatus.QUEUED) > most:
        raise QuotaExceeded(
            f"This project may have {most} queued jobs, and has them; "
            "wait until some have started, or cancel some."
        )


def hold_running(session: Session, job_id: str) -> None:
    """Before a claim: keep others from claiming a job of the same project, if that has a limit."""
    its_project = (
        select(Job.project_id).where(Job.id == job_id, Job.kind != JobKind.VALIDATE).scalar_subquery()
    )
    session.execute(
        select(Project.id)
        .where(Project.id == its_project, Project.max_running_jobs > 0)
        .with_for_update(key_share=True)
    )


def may_run() -> ColumnElement[bool]:
    """A condition on `Job`: its project has fewer running jobs than it may."""
    running = (
        select(func.count())
        .where(Job.project_id == Project.id, Job.kind != JobKind.VALIDATE, Job.status == JobStatus.RUNNING)
        .correlate(Project)
        .scalar_subquery()
    )
    full = select(Project.id).where(Project.max_running_jobs > 0, running >= Project.max_running_jobs)
    return or_(Job.kind == JobKind.VALIDATE, Job.project_id.not_in(full))


def is_full(session: Session, project_id: str) -> bool:
    """Whether the project has as many running jobs as it may."""
    most = of(session, project_id).max_running_jobs
    return bool(most) and _count(session, project_id, JobStatus.RUNNING) >= most


@dataclass(frozen=True)
class Bytes:
    """Of a project: by what refers to them, and all together. A blob that several refer to is counted with
    the first of these."""

    datasets: int
    models: int
    evaluations: int
    comparisons: int
    checkpoints: int
    uploads: int

    @property
    def total(self) -> int:
        rows = self.datasets + self.models + self.evaluations + self.comparisons + self.checkpoints
        return rows + self.uploads


def used(session: Session, project_id: str) -> Bytes:
    """What is kept for the project."""
    kept = union_all(
        select(
            literal(0).label("kind"), Dataset.archive.label("blob"), Dataset.archive_bytes.label("bytes")
        ).where(Dataset.project_id == project_id),
        select(literal(1), Artifact.blob, Artifact.bytes)
        .join(Model, Model.id == Artifact.model_id)
        .where(Model.project_id == project_id),
        select(literal(2), EvaluationFile.blob, EvaluationFile.bytes)
        .join(Evaluation, Evaluation.id == EvaluationFile.evaluation_id)
        .where(Evaluation.project_id == project_id),
        select(literal(3), ComparisonFile.blob, ComparisonFile.bytes)
        .join(Comparison, Comparison.id == ComparisonFile.comparison_id)
        .where(Comparison.project_id == project_id),
        select(literal(4), Checkpoint.blob, Checkpoint.bytes)
        .join(Job, Job.id == Checkpoint.job_id)
        .where(Job.project_id == project_id),
    ).subquery()
    once = (
        select(func.min(kept.c.kind).label("kind"), func.max(kept.c.bytes).label("bytes"))
        .group_by(kept.c.blob)
        .subquery()
    )
    sums = session.execute(select(once.c.kind, func.sum(once.c.bytes)).group_by(once.c.kind))
    found = {kind: int(total) for kind, total in sums}
    return Bytes(
        datasets=found.get(0, 0),
        models=found.get(1, 0),
        evaluations=found.get(2, 0),
        comparisons=found.get(3, 0),
        checkpoints=found.get(4, 0),
        uploads=_promised(session, project_id),
    )


def hold_bytes(session: Session, project_id: str) -> None:
    """Before something is kept: have others wait who want to keep something for this project, if that has a
    limit."""
    session.execute(
        select(Project.id)
        .where(Project.id == project_id, Project.max_bytes > 0)
        .with_for_update(key_share=True)
    )


def check_bytes(session: Session, project_id: str) -> None:
    """After something was kept: raise `StorageQuotaExceeded` if it is too much. The caller undoes it."""
    left = bytes_left(session, project_id)
    if left is not None and left < 0:
        most = of(session, project_id).max_bytes
        raise StorageQuotaExceeded(
            f"This project may keep {most:,} bytes, and would have {-left:,} more: delete datasets, models "
            "or unfinished uploads that are not needed any more."
        )


def bytes_left(session: Session, project_id: str) -> int | None:
    """How many more may be kept, less than 0 where there are too many; None without a limit."""
    most = of(session, project_id).max_bytes
    return most - used(session, project_id).total if most else None


def _promised(session: Session, project_id: str) -> int:
    """Bytes of uploads that have become nothing yet."""
    waiting = select(func.sum(Upload.length)).where(
        Upload.project_id == project_id,
        Upload.dataset_id.is_(None),
        Upload.expires_at > database_now(),
    )
    return int(session.scalar(waiting) or 0)


def _count(session: Session, project_id: str, status: JobStatus) -> int:
    counted = select(func.count()).where(
        Job.project_id == project_id, Job.kind != JobKind.VALIDATE, Job.status == status
    )
    return session.scalar(counted) or 0
