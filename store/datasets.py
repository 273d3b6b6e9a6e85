"""Datasets: uploaded, validated by a job, then ready or invalid for good."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import exists, func, insert, select, update
from sqlalchemy.orm import Session

from store import jobs, quotas, webhooks
from store.clock import database_now
from store.errors import DatasetImageNotFound, DatasetInUse, DatasetNotFound, Fenced, IdempotencyMismatch
from store.ids import new_id
from store.jobs import Claim
from store.metadata import having
from store.paging import Order, Page, page
from store.tables import (
    FINISHED,
    Dataset,
    DatasetFinding,
    DatasetImage,
    DatasetStatus,
    Job,
    JobKind,
    Search,
)

FINDINGS_KEPT = 10_000


def create(
    session: Session,
    *,
    project_id: str,
    name: str,
    options: dict[str, Any],
    archive: str,
    archive_sha256: str,
    archive_bytes: int,
    metadata: dict[str, str] | None = None,
    idempotency_key: str | None = None,
    is_counted: bool = True,
) -> tuple[Dataset, Job]:
    """A dataset that is being validated, and the job that does it; or those the same key made within a day.

    `archive` is the blob key of the zip. Raises `IdempotencyMismatch` when the key made something else, and
    `StorageQuotaExceeded`, after which the transaction must not be committed; a caller who looks at the
    quota itself says that it `is_counted` not.
    """
    metadata = metadata or {}
    if is_counted:
        quotas.hold_bytes(session, project_id)
    dataset_id = new_id("ds")
    job_id = new_id("job")
    with session.begin_nested() as savepoint:
        session.execute(
            insert(Dataset).values(
                id=dataset_id,
                project_id=project_id,
                name=name,
                status=DatasetStatus.VALIDATING,
                options=options,
                archive=archive,
                archive_sha256=archive_sha256,
                archive_bytes=archive_bytes,
                validation_job_id=job_id,
                extra=metadata,
            )
        )
        try:
            job = jobs.create(
                session,
                project_id=project_id,
                kind=JobKind.VALIDATE,
                queue="ingest",
                spec={"dataset_id": dataset_id},
                dataset_id=dataset_id,
                idempotency_key=idempotency_key,
                job_id=job_id,
            )
        except IdempotencyMismatch:
            # The key is taken: by the same upload, whose dataset is the answer, or by something else.
            savepoint.rollback()
        else:
            if is_counted:
                quotas.check_bytes(session, project_id)
            return _load(session, dataset_id), job
    earlier = jobs.find_idempotent(session, project_id, str(idempotency_key))
    if earlier is None or earlier.kind is not JobKind.VALIDATE or earlier.dataset_id is None:
        raise IdempotencyMismatch
    dataset = _load(session, earlier.dataset_id)
    asked = (name, options, archive_sha256, metadata)
    if asked != (dataset.name, dataset.options, dataset.archive_sha256, dataset.extra):
        raise IdempotencyMismatch
    return dataset, earlier


def get(session: Session, project_id: str, dataset_id: str) -> Dataset:
    """Raises `DatasetNotFound`."""
    dataset = session.scalar(
        select(Dataset).where(Dataset.id == dataset_id, Dataset.project_id == project_id)
    )
    if dataset is None:
        raise DatasetNotFound
    return dataset


def list_(
    session: Session,
    project_id: str,
    *,
    limit: int,
    after: str | None = None,
    order: Order = "desc",
    status: DatasetStatus | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Page[Dataset]:
    """Datasets by age, the newest first unless `order` says otherwise; only those with this metadata."""
    statement = select(Dataset).where(Dataset.project_id == project_id)
    statement = statement.where(*having(session, Dataset.extra, metadata or {}))
    if status is not None:
        statement = statement.where(Dataset.status == status)
    return page(session, statement, Dataset.id, limit=limit, after=after, order=order)


def report_findings(
    session: Session,
    project_id: str,
    dataset_id: str,
    *,
    after: int | None = None,
    limit: int = 100,
    severity: str | None = None,
) -> Page[DatasetFinding]:
    """Findings after position `after`, in the order of the report. Raises `DatasetNotFound`."""
    get(session, project_id, dataset_id)
    statement = select(DatasetFinding).where(DatasetFinding.dataset_id == dataset_id)
    if severity is not None:
        statement = statement.where(DatasetFinding.severity == severity)
    return page(session, statement, DatasetFinding.position, limit=limit, after=after)


def images(
    session: Session,
    project_id: str,
    dataset_id: str,
    *,
    after: int | None = None,
    limit: int = 100,
    split: str | None = None,
) -> Page[DatasetImage]:
    """Images after position `after`, in the order of the index. Raises `DatasetNotFound`."""
    get(session, project_id, dataset_id)
    statement = select(DatasetImage).where(DatasetImage.dataset_id == dataset_id)
    if split is not None:
        statement = statement.where(DatasetImage.split == split)
    return page(session, statement, DatasetImage.position, limit=limit, after=after)


def image(session: Session, project_id: str, dataset_id: str, position: int) -> DatasetImage:
    """Raises `DatasetNotFound`, `DatasetImageNotFound`."""
    get(session, project_id, dataset_id)
    found = session.get(DatasetImage, (dataset_id, position))
    if found is None:
        raise DatasetImageNotFound
    return found


def images_at(session: Session, dataset_id: str, positions: Sequence[int]) -> list[DatasetImage]:
    """The images at these positions, in the order of the index."""
    statement = select(DatasetImage).where(
        DatasetImage.dataset_id == dataset_id, DatasetImage.position.in_(positions)
    )
    return list(session.scalars(statement.order_by(DatasetImage.position)))


def findings_of_images(
    session: Session, dataset_id: str, positions: Sequence[int] | None = None
) -> dict[int, int]:
    """How many findings of the report are about each image that has any, by position."""
    statement = select(DatasetFinding.image, func.count()).where(
        DatasetFinding.dataset_id == dataset_id, DatasetFinding.image.is_not(None)
    )
    if positions is not None:
        statement = statement.where(DatasetFinding.image.in_(positions))
    return {
        int(image or 0): count for image, count in session.execute(statement.group_by(DatasetFinding.image))
    }


def findings_by_action(session: Session, dataset_id: str) -> dict[str, dict[str, int]]:
    """How many findings the report keeps, by what was done about them and by code."""
    statement = (
        select(DatasetFinding.action, DatasetFinding.code, func.count())
        .where(DatasetFinding.dataset_id == dataset_id)
        .group_by(DatasetFinding.action, DatasetFinding.code)
        .order_by(DatasetFinding.code)
    )
    found: dict[str, dict[str, int]] = {}
    for action, code, count in session.execute(statement):
        found.setdefault(action, {})[code] = count
    return found


def file_names(session: Session, dataset_id: str) -> list[str]:
    """Members of the archive that are its images, in the order of the index."""
    statement = select(DatasetImage.file_name).where(DatasetImage.dataset_id == dataset_id)
    return list(session.scalars(statement.order_by(DatasetImage.position)))


def delete(session: Session, project_id: str, dataset_id: str) -> None:
    """Models trained on it keep working, jobs keep their history.

    Raises `DatasetNotFound`, and `DatasetInUse` while a job or a search that has not finished needs it.
    """
    # The lock keeps a new job from being made for it meanwhile.
    found = session.scalar(
        select(Dataset.id).where(Dataset.id == dataset_id, Dataset.project_id == project_id).with_for_update()
    )
    if found is None:
        raise DatasetNotFound
    if session.scalar(select(exists().where(Job.dataset_id == dataset_id, Job.status.not_in(FINISHED)))):
        raise DatasetInUse
    # A paused one may have no job at all.
    if session.scalar(select(exists().where(Search.dataset_id == dataset_id, Search.outcome.is_(None)))):
        raise DatasetInUse("A search that has not ended needs this dataset; cancel it first.")
    session.execute(delete_from(Dataset).where(Dataset.id == dataset_id))


def mark_ready(
    session: Session,
    claim: Claim,
    *,
    index: str,
    format: str,  # noqa: A002
    summary: Mapping[str, Any],
    images: Iterable[Mapping[str, Any]],
    findings: Sequence[Mapping[str, Any]],
) -> list[tuple[str, str]]:
    """The validation found a usable dataset, and ends. (job, queue) of those that waited: hint them.

    `index` is the blob key of the index; `images` have file_name, split, width, height, boxes (a number);
    `findings` have severity, code, location, message, action, and image where they are about one: its
    file_name. Raises `Fenced`.
    """
    jobs.succeed(session, claim)
    dataset_id = _settle(
        session,
        claim,
        status=DatasetStatus.READY,
        index=index,
        format=format,
        summary=dict(summary),
        error=None,
    )
    rows = [
        {
            "dataset_id": dataset_id,
            "position": position,
            "file_name": image["file_name"],
            "split": image["split"],
            "width": image["width"],
            "height": image["height"],
            "boxes": image["boxes"],
        }
        for position, image in enumerate(images)
    ]
    if rows:
        session.execute(insert(DatasetImage), rows)
    positions = {str(row["file_name"]): int(row["position"]) for row in rows}
    _write_findings(session, dataset_id, findings, positions)
    return jobs.wake_waiting(session, dataset_id)


def mark_invalid(
    session: Session,
    claim: Claim,
    *,
    format: str | None,  # noqa: A002
    summary: Mapping[str, Any] | None,
    findings: Sequence[Mapping[str, Any]],
    error: Mapping[str, Any],
) -> list[str]:
    """The validation found that this is no usable dataset, and ends: that verdict is its success.

    Jobs that waited for the dataset fail with `error`, a problem object; their ids. Raises `Fenced`.
    """
    jobs.succeed(session, claim, status_reason="dataset_invalid")
    dataset_id = _settle(
        session,
        claim,
        status=DatasetStatus.INVALID,
        format=format,
        summary=None if summary is None else dict(summary),
        error=dict(error),
    )
    _write_findings(session, dataset_id, findings, {})
    return jobs.fail_waiting(session, dataset_id, error)


def _settle(session: Session, claim: Claim, **values: Any) -> str:
    dataset_id = session.scalar(
        update(Dataset)
        .where(Dataset.validation_job_id == claim.job_id, Dataset.status == DatasetStatus.VALIDATING)
        .values(**values, validated_at=database_now())
        .returning(Dataset.id)
        .execution_options(synchronize_session=False)
    )
    if dataset_id is None:
        raise Fenced
    webhooks.tell_of_dataset(session, dataset_id)
    # A retried validation replaces what an earlier one found.
    session.execute(delete_from(DatasetFinding).where(DatasetFinding.dataset_id == dataset_id))
    session.execute(delete_from(DatasetImage).where(DatasetImage.dataset_id == dataset_id))
    return dataset_id


def _write_findings(
    session: Session,
    dataset_id: str,
    findings: Sequence[Mapping[str, Any]],
    positions: Mapping[str, int],
) -> None:
    rows = [
        {
            "dataset_id": dataset_id,
            "position": position,
            "severity": str(finding["severity"]),
            "code": str(finding["code"]),
            "location": finding["location"],
            "message": finding["message"],
            "action": str(finding["action"]),
            "image": positions.get(str(finding.get("image"))),
        }
        for position, finding in enumerate(findings[:FINDINGS_KEPT])
    ]
    if rows:
        session.execute(insert(DatasetFinding), rows)


def _load(session: Session, dataset_id: str) -> Dataset:
    return session.scalars(
        select(Dataset).where(Dataset.id == dataset_id).execution_options(populate_existing=True)
    ).one()
