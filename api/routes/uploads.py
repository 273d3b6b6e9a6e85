"""Resumable uploads: tus 1.0, and a look at them as JSON."""

from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from api import tus
from api.bodies import media_type
from api.dependencies import (
    After,
    Limit,
    OrderBy,
    ProjectDep,
    ServicesDep,
    SettingsDep,
    UploadId,
)
from api.errors import BodyTooLarge, MediaTypeUnsupported, invalid
from api.instruments import uploads_in_flight
from api.openapi import BINARY, Responses, location, problems
from api.room import check_room
from api.schemas.uploads import UploadList, UploadView
from api.services import Services
from api.tus import (
    Checksum,
    ChecksumMismatch,
    ChecksumUnsupported,
    TusResumable,
    UploadChecksum,
    UploadLength,
    UploadMetadata,
    UploadOffset,
    UploadStalled,
    VersionUnsupported,
)
from store import uploads
from store.errors import (
    OffsetMismatch,
    StorageFull,
    StorageQuotaExceeded,
    UploadBusy,
    UploadNotFound,
    UploadsTooMany,
    UploadUsed,
)
from store.tables import Upload

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

_TEXT = {"schema": {"type": "string"}}
_NUMBER = {"schema": {"type": "integer"}}
_RESUMABLE = {"Tus-Resumable": {"description": "`1.0.0`.", **_TEXT}}
_PROGRESS: dict[str, Any] = _RESUMABLE | {
    "Upload-Offset": {"description": "Bytes that have arrived.", **_NUMBER},
    "Upload-Expires": {"description": "When it is forgotten without another part.", **_TEXT},
}
_CAN: Responses = {
    204: {
        "description": "What this server can do.",
        "headers": _RESUMABLE
        | {
            "Tus-Version": {"description": "`1.0.0`.", **_TEXT},
            "Tus-Extension": {"description": "The extensions of the protocol.", **_TEXT},
            "Tus-Max-Size": {"description": "Bytes of the largest upload.", **_NUMBER},
            "Tus-Checksum-Algorithm": {"description": "`sha256,sha1`.", **_TEXT},
        },
    }
}


def _bytes(*, required: bool, description: str) -> dict[str, Any]:
    content = {tus.PART: {"schema": BINARY}}
    return {"requestBody": {"required": required, "description": description, "content": content}}


@router.options("", status_code=204, summary="Read what tus can do here", responses=problems(also=_CAN))
async def describe_uploads(settings: SettingsDep) -> Response:
    """Version, extensions and limits of tus on this server."""
    return Response(status_code=204, headers=tus.options(settings))


@router.post(
    "",
    status_code=201,
    summary="Begin a resumable upload",
    response_description="Begun. `Location` is where its parts go.",
    responses=problems(
        VersionUnsupported,
        BodyTooLarge,
        MediaTypeUnsupported,
        UploadsTooMany,
        StorageFull,
        StorageQuotaExceeded,
        ChecksumUnsupported,
        ChecksumMismatch,
        UploadStalled,
        UploadBusy,
        also={201: {"headers": _PROGRESS | location("upload")}},
    ),
    openapi_extra=_bytes(required=False, description="The first part, or nothing yet."),
)
async def create_upload(
    request: Request,
    response: Response,
    services: ServicesDep,
    project: ProjectDep,
    tus_resumable: TusResumable = None,
    upload_length: UploadLength = None,
    upload_metadata: UploadMetadata = None,
    upload_checksum: UploadChecksum = None,
) -> UploadView:
    """tus' creation. Send the parts with PATCH; when it is whole, give its id to `POST /v1/datasets`.

    On a bad line send parts of a few megabytes, each with its checksum; else the whole at once: what has
    arrived before a connection broke is kept.
    """
    tus.check_version(tus_resumable)
    settings = services.settings
    if not upload_length:
        raise invalid("header:Upload-Length", "missing", "must say how many bytes the archive has")
    if upload_length > settings.upload_limit_bytes:
        raise BodyTooLarge(
            f"An upload has at most {settings.upload_limit_bytes} bytes.", headers=tus.options(settings)
        )
    checksum = None if upload_checksum is None else Checksum(upload_checksum)
    metadata = tus.told(upload_metadata or "")
    await to_thread.run_sync(check_room, settings, upload_length)

    def begin() -> Upload:
        uploads.collect(services.database, services.parts)
        return services.database.run(
            lambda session: uploads.create(
                session,
                project_id=project,
                length=upload_length,
                told=upload_metadata or "",
                keep_seconds=settings.upload_keep_seconds,
                most=settings.uploads_limit,
            )
        )

    row = await to_thread.run_sync(begin)
    offset = 0
    if media_type(request) == tus.PART:
        async with tus.held(services, row.id) as part:
            with uploads_in_flight.track_inprogress():
                await tus.append(
                    request, part, offset=0, length=row.length, checksum=checksum, settings=settings
                )
            offset = part.size
    response.headers.update(tus.headers(offset=offset, expires_at=row.expires_at))
    response.headers["Location"] = f"/v1/uploads/{row.id}"
    return UploadView.of(row, offset=offset, metadata=metadata)


