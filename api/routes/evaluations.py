"""Evaluations: ask for one, list, read, every measure, what was found on each image, files, delete."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import orjson
from anyio import to_thread
from fastapi import APIRouter, BackgroundTasks, Path, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response, StreamingResponse

from api import detections, evaluating, files
from api.bodies import JSON, MULTIPART, media_type
from api.dependencies import (
    METADATA_FILTER,
    After,
    AfterNumber,
    DatabaseDep,
    EvaluationId,
    FileRange,
    IfNoneMatch,
    Limit,
    MetadataFilter,
    OnceDep,
    OrderBy,
    ProjectDep,
    ServicesDep,
)
from api.errors import BodyMalformed, BodyTooLarge, Invalid, MediaTypeUnsupported, RangeNotSatisfiable
from api.idempotency import Once
from api.negotiation import fresh, freshness
from api.openapi import BINARY, Responses, location, problems
from api.room import bytes_left, check_room
from api.schemas.comparisons import ComparisonFigure
from api.schemas.evaluations import (
    ConfusionView,
    EvaluationCreate,
    EvaluationDetailView,
    EvaluationImageList,
    EvaluationImageView,
    EvaluationList,
    EvaluationOfDetections,
    EvaluationView,
    PrecisionRecallView,
    ThresholdSweepView,
)
from api.services import Services
from detector.evaluate import figures
from store import evaluations
from store.blobs import Blob
from store.errors import (
    DatasetNotFound,
    DatasetNotReady,
    DatasetNotUsable,
    EvaluationFileNotFound,
    EvaluationNotFound,
    EvaluationNotReady,
    EvaluationRunning,
    ModelCannotPredict,
    ModelNotFound,
    QuotaExceeded,
    StorageFull,
    StorageQuotaExceeded,
)
from store.tables import Job, JobStatus

router = APIRouter(prefix="/v1/evaluations", tags=["evaluations"])

_NOT_MEASURED = (EvaluationNotFound, EvaluationNotReady, EvaluationFileNotFound)


def _create_description() -> dict[str, Any]:
    """The two bodies: a model as JSON, or a form with detections."""
    schema = EvaluationOfDetections.model_json_schema()
    file = BINARY | {"description": "COCO results (JSON): a list of {image_id, category_id, bbox, score}."}
    form = {
        "type": "object",
        "required": ["file", *schema["required"]],
        "properties": {"file": file} | schema["properties"],
    }
    return {
        "requestBody": {
            "required": True,
            "description": "A model to measure, as JSON; or a form with detections as `file`.",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/EvaluationCreate"}},
                "multipart/form-data": {
                    "schema": form,
                    "encoding": {"metadata": {"contentType": "application/json"}},
                },
            },
        }
    }


def _file_answers(shape: str) -> Responses:
    """Whole, it is JSON of this shape; a part of it is not."""
    whole = {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}}
    part = {"*/*": {"schema": BINARY}}
    answers: Responses = {
        **files.RESPONSES,
        200: {**files.RESPONSES[200], "content": whole},
        206: {**files.RESPONSES[206], "content": part},
    }
    return problems(*_NOT_MEASURED, RangeNotSatisfiable, also=answers)


@router.post(
    "",
    status_code=202,
    response_model=EvaluationView,
    summary="Create an evaluation",
    response_description="Queued, as a job of its own. `Location` is where to look.",
    responses=problems(
        BodyMalformed,
        BodyTooLarge,
        MediaTypeUnsupported,
        ModelNotFound,
        ModelCannotPredict,
        DatasetNotFound,
        DatasetNotUsable,
        DatasetNotReady,
        Invalid,
        QuotaExceeded,
        StorageFull,
        StorageQuotaExceeded,
        also={202: {"headers": location("evaluation")}},
    ),
    openapi_extra=_create_description(),
)
async def create_evaluation(
    request: Request, background: BackgroundTasks, services: ServicesDep, project: ProjectDep, once: OnceDep
) -> Response:
    """Measures a model, or detections that any program has made, on a split of a dataset.

    A model is measured as it is served. Its classes are found in the dataset by their names. Detections are
    COCO results with the image and category ids of the dataset, as `/v1/datasets/{dataset_id}/images` has
    them; what is wrong with them is in the `error` of the evaluation, place by place.
    """
    kind = media_type(request)
    async with once.asking():
        check_room(services.settings)
        said: EvaluationCreate | EvaluationOfDetections
        blob: Blob | None = None
        if kind == JSON:
            said = await detections.named(request, services.settings)
            once.settle(said)
        elif kind == MULTIPART:
            left = await to_thread.run_sync(bytes_left, services.database, project, once)
            with services.blobs.staging() as staging:
                said = await detections.receive(request, staging, services.settings, left=left)
                blob = await to_thread.run_sync(staging.commit)
            once.settle(blob.sha256, said)
        else:
            raise MediaTypeUnsupported(
                f"The body must be {JSON} or {MULTIPART}, not {kind or 'without a Content-Type'}."
            )
        job, response = await to_thread.run_sync(_create, services, project, said, blob, once)
    background.add_task(services.hints.send, job.id, job.queue)
    response.background = background
    return response


def _create(
    services: Services,
    project: str,
    said: EvaluationCreate | EvaluationOfDetections,
    blob: Blob | None,
    once: Once,
) -> tuple[Job, Response]:
    def create(session: Session) -> tuple[Job, Response]:
        row, job = evaluating.create(session, project, said, blob, idempotency_key=once.job_key)
        headers = {"Location": f"/v1/evaluations/{row.id}"}
        return job, once.answer(session, 202, EvaluationView.of(row, job), headers)

    return services.database.run(create)


@router.get("", summary="List evaluations", openapi_extra=METADATA_FILTER)
def list_evaluations(
    database: DatabaseDep,
    project: ProjectDep,
    metadata: MetadataFilter,
    limit: Limit = 20,
    after: After = None,
    order: OrderBy = "desc",
    model_id: Annotated[str | None, Query(max_length=40, description="Only those of this model.")] = None,
    dataset_id: Annotated[str | None, Query(max_length=40, description="Only those on this dataset.")] = None,
    status: Annotated[JobStatus | None, Query(description="Only those in this status.")] = None,
) -> EvaluationList:
    """Evaluations by age, those of trainings included."""
    with database.read() as session:
        page = evaluations.list_(
            session,
            project,
            limit=limit,
            after=after,
            order=order,
            model_id=model_id,
            dataset_id=dataset_id,
            status=status,
            metadata=metadata,
        )
        jobs = evaluations.jobs_of(session, page.items)
    views = [EvaluationView.of(row, jobs.get(row.job_id or "")) for row in page.items]
    return EvaluationList.of(views, has_more=page.has_more)


@router.get(
    "/{evaluation_id}",
    response_model=EvaluationDetailView,
    summary="Read an evaluation",
    responses=problems(EvaluationNotFound, also=freshness("evaluation")),
)
def get_evaluation(
    evaluation_id: EvaluationId,
    request: Request,
    services: ServicesDep,
    project: ProjectDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """COCO's and VOC's numbers, of each class, at each IoU, by kinds of objects, and whether scores tell how
    well boxes are placed. Cheap to ask again and again with If-None-Match."""
    with services.database.read() as session:
        row, job = evaluations.get(session, project, evaluation_id)
    report = None
    if row.metrics:
        try:
            report = _report(services, project, evaluation_id)
        except EvaluationFileNotFound:  # an earlier version's
            report = None
    view = EvaluationDetailView.whole(row, job, report)
    return fresh(request, view.model_dump_json().encode())


@router.get(
    "/{evaluation_id}/confusion-matrix",
    summary="Read which class is taken for which",
    responses=problems(*_NOT_MEASURED),
)
def get_confusion_matrix(
    evaluation_id: EvaluationId, services: ServicesDep, project: ProjectDep
) -> ConfusionView:
    """Counts of objects and detections by class, with the background as one more."""
    report = _report(services, project, evaluation_id)
    return ConfusionView(
        evaluation_id=evaluation_id,
        classes=report["classes"],
        matrix=report["confusion"]["matrix"],
        score_threshold=report["confusion"]["score_threshold"],
        iou_threshold=report["confusion"]["iou_threshold"],
    )


@router.get(
    "/{evaluation_id}/pr-curves", summary="Read precision over recall", responses=problems(*_NOT_MEASURED)
)
def get_pr_curves(
    evaluation_id: EvaluationId,
    services: ServicesDep,
    project: ProjectDep,
    category_id: Annotated[
        int | None, Query(ge=-(2**63), lt=2**63, description="Only that of this category.")
    ] = None,
    region: Annotated[Literal["bbox", "segm"], Query(description="By boxes, or by masks.")] = "bbox",
) -> PrecisionRecallView:
    """A curve per class at IoU 0.50, 0.75 and 0.90, at 101 recalls."""
    measured = _report(services, project, evaluation_id)[region]
    if measured is None:
        raise EvaluationFileNotFound("This evaluation is of boxes: it has no masks.")
    curves = [
        one for one in measured["curves"]["per_class"] if category_id is None or one["id"] == category_id
    ]
    return PrecisionRecallView(
        evaluation_id=evaluation_id, region=region, recall=measured["curves"]["recall"], data=curves
    )


@router.get(
    "/{evaluation_id}/threshold-sweep",
    summary="Read what a score threshold does",
    responses=problems(*_NOT_MEASURED),
)
def get_threshold_sweep(
    evaluation_id: EvaluationId, services: ServicesDep, project: ProjectDep
) -> ThresholdSweepView:
    """Precision, recall and F1 at 101 thresholds, of all classes and of each; and operating points."""
    report = _report(services, project, evaluation_id)
    return ThresholdSweepView.model_validate(
        {
            "evaluation_id": evaluation_id,
            **report["thresholds"],
            "operating_points": report["operating_points"],
        }
    )


@router.get(
    "/{evaluation_id}/figures/{figure}",
    response_model=ComparisonFigure,
    summary="Read a figure of an evaluation",
    responses=problems(*_NOT_MEASURED, also=freshness("evaluation")),
)
def get_evaluation_figure(
    evaluation_id: EvaluationId,
    figure: Annotated[
        str, Path(description=f"Its name: one of `{'`, `'.join(figures.NAMES)}`.", examples=["pr"])
    ],
    request: Request,
    services: ServicesDep,
    project: ProjectDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """For Plotly to draw: precision over recall, AP over IoU, score against IoU, which class is taken for
    which, and what a score threshold does. Of many classes those with the most objects are drawn."""
    drawn = figures.figure(_report(services, project, evaluation_id), figure)
    if drawn is None:
        raise EvaluationFileNotFound(f"The figures are {', '.join(figures.NAMES)}.")
    return fresh(request, orjson.dumps(drawn))


@router.get(
    "/{evaluation_id}/images",
    summary="List what was found on each image",
    responses=problems(*_NOT_MEASURED),
)
def list_evaluation_images(
    evaluation_id: EvaluationId,
    services: ServicesDep,
    project: ProjectDep,
    limit: Limit = 20,
    after: AfterNumber = None,
    score_threshold: Annotated[
        float | None,
        Query(
            ge=-1e30,
            le=1e30,
            allow_inf_nan=False,
            description="Only detections of at least this score; by default as in the confusion matrix.",
        ),
    ] = None,
    showing: Annotated[
        Literal["false_positives", "misses", "mistakes"] | None,
        Query(description="Only images that have some; `mistakes` is either."),
    ] = None,
    category_id: Annotated[
        int | None,
        Query(ge=-(2**63), lt=2**63, description="Only objects and detections of this category."),
    ] = None,
) -> EvaluationImageList:
    """True and false positives and misses at IoU 0.5, by COCO's rules, in the order of the split.

    Of a class and image the 100 best detections are looked at.
    """
    report = _report(services, project, evaluation_id)
    with services.database.read() as session:
        row = evaluations.file(session, project, evaluation_id, evaluations.IMAGES)
    threshold = report["confusion"]["score_threshold"] if score_threshold is None else score_threshold
    names = {one["id"]: one["name"] for one in report["classes"]}
    data: list[EvaluationImageView] = []
    has_more = False
    for position, line in _lines(services, row.blob, after):
        view = EvaluationImageView.model_validate(
            {"id": position, **_judged(orjson.loads(line), threshold, category_id, names)}
        )
        wanted = {
            None: True,
            "false_positives": bool(view.false_positives),
            "misses": bool(view.misses),
            "mistakes": bool(view.false_positives or view.misses),
        }
        if not wanted[showing]:
            continue
        if len(data) == limit:
            has_more = True
            break
        data.append(view)
    return EvaluationImageList(
        score_threshold=threshold,
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=has_more,
    )


@router.get(
    "/{evaluation_id}/detections",
    response_class=StreamingResponse,
    summary="Download the detections of an evaluation",
    responses=_file_answers("DetectionsFile"),
)
def get_evaluation_detections(
    evaluation_id: EvaluationId,
    request: Request,
    services: ServicesDep,
    project: ProjectDep,
    range_: FileRange = None,
) -> Response:
    """COCO results, as pycocotools' `loadRes` reads them; uploaded ones as they were sent."""
    return _file(services, project, evaluation_id, evaluations.DETECTIONS, request)


