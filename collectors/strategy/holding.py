"""The holding of one strategy in one instrument, by its fills and as reported by the trading process."""

from __future__ import annotations

from msgspec import Struct, field

from collectors.common.values import UnusableEventError, is_usable
from decahertz.event import Fill, Position, PositionSource
from decahertz.round_trip import OpenRoundTrip, RoundTrip

_TOLERANCE = 1e-6
"""Relative difference between reported position and fills that is rounding, not a break."""


class Holding(Struct):
    """The holding of one strategy in one instrument."""

    venue: str
    instrument: str
    trip: OpenRoundTrip = field(default_factory=OpenRoundTrip)
    _fill_ns: int = 0
    _reported: dict[PositionSource, Position] = {}
    _reported_ns: int = 0
    _differs_ns: int | None = None
    _mark_ns: int = 0
    reported_mark: float | None = None
    """The mark price in the newest report."""
    reported_mark_received_ns: int = 0
    received_ns: int = 0
    fills: int = 0
    realised: float = 0.0
    """P&L realised by all fills, after fees, in money."""
    fees: float = 0.0

    @property
    def reports(self) -> list[Position]:
        """The newest report of each holder."""
        return list(self._reported.values())

    @property
    def updated_ns(self) -> int:
        """Time of the newest fill or report, by its own clock."""
        return max(self._fill_ns, self._reported_ns)

    @property
    def is_open(self) -> bool:
        """Whether the fills leave a position open."""
        return self.trip.position != 0.0

    def add_fill(self, fill: Fill, received_ns: int) -> tuple[RoundTrip | None, float]:
        """Adds a fill; returns the round trip that it closed, and the P&L that it realised (money).

        Raises :class:`UnusableEventError` for numbers too large to calculate with.
        """
        value = fill.price * fill.quantity
        if not all(map(is_usable, (fill.price, fill.quantity, value, fill.fee, fill.risk or 0.0))):
            raise UnusableEventError(f"fill {fill.fill_id!r} of {fill.strategy!r} is too large to add up")
        before = self.trip.realised()
        closed = self.trip.add(fill)
        self._fill_ns = max(self._fill_ns, fill.time_ns)
        self.received_ns = received_ns
        realised = (0.0 if closed is None else closed.pnl) + self.trip.realised() - before
        self.fills += 1
        self.realised += realised
        self.fees += fill.fee
        return closed, realised

    def report(self, position: Position, received_ns: int) -> None:
        """Records a position reported by the trading process, unless a newer report is known."""
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

    def has_differed(self, now_ns: int, break_ns: int) -> bool:
        """Returns whether :meth:`is_broken` has found a difference for ``break_ns``; changes nothing."""
        return self._differs_ns is not None and now_ns - self._differs_ns >= break_ns

    def is_broken(self, now_ns: int, break_ns: int) -> bool:
        """Returns whether report and fills have differed for ``break_ns``.

        They are compared only while the report is not older than the newest fill. The quantities reported by
        different holders are added up.
        """
        if not self._reported or self._reported_ns < self._fill_ns or self._agrees():
            self._differs_ns = None
            return False
        if self._differs_ns is None or self._differs_ns > now_ns:
            self._differs_ns = now_ns
        return self.has_differed(now_ns, break_ns)

    def _agrees(self) -> bool:
        reported = sum(position.quantity for position in self._reported.values())
        held = self.trip.position
        return abs(reported - held) <= _TOLERANCE * max(abs(reported), abs(held))
