"""The heartbeats by which a feed tells that it is connected."""

from __future__ import annotations

from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.event import ConnectionState, Heartbeat


class Pulse:
    """Says when the next heartbeat of a venue is due: at most one a second."""

    def __init__(self, clock: Clock, component: str, venue: str) -> None:
        """``component`` is the feed that speaks."""
        self._clock = clock
        self._component = component
        self._venue = venue
        self._next_ns: int | None = None

    def due_ns(self) -> int:
        """Nanoseconds until the next one is due; 0 when it is."""
        if self._next_ns is None:
            return 0
        return max(0, self._next_ns - self._clock.monotonic_ns())

    def beat(self, now_ns: int) -> Heartbeat | None:
        """A heartbeat if one is due, stamped ``now_ns``; the next follows in a second."""
        if self.due_ns():
            return None
        self._next_ns = self._clock.monotonic_ns() + NS_PER_SECOND
        return self._heartbeat(now_ns, ConnectionState.OPEN)

    def closed(self, now_ns: int) -> Heartbeat:
        """The last word: not connected any more. The next beat is due at once."""
        self._next_ns = None
        return self._heartbeat(now_ns, ConnectionState.CLOSED)

    def _heartbeat(self, now_ns: int, connection: ConnectionState) -> Heartbeat:
        return Heartbeat(
            time_ns=now_ns,
            component=self._component,
            venue=self._venue,
            connection=connection,
        )
