"""Names for models: list, read, move, delete."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.dependencies import After, AliasName, DatabaseDep, Limit, OrderBy, ProjectDep
from api.errors import BodyMalformed, BodyTooLarge, Invalid, PreconditionFailed, invalid
from api.negotiation import freshness, require_match, unchanged
from api.openapi import header, location, problems
from api.schemas.model_aliases import ModelAliasList, ModelAliasPut, ModelAliasView
from store import aliases, models
from store.errors import ModelAliasNotFound, ModelNotFound
from store.tables import ModelAlias

router = APIRouter(prefix="/v1/model-aliases", tags=["model aliases"])
_ETAG = header("ETag", "Changes with the alias.")
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="The ETag it must still have, else 412, so that nobody else's move is undone. `*`: it "
        "must exist.",
    ),
]
IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="`*`: it must not exist yet, else 412.")
]


@router.get("", summary="List aliases")
def list_model_aliases(
    database: DatabaseDep,
    project: ProjectDep,
    limit: Limit = 20,
    after: After = None,
    order: OrderBy = "desc",
    model_id: Annotated[str | None, Query(max_length=40, description="Only those of this model.")] = None,
) -> ModelAliasList:
    """The project's names for models, by age."""
    with database.read() as session:
        page = aliases.list_(session, project, limit=limit, after=after, order=order, model_id=model_id)
    return ModelAliasList.of([ModelAliasView.of(row) for row in page.items], has_more=page.has_more)


@router.get(
    "/{alias}",
    response_model=ModelAliasView,
    summary="Read an alias",
    responses=problems(ModelAliasNotFound, also=freshness("alias")),
)
def get_model_alias(
    alias: AliasName,
    request: Request,
    database: DatabaseDep,
    project: ProjectDep,
    if_none_match: Annotated[
        str | None, Header(alias="If-None-Match", description="The ETag of the answer before.")
    ] = None,
) -> Response:
    """Which model it means now."""
    with database.read() as session:
        row = aliases.get(session, project, alias)
    if unchanged(request, _etag(row)):
        return Response(None, 304, {"ETag": _etag(row)})
    return _answer(row, 200)


@router.put(
    "/{alias}",
    response_model=ModelAliasView,
    summary="Make or move an alias",
    response_description="It means this model now.",
    responses=problems(
        BodyMalformed,
        BodyTooLarge,
        Invalid,
        ModelNotFound,
        PreconditionFailed,
        also={
            200: {"headers": _ETAG},
            201: {
                "model": ModelAliasView,
                "description": "The alias is new.",
                "headers": _ETAG | location("alias"),
            },
        },
    ),
)
def put_model_alias(
    alias: AliasName,
    body: ModelAliasPut,
    request: Request,
    database: DatabaseDep,
    project: ProjectDep,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """From the next request on, the name means this model. Give the ETag in If-Match to move it only from
    where you have seen it. A repeat changes nothing."""
    if not aliases.NAME.fullmatch(alias):
        detail = "a name is lower-case letters, digits, '.', '_' and '-', at most 100; `mdl_` begins an id"
        raise invalid("path:alias", "string_pattern_mismatch", detail)

    def put(session: Session) -> Response:
        aliases.hold(session, project)
        before = aliases.find(session, project, alias)
        require_match(request, None if before is None else _etag(before))
        model = models.resolve(session, project, body.model_id)
        move = aliases.put(session, project, alias, model_id=model.id, metadata=body.metadata)
        return _answer(move.alias, 201 if move.created else 200)

    return database.run(put)


@router.delete(
    "/{alias}",
    status_code=204,
    response_class=Response,
    summary="Delete an alias",
    responses=problems(ModelAliasNotFound, PreconditionFailed),
)
def delete_model_alias(
    alias: AliasName, request: Request, database: DatabaseDep, project: ProjectDep, if_match: IfMatch = None
) -> None:
    """The model stays, under its id."""

    def delete(session: Session) -> None:
        aliases.hold(session, project)
        require_match(request, _etag(aliases.get(session, project, alias)))
        aliases.delete(session, project, alias)

    database.run(delete)


def _answer(row: ModelAlias, status: int) -> Response:
    headers = {"ETag": _etag(row), "Cache-Control": "private, no-cache"}
    if status == 201:
        headers["Location"] = f"/v1/model-aliases/{row.name}"
    return Response(ModelAliasView.of(row).model_dump_json(), status, headers, "application/json")


def _etag(row: ModelAlias) -> str:
    """Strong, so that If-Match may be asked; of this alias, not of one deleted that had its name."""
    return f'"{row.id}-{row.version}"'
