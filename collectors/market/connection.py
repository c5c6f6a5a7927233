"""What heartbeats say of a connection: to a whole venue, or for one instrument."""

from __future__ import annotations

from decahertz.event import Connection, Heartbeat


class Line:
    """One connection as the components that speak for it describe it.

    It is closed when all of them said so last: a second feed of the same venue keeps it open. A heartbeat
    that is older (by its own time) than the newest of its component is ignored. Times kept here are those
    of receipt, by this machine's clock.
    """

    __slots__ = ("_words", "closed_ns", "is_closed", "open_word_ns", "opened_ns", "received_ns")

    def __init__(self) -> None:
        """Nothing was said yet: neither open nor closed."""
        self._words: dict[str, Heartbeat] = {}
        self.is_closed = False
        self.opened_ns = 0
        """When it was first said to be open, or open again after it had been closed; 0: never."""
        self.open_word_ns = 0
        """When it was last said to be open; 0: never."""
        self.closed_ns = 0
        """When the last component closed it; 0: never."""
        self.received_ns = 0

    def hear(self, heartbeat: Heartbeat, received_ns: int) -> None:
        """Take what one component says."""
        before = self._words.get(heartbeat.component)
        if before is not None and heartbeat.time_ns < before.time_ns:
            return
        self.received_ns = received_ns
        self._words[heartbeat.component] = heartbeat
        if heartbeat.connection is Connection.OPEN:
            self.open_word_ns = received_ns
            if self.is_closed or not self.opened_ns:
                self.opened_ns = received_ns
            self.is_closed = False
        elif not self.is_closed and all(
            word.connection is Connection.CLOSED for word in self._words.values()
        ):
            self.is_closed = True
            self.closed_ns = received_ns
