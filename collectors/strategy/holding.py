"""The holding of one strategy in one instrument, by its fills and as reported by the trading process."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct, field

from collectors.common.values import is_usable
from collectors.strategy.fill_log import Effect, FillLog, Rules
from decahertz.event import Fill, Position, PositionSource
from decahertz.executions import Place
from decahertz.round_trip import OpenRoundTrip, added

_TOLERANCE = 1e-6
"""Relative difference between reported position and fills that is rounding, not a break."""


class Excursion(Struct):
    """Worst and best P&L of a round trip while it was open, at the mids of the cycles."""

    trip: tuple[int, str, str] | None = None
    """Time and ids of its opening fill."""
    worst: float | None = None
    best: float | None = None

    def observe(self, opening: Fill, pnl: float) -> None:
        """Adds the P&L of a cycle, realised part included."""
        trip = (opening.time_ns, opening.order_id, opening.fill_id)
        if trip != self.trip or self.worst is None or self.best is None:
            self.trip, self.worst, self.best = trip, pnl, pnl
        elif pnl < self.worst:
            self.worst = pnl
        elif pnl > self.best:
            self.best = pnl

    def of(self, opening: Fill | None) -> tuple[float | None, float | None]:
        """Worst and best of the round trip that this fill opened; ``None`` before its first mid."""
        if opening is None or self.trip != (opening.time_ns, opening.order_id, opening.fill_id):
            return None, None
        return self.worst, self.best


class Holding(Struct):
    """The holding of one strategy in one instrument, in one of its accounts."""

    account: str
    venue: str
    instrument: str
    log: FillLog = field(default_factory=FillLog)
    excursion: Excursion = field(default_factory=Excursion)
    _fill_ns: int = 0
    _reported: dict[PositionSource, Position] = {}
    _reported_ns: int = 0
    _differs_ns: int | None = None
    _agrees: bool | None = None
    """Whether report and fills agree; ``None`` after a change. Late fills are folded before it is read."""
    _mark_ns: int = 0
    reported_mark: float | None = None
    """The mark price in the newest report."""
    reported_mark_received_ns: int = 0
    received_ns: int = 0
    fills: int = 0
    _realised: Decimal = Decimal(0)
    _fees: Decimal = Decimal(0)
    is_margined: bool = False
    """Whether cash gets only the results."""
    is_foreign: bool = False
    """Whether it settles in another currency than that of the account."""
    unconverted: int = 0
    """Fills of which an amount has no rate into the account currency; it is in no sum."""

    @property
    def trip(self) -> OpenRoundTrip:
        """The open round trip."""
        return self.log.trip

    @property
    def realised(self) -> float:
        """P&L realised by all fills, after fees, in money."""
        return float(self._realised)

    @property
    def fees(self) -> float:
        """Fees of all fills, in money."""
        return float(self._fees)

    @property
    def reports(self) -> list[Position]:
        """The newest report of each holder."""
        return list(self._reported.values())

    @property
    def updated_ns(self) -> int:
        """Time of the newest fill or report, by its own clock."""
        return max(self._fill_ns, self._reported_ns)

    @property
    def is_defined(self) -> bool:
        """Whether the contract was known when the position was opened; also when it is flat."""
        return self.trip.opening is None or self.trip.opening.multiplier is not None

    @property
    def agrees(self) -> bool:
        """Whether report and fills agree, as :meth:`is_broken` has found."""
        return self._agrees is True

    @property
    def is_open(self) -> bool:
        """Whether the fills leave a position open."""
        return self.log.trip.opening is not None

    def add_fill(self, place: Place, fill: Fill, ids: int, received_ns: int, rules: Rules) -> list[Effect]:
        """Adds a report of a fill; returns the effects that are known at once, see :meth:`FillLog.add`."""
        self._fill_ns = max(self._fill_ns, fill.time_ns)
        self.received_ns = received_ns
        self._agrees = None
        return self.log.add(place, fill, ids, rules)

    def apply(self, effect: Effect) -> None:
        """Adds an effect to the sums."""
        booking, sign = effect.booking, effect.sign
        self._realised = added(self._realised, sign * (booking.realised or 0.0))
        self._fees = added(self._fees, sign * (booking.fees or 0.0))
        if booking.realised is None or booking.fees is None:
            self.unconverted += sign

    def report(self, position: Position, received_ns: int) -> None:
        """Records a position reported by the trading process, unless a newer report is known."""
        self.received_ns = received_ns
        before = self._reported.get(position.held_by)
        if before is not None and position.time_ns < before.time_ns:
            return
        self._reported[position.held_by] = position
        self._agrees = None
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
        if self._agrees is None:
            is_older = self._reported_ns < self._fill_ns
            self._agrees = not self._reported or is_older or self._is_reported()
        if self._agrees:
            self._differs_ns = None
            return False
        if self._differs_ns is None or self._differs_ns > now_ns:
            self._differs_ns = now_ns
        return self.has_differed(now_ns, break_ns)

    def _is_reported(self) -> bool:
        reported = sum(position.quantity for position in self._reported.values())
        held = self.trip.position
        return abs(reported - held) <= _TOLERANCE * max(abs(reported), abs(held))
