"""What the API counts about itself: ``decahertz_api_*``."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_DURATIONS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class HttpMetrics:
    """Requests by route, method and status, and how long they took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the families. Once per registry."""
        self._requests = Counter(
            "decahertz_api_requests",
            "HTTP requests answered.",
            ("route", "method", "status"),
            registry=registry,
        )
        self._durations = Histogram(
            "decahertz_api_request_duration_seconds",
            "Time from the request's head to the answer.",
            ("route",),
            buckets=_DURATIONS,
            registry=registry,
        )
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def count(self, route: str, method: str, status: int) -> None:
        """Count one answer. ``route`` and ``method`` must come from closed sets."""
        key = (route, method, status)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._requests.labels(route, method, str(status))
        counter.inc()

    def observe(self, route: str, seconds: float) -> None:
        """How long an answer took."""
        histogram = self._histograms.get(route)
        if histogram is None:
            histogram = self._histograms[route] = self._durations.labels(route)
        histogram.observe(seconds)


class HubMetrics:
    """What the WebSocket hub sends, holds back and ends."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the families. Once per registry."""
        self.clients = Gauge(
            "decahertz_api_websocket_clients",
            "WebSocket clients connected.",
            registry=registry,
        )
        sent = Counter(
            "decahertz_api_websocket_sent",
            "States and events handed to WebSocket clients.",
            ("lane",),
            registry=registry,
        )
        self.sent_states = sent.labels("state")
        self.sent_events = sent.labels("event")
        self.conflated = Counter(
            "decahertz_api_websocket_conflated",
            "States not sent because a newer one of the same topic took their place.",
            registry=registry,
        )
        self.closed = Counter(
            "decahertz_api_websocket_closed",
            "WebSocket connections ended, by reason.",
            ("reason",),
            registry=registry,
        )
        self.refused = Counter(
            "decahertz_api_websocket_refused",
            "Messages from WebSocket clients that were refused.",
            registry=registry,
        )
        self.errors = Counter(
            "decahertz_api_websocket_errors",
            "Batches that could not be routed to WebSocket clients.",
            registry=registry,
        )
