"""Names for models on the wire."""

from datetime import datetime
from typing import Literal, Self

from pydantic import ConfigDict, Field

from api.schemas.common import Body, Example, Identified, ListView, Metadata
from store.tables import ModelAlias

EXAMPLE: Example = {
    "id": "mal_01jz4mq3r8s0t2v4w6x8y0z1a2",
    "object": "model_alias",
    "name": "production",
    "model_id": "mdl_01jz4mp2q7r9s1t3v5w7x9y1z3",
    "metadata": {"approved_by": "quality"},
    "created_at": "2026-11-20T09:00:00.000Z",
    "updated_at": "2026-11-22T15:30:00.000Z",
}


class ModelAliasPut(Body):
    """What the name is to mean."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model_id": EXAMPLE["model_id"], "metadata": {"approved_by": "quality"}}]
        }
    )

    model_id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")
    """Id of the model; or another alias, for the model which that means now."""
    metadata: Metadata = Field(default_factory=dict)
    """Up to 50 names and values of your own."""


class ModelAliasView(Identified):
    """A name that means one model now and may mean another one later. Paths take it in place of the id."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: str
    object: Literal["model_alias"] = "model_alias"
    name: str
    model_id: str
    """The model it means now."""
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime
    """When it was moved, or given other metadata."""

    @classmethod
    def of(cls, row: ModelAlias) -> Self:
        return cls(
            id=row.id,
            name=row.name,
            model_id=row.model_id,
            metadata=row.extra,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


class ModelAliasList(ListView[ModelAliasView]):
    """A page of aliases."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [EXAMPLE],
                    "first_id": EXAMPLE["id"],
                    "last_id": EXAMPLE["id"],
                    "has_more": False,
                }
            ]
        }
    )
