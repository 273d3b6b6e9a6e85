"""Jobs: create, list, read, ask something of them, and what they have said so far."""

from collections.abc import Callable
from typing import Annotated, Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, BackgroundTasks, Header, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from api import evaluating, plans, streams, training
from api.dependencies import (
    METADATA_FILTER,
    After,
    AfterNumber,
    DatabaseDep,
    IfNoneMatch,
    JobId,
    Limit,
    MetadataFilter,
    OnceDep,
    OrderBy,
    ProjectDep,
    ServicesDep,
)
from api.errors import BodyMalformed, BodyTooLarge, Invalid, NotAcceptable, Overloaded, invalid
from api.idempotency import Once
from api.negotiation import fresh, freshness, preferred
from api.openapi import Responses, location, problems
from api.room import check_room
from api.schemas.jobs import (
    METRIC_ID,
    CheckpointList,
    CheckpointView,
    EvaluateJobCreate,
    EvaluateJobPlan,
    EventList,
    JobCreate,
    JobList,
    JobPlan,
    JobView,
    ManifestView,
    MetricList,
    MetricView,
    TrainJobCreate,
    manifest,
    metric_place,
    view,
)
from api.services import Services
from api.starting_points import Start
from detector.errors import InitialWeightsUnfit
from store import jobs, models
from store.errors import (
    ActionNotPossible,
    ComparisonNotFound,
    DatasetNotFound,
    DatasetNotReady,
    DatasetNotUsable,
    EvaluationNotFound,
    JobAlreadyFinished,
    JobBeingCancelled,
    JobNotFound,
    JobNotPaused,
    JobNotRetryable,
    JobNotStarted,
    ModelCannotPredict,
    ModelNotFound,
    QuotaExceeded,
    SearchNotFound,
    StorageFull,
)
from store.jobs import RequestOutcome
from store.overview import overview
from store.sessions import Database
from store.tables import Dataset, Job, JobKind, JobStatus, RequestedAction

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_REPEATED: Responses = {
    200: {"model": JobView, "description": "It was asked for before; nothing has changed."}
}
_QUEUED_ALREADY: Responses = {
    200: {"model": JobView, "description": "It is queued already; nothing has changed."}
}


@router.post(
    "",
    status_code=202,
    response_model=JobView,
    summary="Create a job",
    response_description="Queued. `Location` is where to look.",
    responses=problems(
        BodyMalformed,
        BodyTooLarge,
        DatasetNotFound,
        DatasetNotUsable,
        DatasetNotReady,
        ModelNotFound,
        ModelCannotPredict,
        InitialWeightsUnfit,
        Invalid,
        QuotaExceeded,
        StorageFull,
        also={
            200: {
                "model": JobPlan | EvaluateJobPlan,
                "description": "With `dry_run`: what the job would be; nothing was made.",
            },
            202: {"headers": location("job")},
        },
    ),
)
def create_job(
    body: JobCreate,
    background: BackgroundTasks,
    services: ServicesDep,
    project: ProjectDep,
    once: OnceDep,
    dry_run: Annotated[bool, Query(description="Only check, and say what would be done.")] = False,
) -> Response:
    """Starts a training on a dataset, or the evaluation of a model.

    While the dataset is still validating, a training waits for it; an evaluation needs one that is ready.
    """
    if dry_run:
        plan: JobPlan | EvaluateJobPlan
        if isinstance(body, EvaluateJobCreate):
            plan = _evaluation_plan(services.database, project, body)
        else:
            dataset, start = _inputs(services.database, project, body)
            plan = plans.plan(services, dataset, start)
        return JSONResponse(plan.model_dump(mode="json"))
    with once.asked(body):
        make: Callable[[Session], Job]
        if isinstance(body, EvaluateJobCreate):
            make = _evaluation(project, body, once)
        else:
            make = _training(services.database, project, body, once)
        check_room(services.settings)

        def create(session: Session) -> tuple[Job, Response]:
            job = make(session)
            return job, once.answer(session, 202, view(job, overview(session, job)), _location(job.id))

        job, response = services.database.run(create)
    background.add_task(services.hints.send, job.id, job.queue)
    response.background = background
    return response


