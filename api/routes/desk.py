"""The state of the desk: regime, R by period, and whether anything speaks against trading."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from api.http.query import NoQuery
from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.live_state import risk_state, strategy_state
from collectors.strategy.figures import StrategyFigures
from decahertz.clock import NS_PER_SECOND
from decahertz.quantities import Figures, Money, Reasons, RMultiple, Seconds, TimeNanoseconds

_IDLE_SECONDS = 300.0
_NO_RISK = "no closed round trip has a known initial risk"


class DeskState(StrEnum):
    """State of the desk. The recorder observes: it neither trades nor halts anything."""

    HALTED = "halted"
    """A hard risk limit is exceeded, or one is reported as breached."""
    DEGRADED = "degraded"
    """Something else speaks against trading, such as a part of the recorder that is degraded."""
    ACTIVE = "active"
    """A strategy has sent an event within five minutes, or holds a position."""
    IDLE = "idle"


class StrategyStatus(Struct, frozen=True, kw_only=True):
    """One strategy."""

    strategy: str
    regime: str | None
    """The newest regime that the strategy reported."""
    regime_ns: TimeNanoseconds | None
    daily_pnl: Money
    weekly_pnl: Money
    daily_r: RMultiple | None
    """Sum of the R multiples of the round trips closed in this UTC day."""
    daily_r_trades: int
    """The n of `daily_r`."""
    weekly_r: RMultiple | None
    """The same for this ISO week."""
    weekly_r_trades: int
    current_r: RMultiple | None
    """P&L of the open round trips with known risk, relative to that risk."""
    daily_loss_streak: int
    """Consecutive most recent UTC days with a realised loss; days without P&L are skipped."""
    open_positions: int
    silent_seconds: Seconds
    """Since its newest event."""
    reasons: Reasons


class DeskStatus(Struct, frozen=True, kw_only=True):
    """The desk as this recorder sees it."""

    recorder: str
    """Name of this recorder."""
    time_ns: TimeNanoseconds
    state: DeskState
    can_trade: bool
    """Whether nothing that the recorder knows speaks against trading. It is not a permission."""
    objections: list[str]
    """Everything that speaks against trading; empty if `can_trade` is true."""
    regime: str | None
    """The newest regime that names no strategy; without one, that of the active strategy."""
    active_strategy: str | None
    """The strategy that sent the newest event."""
    daily_r: RMultiple | None
    """Sum over the strategies."""
    daily_r_trades: int
    weekly_r: RMultiple | None
    weekly_r_trades: int
    strategies: list[StrategyStatus]
    reasons: Reasons


async def system_status(request: Request[NoQuery, None]) -> DeskStatus:
    """Returns regime, R by day and week, and what speaks against trading, from live state.

    Objections are: hard limits of the settings that are exceeded or cannot be evaluated, limits that are
    reported as breached, open positions whose feed is stale or mute, no live feed at all, and parts of the
    recorder that are degraded or have failed. `risk` has the limits.
    """
    parts = request.parts
    now_ns = parts.clock.time_ns()
    collector = strategy_state(parts)
    known = collector.figures(now_ns)
    active = max(known, key=lambda strategy: strategy.received_ns, default=None)
    monitor = risk_state(parts)
    objections = [objection.reason for objection in monitor.objections()]
    figures = Figures()
    regime = collector.desk_regime.regime if collector.desk_regime is not None else None
    if regime is None and active is not None:
        regime = active.regime
    figures.add("regime", regime, "no regime was reported in the last seven days")
    figures.add("active_strategy", active.strategy if active else None, "no strategy has sent an event")
    _add_r(figures, known)
    return DeskStatus(
        recorder=parts.recorder,
        time_ns=now_ns,
        state=_state(known, now_ns, is_breached=monitor.is_breached, has_objections=bool(objections)),
        can_trade=not objections,
        objections=objections,
        daily_r_trades=sum(strategy.daily_r_trades for strategy in known),
        weekly_r_trades=sum(strategy.weekly_r_trades for strategy in known),
        strategies=[_strategy(strategy, now_ns) for strategy in known],
        **figures.values_with_reasons(),
    )


def _strategy(strategy: StrategyFigures, now_ns: int) -> StrategyStatus:
    figures = Figures()
    figures.add("regime", strategy.regime, "the strategy has reported none")
    figures.add("regime_ns", strategy.regime_ns, "the strategy has reported none")
    figures.add("current_r", strategy.current_r, "no open position has a known initial risk and a mark price")
    _add_r(figures, [strategy])
    return StrategyStatus(
        strategy=strategy.strategy,
        daily_pnl=strategy.daily_pnl,
        weekly_pnl=strategy.weekly_pnl,
        daily_r_trades=strategy.daily_r_trades,
        weekly_r_trades=strategy.weekly_r_trades,
        daily_loss_streak=strategy.daily_loss_streak,
        open_positions=strategy.open_positions,
        silent_seconds=_silent_seconds(strategy, now_ns),
        **figures.values_with_reasons(),
    )


def _add_r(figures: Figures, strategies: Sequence[StrategyFigures]) -> None:
    for period, words in (("daily", "this day"), ("weekly", "this week")):
        trades = sum(getattr(strategy, f"{period}_r_trades") for strategy in strategies)
        total = float(sum(getattr(strategy, f"{period}_r") for strategy in strategies))
        figures.add(f"{period}_r", total if trades else None, f"{_NO_RISK} in {words}")


def _silent_seconds(strategy: StrategyFigures, now_ns: int) -> float:
    return max(now_ns - strategy.received_ns, 0) / NS_PER_SECOND


def _state(
    known: Sequence[StrategyFigures], now_ns: int, *, is_breached: bool, has_objections: bool
) -> DeskState:
    if is_breached:
        return DeskState.HALTED
    if has_objections:
        return DeskState.DEGRADED
    is_active = any(s.open_positions or _silent_seconds(s, now_ns) < _IDLE_SECONDS for s in known)
    return DeskState.ACTIVE if is_active else DeskState.IDLE


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/system/status",
        summary="State of the desk",
        handler=system_status,
        response=DeskStatus,
        problems=("not-enabled",),
    ),
)
