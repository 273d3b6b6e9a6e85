"""What the service says about itself."""

from typing import Literal

from pydantic import ConfigDict

from api.schemas.common import Shape


class HealthView(Shape):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: Literal["ok"] = "ok"


class ReadyView(Shape):
    """Everything the service needs is there."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "ready",
                    "checks": {
                        "database": "ok",
                        "migrations": "ok",
                        "broker": "ok",
                        "blobs": "ok",
                        "models": "ok",
                        "storage": "ok",
                    },
                }
            ]
        }
    )

    status: Literal["ready"] = "ready"
    checks: dict[str, str]
    """Each thing looked at, and `ok`. `storage` may be `nearly full`: no new uploads and jobs then."""


class IndexView(Shape):
    """Where things are."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "index",
                    "name": "HarmonicDet",
                    "version": "0.1.0",
                    "links": {"datasets": "/v1/datasets", "jobs": "/v1/jobs"},
                }
            ]
        }
    )

    object: Literal["index"] = "index"
    name: str
    version: str
    links: dict[str, str]
    """Paths of the collections and of the OpenAPI description."""
