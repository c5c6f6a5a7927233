"""Figures of the WebSocket side, for each client and for all of them."""

from __future__ import annotations

from msgspec import Struct


class ClientStatistics(Struct, frozen=True, kw_only=True):
    """One connected client."""

    client_id: str
    protocol: str
    connected_ns: int
    """When it connected, nanoseconds UTC."""
    topics: list[str]
    """Its patterns."""
    max_hz: float | None
    """Most updates of a topic a second; ``null``: every state."""
    is_slow: bool
    """Whether it reads more slowly than the server writes."""
    lag_seconds: float
    """How long it has been slow: what it gets next was to be sent that long ago, or later."""
    round_trip_seconds: float | None
    """From the last ping to its pong; ``null`` before the first."""
    queued_states: int
    """States that wait, one for each topic."""
    queued_events: int
    queued_bytes: int
    """Size of the queued events."""
    buffered_bytes: int
    """Written, and not yet taken by the kernel."""
    updates: int
    """States written."""
    events: int
    """Events written."""
    conflated: int
    """States replaced by a newer one before they were written."""
    received: int
    """Messages of the client."""
    refused: int
    """Messages of the client that were invalid."""


class LiveStatistics(Struct, frozen=True, kw_only=True):
    """The WebSocket side at one moment."""

    epoch: int
    """See ``connected``."""
    sequence: int
    """Sequence of the newest event."""
    events_in_memory: int
    """Newest events from which readers resume without the database."""
    max_clients: int
    clients: list[ClientStatistics]


def no_statistics() -> LiveStatistics:
    """Figures of a process without a WebSocket side."""
    return LiveStatistics(epoch=0, sequence=0, events_in_memory=0, max_clients=0, clients=[])
