"""The real application, as the tests of the API have it."""

from tests.acceptance.conftest import archive
from tests.api.conftest import (
    app,
    client,
    dataset,
    in_process,
    job,
    migrated,
    model,
    ready,
    services,
    settings,
    watch,
)

__all__ = [
    "app",
    "archive",
    "client",
    "dataset",
    "in_process",
    "job",
    "migrated",
    "model",
    "ready",
    "services",
    "settings",
    "watch",
]