@router.get("", summary="List resumable uploads")
def list_uploads(
    services: ServicesDep,
    project: ProjectDep,
    limit: Limit = 20,
    after: After = None,
    order: OrderBy = "desc",
) -> UploadList:
    """Uploads by age, used ones too for two days."""
    with services.database.read() as session:
        page = uploads.list_(session, project, limit=limit, after=after, order=order)
    return UploadList.of([_view(services, row) for row in page.items], has_more=page.has_more)


@router.options(
    "/{upload_id}",
    status_code=204,
    summary="Read what tus can do with an upload",
    responses=problems(UploadNotFound, also=_CAN),
)
def describe_upload(upload_id: UploadId, services: ServicesDep, project: ProjectDep) -> Response:
    """The same for every upload."""
    _read(services, project, upload_id)
    return Response(status_code=204, headers=tus.options(services.settings))


@router.get("/{upload_id}", summary="Read an upload", responses=problems(UploadNotFound))
def get_upload(upload_id: UploadId, services: ServicesDep, project: ProjectDep) -> UploadView:
    """How far it has come, and the dataset that it has become. Does not disturb a part that is arriving."""
    return _view(services, _read(services, project, upload_id))


@router.head(
    "/{upload_id}",
    response_class=Response,
    summary="Read where an upload goes on",
    responses=problems(
        UploadNotFound,
        VersionUnsupported,
        UploadBusy,
        also={
            200: {
                "description": "Send the rest from `Upload-Offset` on.",
                "headers": _PROGRESS
                | {
                    "Upload-Length": {"description": "Bytes of the whole.", **_NUMBER},
                    "Upload-Metadata": {"description": "As it was given.", **_TEXT},
                },
            }
        },
    ),
)
async def head_upload(
    upload_id: UploadId, services: ServicesDep, project: ProjectDep, tus_resumable: TusResumable = None
) -> Response:
    """tus' core: ends a part that is still arriving on an older connection, so that the offset is true."""
    tus.check_version(tus_resumable)
    row = await to_thread.run_sync(_read, services, project, upload_id)
    offset = row.length
    if row.dataset_id is None:
        async with tus.held(services, upload_id) as part:
            offset = part.size
    found = tus.headers(offset=offset, expires_at=row.expires_at) | {"Upload-Length": str(row.length)}
    if row.told:
        found["Upload-Metadata"] = row.told
    return Response(headers=found)


@router.patch(
    "/{upload_id}",
    status_code=204,
    summary="Send a part of an upload",
    responses=problems(
        UploadNotFound,
        VersionUnsupported,
        MediaTypeUnsupported,
        BodyTooLarge,
        StorageFull,
        OffsetMismatch,
        UploadUsed,
        UploadBusy,
        UploadStalled,
        ChecksumUnsupported,
        ChecksumMismatch,
        also={204: {"description": "It has arrived.", "headers": _PROGRESS}},
    ),
    openapi_extra=_bytes(required=True, description="The bytes from `Upload-Offset` on; any number."),
)
async def append_upload(
    upload_id: UploadId,
    request: Request,
    services: ServicesDep,
    project: ProjectDep,
    tus_resumable: TusResumable = None,
    upload_offset: UploadOffset = None,
    upload_checksum: UploadChecksum = None,
) -> Response:
    """tus' core. What has arrived before a connection breaks is kept, unless it came with a checksum."""
    settings = services.settings
    tus.check_version(tus_resumable)
    row = await to_thread.run_sync(_read, services, project, upload_id)
    if upload_offset is None:
        raise invalid("header:Upload-Offset", "missing", "must say where the bytes belong")
    checksum = None if upload_checksum is None else Checksum(upload_checksum)
    async with tus.held(services, upload_id) as part:
        # Read again: it may have been deleted or used while this request waited for it.
        row = await to_thread.run_sync(_read, services, project, upload_id)
        if row.dataset_id is not None:
            raise UploadUsed
        with uploads_in_flight.track_inprogress():
            await tus.append(
                request,
                part,
                offset=upload_offset,
                length=row.length,
                checksum=checksum,
                settings=settings,
            )
        offset = part.size
        row = await to_thread.run_sync(_keep, services, project, upload_id)
    return Response(status_code=204, headers=tus.headers(offset=offset, expires_at=row.expires_at))


@router.delete(
    "/{upload_id}",
    status_code=204,
    summary="Delete an upload",
    responses=problems(
        UploadNotFound,
        VersionUnsupported,
        UploadBusy,
        also={204: {"description": "It is gone.", "headers": _RESUMABLE}},
    ),
)
def delete_upload(
    upload_id: UploadId, services: ServicesDep, project: ProjectDep, tus_resumable: TusResumable = None
) -> Response:
    """tus' termination. A dataset that it has become stays."""
    tus.check_version(tus_resumable)
    _read(services, project, upload_id)
    with services.parts.held(upload_id) as part:
        services.database.run(lambda session: uploads.delete(session, project, upload_id))
        part.remove()
    return Response(status_code=204, headers=tus.headers())


def _read(services: Services, project: str, upload_id: str) -> Upload:
    with services.database.read() as session:
        return uploads.get(session, project, upload_id)


def _keep(services: Services, project: str, upload_id: str) -> Upload:
    seconds = services.settings.upload_keep_seconds
    return services.database.run(lambda session: uploads.keep(session, project, upload_id, seconds=seconds))


def _view(services: Services, row: Upload) -> UploadView:
    return UploadView.of(row, offset=services.parts.size(row.id), metadata=tus.told(row.told))
