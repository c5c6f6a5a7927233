"""The learned cadence: the longest silence between two messages that is usual at present."""

from __future__ import annotations

from msgspec import Struct

from decahertz.clock import NS_PER_SECOND

MIN_SILENCES = 10
"""Silences after which a cadence is known."""
_GROWTH = 2
"""One silence at most doubles the cadence, so that a single outage teaches little."""
_MEMORY_NS = 600 * NS_PER_SECOND
_MEMORY_SILENCES = 64
"""Time constant of the fall towards shorter silences: ten minutes, or this many times the cadence."""


class Cadence(Struct):
    """Learns the longest usual silence from the times at which messages were received.

    A longer silence raises the cadence at once, to at most twice its value; a shorter one lowers it by the
    share of the time constant that it lasted. The silences of a burst are short and lower it by next to
    nothing, however many there are. It is observed once per cycle: messages of one cycle count as one.
    """

    ns: int = 0
    """The longest usual silence; meaningful once ``is_known``."""
    silences: int = 0
    """Silences observed, counted up to ``MIN_SILENCES``."""
    received_ns: int = 0
    """The newest message observed; 0: none yet."""

    @property
    def is_known(self) -> bool:
        """Whether enough silences were observed."""
        return self.silences >= MIN_SILENCES

    def observe(self, received_ns: int, opened_ns: int = 0) -> None:
        """Learns from the time of receipt of the newest message, 0 for none.

        A silence in which the connection was made, or a stall of the recorder ended (at ``opened_ns``), says
        nothing about the market.
        """
        before_ns = self.received_ns
        if received_ns == before_ns:
            return
        self.received_ns = received_ns
        silence_ns = received_ns - before_ns
        if not before_ns or silence_ns < 0 or opened_ns > before_ns:
            return
        known_ns = self.ns
        if self.silences < MIN_SILENCES:
            self.silences += 1
        if silence_ns < known_ns:
            memory_ns = max(_MEMORY_NS, _MEMORY_SILENCES * known_ns)
            self.ns = known_ns - (known_ns - silence_ns) * silence_ns // memory_ns
        elif known_ns:
            self.ns = min(silence_ns, _GROWTH * known_ns)
        else:
            self.ns = silence_ns
