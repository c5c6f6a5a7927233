"""The state of one emitter's feed of a venue: its connection by heartbeats, its market by messages."""

from __future__ import annotations

from msgspec import Struct

from collectors.market.cadence import Cadence
from decahertz.event import ConnectionState, Heartbeat


class FeedState(Struct):
    """The state that all instruments share whose messages one emitter sends. Times are those of receipt."""

    emitter: str
    cadence: Cadence
    received_ns: int = 0
    """The newest quote or tick of any instrument."""
    heartbeat_ns: int = 0
    """The newest heartbeat that reported it open; 0: never, or it is not open."""
    opened_ns: int = 0
    """First heartbeat that reported it open, since it was not."""

    def update(self, heartbeat: Heartbeat, received_ns: int) -> None:
        """Updates the state by a heartbeat of the emitter."""
        if heartbeat.connection is not ConnectionState.OPEN:
            self.heartbeat_ns = 0
            return
        if not self.heartbeat_ns:
            self.opened_ns = received_ns
        self.heartbeat_ns = received_ns
