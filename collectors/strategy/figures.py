"""P&L by period, regime and R of one strategy, as they are now; the samples hold the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collectors.strategy.state import StrategyState, Valuation


class StrategyFigures(Struct, frozen=True, kw_only=True):
    """One strategy. Amounts are in money, after fees; periods are of UTC."""

    strategy: str
    daily_pnl: float
    weekly_pnl: float
    """Of the ISO week, from Monday."""
    monthly_pnl: float
    realised_pnl: float
    unrealised_pnl: float | None
    """``None`` while a mark price is missing."""
    equity: float | None
    """As the strategy reported it; ``None`` if it reports none."""
    open_positions: int
    fills: int
    trades: int
    daily_r: float
    daily_r_trades: int
    """Round trips with known risk closed in this day: the n of ``daily_r``."""
    weekly_r: float
    weekly_r_trades: int
    current_r: float | None
    daily_loss_streak: int
    """Consecutive most recent days with a realised loss."""
    regime: str | None
    regime_ns: int | None
    received_ns: int
    """Receipt of the newest event of the strategy."""


def figures_of(state: StrategyState, value: Valuation, now_ns: int) -> StrategyFigures:
    """Describes a strategy whose open positions have this value."""
    daily_r, weekly_r = state.daily_r.daily(now_ns), state.daily_r.weekly(now_ns)
    regime = state.regime
    return StrategyFigures(
        strategy=state.strategy,
        daily_pnl=state.daily_pnl.daily(now_ns),
        weekly_pnl=state.daily_pnl.weekly(now_ns),
        monthly_pnl=state.daily_pnl.monthly(now_ns),
        realised_pnl=state.realised,
        unrealised_pnl=value.unrealised,
        equity=state.curve.equity,
        open_positions=state.open_positions,
        fills=state.fills,
        trades=state.statistics.trades,
        daily_r=daily_r[0],
        daily_r_trades=daily_r[1],
        weekly_r=weekly_r[0],
        weekly_r_trades=weekly_r[1],
        current_r=value.current_r,
        daily_loss_streak=state.daily_pnl.daily_loss_streak,
        regime=None if regime is None else regime.regime,
        regime_ns=None if regime is None else regime.time_ns,
        received_ns=state.received_ns,
    )
