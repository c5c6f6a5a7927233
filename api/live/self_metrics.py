"""Self-metrics of the WebSocket hub."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

from api.live.messages import CloseCode

if TYPE_CHECKING:
    from api.live.client import Client


class HubMetrics:
    """Clients, messages sent and conflated, connections closed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.clients = Gauge(
            "decahertz_api_websocket_clients",
            "WebSocket clients connected.",
            registry=registry,
        )
        self.slow_clients = Gauge(
            "decahertz_api_websocket_slow_clients",
            "WebSocket clients that read more slowly than the server writes.",
            registry=registry,
        )
        self.lag_seconds = Gauge(
            "decahertz_api_websocket_lag_seconds",
            "How long the slowest WebSocket client has been slow.",
            registry=registry,
        )
        queued = Gauge(
            "decahertz_api_websocket_queued",
            "States and events that wait for slow or limited WebSocket clients.",
            ("lane",),
            registry=registry,
        )
        self.queued_states = queued.labels("state")
        self.queued_events = queued.labels("event")
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
        resumed = Counter(
            "decahertz_api_websocket_resumed",
            "Readers that resumed, by where the first events that they had missed came from.",
            ("source",),
            registry=registry,
        )
        self.resumed_from_ring = resumed.labels("ring")
        self.resumed_from_database = resumed.labels("database")
        self.errors = Counter(
            "decahertz_api_websocket_errors",
            "Batches that could not be routed to WebSocket clients.",
            registry=registry,
        )

    def observe(self, clients: Collection[Client]) -> None:
        """Sets the gauges that follow from the state of the clients."""
        self.slow_clients.set(sum(client.slow for client in clients))
        self.lag_seconds.set(max((client.lag_seconds for client in clients), default=0.0))
        self.queued_states.set(sum(client.queued_states for client in clients))
        self.queued_events.set(sum(client.queued_events for client in clients))
