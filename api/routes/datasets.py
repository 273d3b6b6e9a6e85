"""Datasets: upload, list, read, report, delete."""

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from sqlalchemy.orm import Session

from api import uploads
from api.bodies import JSON, media_type
from api.dependencies import (
    METADATA_FILTER,
    After,
    AfterNumber,
    DatabaseDep,
    DatasetId,
    IfNoneMatch,
    Limit,
    MetadataFilter,
    OnceDep,
    OrderBy,
    ProjectDep,
    ServicesDep,
)
from api.errors import BodyMalformed, BodyTooLarge, MediaTypeUnsupported
from api.idempotency import Once
from api.negotiation import fresh, freshness
from api.openapi import BINARY, location, problems
from api.room import bytes_left
from api.schemas.datasets import (
    DatasetCreate,
    DatasetFromUpload,
    DatasetList,
    DatasetView,
    FindingView,
    ReportView,
)
from api.services import Services
from store import datasets
from store import uploads as partial_uploads
from store.blobs import Blob
from store.errors import (
    DatasetInUse,
    DatasetNotFound,
    StorageFull,
    StorageQuotaExceeded,
    UploadBusy,
    UploadIncomplete,
    UploadNotFound,
    UploadUsed,
)
from store.tables import Dataset, DatasetStatus, Job, Upload

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


def _upload_description() -> dict[str, Any]:
    """The two bodies of an upload, and its parameters, which may stand in the query or in the form."""
    schema = DatasetCreate.model_json_schema()
    split = schema.pop("$defs")["SplitCreate"]
    properties = schema["properties"] | {"split": split | {"default": {"val_fraction": 0.2, "seed": 0}}}
    form = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": BINARY | {"description": "The zip."}} | properties,
    }
    encoding = {name: {"contentType": "application/json"} for name in ("split", "metadata")}
    parameters = [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": value.get("description", "") + " In a multipart body also as a field.",
            **(
                {"content": {"application/json": {"schema": value}}}
                if value.get("type") == "object"
                else {"schema": value}
            ),
        }
        for name, value in properties.items()
    ]
    return {
        "parameters": parameters,
        "requestBody": {
            "required": True,
            "description": "The zip itself, a form with the zip as `file`, or the id of a finished upload.",
            "content": {
                "application/zip": {"schema": BINARY},
                "multipart/form-data": {"schema": form, "encoding": encoding},
                "application/json": {"schema": {"$ref": "#/components/schemas/DatasetFromUpload"}},
            },
        },
    }


@router.post(
    "",
    status_code=202,
    response_model=DatasetView,
    summary="Upload a dataset",
    response_description="Stored; a worker validates it now. `Location` is where to look.",
    responses=problems(
        BodyMalformed,
        BodyTooLarge,
        MediaTypeUnsupported,
        StorageFull,
        StorageQuotaExceeded,
        UploadNotFound,
        UploadIncomplete,
        UploadUsed,
        UploadBusy,
        also={202: {"headers": location("dataset")}},
    ),
    openapi_extra=_upload_description(),
)
async def create_dataset(
    request: Request, background: BackgroundTasks, services: ServicesDep, project: ProjectDep, once: OnceDep
) -> Response:
    """A zip in COCO, Pascal VOC or YOLO layout. The same content uploaded twice is stored once.

    A large one comes better in parts: see `POST /v1/uploads`, and give the id here. Whether the content
    is any good is found by the validation that follows, and told by the report.
    """
    async with once.asking():
        if media_type(request) == JSON:
            wanted = await uploads.named(request, services.settings)
            once.settle(wanted)
            job, response = await to_thread.run_sync(_from_upload, services, project, wanted, once)
        else:
            with services.blobs.staging() as staging:
                left = await to_thread.run_sync(bytes_left, services.database, project, once)
                options = await uploads.receive(request, staging, services.settings, left=left)
                blob = await to_thread.run_sync(staging.commit)
            once.settle(blob.sha256, options)

            def create(session: Session) -> tuple[Job, Response]:
                dataset, job = datasets.create(
                    session,
                    project_id=project,
                    **_terms(options),
                    archive=blob.key,
                    archive_sha256=blob.sha256,
                    archive_bytes=blob.bytes,
                    idempotency_key=once.job_key,
                )
                return job, _made(session, once, dataset)

            job, response = await to_thread.run_sync(services.database.run, create)
    background.add_task(services.hints.send, job.id, job.queue)
    response.background = background
    return response


