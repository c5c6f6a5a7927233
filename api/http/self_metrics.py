"""Self-metrics of the HTTP server."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Histogram, Metric

DURATIONS: Final = "decahertz_api_request_duration_seconds"
"""Name of the family of durations."""
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class RouteFigures(Struct, frozen=True, kw_only=True):
    """Requests of one route since the start. Durations are in seconds."""

    route: str
    requests: int
    mean_seconds: float | None
    p50_seconds: float | None
    """Upper bound of the histogram's bucket in which the median is; null without requests or above 10 s."""
    p99_seconds: float | None
    """The same for the 99th percentile."""


class HttpMetrics:
    """Requests by route, method and status, and their durations."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "decahertz_api_requests",
            "HTTP requests by route, method and response status.",
            ("route", "method", "status"),
            registry=registry,
        )
        self._durations = Histogram(
            DURATIONS,
            "Time from the head of the request to the response.",
            ("route",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def count(self, route: str, method: str, status: int) -> None:
        """Counts a response. ``route`` and ``method`` must come from closed sets."""
        key = (route, method, status)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._requests.labels(route, method, str(status))
        counter.inc()

    def figures(self) -> list[RouteFigures]:
        """Requests by route, the most frequent first."""
        return route_figures(self._durations.collect())

    def observe(self, route: str, seconds: float) -> None:
        """Records the duration of a request."""
        histogram = self._histograms.get(route)
        if histogram is None:
            histogram = self._histograms[route] = self._durations.labels(route)
        histogram.observe(seconds)


def route_figures(families: Iterable[Metric]) -> list[RouteFigures]:
    """Figures by route, the most frequent first, from the family :data:`DURATIONS`."""
    counts: dict[str, list[tuple[float, float]]] = {}
    sums: dict[str, float] = {}
    for family in families:
        for sample in family.samples:
            route = sample.labels.get("route", "")
            if sample.name.endswith("_bucket"):
                counts.setdefault(route, []).append((float(sample.labels["le"]), sample.value))
            elif sample.name.endswith("_sum"):
                sums[route] = sample.value
    found = [_route_figures(route, buckets, sums[route]) for route, buckets in counts.items()]
    return sorted(found, key=lambda figures: (-figures.requests, figures.route))


def _route_figures(route: str, buckets: Sequence[tuple[float, float]], total: float) -> RouteFigures:
    """``buckets`` are upper bounds with cumulative counts; the last bound is infinite."""
    requests = int(buckets[-1][1])

    def quantile(share: float) -> float | None:
        bound = next((bound for bound, count in buckets if count >= share * requests), math.inf)
        return bound if requests and math.isfinite(bound) else None

    return RouteFigures(
        route=route,
        requests=requests,
        mean_seconds=total / requests if requests else None,
        p50_seconds=quantile(0.5),
        p99_seconds=quantile(0.99),
    )