@router.get(
    "/{evaluation_id}/ground-truth",
    response_class=StreamingResponse,
    summary="Download what the detections were measured against",
    responses=_file_answers("GroundTruthFile"),
)
def get_evaluation_ground_truth(
    evaluation_id: EvaluationId,
    request: Request,
    services: ServicesDep,
    project: ProjectDep,
    range_: FileRange = None,
) -> Response:
    """The split as a COCO dataset: with it and the detections everybody can count again."""
    return _file(services, project, evaluation_id, evaluations.GROUND_TRUTH, request)


@router.delete(
    "/{evaluation_id}",
    status_code=204,
    response_class=Response,
    summary="Delete an evaluation",
    responses=problems(EvaluationNotFound, EvaluationRunning),
)
def delete_evaluation(evaluation_id: EvaluationId, database: DatabaseDep, project: ProjectDep) -> None:
    """The model, the dataset and the job stay. Not possible before the job has finished: cancel it first."""
    database.run(lambda session: evaluations.delete(session, project, evaluation_id))


def _report(services: Services, project: str, evaluation_id: str) -> dict[str, Any]:
    """Raises `EvaluationNotFound`, `EvaluationNotReady`, `EvaluationFileNotFound`."""
    with services.database.read() as session:
        row = evaluations.file(session, project, evaluation_id, evaluations.REPORT)
    return services.reports.get(row.blob)


