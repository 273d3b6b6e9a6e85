"""Worker processes on the wire."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import ConfigDict

from api.schemas.common import Identified, ListView
from store.tables import Worker

_EXAMPLE: dict[str, Any] = {
    "id": "wrk_01jz4kzy3t5v7w9x1y3z5a7b9c",
    "object": "worker",
    "name": "train@gpu-1:4711",
    "queue": "train",
    "device": "cuda:0 NVIDIA H100 80GB HBM3",
    "host": "gpu-1",
    "pid": 4711,
    "version": "0.1.0",
    "draining": False,
    "blocked": None,
    "job_id": "job_01jz4m9a6hcy0p3t1w5x7z9b2d",
    "started_at": "2026-11-22T15:01:12.004Z",
    "heartbeat_at": "2026-11-22T15:06:01.000Z",
}


class WorkerView(Identified):
    """A worker process, as it has last told about itself."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    object: Literal["worker"] = "worker"
    name: str
    """As in the `worker` of the jobs it has."""
    queue: str
    """`train`, `evaluate`, or `ingest`: validations."""
    device: str
    """What it computes on."""
    host: str
    pid: int
    version: str
    draining: bool
    """Whether it takes nothing more once the job at hand has ended."""
    blocked: str | None
    """Why it takes nothing at the moment, such as a disk that is nearly full."""
    job_id: str | None
    """What it works on."""
    started_at: datetime
    heartbeat_at: datetime
    """When it was last heard of; after ten minutes of silence it is forgotten."""

    @classmethod
    def of(cls, row: Worker) -> Self:
        return cls(
            id=row.id,
            name=row.name,
            queue=row.queue,
            device=row.device,
            host=row.host,
            pid=row.pid,
            version=row.version,
            draining=row.draining,
            blocked=row.blocked,
            job_id=row.job_id,
            started_at=row.started_at,
            heartbeat_at=row.heartbeat_at,
        )


class WorkerList(ListView[WorkerView]):
    """A page of workers."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [_EXAMPLE],
                    "first_id": _EXAMPLE["id"],
                    "last_id": _EXAMPLE["id"],
                    "has_more": False,
                }
            ]
        }
    )
