"""Whether trading may go on: everything that speaks against it, published at each change."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from decahertz.event import TimeNs

TOPIC: Final = "trading"
"""Topic of the bus; its messages are :class:`TradingState`."""


class Objection(Struct, frozen=True, kw_only=True, gc=False):
    """A reason against trading."""

    reason: str
    strategy: str | None = None
    """The only strategy that it speaks against; null: every strategy, or the instrument."""
    venue: str | None = None
    """The venue of the instrument; null: every venue."""
    instrument: str | None = None
    """The only instrument that it speaks against; null: all of them."""

    def covers(self, strategy: str | None, venue: str | None, instrument: str | None) -> bool:
        """Whether it speaks against orders of a strategy in an instrument.

        Those about one instrument do not where none is given, and those about one strategy likewise.
        """
        if self.instrument is not None:
            return self.instrument == instrument and self.venue in (None, venue)
        return self.strategy in (None, strategy)


class TradingState(Struct, frozen=True, kw_only=True):
    """Whether trading may go on, as the topic `risk` has it."""

    type: Literal["can_trade"] = "can_trade"
    time_ns: TimeNs
    """Since when it is so: another state has another time."""
    can_trade: bool
    """Whether nothing that the recorder knows speaks against trading. It is not a permission."""
    objections: list[Objection]
    """Everything that speaks against trading. A strategy can trade unless one has its name, or has neither a
    strategy nor an instrument."""