@router.get("", summary="List jobs", openapi_extra=METADATA_FILTER)
def list_jobs(
    database: DatabaseDep,
    project: ProjectDep,
    metadata: MetadataFilter,
    limit: Limit = 20,
    after: After = None,
    order: OrderBy = "desc",
    status: Annotated[JobStatus | None, Query(description="Only those in this status.")] = None,
    kind: Annotated[JobKind | None, Query(description="Only those of this kind.")] = None,
) -> JobList:
    """Jobs by age."""
    with database.read() as session:
        page = jobs.list_(
            session,
            project,
            limit=limit,
            after=after,
            order=order,
            status=status,
            kind=kind,
            metadata=metadata,
        )
        views = [view(row, overview(session, row)) for row in page.items]
    return JobList.of(views, has_more=page.has_more)


@router.get(
    "/{job_id}",
    response_model=JobView,
    summary="Read a job",
    responses=problems(JobNotFound, also=freshness("job")),
)
def get_job(
    job_id: JobId,
    request: Request,
    database: DatabaseDep,
    project: ProjectDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Its status and progress. Cheap to ask again and again with If-None-Match."""
    return fresh(request, _json(database, project, job_id))


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    response_model=JobView,
    summary="Cancel a job",
    response_description="Asked for. A queued job is cancelled at once, a running one within seconds.",
    responses=problems(
        JobNotFound,
        JobAlreadyFinished,
        also=_REPEATED,
    ),
)
def cancel_job(job_id: JobId, services: ServicesDep, project: ProjectDep) -> Response:
    """Ends a job without a result. What a training has learned up to its last checkpoint is kept."""
    return _asked(services, project, job_id, jobs.request, RequestedAction.CANCEL)


@router.post(
    "/{job_id}/pause",
    status_code=202,
    response_model=JobView,
    summary="Pause a job",
    response_description="Asked for. A running training saves a checkpoint first, then frees its worker.",
    responses=problems(JobNotFound, JobAlreadyFinished, JobBeingCancelled, ActionNotPossible, also=_REPEATED),
)
def pause_job(job_id: JobId, services: ServicesDep, project: ProjectDep) -> Response:
    """Keeps the checkpoint and frees the GPU, until the job is resumed."""
    return _asked(services, project, job_id, jobs.request, RequestedAction.PAUSE)


@router.post(
    "/{job_id}/resume",
    status_code=202,
    response_model=JobView,
    summary="Resume a paused job",
    response_description="Queued again.",
    responses=problems(JobNotFound, JobNotPaused, DatasetNotUsable, QuotaExceeded, also=_QUEUED_ALREADY),
)
def resume_job(
    job_id: JobId, background: BackgroundTasks, services: ServicesDep, project: ProjectDep
) -> Response:
    """Queues it again; it goes on from its checkpoint as if it had never been paused."""
    return _asked(services, project, job_id, jobs.resume, background=background)


@router.post(
    "/{job_id}/stop",
    status_code=202,
    response_model=JobView,
    summary="Stop a training early, with a model",
    response_description="Asked for. The training ends at the next step; evaluation and export follow.",
    responses=problems(
        JobNotFound,
        JobAlreadyFinished,
        JobBeingCancelled,
        JobNotStarted,
        ActionNotPossible,
        QuotaExceeded,
        also=_REPEATED,
    ),
)
def stop_job(
    job_id: JobId, background: BackgroundTasks, services: ServicesDep, project: ProjectDep
) -> Response:
    """Ends the training now and makes a model of what it has learned; a paused job is queued for that.

    The job then succeeds with the `status_reason` `stopped`.
    """
    return _asked(services, project, job_id, jobs.request, RequestedAction.STOP, background=background)


@router.post(
    "/{job_id}/retry",
    status_code=202,
    response_model=JobView,
    summary="Retry a failed or cancelled job",
    response_description="Queued again.",
    responses=problems(
        JobNotFound,
        JobNotRetryable,
        DatasetNotFound,
        DatasetNotUsable,
        ModelNotFound,
        EvaluationNotFound,
        ComparisonNotFound,
        SearchNotFound,
        QuotaExceeded,
        also=_QUEUED_ALREADY,
    ),
)
def retry_job(
    job_id: JobId, background: BackgroundTasks, services: ServicesDep, project: ProjectDep
) -> Response:
    """Queues it again with all its attempts; it goes on from its last checkpoint, if it has one."""
    return _asked(services, project, job_id, jobs.retry, background=background)


@router.get(
    "/{job_id}/events",
    response_model=EventList,
    summary="Read or follow a job's events",
    responses=problems(
        JobNotFound,
        NotAcceptable,
        Overloaded,
        also={
            200: {
                "content": {
                    streams.MEDIA_TYPE: {
                        "schema": {"type": "string", "description": "Server-Sent Events, each an EventView."},
                        "example": 'event: job.started\ndata: {"id": 2, "type": "job.started"}\nid: 2\n\n',
                    }
                }
            },
            204: {
                "description": "To a stream resumed after the last event of a finished job: do not return."
            },
        },
    ),
)
async def get_job_events(
    job_id: JobId,
    request: Request,
    services: ServicesDep,
    project: ProjectDep,
    limit: Limit = 100,
    after: AfterNumber = None,
    last_event_id: Annotated[
        str | None, Header(description="Where a broken stream goes on: the `id` of the last event it gave.")
    ] = None,
) -> Response:
    """A page as JSON; with `Accept: text/event-stream` every event as it happens, until the job has ended."""
    wants_stream = preferred(request, ["application/json", streams.MEDIA_TYPE]) == streams.MEDIA_TYPE
    start = max(0, after or 0)
    if wants_stream and last_event_id is not None:
        start = _event_number(last_event_id)

    def read(after: int, limit: int = limit) -> streams.EventPage:
        return streams.read_events(services.database, project, job_id, after, limit)

    if not wants_stream:
        page = await to_thread.run_sync(read, start)
        body = EventList.of(page.events, has_more=page.has_more)
        return Response(body.model_dump_json(), media_type="application/json")
    services.streams.check()
    page = await to_thread.run_sync(read, start)
    if page.over and not page.events:
        return Response(status_code=204)  # tells an EventSource not to connect again
    chunks = streams.event_stream(
        read, page, start, job_id=job_id, following=services.following, streams=services.streams
    )
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(chunks, headers=headers, media_type=streams.MEDIA_TYPE)


@router.get("/{job_id}/metrics", summary="Read a job's metrics", responses=problems(JobNotFound))
def get_job_metrics(
    job_id: JobId,
    database: DatabaseDep,
    project: ProjectDep,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most items on a page.")] = 1000,
    after: Annotated[
        str | None,
        Query(
            pattern=METRIC_ID,
            description="Id after which the page begins: the `last_id` of the one before, or of a poll "
            "before. A bare step stands for all that there is of it.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        Query(max_length=20, description="`train` for the steps of training, else the split evaluated."),
    ] = None,
) -> MetricList:
    """Numbers of training steps and of evaluations, by rising step.

    What is measured at a step is stored after what was trained to it, and comes after it. An attempt that
    goes on from a checkpoint replaces what came after that: when `attempt` has grown, begin anew.
    """
    place = None if after is None else metric_place(after)
    with database.read() as session:
        page = jobs.metrics(session, project, job_id, split=split, after=place, limit=limit)
    return MetricList.of([MetricView.of(row) for row in page.items], has_more=page.has_more)


@router.get("/{job_id}/checkpoints", summary="List a job's checkpoints", responses=problems(JobNotFound))
def list_job_checkpoints(job_id: JobId, database: DatabaseDep, project: ProjectDep) -> CheckpointList:
    """What is kept to go on from: the last two, and the one of the best evaluation."""
    with database.read() as session:
        rows = jobs.checkpoints(session, project, job_id)
    return CheckpointList.of([CheckpointView.of(row) for row in rows])


@router.get("/{job_id}/manifest", summary="Read a job's manifest", responses=problems(JobNotFound))
def get_job_manifest(job_id: JobId, services: ServicesDep, project: ProjectDep) -> ManifestView:
    """Everything that decided the result: config, data, seeds, versions, device, and hashes of them."""
    with services.database.read() as session:
        job = jobs.get(session, project, job_id)
        dataset = session.get(Dataset, job.dataset_id) if job.dataset_id is not None else None
        model = models.of_job(session, project, job_id)
        files = [] if model is None else models.artifacts(session, project, model.id)
    written = next((file.blob for file in files if file.name == models.MANIFEST), None)
    trainer = None if written is None else _read_json(services, written)
    return manifest(job, dataset, None if model is None else model.id, files, trainer)


@router.get(
    "/{job_id}/logs",
    response_class=PlainTextResponse,
    summary="Read the end of a job's log",
    responses=problems(
        JobNotFound,
        also={
            200: {
                "description": "The last lines, oldest first.",
                "content": {
                    "text/plain": {"schema": {"type": "string"}, "example": "epoch 3 of 12, loss 3.21\n"}
                },
            }
        },
    ),
)
def get_job_logs(job_id: JobId, database: DatabaseDep, project: ProjectDep) -> PlainTextResponse:
    """What the job's process has written for people: its last lines."""
    with database.read() as session:
        return PlainTextResponse(jobs.get(session, project, job_id).log_tail)


def _asked(
    services: Services,
    project: str,
    job_id: str,
    verb: Callable[..., RequestOutcome],
    *arguments: RequestedAction,
    background: BackgroundTasks | None = None,
) -> Response:
    """202 with the job after something was asked of it; 200 where that had been asked before."""
    outcome = services.database.run(lambda session: verb(session, project, job_id, *arguments))
    if background is not None and outcome.changed and outcome.job.status is JobStatus.QUEUED:
        background.add_task(services.hints.send, job_id, outcome.job.queue)
    return _answer(services.database, project, job_id, 202 if outcome.changed else 200, background)


def _json(database: Database, project: str, job_id: str) -> bytes:
    with database.read() as session:
        row = jobs.get(session, project, job_id)
        return view(row, overview(session, row)).model_dump_json().encode()


def _answer(
    database: Database, project: str, job_id: str, status: int, background: BackgroundTasks | None = None
) -> Response:
    content = _json(database, project, job_id)
    return Response(content, status, _location(job_id), "application/json", background)


def _read_json(services: Services, key: str) -> dict[str, Any]:
    with services.blobs.open(key) as file:
        found: dict[str, Any] = orjson.loads(file.read())
    return found


def _location(job_id: str) -> dict[str, str]:
    return {"Location": f"/v1/jobs/{job_id}"}


def _training(database: Database, project: str, body: TrainJobCreate, once: Once) -> Callable[[Session], Job]:
    """What makes the job. Raises what `_inputs` raises."""
    dataset, start = _inputs(database, project, body)
    spec: dict[str, Any] = {
        "dataset_id": dataset.id,
        "config": body.config.model_dump(mode="json", exclude_unset=True),
    }
    if body.name is not None:
        spec["name"] = body.name

    def make(session: Session) -> Job:
        return jobs.create(
            session,
            project_id=project,
            kind=JobKind.TRAIN,
            queue="train",
            spec=spec,
            dataset_id=dataset.id,
            initial_model_id=start.model_id,
            resolved_config=start.config.model_dump(mode="json"),
            idempotency_key=once.job_key,
            priority=body.priority,
            max_attempts=body.max_attempts,
            progress_timeout_seconds=body.progress_timeout_seconds or 0.0,
            metadata=body.metadata,
        )

    return make


def _evaluation(project: str, body: EvaluateJobCreate, once: Once) -> Callable[[Session], Job]:
    """What makes the job, and raises what `evaluating.create` raises."""

    def make(session: Session) -> Job:
        _, job = evaluating.create(session, project, body, None, idempotency_key=once.job_key)
        return job

    return make


def _evaluation_plan(database: Database, project: str, body: EvaluateJobCreate) -> EvaluateJobPlan:
    """Raises what `evaluating.find` raises."""
    with database.read() as session:
        subject = evaluating.find(session, project, body)
    return EvaluateJobPlan(
        dataset_id=subject.dataset.id,
        dataset_status=subject.dataset.status,
        model_id=subject.model.id,
        split=subject.split,
        images=(subject.dataset.summary or {})["splits"][subject.split]["images"],
    )


def _inputs(database: Database, project: str, body: TrainJobCreate) -> tuple[Dataset, Start]:
    """Raises `DatasetNotFound`, `DatasetNotUsable`, `ModelNotFound`, `InitialWeightsUnfit`, `Invalid`."""
    with database.read() as session:
        return training.find(session, project, body.dataset_id, body.config)


def _event_number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise invalid("header:last-event-id", "int_parsing", "must be the id of an event: a number")
    return int(text)
