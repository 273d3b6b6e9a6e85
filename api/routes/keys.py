"""API keys of the caller's project, and who the caller is."""

from fastapi import APIRouter, Response

from api.dependencies import (
    After,
    CallerDep,
    DatabaseDep,
    KeyId,
    Limit,
    OrderBy,
    ProjectDep,
    ServicesDep,
)
from api.errors import BodyMalformed, BodyTooLarge, Invalid, NotReady
from api.openapi import problems
from api.schemas.keys import KeyCreate, KeyCreatedView, KeyList, KeyView, MeView
from store import keys, projects, quotas
from store.errors import KeyNotFound

router = APIRouter(prefix="/v1", tags=["keys"])


@router.get("/me", summary="Who am I?")
def get_me(caller: CallerDep, database: DatabaseDep) -> MeView:
    """The project, the scopes and the key of this request; how much the project may have, and has."""
    with database.read() as session:
        return MeView.of(
            caller,
            projects.get(session, caller.project_id),
            quotas.of(session, caller.project_id),
            quotas.used(session, caller.project_id),
        )


@router.post(
    "/keys",
    status_code=201,
    summary="Create an API key",
    response_description="The key: shown this once.",
    responses=problems(BodyMalformed, BodyTooLarge, Invalid, NotReady),
)
def create_key(
    body: KeyCreate, services: ServicesDep, project: ProjectDep, response: Response
) -> KeyCreatedView:
    """Makes a key of the caller's project. Only its prefix and a hash are kept."""
    secret = services.secret
    if secret is None:
        raise NotReady("HARMONICDET_SECRET is not set, so no key can be made.", checks={"secret": "not set"})
    response.headers["Cache-Control"] = "no-store"
    with services.database.begin() as session:
        new = keys.create(
            session,
            secret=secret,
            project_id=project,
            name=body.name,
            scopes=body.scopes,
            expires_at=body.expires_at,
        )
        return KeyCreatedView.made(new)


@router.get("/keys", summary="List API keys")
def list_keys(
    database: DatabaseDep,
    project: ProjectDep,
    limit: Limit = 20,
    after: After = None,
    order: OrderBy = "desc",
) -> KeyList:
    """The project's keys by age, revoked and expired ones too, without their secrets."""
    with database.read() as session:
        page = keys.list_(session, project, limit=limit, after=after, order=order)
        views = [KeyView.of(row) for row in page.items]
    return KeyList.of(views, has_more=page.has_more)


@router.delete("/keys/{key_id}", summary="Revoke an API key", responses=problems(KeyNotFound))
def revoke_key(key_id: KeyId, database: DatabaseDep, project: ProjectDep) -> KeyView:
    """Ends a key at once; a repeat changes nothing."""
    with database.begin() as session:
        return KeyView.of(keys.revoke(session, project, key_id))
