"""What a worker counts as it goes, for Prometheus: attempts and how they end, steps, checkpoints."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from store.monitoring import new_registry
from store.tables import JobKind, JobStatus
from worker.settings import Queue, WorkerSettings

_HOUR = 3600.0
_KINDS: dict[str, tuple[JobKind, ...]] = dict(
    zip(
        get_args(Queue),
        ((JobKind.TRAIN,), (JobKind.EVALUATE, JobKind.COMPARE), (JobKind.VALIDATE,)),
        strict=True,
    )
)
_OUTCOMES = (
    JobStatus.SUCCEEDED,
    JobStatus.FAILED,
    JobStatus.CANCELLED,
    JobStatus.PAUSED,
    "requeued",
    "fenced",
)

attempts = Counter(
    "harmonicdet_attempts",
    "Attempts of jobs that have ended: succeeded, failed, cancelled, paused, requeued (given back, or lost), "
    "fenced (somebody else has the job).",
    ["kind", "outcome", "reason"],
    registry=None,
)
attempt_seconds = Histogram(
    "harmonicdet_attempt_seconds",
    "How long attempts took.",
    ["kind"],
    buckets=(1, 5, 15, 60, 300, 900, _HOUR, 4 * _HOUR, 12 * _HOUR, 24 * _HOUR, 72 * _HOUR),
    registry=None,
)
steps = Counter("harmonicdet_training_steps", "Steps that trainings have made.", registry=None)
images = Counter("harmonicdet_training_images", "Images in these steps.", registry=None)
checkpoint_bytes = Counter(
    "harmonicdet_checkpoint_bytes", "Bytes of checkpoints that were stored.", registry=None
)
heartbeats_failed = Counter(
    "harmonicdet_heartbeats_failed", "Heartbeats that did not reach the database.", registry=None
)
leases_lost = Counter("harmonicdet_leases_lost", "Claims that had to be taken for lost.", registry=None)


def registry(settings: WorkerSettings, queue: str, current: Callable[[], str | None]) -> CollectorRegistry:
    """All that the worker of a queue tells; `current` is the job at hand."""
    found = new_registry(settings, queue)
    for one in (
        *(attempts, attempt_seconds, steps, images, checkpoint_bytes),
        *(heartbeats_failed, leases_lost),
    ):
        found.register(one)
    busy = Gauge("harmonicdet_worker_busy", "Whether the worker has a job.", registry=found)
    busy.set_function(lambda: float(current() is not None))
    # What has not happened yet counts 0: a first failure is then an increase.
    for kind in _KINDS[queue]:
        for outcome in _OUTCOMES:
            attempts.labels(kind, outcome, "")
        attempt_seconds.labels(kind)
    return found


def ended(kind: str, outcome: str, reason: str = "") -> None:
    """An attempt has ended; a job that is queued again was given back."""
    attempts.labels(kind, "requeued" if outcome == JobStatus.QUEUED else outcome, reason).inc()


def trained(more: int, batch_size: int) -> None:
    """So many steps more of a training."""
    if more > 0:
        steps.inc(more)
        images.inc(more * batch_size)


@contextmanager
def timed(kind: str) -> Iterator[None]:
    """Around an attempt."""
    began = time.monotonic()
    try:
        yield
    finally:
        attempt_seconds.labels(kind).observe(time.monotonic() - began)
