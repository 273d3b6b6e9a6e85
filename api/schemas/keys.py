"""API keys on the wire."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field

from api.access import Caller
from api.schemas.common import Body, Example, Identified, ListView, Name, Shape
from store.keys import NewKey, Scope
from store.quotas import Bytes, Quotas
from store.tables import Key, Project

_KEY: Example = {
    "id": "key_01jz4m7w9x1y3z5a7b9c1d3e5f",
    "object": "key",
    "name": "ci",
    "prefix": "hd_4f1c09ab72",
    "scopes": ["predict", "read"],
    "created_at": "2026-11-22T15:00:00.000Z",
    "expires_at": None,
    "revoked_at": None,
}


class KeyCreate(Body):
    """A key to be made."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "ci", "scopes": ["read", "predict"], "expires_at": None}]}
    )

    name: Name
    """What it is for, so that you know it again in the list."""
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=5)]
    """What it allows: `read` everything of the project, `train` (upload, start and end jobs, delete),
    `predict`, `metrics` (numbers of the whole service, in the default project only), or `admin`, which is
    all of it and the keys."""
    expires_at: AwareDatetime | None = None
    """When it ends by itself; null for never."""


class KeyView(Identified):
    """An API key without its secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [_KEY]})

    object: Literal["key"] = "key"
    name: str
    prefix: str
    """The visible beginning of the key."""
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: Key) -> Self:
        return cls(
            id=row.id,
            name=row.name,
            prefix=row.prefix,
            scopes=[Scope(scope) for scope in row.scopes],
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
        )


class KeyCreatedView(KeyView):
    """A new API key. `key` is shown this once and cannot be had again."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [_KEY | {"key": "hd_4f1c09ab72_" + "Zk3v…"}]},
    )

    key: str
    """What a client sends as `Authorization: Bearer hd_…`."""

    @classmethod
    def made(cls, new: NewKey) -> Self:
        return cls(**KeyView.of(new.row).model_dump(), key=new.text)


class KeyList(ListView[KeyView]):
    """Keys."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [_KEY],
                    "first_id": _KEY["id"],
                    "last_id": _KEY["id"],
                    "has_more": False,
                }
            ]
        }
    )


class MeView(Shape):
    """Who asks."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "me",
                    "project": {"id": "prj_default", "name": "default"},
                    "scopes": ["predict", "read"],
                    "key_id": _KEY["id"],
                    "quotas": {"max_queued_jobs": 0, "max_running_jobs": 2, "max_bytes": 50_000_000_000},
                    "usage": {
                        "bytes": 4_519_226_113,
                        "datasets": 4_402_341_478,
                        "models": 71_303_168,
                        "evaluations": 8_912_896,
                        "comparisons": 0,
                        "checkpoints": 36_668_571,
                        "uploads": 0,
                    },
                }
            ]
        }
    )

    object: Literal["me"] = "me"
    project: "ProjectView"
    scopes: list[Scope]
    key_id: str | None
    """Id of the key; null where no key was needed and none was shown."""
    quotas: "QuotasView"
    usage: "UsageView"

    @classmethod
    def of(cls, caller: Caller, project: Project, quotas: Quotas, used: Bytes) -> Self:
        return cls(
            project=ProjectView(id=project.id, name=project.name),
            scopes=sorted(caller.scopes),
            key_id=caller.key_id,
            quotas=QuotasView(**vars(quotas)),
            usage=UsageView(bytes=used.total, **vars(used)),
        )


class QuotasView(Shape):
    """How much the project may have; 0 is no limit."""

    max_queued_jobs: int
    """Jobs that wait, validations of datasets not counted."""
    max_running_jobs: int
    """Jobs that run at the same time; more of them wait."""
    max_bytes: int
    """Bytes that are kept. Uploads past it are refused; what a job makes is counted, and never refused."""


class UsageView(Shape):
    """Bytes that are kept for the project. What several things share is counted once, with the first."""

    bytes: int
    """All together."""
    datasets: int
    """Archives as they were uploaded."""
    models: int
    """Files of models."""
    evaluations: int
    """Files of evaluations."""
    comparisons: int
    """Files of comparisons."""
    checkpoints: int
    """Of jobs, to go on from."""
    uploads: int
    """What unfinished resumable uploads have announced."""


class ProjectView(Shape):
    """The project that everything seen with this key belongs to."""

    id: str
    name: str
