"""Heartbeat events that report whether a feed is connected to its venue."""

from __future__ import annotations

from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.event import ConnectionState, Heartbeat


class Pulse:
    """Produces the heartbeats of one venue: at most one a second. ``component`` is the feed."""

    def __init__(self, clock: Clock, component: str, venue: str) -> None:
        self._clock = clock
        self._component = component
        self._venue = venue
        self._next_ns: int | None = None

    def due_ns(self) -> int:
        """Returns the nanoseconds until the next heartbeat is due; 0 when it is due."""
        if self._next_ns is None:
            return 0
        return max(0, self._next_ns - self._clock.monotonic_ns())

    def next(self, now_ns: int) -> Heartbeat | None:
        """Returns a heartbeat if one is due, stamped ``now_ns``; the next follows a second later."""
        if self.due_ns():
            return None
        self._next_ns = self._clock.monotonic_ns() + NS_PER_SECOND
        return self._heartbeat(now_ns, ConnectionState.OPEN)

    def closed(self, now_ns: int) -> Heartbeat:
        """Returns the closing heartbeat. The next heartbeat is due at once."""
        self._next_ns = None
        return self._heartbeat(now_ns, ConnectionState.CLOSED)

    def _heartbeat(self, now_ns: int, connection: ConnectionState) -> Heartbeat:
        return Heartbeat(
            time_ns=now_ns,
            component=self._component,
            venue=self._venue,
            connection=connection,
        )
