"""What heartbeats say of a connection: to a whole venue, or for one instrument."""

from __future__ import annotations

from decahertz.event import ConnectionState, Heartbeat


class Line:
    """One connection as the components that speak for it describe it.

    It is closed when all of them said so last: a second feed of the same venue keeps it open, unless it
    has been silent for as long as makes a feed stale. A heartbeat that is older (by its own time) than the
    newest of its component is ignored. Times kept here are those of receipt, by this machine's clock.
    """

    __slots__ = ("_stale_ns", "_words", "closed_ns", "is_closed", "open_word_ns", "opened_ns", "received_ns")

    def __init__(self, stale_ns: int) -> None:
        """Nothing was said yet: neither open nor closed. ``stale_ns``: for how long a word holds."""
        self._stale_ns = stale_ns
        self._words: dict[str, tuple[Heartbeat, int]] = {}
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
        if before is not None and heartbeat.time_ns < before[0].time_ns:
            return
        self.received_ns = received_ns
        self._words[heartbeat.component] = (heartbeat, received_ns)
        if heartbeat.connection is ConnectionState.OPEN:
            self.open_word_ns = received_ns
            if self.is_closed or not self.opened_ns:
                self.opened_ns = received_ns
            self.is_closed = False
        elif not self.is_closed and self._is_unanimous(received_ns - self._stale_ns):
            self.is_closed = True
            self.closed_ns = received_ns

    def _is_unanimous(self, since_ns: int) -> bool:
        self._words = {name: word for name, word in self._words.items() if word[1] > since_ns}
        return all(word.connection is ConnectionState.CLOSED for word, _ in self._words.values())
