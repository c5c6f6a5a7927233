"""Heartbeat events that report whether a feed is connected to its venue."""

from __future__ import annotations

from collections.abc import Sequence

from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.event import ConnectionState, Heartbeat


class Pulse:
    """Produces the heartbeats of one venue: at most one a second. ``component`` is the feed.

    Every change of the connection is also reported of each of the ``instruments`` that the feed subscribes
    to, so that an instrument has a verdict even if no message of it ever arrives.
    """

    def __init__(self, clock: Clock, component: str, venue: str, instruments: Sequence[str] = ()) -> None:
        self._clock = clock
        self._component = component
        self._venue = venue
        self._instruments = tuple(instruments)
        self._next_ns: int | None = None

    def due_ns(self) -> int:
        """Returns the nanoseconds until the next heartbeat is due; 0 when it is due."""
        if self._next_ns is None:
            return 0
        return max(0, self._next_ns - self._clock.monotonic_ns())

    def next(self, now_ns: int) -> list[Heartbeat]:
        """Returns the heartbeats that are due, stamped ``now_ns``; the next follows a second later."""
        if self.due_ns():
            return []
        is_change = self._next_ns is None
        self._next_ns = self._clock.monotonic_ns() + NS_PER_SECOND
        return self._heartbeats(now_ns, ConnectionState.OPEN, with_instruments=is_change)

    def closed(self, now_ns: int) -> list[Heartbeat]:
        """Returns the heartbeats of a market that closes. The next heartbeat is due at once."""
        self._next_ns = None
        return self._heartbeats(now_ns, ConnectionState.CLOSED, with_instruments=False)

    def disconnected(self, now_ns: int) -> list[Heartbeat]:
        """Returns the heartbeats of a feed without a connection. The next heartbeat is due at once."""
        self._next_ns = None
        return self._heartbeats(now_ns, ConnectionState.DISCONNECTED, with_instruments=True)

    def _heartbeats(
        self, now_ns: int, connection: ConnectionState, *, with_instruments: bool
    ) -> list[Heartbeat]:
        names = (None, *self._instruments) if with_instruments else (None,)
        return [
            Heartbeat(
                time_ns=now_ns,
                component=self._component,
                venue=self._venue,
                instrument=name,
                connection=connection,
            )
            for name in names
        ]
