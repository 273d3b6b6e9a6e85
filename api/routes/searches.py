"""Searches: ask for one, list, read, cancel, pause, resume, retry, delete."""

from collections.abc import Callable, Iterable
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from api import searching
from api.bodies import JSON
from api.dependencies import (
    METADATA_FILTER,
    After,
    DatabaseDep,
    IfNoneMatch,
    Limit,
    MetadataFilter,
    OnceDep,
    OrderBy,
    ProjectDep,
    SearchId,
    ServicesDep,
)
from api.errors import BodyMalformed, BodyTooLarge, Invalid
from api.idempotency import Once
from api.negotiation import fresh, freshness
from api.openapi import Responses, location, problems
from api.room import check_room
from api.schemas.searches import SearchCreate, SearchDetailView, SearchList, SearchView
from api.services import Services
from detector.errors import InitialWeightsUnfit
from store import searches
from store.errors import (
    DatasetNotFound,
    DatasetNotUsable,
    ModelNotFound,
    QuotaExceeded,
    SearchAlreadyFinished,
    SearchBeingCancelled,
    SearchNotFound,
    SearchNotPausable,
    SearchNotPaused,
    SearchNotRetryable,
    SearchRunning,
    StorageFull,
)
from store.searches import RequestOutcome
from store.tables import JobStatus

router = APIRouter(prefix="/v1/searches", tags=["searches"])

_UNCHANGED: Responses = {
    200: {"model": SearchDetailView, "description": "It is so already; nothing has changed."}
}


@router.post(
    "",
    status_code=202,
    response_model=SearchDetailView,
    summary="Create a search",
    response_description="What draws its first trials is queued. `Location` is where to look.",
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
        also={202: {"headers": location("search")}},
    ),
)
def create_search(
    body: SearchCreate,
    background: BackgroundTasks,
    services: ServicesDep,
    project: ProjectDep,
    once: OnceDep,
) -> Response:
    """Which learning rate, loss weight, batch size … is best? Trains one config after another, each drawn in
    the knowledge of those before it (TPE), and ends early what others were better than (median rule).

    Each training is an ordinary job. A trial that fails is one of those asked for, and its values are
    avoided; the search fails when none of the first five, or none at all, succeeds.
    """
    with once.asked(body):
        check_room(services.settings)
        queued, response = _create(services, project, body, once)
    background.add_task(_hint, services, queued)
    response.background = background
    return response


def _create(
    services: Services, project: str, body: SearchCreate, once: Once
) -> tuple[list[tuple[str, str]], Response]:
    with services.database.read() as session:
        start = searching.start(session, project, body)

    def create(session: Session) -> tuple[list[tuple[str, str]], Response]:
        row, job = searches.create(
            session,
            project_id=project,
            dataset_id=body.dataset_id,
            config=body.config.model_dump(mode="json", exclude_unset=True),
            resolved_config=start.config.model_dump(mode="json"),
            space={name: one.model_dump(mode="json") for name, one in body.space.items()},
            trials=body.max_trials,
            parallel=body.max_parallel,
            seed=body.seed,
            metric=body.metric,
            pruning=None if body.pruning is None else body.pruning.model_dump(mode="json"),
            initial_model_id=start.model_id,
            name=body.name,
            priority=body.priority,
            metadata=body.metadata,
        )
        view = SearchDetailView.of(row, [], job.status, None)
        return [(job.id, job.queue)], once.answer(session, 202, view, _location(row.id))

    return services.database.run(create)


@router.get("", summary="List searches", openapi_extra=METADATA_FILTER)
def list_searches(
    database: DatabaseDep,
    project: ProjectDep,
    metadata: MetadataFilter,
    limit: Limit = 20,
    after: After = None,
    order: OrderBy = "desc",
    dataset_id: Annotated[str | None, Query(max_length=40, description="Only those on this dataset.")] = None,
    status: Annotated[JobStatus | None, Query(description="Only those in this status.")] = None,
) -> SearchList:
    """Searches by age, without their single trials."""
    with database.read() as session:
        page = searches.list_(
            session,
            project,
            limit=limit,
            after=after,
            order=order,
            dataset_id=dataset_id,
            status=status,
            metadata=metadata,
        )
        trials = searches.trials(session, [row.id for row in page.items])
        drawing = searches.drawing(session, page.items)
    views = [
        SearchView.of(row, [one for one in trials if one.search_id == row.id], drawing.get(row.id))
        for row in page.items
    ]
    return SearchList.of(views, has_more=page.has_more)


