"""The limits of the WebSocket side. They are part of the protocol: docs/websocket.md repeats them."""

from __future__ import annotations

from msgspec import Struct


class HubLimits(Struct, frozen=True, kw_only=True):
    """Bounds that keep one reader from hurting the others. Times in seconds."""

    max_clients: int = 4000
    max_subscriptions: int = 256
    """Patterns of one client."""
    max_message_bytes: int = 64 * 1024
    """Of a message from a client."""
    max_bad_messages: int = 20
    """Messages of one client that may be refused before it is disconnected."""
    buffer_bytes: int = 1024 * 1024
    """What may wait in a transport before its client counts as slow and its states are conflated."""
    max_queued_events: int = 10_000
    """Events that may wait for a slow client before it is disconnected."""
    max_queued_bytes: int = 16 * 1024 * 1024
    snapshot_items: int = 200
    """States in one snapshot message; more come in further messages."""
    heartbeat_seconds: float = 15.0
    dead_after_seconds: float = 30.0
    prepare_seconds: float = 10.0
    """For the opening handshake."""
    close_seconds: float = 2.0
    """For the closing handshake; then the connection is cut."""
    linger_seconds: float = 30.0
    """The same for a slow reader, which finds the close code only behind what it has not read yet."""
