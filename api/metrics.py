"""What the HTTP process tells Prometheus: about itself, and about the whole service as the database knows
it."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from api.instruments import prediction_seconds, requests, uploads_in_flight
from api.services import Services
from store.census import Census, CensusTaker
from store.errors import StoreError
from store.monitoring import new_registry
from store.queue import QUEUES
from store.workers import report_period

logger = logging.getLogger(__name__)

_WORKER_STATES = ("idle", "busy", "draining", "blocked", "silent")


def registry(services: Services) -> CollectorRegistry:
    """All that the process of these services tells."""
    found = new_registry(services.settings, "api")
    for one in (requests, prediction_seconds, uploads_in_flight):
        found.register(one)
    found.register(_Process(services))
    found.register(_Service(services))
    return found


class _Process(Collector):
    """Models in memory, predictions that wait, streams."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        models = self._services.models
        yield _gauge("harmonicdet_model_cache_models", "Models in memory.", models.count)
        yield _gauge("harmonicdet_model_cache_bytes", "Bytes of the ONNX files in memory.", models.bytes)
        tally = models.tally
        for name, text, number in (
            ("hits", "Predictions whose model was in memory.", tally.hits),
            ("misses", "Predictions that waited for their model to be loaded.", tally.misses),
            ("loads", "Models that were loaded.", tally.loads),
            ("evictions", "Models that made room for others.", tally.evictions),
        ):
            yield CounterMetricFamily(f"harmonicdet_model_cache_{name}", text, value=number)
        yield _gauge(
            "harmonicdet_predictions_pending",
            "Images that are predicted on, or wait for it.",
            self._services.predictions.pending,
        )
        yield _gauge(
            "harmonicdet_event_streams", "Clients that follow a job's events.", self._services.streams.open
        )


class _Service(Collector):
    """The whole service, as the database has it; every API process tells the same."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._settings = settings
        self._taker = CensusTaker(
            services.database, silent_seconds=3 * report_period(settings.heartbeat_seconds)
        )

    def collect(self) -> Iterator[Metric]:
        settings = self._settings
        lease = "After so long without a heartbeat a job is taken from its worker."
        yield _gauge("harmonicdet_lease_seconds", lease, settings.lease_seconds)
        dispatch = "How often a queued job is announced to the workers again."
        yield _gauge("harmonicdet_dispatch_seconds", dispatch, settings.dispatch_seconds)
        try:
            census = self._taker.census()
        except (StoreError, SQLAlchemyError) as error:
            logger.warning("the database cannot be asked for numbers: %s", type(error).__name__)
            census = None
        up = "Whether the database answered."
        yield _gauge("harmonicdet_database_up", up, float(census is not None))
        if census is not None:
            yield from _told(census)


def _told(census: Census) -> Iterator[Metric]:
    yield _labelled(
        "harmonicdet_jobs",
        "Jobs that have not ended, by queue, kind, status and phase.",
        ["queue", "kind", "status", "phase"],
        census.jobs,
    )
    due, running = census.due, census.running
    yield _by_queue(
        "harmonicdet_jobs_due",
        "Queued jobs that wait for nothing but a worker.",
        {queue: load.count for queue, load in due.items()},
    )
    yield _by_queue(
        "harmonicdet_oldest_due_job_seconds",
        "How long the first of them has been waiting so.",
        {queue: load.seconds for queue, load in due.items()},
    )
    yield _by_queue(
        "harmonicdet_job_heartbeat_age_seconds",
        "How long ago the last heartbeat of a running job was, of the quietest.",
        {queue: load.seconds for queue, load in running.items()},
    )
    yield _by_queue(
        "harmonicdet_jobs_overdue",
        "Running jobs whose lease has ended: their workers are lost.",
        census.overdue,
    )
    yield _labelled(
        "harmonicdet_jobs_finished_last_hour",
        "Jobs that have ended within the last hour, by kind, status and reason.",
        ["kind", "status", "reason"],
        census.finished,
    )
    nobody = {(queue, state): 0 for queue in QUEUES for state in _WORKER_STATES}
    counted = {key: load.count for key, load in census.workers.items()}
    yield _labelled(
        "harmonicdet_workers",
        "Workers by queue and state: idle, busy, draining, blocked (no room on the disk), silent.",
        ["queue", "state"],
        nobody | counted,
    )
    ages: dict[str, float] = {}
    for (queue, _), load in census.workers.items():
        ages[queue] = max(load.seconds, ages.get(queue, 0.0))
    yield _by_queue(
        "harmonicdet_worker_heartbeat_age_seconds",
        "How long ago a worker was heard of, of the quietest; it is forgotten after ten minutes.",
        ages,
    )
    pending = "Messages to webhooks that are to be sent."
    yield _gauge("harmonicdet_webhook_deliveries_pending", pending, census.deliveries)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _by_queue(name: str, text: str, values: Mapping[str, float]) -> Metric:
    """Every queue has a value, so that what is compared with it is never nothing."""
    return _labelled(name, text, ["queue"], {(queue,): values.get(queue, 0) for queue in QUEUES})


def _labelled(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family
