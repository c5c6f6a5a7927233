"""Self-metrics of the WebSocket hub."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from api.live.messages import CloseCode


class HubMetrics:
    """Clients, messages sent and conflated, connections closed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.clients = Gauge(
            "decahertz_api_websocket_clients",
            "WebSocket clients connected.",
            registry=registry,
        )
        sent = Counter(
            "decahertz_api_websocket_sent",
            "States and events written to WebSocket clients.",
            ("lane",),
            registry=registry,
        )
        self.sent_states = sent.labels("state")
        self.sent_events = sent.labels("event")
        self.conflated = Counter(
            "decahertz_api_websocket_conflated",
            "States replaced by a newer state of the same topic before they were sent.",
            registry=registry,
        )
        self.closed = Counter(
            "decahertz_api_websocket_closed",
            "WebSocket connections closed, by reason.",
            ("reason",),
            registry=registry,
        )
        for code in CloseCode:  # at zero, so that Prometheus sees the first increase
            self.closed.labels(code.name.lower())
        self.closed.labels("client")
        self.refused = Counter(
            "decahertz_api_websocket_refused",
            "Messages from WebSocket clients that were refused as invalid.",
            registry=registry,
        )
        self.errors = Counter(
            "decahertz_api_websocket_errors",
            "Batches that could not be routed to WebSocket clients.",
            registry=registry,
        )
