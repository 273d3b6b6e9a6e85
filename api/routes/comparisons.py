"""Comparisons: ask for one, list, read, cancel, pause, resume, retry, its report and figures, delete."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, BackgroundTasks, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from api import comparing
from api.bodies import JSON
from api.dependencies import (
    METADATA_FILTER,
    After,
    ComparisonId,
    DatabaseDep,
    FigureName,
    IfNoneMatch,
    Limit,
    MetadataFilter,
    OnceDep,
    OrderBy,
    ProjectDep,
    ServicesDep,
)
from api.errors import BodyMalformed, BodyTooLarge, Invalid, NotAcceptable
from api.idempotency import Once
from api.negotiation import CACHING, fresh, freshness, preferred, unchanged
from api.openapi import Responses, header, location, problems
from api.room import check_room
from api.schemas.comparisons import (
    ComparisonCreate,
    ComparisonDetailView,
    ComparisonFigure,
    ComparisonList,
    ComparisonView,
)
from api.services import Services
from detector.errors import InitialWeightsUnfit
from store import comparisons
from store.comparisons import RequestOutcome
from store.errors import (
    ComparisonAlreadyFinished,
    ComparisonBeingCancelled,
    ComparisonFigureNotFound,
    ComparisonNotFound,
    ComparisonNotPausable,
    ComparisonNotPaused,
    ComparisonNotReady,
    ComparisonNotRetryable,
    ComparisonRunning,
    DatasetNotFound,
    DatasetNotUsable,
    ModelNotFound,
    QuotaExceeded,
    StorageFull,
)
from store.sessions import Database
from store.tables import JobStatus

router = APIRouter(prefix="/v1/comparisons", tags=["comparisons"])

_UNCHANGED: Responses = {
    200: {"model": ComparisonDetailView, "description": "It is so already; nothing has changed."}
}
_NOT_COMPARED = (ComparisonNotFound, ComparisonNotReady)
_HTML, _MARKDOWN = "text/html", "text/markdown"
_FORMATS = {"json": JSON, "markdown": _MARKDOWN, "html": _HTML}
_FILES = {JSON: comparisons.REPORT, _MARKDOWN: comparisons.MARKDOWN, _HTML: comparisons.PAGE}
_SCRIPT = re.compile(rb"<script\b[^>]*>(.*?)</script\s*>", re.DOTALL | re.IGNORECASE)
_REPORTS: dict[str, Any] = {
    JSON: {"schema": {"$ref": "#/components/schemas/ComparisonReport"}},
    _MARKDOWN: {"schema": {"type": "string"}, "example": "# losses\n\nharmonic is **better** …\n"},
    _HTML: {"schema": {"type": "string"}, "example": "<!doctype html>…"},
}


@router.post(
    "",
    status_code=202,
    response_model=ComparisonDetailView,
    summary="Create a comparison",
    response_description="Its trainings are queued. `Location` is where to look.",
    responses=problems(
        BodyMalformed,
        BodyTooLarge,
        DatasetNotFound,
        DatasetNotUsable,
        ModelNotFound,
        InitialWeightsUnfit,
        Invalid,
        QuotaExceeded,
        StorageFull,
        also={202: {"headers": location("comparison")}},
    ),
)
def create_comparison(
    body: ComparisonCreate,
    background: BackgroundTasks,
    services: ServicesDep,
    project: ProjectDep,
    once: OnceDep,
) -> Response:
    """Is one way of training better than another? Trains every arm with every seed, then compares.

    Each training is an ordinary job. Arms with the same seed begin with the same initial weights and see the
    images in the same order. A training that fails costs its seed; with fewer than three seeds left that
    every arm has, the comparison fails, and `retry` goes on from what is there.
    """
    with once.asked(body):
        check_room(services.settings)
        queued, response = _create(services, project, body, once)
    background.add_task(_hint, services, queued)
    response.background = background
    return response


def _create(
    services: Services, project: str, body: ComparisonCreate, once: Once
) -> tuple[list[tuple[str, str]], Response]:
    with services.database.read() as session:
        arms = comparing.arms(session, project, body)

    def create(session: Session) -> tuple[list[tuple[str, str]], Response]:
        row, made = comparisons.create(
            session,
            project_id=project,
            dataset_id=body.dataset_id,
            config=body.config.model_dump(mode="json", exclude_unset=True),
            arms=arms,
            seeds=body.seeds,
            baseline=body.baseline or arms[0].name,
            name=body.name,
            priority=body.priority,
            metadata=body.metadata,
        )
        view = ComparisonDetailView.of(row, comparisons.runs(session, [row.id]))
        queued = [(job.id, job.queue) for job in made]
        return queued, once.answer(session, 202, view, _location(row.id))

    return services.database.run(create)


@router.get("", summary="List comparisons", openapi_extra=METADATA_FILTER)
def list_comparisons(
    database: DatabaseDep,
    project: ProjectDep,
    metadata: MetadataFilter,
    limit: Limit = 20,
    after: After = None,
    order: OrderBy = "desc",
    dataset_id: Annotated[str | None, Query(max_length=40, description="Only those on this dataset.")] = None,
    status: Annotated[JobStatus | None, Query(description="Only those in this status.")] = None,
) -> ComparisonList:
    """Comparisons by age, without their single trainings."""
    with database.read() as session:
        page = comparisons.list_(
            session,
            project,
            limit=limit,
            after=after,
            order=order,
            dataset_id=dataset_id,
            status=status,
            metadata=metadata,
        )
        runs = comparisons.runs(session, [row.id for row in page.items])
    views = [
        ComparisonView.of(row, [run for run in runs if run.comparison_id == row.id]) for row in page.items
    ]
    return ComparisonList.of(views, has_more=page.has_more)


@router.get(
    "/{comparison_id}",
    response_model=ComparisonDetailView,
    summary="Read a comparison",
    responses=problems(ComparisonNotFound, also=freshness("comparison")),
)
def get_comparison(
    comparison_id: ComparisonId,
    request: Request,
    database: DatabaseDep,
    project: ProjectDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """How far it is, the jobs of every arm and seed, and the verdict. Cheap to ask again and again with
    If-None-Match."""
    return fresh(request, _json(database, project, comparison_id))


@router.get(
    "/{comparison_id}/report",
    response_class=Response,
    summary="Read what was found",
    responses=problems(
        *_NOT_COMPARED,
        NotAcceptable,
        also={
            200: {
                "description": "As JSON, as Markdown, or as a page with figures that needs nothing else.",
                "content": _REPORTS,
                "headers": header("ETag", "Changes with the report."),
            },
            304: {"description": "Nothing has changed since the ETag in If-None-Match."},
        },
    ),
)
def get_comparison_report(
    comparison_id: ComparisonId,
    request: Request,
    services: ServicesDep,
    project: ProjectDep,
    format_: Annotated[
        Literal["json", "markdown", "html"] | None,
        Query(alias="format", description="Instead of Accept."),
    ] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Mean and standard deviation of every arm, differences with intervals, verdicts, and why."""
    kind = preferred(request, list(_FILES)) if format_ is None else _FORMATS[format_]
    with services.database.read() as session:
        row = comparisons.file(session, project, comparison_id, _FILES[kind])
    headers = {"ETag": f'"{row.sha256}"', "Cache-Control": CACHING, "Vary": "Accept"}
    if unchanged(request, headers["ETag"]):
        return Response(None, 304, headers)
    with services.blobs.open(row.blob) as file:
        content = file.read()
    if kind == _HTML:
        headers["Content-Security-Policy"] = _policy(content)
    return Response(content, 200, headers, f"{kind}; charset=utf-8" if kind != JSON else kind)


