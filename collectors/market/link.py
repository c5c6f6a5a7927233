"""The state of the link to a venue, or of one instrument there, as heartbeats report it."""

from __future__ import annotations

from msgspec import Struct

from decahertz.event import ConnectionState, Heartbeat


class Link(Struct):
    """One link, as reported by the components that send heartbeats about it.

    The link is closed or lost once no newest heartbeat of a component says that it is open: a second feed of
    the same venue keeps it open, unless that feed has been silent for ``stale_ns``. It is closed if all say
    that the market is closed, else lost. A heartbeat older (by its own time) than the newest one of its
    component is ignored. The times kept here are times of receipt. Initially the link is neither.
    """

    stale_ns: int
    _heartbeats: dict[str, tuple[Heartbeat, int]] = {}
    is_closed: bool = False
    lost_ns: int = 0
    """First heartbeat that reported that no feed is connected, since it was open; 0: not lost."""
    opened_ns: int = 0
    """First heartbeat that reported it open, since it was closed or lost; 0: none."""
    last_open_ns: int = 0
    """Last heartbeat that reported it open; 0: none."""
    closed_ns: int = 0
    """When the last component reported it closed; 0: never."""
    received_ns: int = 0

    def update(self, heartbeat: Heartbeat, received_ns: int) -> None:
        """Updates the state by the heartbeat of one component."""
        previous = self._heartbeats.get(heartbeat.component)
        if previous is not None and heartbeat.time_ns < previous[0].time_ns:
            return
        self.received_ns = received_ns
        self._heartbeats[heartbeat.component] = (heartbeat, received_ns)
        if heartbeat.connection is ConnectionState.OPEN:
            self.last_open_ns = received_ns
            if self.is_closed or not self.opened_ns:
                self.opened_ns = received_ns
            self.is_closed = False
            self.lost_ns = 0
        elif not self.is_closed:
            states = self._states(received_ns - self.stale_ns)
            if states == {ConnectionState.CLOSED}:
                self.is_closed = True
                self.closed_ns = received_ns
                self.lost_ns = 0
            elif ConnectionState.OPEN not in states:
                self.lost_ns = self.lost_ns or received_ns
                self.opened_ns = 0

    def _states(self, since_ns: int) -> set[ConnectionState]:
        """The newest state of each component that has reported since then."""
        self._heartbeats = {name: entry for name, entry in self._heartbeats.items() if entry[1] > since_ns}
        return {heartbeat.connection for heartbeat, _ in self._heartbeats.values()}
