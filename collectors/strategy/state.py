"""The state of one strategy, computed from its events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec import Struct, field

from collectors.common.mark_prices import MarkPrices
from collectors.common.values import UnusableEventError, finite, is_usable
from collectors.common.windows import RecentSet
from collectors.strategy.equity import DailyPnl, DailyR, EquityCurve
from collectors.strategy.holding import Holding
from collectors.strategy.position import Mark, MarkSource
from collectors.strategy.statistics import RoundTripStatistics
from decahertz.event import Equity, Fill, Position, Regime
from decahertz.key_budget import KeyBudget

_FILLS_REMEMBERED = 10_000


@dataclass(slots=True)
class Valuation:
    """The value of the open positions at their mark prices, in money."""

    unrealised: float | None = 0.0
    gross: float | None = 0.0
    net: float | None = 0.0
    oldest_mark_price_ns: int | None = None
    """Time of receipt of the oldest mark price in use; ``None`` without a position or a mark price."""
    current_r: float | None = None


class StrategyState(Struct):
    """One strategy.

    Its equity curve consists of the strategy's ``equity`` events; before the first one, of realised plus
    unrealised P&L, starting at zero.
    """

    strategy: str
    received_ns: int
    curve: EquityCurve
    position_keys: KeyBudget
    """The budget of the positions of all strategies."""
    holdings: dict[tuple[str, str], Holding] = {}
    realised: float = 0.0
    daily_pnl: DailyPnl = field(default_factory=DailyPnl)
    daily_r: DailyR = field(default_factory=DailyR)
    statistics: RoundTripStatistics = field(default_factory=RoundTripStatistics)
    equity: float | None = None
    _equity_ns: int = 0
    signals: int = 0
    fills: int = 0
    duplicate_fills: int = 0
    regime_changes: int = 0
    open_positions: int = 0
    """Instruments with an open position."""
    _fills_seen: RecentSet = field(default_factory=lambda: RecentSet(_FILLS_REMEMBERED))
    regime: Regime | None = None
    """The newest regime reported."""

    @classmethod
    def appearing(cls, strategy: str, now_ns: int, position_keys: KeyBudget) -> StrategyState:
        """The state of a strategy before its first event."""
        return cls(strategy, now_ns, EquityCurve.starting(now_ns, 0.0), position_keys)

    def add_fill(self, fill: Fill, received_ns: int) -> None:
        """Adds a fill unless it is a duplicate. Raises :class:`UnusableEventError`."""
        holding = self._holding(fill.venue, fill.instrument, received_ns)
        if holding is None:
            return
        if not self._fills_seen.add((fill.venue, fill.instrument, fill.order_id, fill.fill_id)):
            self.duplicate_fills += 1
            return
        was_open = holding.is_open
        round_trip, realised = holding.add_fill(fill, received_ns)
        self.open_positions += holding.is_open - was_open
        self.fills += 1
        self.realised += realised
        self.daily_pnl.add(fill.time_ns, realised)
        if round_trip is not None:
            self.statistics.add(round_trip)
            if round_trip.r_multiple is not None:
                self.daily_r.add(round_trip.closed_ns, round_trip.r_multiple)
        if self.equity is None and not self.open_positions:
            # A flat strategy needs no mark price: the curve stays exact between samples and during a restore.
            self.curve.observe(received_ns, self.realised)

    def report_position(self, position: Position, received_ns: int) -> None:
        """Records a reported position."""
        holding = self._holding(position.venue, position.instrument, received_ns)
        if holding is not None:
            holding.report(position, received_ns)

    def report_equity(self, event: Equity, received_ns: int) -> None:
        """Records a reported equity unless a newer one is known. Raises :class:`UnusableEventError`."""
        if not is_usable(event.equity):
            raise UnusableEventError(f"equity of {event.strategy!r} is too large to calculate with")
        if event.time_ns < self._equity_ns:
            return
        self._equity_ns = event.time_ns
        if self.equity is None:
            self.curve = EquityCurve.starting(received_ns, event.equity)
        self.equity = event.equity
        self.curve.observe(received_ns, event.equity)

    def take_regime(self, event: Regime) -> None:
        """Counts a change of regime; the first regime is not a change."""
        if self.regime is not None:
            if event.time_ns < self.regime.time_ns:
                return
            self.regime_changes += event.regime != self.regime.regime
        self.regime = event

    def open_holdings(self) -> Iterator[Holding]:
        """Iterates over the holdings with an open position."""
        return (holding for holding in self.holdings.values() if holding.trip.position)

    def value(self, mark_prices: MarkPrices) -> Valuation:
        """Values the open positions at the newest mids, or else at the newest reported mark prices.

        Sums are ``None`` while a mark price is missing. ``current_r`` covers the positions with known risk.
        """
        total = Valuation()
        unrealised = gross = net = gain = risk = 0.0
        is_complete = is_risk_complete = True
        for holding in self.open_holdings():
            mark = mark_of(holding, mark_prices)
            price, received_ns = mark.price, mark.received_ns
            trip = holding.trip
            if price is None:
                is_complete = False
                is_risk_complete = is_risk_complete and not trip.risk
                continue
            value = price * trip.position
            open_pnl = trip.unrealised(price)
            unrealised += open_pnl
            gross += abs(value)
            net += value
            if trip.risk:
                gain += open_pnl + trip.realised()
                risk += trip.risk
            if total.oldest_mark_price_ns is None or received_ns < total.oldest_mark_price_ns:
                total.oldest_mark_price_ns = received_ns
        if not is_complete:
            total.unrealised = total.gross = total.net = None
        else:
            total.unrealised, total.gross, total.net = finite(unrealised), finite(gross), finite(net)
        if risk and is_risk_complete:
            total.current_r = finite(gain / risk)
        return total

    def drop_flat_holdings(self, before_ns: int) -> None:
        """Drops flat holdings without a fill or report since ``before_ns``."""
        for key, holding in list(self.holdings.items()):
            if not holding.is_open and holding.received_ns < before_ns:
                self._drop(key)

    def release_positions(self) -> None:
        """Gives back the room of its positions in the budget."""
        for key in list(self.holdings):
            self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        del self.holdings[key]
        self.position_keys.release((self.strategy, *key))

    def _holding(self, venue: str, instrument: str, received_ns: int) -> Holding | None:
        """Returns the position in an instrument; ``None`` if there is no room for it."""
        holding = self.holdings.get((venue, instrument))
        if holding is None and self.position_keys.admit((self.strategy, venue, instrument), received_ns):
            holding = self.holdings[venue, instrument] = Holding(venue, instrument)
        return holding


def mark_of(holding: Holding, mark_prices: MarkPrices) -> Mark:
    """Returns the newest mid of a holding's instrument, or else the newest reported mark price."""
    mark = mark_prices.get(holding.venue, holding.instrument)
    if mark is not None and mark.price is not None:
        return Mark(mark.price, mark.received_ns, MarkSource.QUOTE)
    return Mark(holding.reported_mark, holding.reported_mark_received_ns, MarkSource.REPORT)


def hint_of(holding: Holding, mark_prices: MarkPrices) -> str:
    """Names the quotes that a holding without a mark price may have missed; empty if there are none."""
    similar = mark_prices.similar(holding.venue, holding.instrument)
    if similar is None:
        return ""
    venue, instrument = similar
    if venue == holding.venue:
        return f"{instrument} is quoted: if it is the same, list one in aliases of the other's definition"
    return f"{instrument} is quoted at {venue}: names of venue and instrument must be those of the quotes"
