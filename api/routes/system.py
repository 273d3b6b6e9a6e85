"""Whether the service is there, and where things are."""

from collections.abc import Callable

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import HTMLResponse, Response

from api.access import ScopeMissing
from api.dependencies import CallerDep, ServicesDep
from api.errors import NotReady
from api.openapi import problems
from api.page import POLICY, page
from api.room import check_room
from api.schemas.system import HealthView, IndexView, ReadyView
from api.services import Services, require_current
from store.errors import StorageFull
from store.tables import DEFAULT_PROJECT

router = APIRouter(tags=["system"])
_TEXT = "text/plain"
_PLAIN = {
    "type": "string",
    "examples": ['harmonicdet_jobs{queue="train",kind="train",status="running",phase="training"} 1.0\n'],
}


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> HealthView:
    """Answers as long as the process does; looks at nothing else."""
    return HealthView()


@router.get("/readyz", summary="Can the service work?", responses=problems(NotReady))
def readyz(services: ServicesDep) -> ReadyView:
    """Looks at the database, its migrations, the broker and the blobs, and whether the models that are to be
    loaded at the start have been.

    A disk that is nearly full is told under `storage`: new uploads and jobs are refused then, everything else
    still works.
    """
    checks = {name: _outcome(check) for name, check in _checks(services).items()}
    failed = [name for name, outcome in checks.items() if outcome != "ok"]
    if failed:
        raise NotReady(f"Not ready: {', '.join(failed)}.", checks=checks)
    return ReadyView(checks=checks | {"storage": _storage(services)})


@router.get(
    "/metrics",
    summary="Numbers for Prometheus",
    response_class=Response,
    responses={
        200: {"description": "In the text format of Prometheus.", "content": {_TEXT: {"schema": _PLAIN}}}
    },
)
def get_metrics(request: Request, caller: CallerDep) -> Response:
    """Numbers of this process, and of the whole service as the database has it: for a key of the default
    project with the scope `metrics`. The same is told, without a key, on `HARMONICDET_METRICS_PORT`."""
    if caller.project_id != DEFAULT_PROJECT:
        raise ScopeMissing("Only a key of the default project may see numbers of the whole service.")
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1", summary="Where things are")
async def index(request: Request) -> IndexView:
    """Paths of the collections."""
    names = (
        "datasets",
        "architectures",
        "jobs",
        "models",
        "model-aliases",
        "evaluations",
        "comparisons",
        "searches",
        "webhooks",
    )
    links = {name: f"/v1/{name}" for name in names} | {"openapi": "/openapi.json", "docs": "/docs"}
    return IndexView(name=request.app.title, version=request.app.version, links=links)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """The API on one page, which needs no network and no script."""
    return HTMLResponse(page(request.app.openapi()), headers={"Content-Security-Policy": POLICY})


def _checks(services: Services) -> dict[str, Callable[[], object]]:
    return {
        "database": services.database.check,
        "migrations": lambda: require_current(services.settings.database_url),
        "broker": lambda: _require(services.hints.ping()),
        "blobs": services.blobs.check,
        "models": services.preload.check,
    }


def _storage(services: Services) -> str:
    try:
        check_room(services.settings)
    except StorageFull:
        return "nearly full"
    return "ok"


def _outcome(check: Callable[[], object]) -> str:
    """`ok`, or the kind of error: what went wrong exactly is for the log, not for strangers."""
    try:
        check()
    except Exception as error:
        return f"failed ({type(error).__name__})"
    return "ok"


def _require(condition: bool) -> None:
    if not condition:
        raise ConnectionError
