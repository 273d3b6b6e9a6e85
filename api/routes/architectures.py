"""Architectures: what can be trained, and with which options."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse

from api.errors import ArchitectureNotFound
from api.openapi import problems
from api.schemas.architectures import ArchitectureList, architectures, config_schema
from detector.config import ARCHITECTURES

router = APIRouter(prefix="/v1/architectures", tags=["architectures"])


class SchemaResponse(JSONResponse):
    """A JSON Schema."""

    media_type = "application/schema+json"


@router.get("", summary="List architectures")
def list_architectures() -> ArchitectureList:
    """Every detector that can be trained."""
    return architectures()


@router.get(
    "/{name}/schema",
    summary="Read the schema of an architecture's config",
    response_class=SchemaResponse,
    responses=problems(
        ArchitectureNotFound,
        also={
            200: {
                "description": "A JSON Schema (2020-12).",
                "content": {
                    "application/schema+json": {
                        "schema": {"type": "object"},
                        "example": {
                            "type": "object",
                            "properties": {"epochs": {"type": "integer", "default": 12}},
                        },
                    }
                },
            }
        },
    ),
)
def get_architecture_schema(
    name: Annotated[str, Path(description="Name of an architecture.", examples=list(ARCHITECTURES))],
) -> SchemaResponse:
    """JSON Schema of a training's `config`, with the default, the range and a sentence for every field."""
    if name not in ARCHITECTURES:
        raise ArchitectureNotFound(f"There is no architecture named {name[:100]!r}; see /v1/architectures.")
    schema: dict[str, Any] = config_schema(name)
    return SchemaResponse(schema)
