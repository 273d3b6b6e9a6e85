"""What is in a dataset: statistics, images with their boxes, the images themselves, previews of them."""

import hashlib
from typing import Annotated

import numpy as np
from anyio import to_thread
from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from api import pictures
from api.dependencies import (
    AfterNumber,
    DatasetId,
    IfNoneMatch,
    Limit,
    Position,
    ProjectDep,
    ServicesDep,
)
from api.errors import Overloaded
from api.negotiation import fresh, unchanged
from api.openapi import BINARY, Responses, header, problems
from api.schemas.dataset_images import DatasetImageList, DatasetImageView, StatsView
from api.services import Services
from detector.errors import ImageInvalid
from store import datasets
from store.errors import DatasetImageNotFound, DatasetNotFound, DatasetNotReady
from store.tables import Dataset, DatasetImage, DatasetStatus

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

_ETAG = header("ETag", "Never changes for the same image.")
_UNCHANGED: Responses = {304: {"description": "It is the one named in If-None-Match."}}
_IMAGES = ("image/jpeg", "image/png", "image/webp", "image/bmp")


@router.get(
    "/{dataset_id}/stats",
    response_model=StatsView,
    summary="Read statistics of a dataset",
    responses=problems(
        DatasetNotFound,
        DatasetNotReady,
        also={200: {"headers": _ETAG}, **_UNCHANGED},
    ),
)
def get_dataset_stats(
    dataset_id: DatasetId,
    request: Request,
    services: ServicesDep,
    project: ProjectDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Balance of the classes, images of each split, and how many, how large and of which shape the boxes are.

    Counted once when first asked for, then kept.
    """
    dataset = _ready(services, project, dataset_id)
    statistics = services.catalogues.get(str(dataset.index)).statistics
    view = StatsView.model_validate({"dataset_id": dataset_id, **statistics})
    return fresh(request, view.model_dump_json().encode())


@router.get(
    "/{dataset_id}/images",
    summary="List a dataset's images",
    responses=problems(DatasetNotFound, DatasetNotReady),
)
def list_dataset_images(
    dataset_id: DatasetId,
    services: ServicesDep,
    project: ProjectDep,
    limit: Limit = 20,
    after: AfterNumber = None,
    split: Annotated[str | None, Query(max_length=40, description="Only those of this split.")] = None,
    category_id: Annotated[
        int | None,
        Query(ge=-(2**63), lt=2**63, description="Only those that show this category."),
    ] = None,
    findings: Annotated[
        bool | None,
        Query(description="Only those that a finding of the report is about, or only the others."),
    ] = None,
) -> DatasetImageList:
    """Images in the order of the dataset, each with its boxes."""
    dataset = _ready(services, project, dataset_id)
    catalogue = services.catalogues.get(str(dataset.index))
    wanted = np.arange(len(catalogue.image_ids)) > (-1 if after is None else after)
    if split is not None:
        places = [place for place, name in enumerate(catalogue.splits) if name == split]
        wanted &= np.isin(catalogue.image_splits, places)
    if category_id is not None:
        wanted &= catalogue.shows(category_id)
    with services.database.read() as session:
        if findings is not None:
            about = np.zeros(len(wanted), bool)
            about[list(datasets.findings_of_images(session, dataset_id))] = True
            wanted &= about == findings
        positions = np.flatnonzero(wanted)
        page = positions[:limit].tolist()
        rows = datasets.images_at(session, dataset_id, page)
        counts = datasets.findings_of_images(session, dataset_id, page)
    data = [DatasetImageView.of(row, catalogue, findings=counts.get(row.position, 0)) for row in rows]
    return DatasetImageList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(positions) > limit,
    )


@router.get(
    "/{dataset_id}/images/{position}/content",
    response_class=StreamingResponse,
    summary="Download an image of a dataset",
    responses=problems(
        DatasetNotFound,
        DatasetImageNotFound,
        Overloaded,
        also={
            200: {
                "description": "The file as it was uploaded.",
                "content": {kind: {"schema": BINARY} for kind in _IMAGES},
                "headers": _ETAG,
            },
            **_UNCHANGED,
        },
    ),
)
async def get_dataset_image_content(
    dataset_id: DatasetId,
    position: Position,
    request: Request,
    services: ServicesDep,
    project: ProjectDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The bytes of the archive, with the media type that they show."""
    dataset, image = await to_thread.run_sync(_image, services, project, dataset_id, position)
    headers = _headers(dataset, position, "content")
    if unchanged(request, headers["ETag"]):
        return Response(None, 304, headers)
    archive = await services.pictures.run(services.archives.get, dataset.archive)
    kind, chunks = await services.pictures.run(pictures.content, archive, image.file_name)
    return StreamingResponse(chunks, 200, headers, kind)


@router.get(
    "/{dataset_id}/images/{position}/preview",
    response_class=Response,
    summary="See an image of a dataset with its boxes",
    responses=problems(
        DatasetNotFound,
        DatasetImageNotFound,
        ImageInvalid,
        Overloaded,
        also={
            200: {
                "description": "The image, with its boxes and the names of their classes.",
                "content": {"image/jpeg": {"schema": BINARY}},
                "headers": _ETAG,
            },
            **_UNCHANGED,
        },
    ),
)
async def get_dataset_image_preview(
    dataset_id: DatasetId,
    position: Position,
    request: Request,
    services: ServicesDep,
    project: ProjectDep,
    size: Annotated[
        int, Query(ge=64, le=2048, description="Most pixels of the longer side; never more than it has.")
    ] = 800,
    boxes: Annotated[bool, Query(description="Whether the boxes are drawn, or only the image.")] = True,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """A JPEG, upright, for people to look at."""
    dataset, image = await to_thread.run_sync(_image, services, project, dataset_id, position)
    headers = _headers(dataset, position, f"preview {size} {boxes}")
    if unchanged(request, headers["ETag"]):
        return Response(None, 304, headers)

    def draw() -> bytes:
        archive = services.archives.get(dataset.archive)
        catalogue = services.catalogues.get(str(dataset.index))
        return pictures.preview(archive, image.file_name, catalogue, position, size, boxes=boxes)

    return Response(await services.pictures.run(draw), 200, headers, "image/jpeg")


def _ready(services: Services, project: str, dataset_id: str) -> Dataset:
    with services.database.read() as session:
        dataset = datasets.get(session, project, dataset_id)
    if dataset.status is not DatasetStatus.READY:
        raise DatasetNotReady(f"This dataset is {dataset.status.value}; only a ready one has this.")
    return dataset


def _image(services: Services, project: str, dataset_id: str, position: int) -> tuple[Dataset, DatasetImage]:
    with services.database.read() as session:
        return (
            datasets.get(session, project, dataset_id),
            datasets.image(session, project, dataset_id, position),
        )


def _headers(dataset: Dataset, position: int, what: str) -> dict[str, str]:
    """The archive and the index never change, so neither does what comes of them."""
    source = f"{dataset.archive_sha256} {dataset.index} {position} {what}"
    return {
        "ETag": f'"{hashlib.sha256(source.encode()).hexdigest()[:32]}"',
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
