"""The times in which the recorder itself did not run, and could receive nothing."""

from __future__ import annotations

from msgspec import Struct

from decahertz.clock import NS_PER_SECOND

_STALL_NS = NS_PER_SECOND
"""Cycles this far apart are a stall: a blocked process, a suspended machine, a restart."""
_MAX_STALLS = 16
"""Stalls kept; of an older one the time counts as silence again."""


class Watch(Struct):
    """Measures silences without the recorder's own stalls.

    After a stall messages may still wait in sockets, and feeds may have to connect again: the time of the
    stall says nothing about a venue.
    """

    cycle_ns: int = 0
    """The newest cycle; 0: none yet."""
    resumed_ns: int = 0
    """End of the newest stall; 0: none yet."""
    stalls: list[tuple[int, int]] = []
    """Begin and end of the newest stalls, oldest first."""

    def advance(self, now_ns: int) -> None:
        """Takes the time of a cycle."""
        if now_ns < self.cycle_ns:  # a backward step of the wall clock
            self.stalls = []
            self.resumed_ns = 0
        elif self.cycle_ns and now_ns - self.cycle_ns > _STALL_NS:
            self.stalls = [*self.stalls[1 - _MAX_STALLS :], (self.cycle_ns, now_ns)]
            self.resumed_ns = now_ns
        self.cycle_ns = now_ns

    def silence_ns(self, since_ns: int, now_ns: int) -> int:
        """Returns the time from ``since_ns`` to ``now_ns`` in which the recorder ran."""
        silence_ns = now_ns - since_ns
        if since_ns < self.resumed_ns:
            for begin_ns, end_ns in self.stalls:
                if end_ns > since_ns:
                    silence_ns -= end_ns - max(begin_ns, since_ns)
        return silence_ns