def _file(services: Services, project: str, evaluation_id: str, name: str, request: Request) -> Response:
    with services.database.read() as session:
        row = evaluations.file(session, project, evaluation_id, name)
    return files.answer(request, services, row)


def _lines(services: Services, blob: str, after: int | None) -> Iterator[tuple[int, bytes]]:
    """Lines after this one, with their numbers from 0."""
    with services.blobs.open(blob) as file:
        for position, line in enumerate(file):
            if after is None or position > after:
                yield position, line


def _judged(
    image: dict[str, Any], threshold: float, category_id: int | None, names: dict[int, str]
) -> dict[str, Any]:
    """An image of `images.jsonl` (`detector.evaluate.by_image`) at a score threshold."""

    def named(one: dict[str, Any]) -> dict[str, Any]:
        return one | {"category": names[one["category_id"]]}

    objects = image["objects"]
    found = [one for one in image["detections"] if one["score"] >= threshold]
    taken = {one["object"] for one in found}
    mine = [one for one in found if category_id is None or one["category_id"] == category_id]
    counted = [one for one in mine if not one["ignored"]]
    return {
        **{name: image[name] for name in ("file_name", "width", "height")},
        "image_id": image["id"],
        "true_positives": [
            named(one) | {"object_id": objects[one["object"]]["id"]}
            for one in counted
            if one["object"] is not None
        ],
        "false_positives": [named(one) for one in counted if one["object"] is None],
        "misses": [
            named(one)
            for place, one in enumerate(objects)
            if place not in taken
            and not one["crowd"]
            and (category_id is None or one["category_id"] == category_id)
        ],
        "ignored": len(mine) - len(counted),
    }
