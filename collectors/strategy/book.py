"""What one strategy holds in one instrument: by its fills, and by what the trading process reports."""

from __future__ import annotations

from collectors.common.values import UnusableEventError, is_usable
from decahertz.event import Fill, Position, PositionSource
from decahertz.round_trip import OpenRoundTrip, RoundTrip

_TOLERANCE = 1e-6
"""Reported and added-up positions may differ by this share of the larger: rounding, not a break."""


class Book:
    """One instrument of a strategy."""

    __slots__ = (
        "_differs_ns",
        "_fill_ns",
        "_mark_ns",
        "_reported",
        "_reported_ns",
        "instrument",
        "received_ns",
        "reported_mark",
        "reported_mark_received_ns",
        "trip",
        "venue",
    )

    def __init__(self, venue: str, instrument: str) -> None:
        """Flat, and nothing reported."""
        self.venue = venue
        self.instrument = instrument
        self.trip = OpenRoundTrip()
        self._fill_ns = 0
        self._reported: dict[PositionSource, Position] = {}
        self._reported_ns = 0
        self._differs_ns: int | None = None
        self._mark_ns = 0
        self.reported_mark: float | None = None
        """The mark that came with the newest report."""
        self.reported_mark_received_ns = 0
        self.received_ns = 0

    @property
    def is_open(self) -> bool:
        """Whether the fills leave a position."""
        return self.trip.position != 0.0

    def add_fill(self, fill: Fill, received_ns: int) -> tuple[RoundTrip | None, float]:
        """Fold a fill in: the trade that it closed, and how much it realised (money).

        Raises :class:`UnusableEventError` for numbers that nothing can be calculated from.
        """
        value = fill.price * fill.quantity
        if not all(map(is_usable, (fill.price, fill.quantity, value, fill.fee, fill.risk or 0.0))):
            raise UnusableEventError(f"fill {fill.fill_id!r} of {fill.strategy!r} is too large to add up")
        before = self.trip.realised()
        trade = self.trip.add(fill)
        self._fill_ns = max(self._fill_ns, fill.time_ns)
        self.received_ns = received_ns
        closed = 0.0 if trade is None else trade.pnl
        return trade, closed + self.trip.realised() - before

    def report(self, position: Position, received_ns: int) -> None:
        """Take what the trading process says it holds; an older report than the newest is ignored."""
        self.received_ns = received_ns
        before = self._reported.get(position.held_by)
        if before is not None and position.time_ns < before.time_ns:
            return
        self._reported[position.held_by] = position
        self._reported_ns = max(self._reported_ns, position.time_ns)
        mark = position.mark_price
        if mark is not None and is_usable(mark) and position.time_ns >= self._mark_ns:
            self.reported_mark = mark
            self._mark_ns = position.time_ns
            self.reported_mark_received_ns = received_ns

    def is_broken(self, now_ns: int, patience_ns: int) -> bool:
        """Whether report and fills have disagreed for ``patience_ns``.

        They are compared only while the report is at least as new as the newest fill. Quantities that
        different holders report for the same strategy and instrument are added.
        """
        if not self._reported or self._reported_ns < self._fill_ns or self._agrees():
            self._differs_ns = None
            return False
        if self._differs_ns is None or self._differs_ns > now_ns:
            self._differs_ns = now_ns
        return now_ns - self._differs_ns >= patience_ns

    def _agrees(self) -> bool:
        reported = sum(position.quantity for position in self._reported.values())
        held = self.trip.position
        return abs(reported - held) <= _TOLERANCE * max(abs(reported), abs(held))
