"""The only file that says Depends."""

from typing import Annotated, Any, Literal

from fastapi import Depends, Header, Path, Query, Request
from pydantic import AfterValidator

from api import access
from api.access import Caller
from api.errors import Invalid
from api.idempotency import Once
from api.schemas.common import ProblemError, printable
from api.services import Services
from api.settings import Settings
from store.sessions import Database


async def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(services)]


async def database(services: ServicesDep) -> Database:
    return services.database


async def settings(services: ServicesDep) -> Settings:
    return services.settings


async def caller(request: Request) -> Caller:
    """Who asks, as `api.middleware.Authentication` has found out."""
    found: Caller = request.state.caller
    return found


CallerDep = Annotated[Caller, Depends(caller)]


async def project(caller: CallerDep) -> str:
    """The tenant: what belongs to another one looks absent."""
    return caller.project_id


async def admitted(request: Request, caller: CallerDep) -> None:
    """Raises `ScopeMissing` unless the caller may do what this route does."""
    access.check(caller, request.scope["route"].name)


async def operator(caller: CallerDep) -> Caller:
    """The caller, who runs this service. Raises `ScopeMissing` for everybody else."""
    if not caller.is_operator:
        raise access.ScopeMissing("Only an admin key of the default project may do this.")
    return caller


DatabaseDep = Annotated[Database, Depends(database)]
SettingsDep = Annotated[Settings, Depends(settings)]
ProjectDep = Annotated[str, Depends(project)]
OperatorDep = Annotated[Caller, Depends(operator)]
ADMITTED = Depends(admitted)

# Parameters

_MOST_FILTERS = 10

_ID = "[0-9a-z]{26}$"
DatasetId = Annotated[
    str,
    Path(pattern=f"^ds_{_ID}", description="Id of a dataset.", examples=["ds_01jz4m8x0v3s7q9k2b5c6d7e8f"]),
]
Position = Annotated[
    int,
    Path(ge=0, lt=2**31, description="Number of an image within its dataset, from 0.", examples=[17]),
]
UploadId = Annotated[
    str,
    Path(pattern=f"^upl_{_ID}", description="Id of an upload.", examples=["upl_01jz4m8c5d6e7f8g9h0j1k2m3n"]),
]
JobId = Annotated[
    str, Path(pattern=f"^job_{_ID}", description="Id of a job.", examples=["job_01jz4m9a6hcy0p3t1w5x7z9b2d"])
]
ModelReference = Annotated[
    str,
    Path(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$",
        description="Id of a model, or an alias such as `production`.",
        examples=["mdl_01jz4mp2q7r9s1t3v5w7x9y1z3"],
    ),
]
AliasName = Annotated[
    str,
    Path(
        description="Lower-case letters, digits, `.`, `_` and `-`; it begins with a letter or digit, and not "
        "with `mdl_`.",
        json_schema_extra={"pattern": r"^[a-z0-9][a-z0-9._-]{0,99}$"},
        examples=["production"],
    ),
]
EvaluationId = Annotated[
    str,
    Path(
        pattern=f"^evl_{_ID}", description="Id of an evaluation.", examples=["evl_01jz4mp2q7r9s1t3v5w7x9y1z4"]
    ),
]
ComparisonId = Annotated[
    str,
    Path(
        pattern=f"^cmp_{_ID}", description="Id of a comparison.", examples=["cmp_01jz4n2c4e6g8j0m2p4r6t8v0x"]
    ),
]
SearchId = Annotated[
    str,
    Path(pattern=f"^srch_{_ID}", description="Id of a search.", examples=["srch_01jz4p2c4e6g8j0m2p4r6t8v0x"]),
]
FigureName = Annotated[
    str,
    Path(pattern=r"^[a-z][a-z0-9_]{0,63}$", description="Name of a figure.", examples=["score_against_iou"]),
]
WebhookId = Annotated[
    str,
    Path(pattern=f"^whk_{_ID}", description="Id of a webhook.", examples=["whk_01jz4m7w9x1y3z5a7b9c1d3e5f"]),
]
KeyId = Annotated[
    str, Path(pattern=f"^key_{_ID}", description="Id of a key.", examples=["key_01jz4m7w9x1y3z5a7b9c1d3e5f"])
]
WorkerId = Annotated[
    str,
    Path(pattern=f"^wrk_{_ID}", description="Id of a worker.", examples=["wrk_01jz4kzy3t5v7w9x1y3z5a7b9c"]),
]
ArtifactName = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Name of a file.", examples=["model.onnx"]
    ),
]
Limit = Annotated[int, Query(ge=1, le=100, description="Most items on a page.")]
After = Annotated[
    str | None,
    Query(
        pattern=r"^[a-z]+_[0-9a-z]{26}$", description="Id after which the page begins: the `last_id` before."
    ),
]
AfterNumber = Annotated[
    int | None,
    Query(
        ge=-1, lt=2**31, description="Number after which the page begins: the `last_id` of the one before."
    ),
]


async def metadata_filter(request: Request) -> dict[str, str]:
    """What `metadata[name]=value` in the query asks for. Raises `Invalid`."""
    wanted: dict[str, str] = {}
    for parameter, value in request.query_params.multi_items():
        name = parameter.removeprefix("metadata[").removesuffix("]")
        if parameter != f"metadata[{name}]":
            continue
        errors = []
        if name in wanted:
            errors.append(
                ProblemError(pointer=f"query:{parameter}", code="duplicate", detail="is given twice")
            )
        if len(wanted) >= _MOST_FILTERS:
            detail = f"at most {_MOST_FILTERS} names may be asked for"
            errors.append(ProblemError(pointer=f"query:{parameter}", code="too_long", detail=detail))
        if errors:
            raise Invalid(f"{errors[0].pointer}: {errors[0].detail}", errors=errors)
        wanted[name] = value
    return wanted


MetadataFilter = Annotated[dict[str, str], Depends(metadata_filter)]
# FastAPI has no parameter of this kind (`deepObject`), so that routes with a `MetadataFilter` describe it so.
METADATA_FILTER: dict[str, Any] = {
    "parameters": [
        {
            "name": "metadata",
            "in": "query",
            "required": False,
            "style": "deepObject",
            "explode": True,
            "description": "Only those with all of these metadata: `metadata[source]=hospital-7`.",
            "schema": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 10},
        }
    ]
}
OrderBy = Annotated[Literal["asc", "desc"], Query(description="`desc` lists the newest first.")]
IfNoneMatch = Annotated[
    str | None, Header(description="The ETag of the answer before; when nothing has changed: 304, no body.")
]
FileRange = Annotated[
    str | None, Header(alias="Range", description="One part of the file, such as `bytes=1000-`.")
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Makes a repeated request harmless for a day: same key, same request, same answer.",
    ),
    AfterValidator(lambda value: value if value is None else printable(value)),
]


async def once(
    request: Request, database: DatabaseDep, project: ProjectDep, idempotency_key: IdempotencyKey = None
) -> Once:
    """The request's Idempotency-Key, for what this route does."""
    return Once(database, project, request.scope["route"].name, idempotency_key)


OnceDep = Annotated[Once, Depends(once)]
