"""Models: import, list, read, change, download their files, delete."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response, StreamingResponse

from api import files, imports
from api.dependencies import (
    METADATA_FILTER,
    After,
    ArtifactName,
    DatabaseDep,
    FileRange,
    Limit,
    MetadataFilter,
    ModelReference,
    OnceDep,
    OrderBy,
    ProjectDep,
    ServicesDep,
)
from api.errors import (
    BodyMalformed,
    BodyTooLarge,
    Invalid,
    MediaTypeUnsupported,
    RangeNotSatisfiable,
    invalid,
)
from api.openapi import BINARY, location, problems
from api.room import bytes_left
from api.schemas.common import MOST_METADATA
from api.schemas.models import (
    ArtifactList,
    ArtifactView,
    ModelCreate,
    ModelDetailView,
    ModelList,
    ModelPatch,
    ModelView,
)
from detector.errors import InitialWeightsUnfit, WeightsInvalid
from store import aliases, models
from store.errors import (
    ArtifactNotFound,
    ComparisonUsesModel,
    EvaluationNotFound,
    ModelHasAlias,
    ModelInUse,
    ModelNotFound,
    StorageFull,
    StorageQuotaExceeded,
)
from store.models import NewArtifact
from store.tables import Model

router = APIRouter(prefix="/v1/models", tags=["models"])


def _import_description() -> dict[str, Any]:
    """The two bodies of an import, and its parameters, which may stand in the query or in the form."""
    schema = ModelCreate.model_json_schema(ref_template="#/components/schemas/{model}")
    properties = schema["properties"]
    # The architectures are among the components already, by the config of a job.
    properties["classes"]["items"] = {
        "anyOf": [{"type": "string"}, schema["$defs"]["ClassCreate"]],
        "description": "A name, or an object.",
    }
    as_json = ("architecture", "classes", "metadata")
    form = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": BINARY | {"description": "The safetensors file."}} | properties,
    }
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": value.get("description", "") + " In a multipart body also as a field.",
                **(
                    {"content": {"application/json": {"schema": value}}}
                    if name in ("classes", "metadata")
                    else {"schema": value}
                ),
            }
            for name, value in properties.items()
        ],
        "requestBody": {
            "required": True,
            "description": "The safetensors file itself, or a form with it as `file`.",
            "content": {
                "application/octet-stream": {"schema": BINARY},
                "multipart/form-data": {
                    "schema": form,
                    "encoding": {name: {"contentType": "application/json"} for name in as_json},
                },
            },
        },
    }


@router.post(
    "",
    status_code=201,
    response_model=ModelView,
    summary="Import weights",
    response_description="Stored, to be named in `initial_weights` of a training. `Location` is where.",
    responses=problems(
        BodyMalformed,
        BodyTooLarge,
        MediaTypeUnsupported,
        WeightsInvalid,
        InitialWeightsUnfit,
        StorageFull,
        StorageQuotaExceeded,
        also={201: {"headers": location("model")}},
    ),
    openapi_extra=_import_description(),
)
async def create_model(
    request: Request, services: ServicesDep, project: ProjectDep, once: OnceDep
) -> Response:
    """A safetensors file with the weights of a detector or of a bare backbone, as a starting point.

    It cannot predict: a training from it (`"initial_weights": {"kind": "model", "model": "mdl_…"}`, or kind
    `backbone`) makes a model that can. No other format is read; a pickle is refused.
    """
    async with once.asking():
        with services.blobs.staging() as staging:
            weights = imports.ScannedWeights(staging)
            left = await to_thread.run_sync(bytes_left, services.database, project, once)
            said = await imports.receive(request, weights, services.settings, left=left)
            imports.check(said, weights.tensors())
            blob = await to_thread.run_sync(staging.commit)
        once.settle(blob.sha256, said)
        architecture = said.architecture

        def create(session: Session) -> Response:
            row = models.import_weights(
                session,
                project_id=project,
                name=said.name,
                architecture=said.network,
                classes=said.class_map,
                config={} if architecture is None else {"architecture": architecture.model_dump(mode="json")},
                weights=NewArtifact(
                    models.WEIGHTS, "application/octet-stream", blob.key, blob.sha256, blob.bytes
                ),
                metadata=said.metadata,
            )
            return once.answer(session, 201, ModelView.of(row), {"Location": f"/v1/models/{row.id}"})

        return await to_thread.run_sync(services.database.run, create)


@router.get("", summary="List models", openapi_extra=METADATA_FILTER)
def list_models(
    database: DatabaseDep,
    project: ProjectDep,
    metadata: MetadataFilter,
    limit: Limit = 20,
    after: After = None,
    order: OrderBy = "desc",
    dataset_id: Annotated[
        str | None, Query(max_length=40, description="Only those trained on this dataset.")
    ] = None,
) -> ModelList:
    """Models by age."""
    with database.read() as session:
        page = models.list_(
            session,
            project,
            limit=limit,
            after=after,
            order=order,
            dataset_id=dataset_id,
            metadata=metadata,
        )
    return ModelList.of([ModelView.of(row) for row in page.items], has_more=page.has_more)


@router.get("/{model_id}", summary="Read a model", responses=problems(ModelNotFound))
def get_model(model_id: ModelReference, database: DatabaseDep, project: ProjectDep) -> ModelDetailView:
    """Its classes, config, metrics, evaluation, files and aliases."""
    with database.read() as session:
        return _detail(session, project, models.resolve(session, project, model_id))


@router.patch(
    "/{model_id}",
    summary="Change a model",
    responses=problems(BodyMalformed, BodyTooLarge, ModelNotFound, Invalid),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "A JSON merge patch (RFC 7396), as `application/json` too.",
            "content": {
                kind: {"schema": {"$ref": "#/components/schemas/ModelPatch"}}
                for kind in ("application/merge-patch+json", "application/json")
            },
        }
    },
)
def patch_model(
    model_id: ModelReference, body: ModelPatch, database: DatabaseDep, project: ProjectDep
) -> ModelDetailView:
    """Its name and metadata; what is left out stays. A null takes a name of the metadata away."""

    def change(session: Session) -> ModelDetailView:
        found = models.resolve(session, project, model_id)
        row = models.change(
            session,
            project,
            found.id,
            name=body.name,
            metadata=partial(_merged, body.metadata) if "metadata" in body.model_fields_set else None,
        )
        return _detail(session, project, row)

    return database.run(change)


@router.delete(
    "/{model_id}",
    status_code=204,
    response_class=Response,
    summary="Delete a model",
    responses=problems(ModelNotFound, ModelInUse, ComparisonUsesModel, ModelHasAlias),
)
async def delete_model(model_id: ModelReference, services: ServicesDep, project: ProjectDep) -> None:
    """The job that made it stays, with its metrics and events. Not possible while an alias means it."""

    def delete(session: Session) -> str:
        found = models.resolve(session, project, model_id).id
        models.delete(session, project, found)
        return found

    services.models.forget((project, await to_thread.run_sync(services.database.run, delete)))


@router.get("/{model_id}/artifacts", summary="List a model's files", responses=problems(ModelNotFound))
def list_artifacts(model_id: ModelReference, database: DatabaseDep, project: ProjectDep) -> ArtifactList:
    """Weights, ONNX graph, model card, and the detections it was measured by."""
    with database.read() as session:
        found = models.resolve(session, project, model_id)
        listed = [ArtifactView.of(row) for row in models.artifacts(session, project, found.id)]
    return ArtifactList(
        data=listed, first_id=listed[0].name if listed else None, last_id=listed[-1].name if listed else None
    )


@router.get(
    "/{model_id}/artifacts/{name}",
    response_class=StreamingResponse,
    summary="Download a file of a model",
    responses=problems(
        ModelNotFound,
        ArtifactNotFound,
        RangeNotSatisfiable,
        also=files.RESPONSES,
    ),
)
def get_artifact(
    model_id: ModelReference,
    name: ArtifactName,
    request: Request,
    services: ServicesDep,
    project: ProjectDep,
    range_: FileRange = None,
) -> Response:
    """A file never changes under its name and ETag, so a broken download may go on with Range."""
    with services.database.read() as session:
        row = models.artifact(session, project, models.resolve(session, project, model_id).id, name)
    return files.answer(request, services, row)


def _merged(patch: Mapping[str, str | None] | None, before: dict[str, str]) -> dict[str, str]:
    """Raises `Invalid` for too many."""
    if patch is None:
        return {}
    after = {name: value for name, value in {**before, **patch}.items() if value is not None}
    if len(after) > MOST_METADATA:
        detail = f"the model would have {len(after)} names, {MOST_METADATA} is the most"
        raise invalid("/metadata", "too_long", detail)
    return after


def _detail(session: Session, project: str, row: Model) -> ModelDetailView:
    try:
        evaluation = models.evaluation_of(session, project, row.id)
    except EvaluationNotFound:
        evaluation = None
    return ModelDetailView.with_parts(
        row,
        evaluation,
        models.artifacts(session, project, row.id),
        aliases.of_model(session, row.id),
    )
