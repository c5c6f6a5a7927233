"""Limits of the WebSocket side. They are part of the protocol, documented in docs/websocket.md."""

from __future__ import annotations

from msgspec import Struct


class HubLimits(Struct, frozen=True, kw_only=True):
    """Bounds that keep one client from affecting the others."""

    max_clients: int = 4000
    max_subscriptions: int = 256
    """Patterns per client."""
    max_message_bytes: int = 64 * 1024
    """Largest message from a client."""
    max_bad_messages: int = 20
    """Refused messages after which a client is disconnected."""
    buffer_bytes: int = 64 * 1024
    """Bytes in the transport's buffer above which a client is slow and its states are conflated. The kernel's
    buffer is full then, and more bytes here would be older states for this client."""
    max_queued_events: int = 10_000
    """Events queued for a slow client above which it is disconnected."""
    max_queued_bytes: int = 16 * 1024 * 1024
    ring_events: int = 20_000
    """Newest events kept in memory, from which readers resume without the database."""
    resume_seconds: float = 24 * 3600.0
    """How long ago the event may be from which a reader resumes."""
    snapshot_items: int = 200
    """States per snapshot message; further states follow in further messages."""
    heartbeat_seconds: float = 15.0
    dead_after_seconds: float = 30.0
    prepare_seconds: float = 10.0
    """Timeout of the opening handshake."""
    authenticate_seconds: float = 10.0
    """Timeout of the message with the key, where one is required."""
    max_unauthenticated: int = 100
    """Connections that may wait for that message."""
    close_seconds: float = 2.0
    """Timeout of the closing handshake; then the connection is aborted."""
    linger_seconds: float = 30.0
    """Timeout of the closing handshake of a slow client, which reads the close code only after its buffer."""
