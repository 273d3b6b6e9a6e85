"""What is stored, and what could go."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import ConfigDict

from api.schemas.common import Shape

_SORTS: dict[str, Any] = {
    "unreferenced": {"blobs": 3, "bytes": 812345},
    "dead_attempts": {"blobs": 1, "bytes": 28123456},
    "old_checkpoints": {"blobs": 0, "bytes": 0},
}


class BytesView(Shape):
    """Bytes of the blobs by what refers to them; what several things share is counted once."""

    datasets: int
    checkpoints: int
    artifacts: int
    """Files of models."""
    other: int
    unreferenced: int
    """What nothing refers to (any more, or yet): the collector takes it when it is old enough."""


class CollectedView(Shape):
    """Some blobs, all of one sort."""

    blobs: int
    bytes: int


class CollectionView(Shape):
    """What was deleted, or with `dry_run` what would be."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"object": "collection", "dry_run": False, **_SORTS}]}
    )

    object: Literal["collection"] = "collection"
    dry_run: bool
    unreferenced: CollectedView
    dead_attempts: CollectedView
    """What attempts that are over have shipped, and their jobs do not keep."""
    old_checkpoints: CollectedView
    """All but the last two of a job and the one of its best evaluation."""

    @classmethod
    def of(cls, found: dict[str, Any], *, dry_run: bool) -> Self:
        return cls.model_validate({"dry_run": dry_run, **found})


class StorageView(Shape):
    """How much is stored, and how much room there is."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "storage",
                    "bytes": {
                        "datasets": 9123456,
                        "checkpoints": 84370368,
                        "artifacts": 31234567,
                        "other": 0,
                        "unreferenced": 812345,
                    },
                    "free_bytes": 50123456789,
                    "total_bytes": 252123456789,
                    "min_free_bytes": 1073741824,
                    "full": False,
                    "last_collected_at": "2026-11-22T15:08:05.123Z",
                }
            ]
        }
    )

    object: Literal["storage"] = "storage"
    bytes: BytesView
    free_bytes: int
    """On the disk of the blobs; of the data, where blobs are in an object store."""
    total_bytes: int
    """Of that disk."""
    min_free_bytes: int
    """With less room new uploads and jobs are refused (507 `storage_full`)."""
    full: bool
    """Whether they are refused now."""
    last_collected_at: datetime | None
    """When old blobs were last collected."""