@router.get(
    "/{comparison_id}/figures/{figure}",
    response_model=ComparisonFigure,
    summary="Read a figure",
    responses=problems(*_NOT_COMPARED, ComparisonFigureNotFound, also=freshness("report")),
)
def get_comparison_figure(
    comparison_id: ComparisonId,
    figure: FigureName,
    request: Request,
    services: ServicesDep,
    project: ProjectDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """One figure of the report, such as `pr`, `ap_over_iou`, `score_against_iou`, `loss_curves` or
    `differences`, for Plotly to draw."""
    with services.database.read() as session:
        row = comparisons.file(session, project, comparison_id, comparisons.REPORT)
    with services.blobs.open(row.blob) as file:
        figures = orjson.loads(file.read()).get("figures", {})
    if figure not in figures:
        raise ComparisonFigureNotFound(f"It has {', '.join(sorted(figures)) or 'no figures'}.")
    return fresh(request, orjson.dumps(figures[figure]))


@router.post(
    "/{comparison_id}/cancel",
    status_code=202,
    response_model=ComparisonDetailView,
    summary="Cancel a comparison",
    response_description="Asked for: every job of it that has not ended is cancelled.",
    responses=problems(ComparisonNotFound, ComparisonAlreadyFinished, also=_UNCHANGED),
)
def cancel_comparison(comparison_id: ComparisonId, services: ServicesDep, project: ProjectDep) -> Response:
    """Ends its jobs without comparing them. The models of trainings that have succeeded stay."""
    return _asked(services, project, comparison_id, comparisons.cancel)


@router.post(
    "/{comparison_id}/pause",
    status_code=202,
    response_model=ComparisonDetailView,
    summary="Pause a comparison",
    response_description="Asked for: running trainings save a checkpoint first, then free their workers.",
    responses=problems(
        ComparisonNotFound,
        ComparisonAlreadyFinished,
        ComparisonBeingCancelled,
        ComparisonNotPausable,
        also=_UNCHANGED,
    ),
)
def pause_comparison(comparison_id: ComparisonId, services: ServicesDep, project: ProjectDep) -> Response:
    """Pauses every training that has not ended, until the comparison is resumed."""
    return _asked(services, project, comparison_id, comparisons.pause)


@router.post(
    "/{comparison_id}/resume",
    status_code=202,
    response_model=ComparisonDetailView,
    summary="Resume a paused comparison",
    response_description="Its paused trainings are queued again.",
    responses=problems(
        ComparisonNotFound,
        ComparisonAlreadyFinished,
        ComparisonBeingCancelled,
        ComparisonNotPaused,
        DatasetNotUsable,
        QuotaExceeded,
        also=_UNCHANGED,
    ),
)
def resume_comparison(
    comparison_id: ComparisonId, background: BackgroundTasks, services: ServicesDep, project: ProjectDep
) -> Response:
    """Each training goes on from its checkpoint as if it had never been paused."""
    return _asked(services, project, comparison_id, comparisons.resume, background)


@router.post(
    "/{comparison_id}/retry",
    status_code=202,
    response_model=ComparisonDetailView,
    summary="Retry what has failed of a comparison",
    response_description="Queued again.",
    responses=problems(
        ComparisonNotFound,
        ComparisonBeingCancelled,
        ComparisonNotRetryable,
        DatasetNotFound,
        DatasetNotUsable,
        ModelNotFound,
        QuotaExceeded,
        also=_UNCHANGED,
    ),
)
def retry_comparison(
    comparison_id: ComparisonId, background: BackgroundTasks, services: ServicesDep, project: ProjectDep
) -> Response:
    """Queues failed and cancelled trainings again, each from its last checkpoint, or else the job that
    compares. What has succeeded is kept. Also after a success, for a seed that it had to leave out."""
    return _asked(services, project, comparison_id, comparisons.retry, background)


@router.delete(
    "/{comparison_id}",
    status_code=204,
    response_class=Response,
    summary="Delete a comparison",
    responses=problems(ComparisonNotFound, ComparisonRunning),
)
def delete_comparison(comparison_id: ComparisonId, database: DatabaseDep, project: ProjectDep) -> None:
    """Its jobs and their models stay. Not possible before it has ended: cancel it first."""
    database.run(lambda session: comparisons.delete(session, project, comparison_id))


def _asked(
    services: Services,
    project: str,
    comparison_id: str,
    verb: Callable[[Session, str, str], RequestOutcome],
    background: BackgroundTasks | None = None,
) -> Response:
    """202 with the comparison after something was asked of it; 200 where that had been asked before."""
    outcome = services.database.run(lambda session: verb(session, project, comparison_id))
    if background is not None:
        background.add_task(_hint, services, outcome.startable)
    content = _json(services.database, project, comparison_id)
    status = 202 if outcome.changed else 200
    return Response(content, status, _location(comparison_id), JSON, background)


def _hint(services: Services, queued: Iterable[tuple[str, str]]) -> None:
    for job_id, queue in queued:
        if not services.hints.send(job_id, queue):
            return  # the broker is away: whoever finds it back announces them


def _json(database: Database, project: str, comparison_id: str) -> bytes:
    with database.read() as session:
        row = comparisons.get(session, project, comparison_id)
        runs = comparisons.runs(session, [comparison_id])
    return ComparisonDetailView.of(row, runs).model_dump_json().encode()


def _location(comparison_id: str) -> dict[str, str]:
    return {"Location": f"/v1/comparisons/{comparison_id}"}


def _policy(page: bytes) -> str:
    """The page may run its own scripts, as they are, and nothing else: it has no origin, asks for nothing,
    sends nothing."""
    hashes = {base64.b64encode(hashlib.sha256(script).digest()).decode() for script in _SCRIPT.findall(page)}
    scripts = " ".join(f"'sha256-{one}'" for one in sorted(hashes)) or "'none'"
    return (
        f"sandbox allow-scripts allow-downloads; default-src 'none'; script-src {scripts}; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
