"""The cash of one account: as it is reported, and as it follows from fills and cash flows."""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from msgspec import Struct, field

from decahertz.event import Instrument, InstrumentKind
from decahertz.round_trip import Booking, added

_MARGINED = frozenset({InstrumentKind.FUTURE, InstrumentKind.PERPETUAL, InstrumentKind.FX})
_TOLERANCE = 1e-6
"""Relative difference that is rounding, not a break."""
_RATES = 1e-3
"""Share of the amounts converted from other currencies by which the rates of two parties may differ."""
_RECENT = 100
"""Newest flows before the first report: some of them may be later than it."""


def is_margined(definition: Instrument | None) -> bool:
    """Whether cash gets the results of an instrument only; anything else is bought with cash."""
    return definition is not None and definition.kind in _MARGINED


class CashAccount(Struct):
    """Compares the reported cash of an account with the flows since the first report.

    The first report is the beginning: later ones never replace it, so that a difference lasts until a fill
    or a cash flow explains it. They are compared when no flow is newer than the newest report.
    """

    first_ns: int = 0
    """Time of the first report; 0 without one."""
    first: float = 0.0
    reported_ns: int = 0
    reported: float = 0.0
    difference: float | None = None
    """Reported cash minus that of the flows, when they were compared last; ``None``: not known."""
    _flows: Decimal = Decimal(0)
    """Sum since the first report."""
    _converted: float = 0.0
    """Sum of the sizes of those in other currencies."""
    _newest_ns: int = 0
    unknown: int = 0
    """Flows without a rate, and purchases in another currency: nobody can say what is left of it."""
    _recent: deque[tuple[int, float]] = field(default_factory=deque)
    _is_compared: bool = True
    _differs_ns: int | None = None

    def add_booking(
        self, time_ns: int, booking: Booking, sign: int, *, margined: bool, foreign: bool
    ) -> None:
        """Adds the effect of a fill, or takes it back with the sign -1."""
        if margined:
            self.add(time_ns, booking.realised, sign, foreign=foreign)
        elif foreign or booking.paid is None or booking.fees is None:
            self.add(time_ns, None if booking.paid != 0 else 0.0, sign)
        else:
            self.add(time_ns, -booking.paid - booking.fees, sign)

    def add(self, time_ns: int, amount: float | None, sign: int = 1, *, foreign: bool = False) -> None:
        """Adds an amount of the account currency; ``None``: it is not known."""
        if amount == 0 or (self.first_ns and time_ns <= self.first_ns):
            return
        self._is_compared = False
        self._newest_ns = max(self._newest_ns, time_ns)
        if amount is None:
            self.unknown += sign
            return
        self._flows = added(self._flows, sign * amount)
        self._converted += abs(amount) if foreign else 0.0
        if not self.first_ns:
            self._recent.append((time_ns, sign * amount))
            if len(self._recent) > _RECENT:
                self._recent.popleft()

    def report(self, time_ns: int, cash: float) -> None:
        """Takes a reported cash, unless a newer one is known."""
        if not self.first_ns:
            self.first_ns, self.first = time_ns, cash
            later = (amount for at, amount in self._recent if at > time_ns)
            self._flows = sum((added(Decimal(0), amount) for amount in later), Decimal(0))
            self._converted, self.unknown = 0.0, 0
            self._recent.clear()
        if time_ns >= self.reported_ns:
            self.reported_ns, self.reported = time_ns, cash
            self._is_compared = False

    @property
    def is_settled(self) -> bool:
        """Whether time alone changes nothing: it agrees, or nothing is reported."""
        return (self._is_compared or not self.first_ns) and self._differs_ns is None

    def is_broken(self, now_ns: int, break_ns: int, minor_unit: float) -> bool:
        """Compares; returns whether they have differed for ``break_ns``."""
        if self.first_ns and not self._is_compared and self._newest_ns <= self.reported_ns:
            self._is_compared = True
            self._compare(now_ns, minor_unit)
        return self._differs_ns is not None and now_ns - self._differs_ns >= break_ns

    def _compare(self, now_ns: int, minor_unit: float) -> None:
        if self.unknown:
            self.difference = self._differs_ns = None
            return
        self.difference = float(added(added(-self._flows, self.reported), -self.first))
        largest = max(abs(self.reported), abs(self.first))
        if abs(self.difference) <= max(minor_unit, _TOLERANCE * largest) + _RATES * self._converted:
            self._differs_ns = None
        elif self._differs_ns is None or self._differs_ns > now_ns:
            self._differs_ns = now_ns
