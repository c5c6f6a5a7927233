"""Self-metrics of the HTTP server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


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
            "decahertz_api_request_duration_seconds",
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

    def observe(self, route: str, seconds: float) -> None:
        """Records the duration of a request."""
        histogram = self._histograms.get(route)
        if histogram is None:
            histogram = self._histograms[route] = self._durations.labels(route)
        histogram.observe(seconds)
