"""What the HTTP process counts as it goes: requests, predictions, uploads. `api.metrics` tells it.

Requests are counted on the event loop, by lists and without locks: a poll costs too little to be measured by
more.
"""

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

_REQUEST_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PHASES = ("queue", "decode", "detect", "draw", "total")

prediction_seconds = Histogram(
    "harmonicdet_prediction_seconds",
    "Time of a prediction by phase: queue, decode, detect, draw (of pictures), total.",
    ["phase"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
    registry=None,
)
uploads_in_flight = Gauge(
    "harmonicdet_uploads_in_flight", "Files that are being received now.", registry=None
)
"""Counts what goes on in `with uploads_in_flight.track_inprogress()`."""


class Requests(Collector):
    """Requests by method, template of the route and status, and how long it took until the answer began.

    `count` belongs to the event loop; anybody may collect.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, int], list[float]] = {}

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """One more. `route` must be a template, or there is no end of them."""
        key = (method, route, status)
        seen = self._seen.get(key)
        if seen is None:
            known = method if method in _METHODS else "other"
            seen = self._seen.setdefault((known, route, status), [0.0] * (len(_REQUEST_BOUNDS) + 2))
        seen[bisect_left(_REQUEST_BOUNDS, seconds)] += 1
        seen[-1] += seconds

    def collect(self) -> Iterator[Metric]:
        """The counts, and a histogram over all statuses of a route."""
        seen = {key: list(counts) for key, counts in list(self._seen.items())}
        total = CounterMetricFamily(
            "harmonicdet_http_requests", "Requests answered.", labels=["method", "route", "status"]
        )
        by_route: dict[tuple[str, str], list[float]] = {}
        for (method, route, status), counts in seen.items():
            total.add_metric([method, route, str(status)], sum(counts[:-1]))
            sums = by_route.setdefault((method, route), [0.0] * len(counts))
            by_route[method, route] = [one + other for one, other in zip(sums, counts, strict=True)]
        yield total
        taken = HistogramMetricFamily(
            "harmonicdet_http_request_seconds",
            "Time until the answer to a request began.",
            labels=["method", "route"],
        )
        for labels, counts in by_route.items():
            taken.add_metric(list(labels), _buckets(counts[:-1]), sum_value=counts[-1])
        yield taken


def _buckets(counts: list[float]) -> list[tuple[str, float]]:
    bounds = [*map(floatToGoString, _REQUEST_BOUNDS), "+Inf"]
    so_far = 0.0
    cumulated = []
    for bound, count in zip(bounds, counts, strict=True):
        so_far += count
        cumulated.append((bound, so_far))
    return cumulated


requests = Requests()
"""Of this process."""