@router.get(
    "/{search_id}",
    response_model=SearchDetailView,
    summary="Read a search",
    responses=problems(SearchNotFound, also=freshness("search")),
)
def get_search(
    search_id: SearchId,
    request: Request,
    services: ServicesDep,
    project: ProjectDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """How far it is, its trials, and the best so far with its whole config. Cheap to ask again and again with
    If-None-Match."""
    return fresh(request, _json(services, project, search_id))


@router.post(
    "/{search_id}/cancel",
    status_code=202,
    response_model=SearchDetailView,
    summary="Cancel a search",
    response_description="Asked for: every job of it that has not ended is cancelled.",
    responses=problems(SearchNotFound, SearchAlreadyFinished, also=_UNCHANGED),
)
def cancel_search(search_id: SearchId, services: ServicesDep, project: ProjectDep) -> Response:
    """Ends its jobs and begins no further one. The models of trials that have succeeded stay."""
    return _asked(services, project, search_id, searches.cancel)


@router.post(
    "/{search_id}/pause",
    status_code=202,
    response_model=SearchDetailView,
    summary="Pause a search",
    response_description="Asked for: running trials save a checkpoint first, then free their workers.",
    responses=problems(
        SearchNotFound, SearchAlreadyFinished, SearchBeingCancelled, SearchNotPausable, also=_UNCHANGED
    ),
)
def pause_search(search_id: SearchId, services: ServicesDep, project: ProjectDep) -> Response:
    """Pauses every trial that has not ended and begins no further one, until the search is resumed."""
    return _asked(services, project, search_id, searches.pause)


@router.post(
    "/{search_id}/resume",
    status_code=202,
    response_model=SearchDetailView,
    summary="Resume a paused search",
    response_description="Its paused trials are queued again, and further ones are begun.",
    responses=problems(
        SearchNotFound,
        SearchAlreadyFinished,
        SearchBeingCancelled,
        SearchNotPaused,
        DatasetNotUsable,
        QuotaExceeded,
        also=_UNCHANGED,
    ),
)
def resume_search(
    search_id: SearchId, background: BackgroundTasks, services: ServicesDep, project: ProjectDep
) -> Response:
    """Each trial goes on from its checkpoint as if it had never been paused."""
    return _asked(services, project, search_id, searches.resume, background)


@router.post(
    "/{search_id}/retry",
    status_code=202,
    response_model=SearchDetailView,
    summary="Retry what has failed of a search",
    response_description="Queued again.",
    responses=problems(
        SearchNotFound,
        SearchBeingCancelled,
        SearchNotRetryable,
        DatasetNotFound,
        DatasetNotUsable,
        ModelNotFound,
        QuotaExceeded,
        also=_UNCHANGED,
    ),
)
def retry_search(
    search_id: SearchId, background: BackgroundTasks, services: ServicesDep, project: ProjectDep
) -> Response:
    """Queues failed and cancelled trials again, each from its last checkpoint, and goes on with those that
    were not begun. What has succeeded is kept, and what was pruned stays so."""
    return _asked(services, project, search_id, searches.retry, background)


@router.delete(
    "/{search_id}",
    status_code=204,
    response_class=Response,
    summary="Delete a search",
    responses=problems(SearchNotFound, SearchRunning),
)
def delete_search(search_id: SearchId, database: DatabaseDep, project: ProjectDep) -> None:
    """Its jobs and their models stay. Not possible before it has ended: cancel it first."""
    database.run(lambda session: searches.delete(session, project, search_id))


def _asked(
    services: Services,
    project: str,
    search_id: str,
    verb: Callable[[Session, str, str], RequestOutcome],
    background: BackgroundTasks | None = None,
) -> Response:
    """202 with the search after something was asked of it; 200 where that had been asked before."""
    outcome = services.database.run(lambda session: verb(session, project, search_id))
    if background is not None:
        background.add_task(_hint, services, outcome.startable)
    content = _json(services, project, search_id)
    status = 202 if outcome.changed else 200
    return Response(content, status, _location(search_id), JSON, background)


def _hint(services: Services, queued: Iterable[tuple[str, str]]) -> None:
    for job_id, queue in queued:
        if not services.hints.send(job_id, queue):
            return  # the broker is away: whoever finds it back announces them


def _json(services: Services, project: str, search_id: str) -> bytes:
    with services.database.read() as session:
        row = searches.get(session, project, search_id)
        trials = searches.trials(session, [search_id])
        drawing = searches.drawing(session, [row]).get(search_id)
        config = searches.config_of(session, searches.best(trials))
    return SearchDetailView.of(row, trials, drawing, config).model_dump_json().encode()


def _location(search_id: str) -> dict[str, str]:
    return {"Location": f"/v1/searches/{search_id}"}