def _made(session: Session, once: Once, dataset: Dataset) -> Response:
    return once.answer(session, 202, DatasetView.of(dataset), {"Location": f"/v1/datasets/{dataset.id}"})


def _terms(options: DatasetCreate) -> dict[str, Any]:
    return {
        "name": options.name,
        "options": options.model_dump(mode="json", exclude={"name", "metadata", "upload_id"}),
        "metadata": options.metadata,
    }


def _from_upload(
    services: Services, project: str, wanted: DatasetFromUpload, once: Once
) -> tuple[Job, Response]:
    """Raises `UploadNotFound`, `UploadIncomplete`, `UploadUsed`, `UploadBusy`, `IdempotencyMismatch`."""

    def become(blob: Blob | None) -> tuple[Job, Response]:
        def create(session: Session) -> tuple[Job, Response]:
            dataset, job = partial_uploads.become_dataset(
                session,
                project_id=project,
                upload_id=wanted.upload_id,
                blob=blob,
                idempotency_key=once.job_key,
                **_terms(wanted),
            )
            return job, _made(session, once, dataset)

        return services.database.run(create)

    def upload() -> Upload:
        with services.database.read() as session:
            return partial_uploads.get(session, project, wanted.upload_id)

    if upload().dataset_id is not None:
        return become(None)
    with services.parts.held(wanted.upload_id) as part:
        # Read again: another request may have used it while this one waited.
        row = upload()
        if row.dataset_id is not None:
            part.remove()
            return become(None)
        if part.size != row.length:
            raise UploadIncomplete(f"{part.size} of {row.length} bytes of this upload have arrived.")
        made = become(services.blobs.put_file(part.path))
        part.remove()
        return made


@router.get("", summary="List datasets", openapi_extra=METADATA_FILTER)
def list_datasets(
    database: DatabaseDep,
    project: ProjectDep,
    metadata: MetadataFilter,
    limit: Limit = 20,
    after: After = None,
    order: OrderBy = "desc",
    status: Annotated[DatasetStatus | None, Query(description="Only those in this status.")] = None,
) -> DatasetList:
    """Datasets by age."""
    with database.read() as session:
        page = datasets.list_(
            session, project, limit=limit, after=after, order=order, status=status, metadata=metadata
        )
    return DatasetList.of([DatasetView.of(row) for row in page.items], has_more=page.has_more)


@router.get(
    "/{dataset_id}",
    response_model=DatasetView,
    summary="Read a dataset",
    responses=problems(DatasetNotFound, also=freshness("dataset")),
)
def get_dataset(
    dataset_id: DatasetId,
    request: Request,
    database: DatabaseDep,
    project: ProjectDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Its status, and what the validation counted. Cheap to ask again and again with If-None-Match."""
    with database.read() as session:
        view = DatasetView.of(datasets.get(session, project, dataset_id))
    return fresh(request, view.model_dump_json().encode())


@router.get("/{dataset_id}/report", summary="Read a dataset's report", responses=problems(DatasetNotFound))
def get_dataset_report(
    dataset_id: DatasetId,
    database: DatabaseDep,
    project: ProjectDep,
    limit: Limit = 100,
    after: AfterNumber = None,
) -> ReportView:
    """Every finding of the validation: what, where, and what was done about it. Empty while validating."""
    with database.read() as session:
        dataset = datasets.get(session, project, dataset_id)
        page = datasets.report_findings(session, project, dataset_id, after=after, limit=limit)
    view = DatasetView.of(dataset)
    findings = [FindingView.of(row) for row in page.items]
    return ReportView(
        dataset_id=view.id,
        status=view.status,
        format=view.format,
        summary=view.summary,
        error=view.error,
        data=findings,
        first_id=findings[0].id if findings else None,
        last_id=findings[-1].id if findings else None,
        has_more=page.has_more,
    )


@router.delete(
    "/{dataset_id}",
    status_code=204,
    response_class=Response,
    summary="Delete a dataset",
    responses=problems(DatasetNotFound, DatasetInUse),
)
def delete_dataset(dataset_id: DatasetId, database: DatabaseDep, project: ProjectDep) -> None:
    """Models trained on it keep working. Not possible while a job that has not finished uses it."""
    database.run(lambda session: datasets.delete(session, project, dataset_id))
