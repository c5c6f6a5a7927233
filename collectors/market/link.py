"""The state of the link to a venue, or of one instrument there, as heartbeats report it."""

from __future__ import annotations

from decahertz.event import ConnectionState, Heartbeat


class Link:
    """One link, as reported by the components that send heartbeats about it.

    The link is closed once the newest heartbeat of every component says so: a second feed of the same venue
    keeps it open, unless that feed has been silent for ``stale_ns``. A heartbeat older (by its own time) than
    the newest one of its component is ignored. The times kept here are times of receipt.
    """

    def __init__(self, stale_ns: int) -> None:
        """Initially neither open nor closed."""
        self._stale_ns = stale_ns
        self._heartbeats: dict[str, tuple[Heartbeat, int]] = {}
        self.is_closed = False
        self.opened_ns = 0
        """First heartbeat that reported it open, since the start or since it was closed; 0: none."""
        self.last_open_ns = 0
        """Last heartbeat that reported it open; 0: none."""
        self.closed_ns = 0
        """When the last component reported it closed; 0: never."""
        self.received_ns = 0

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
        elif not self.is_closed and self._is_closed_by_all(received_ns - self._stale_ns):
            self.is_closed = True
            self.closed_ns = received_ns

    def _is_closed_by_all(self, since_ns: int) -> bool:
        self._heartbeats = {name: entry for name, entry in self._heartbeats.items() if entry[1] > since_ns}
        return all(
            heartbeat.connection is ConnectionState.CLOSED for heartbeat, _ in self._heartbeats.values()
        )
