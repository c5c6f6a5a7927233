"""Statistics of the round trips of all strategies together, and by regime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct, field

from collectors.strategy.regimes import RegimeHistory
from collectors.strategy.statistics import RoundTripStatistics

if TYPE_CHECKING:
    from decahertz.event import Regime
    from decahertz.key_budget import KeyBudget
    from decahertz.round_trip import RoundTrip

ALL = "all"
"""Stands for the whole portfolio where a regime is named."""
NO_REGIME = "none"
"""Regime of the round trips that were opened before any was reported."""
_HISTORIES_KEPT = 1_000
_DESK = ""


class PortfolioStatistics(Struct):
    """Statistics of the round trips of all strategies, retired ones included.

    The regime of a round trip is the newest at its opening that its strategy had reported, or else the desk.
    """

    minor_unit: float = 0.01
    window: int = 50
    whole: RoundTripStatistics = field(default_factory=RoundTripStatistics)
    _by_regime: dict[str, RoundTripStatistics] = {}
    _histories: dict[str, RegimeHistory] = {}
    """By strategy; empty: the desk."""

    def account_by(self, minor_unit: float, window: int) -> None:
        """Sets the amount below which a result is zero, and the length of the rolling windows."""
        self.minor_unit, self.window = minor_unit, window
        for statistics in (self.whole, *self._by_regime.values()):
            statistics.minor_unit = minor_unit
            statistics.roll(window)

    def take_regime(self, event: Regime) -> None:
        """Notes a regime that a strategy, or the desk, reports."""
        self._history(event.strategy or _DESK).add(event.time_ns, event.regime)

    def count(self, round_trip: RoundTrip, sign: int, keys: KeyBudget, now_ns: int) -> None:
        """Adds a round trip, or withdraws it with a negative sign; a regime needs room in ``keys``."""
        if round_trip.pnl is None:
            return
        _count(self.whole, round_trip, sign)
        regime = self._regime_of(round_trip)
        if regime == ALL or not keys.admit((regime,), now_ns):
            return
        statistics = self._by_regime.get(regime)
        if statistics is None:
            statistics = self._by_regime[regime] = RoundTripStatistics(self.minor_unit, self.window)
        _count(statistics, round_trip, sign)

    def by_regime(self) -> Iterator[tuple[str, RoundTripStatistics]]:
        """Iterates over the regimes and the statistics of their round trips; the whole comes first."""
        yield ALL, self.whole
        yield from self._by_regime.items()

    def _regime_of(self, round_trip: RoundTrip) -> str:
        for name in (round_trip.strategy, _DESK):
            regime = self._history(name).at(round_trip.opened_ns)
            if regime is not None:
                return regime
        return NO_REGIME

    def _history(self, name: str) -> RegimeHistory:
        """Returns a history; evicts the least recently used one when there are too many."""
        history = self._histories.pop(name, None) or RegimeHistory()
        self._histories[name] = history
        if len(self._histories) > _HISTORIES_KEPT:
            del self._histories[next(iter(self._histories))]
        return history


def _count(statistics: RoundTripStatistics, round_trip: RoundTrip, sign: int) -> None:
    (statistics.add if sign > 0 else statistics.remove)(round_trip)
