"""P&L by period, from the live state of the strategy collector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.known import check_known
from api.routes.live_state import strategy_state
from api.routes.records import Text
from collectors.common.values import finite
from collectors.strategy.figures import StrategyFigures
from collectors.strategy.position import NO_MARK, TOO_LARGE
from decahertz.quantities import Figures, Money, Reasons, TimeNanoseconds


class PnlQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of P&L; absent parameters do not filter."""

    strategy: Text | None = None


class Pnl(Struct, frozen=True, kw_only=True):
    """P&L after fees. Periods are of UTC, and cover realised P&L by the time of the fills."""

    daily: Money | None
    """Realised in this day."""
    weekly: Money | None
    """Realised in this ISO week, from Monday."""
    monthly: Money | None
    """Realised in this month."""
    realised: Money | None
    """Realised since the strategy first appeared."""
    unrealised: Money | None
    """Of the open positions, at their mark prices."""
    total: Money | None
    """Realised plus unrealised."""
    fills: int
    """Fills that the realised P&L follows from: its n."""
    trades: int
    """Closed round trips among them."""
    open_positions: int
    """Positions that the unrealised P&L adds up: its n."""
    reasons: Reasons


class StrategyPnl(Pnl, frozen=True, kw_only=True):
    """P&L of one strategy."""

    strategy: str
    equity: Money | None
    """Newest equity that the strategy reported."""


class PnlReport(Struct, frozen=True, kw_only=True):
    """P&L of the strategies of this recorder."""

    recorder: str
    """Name of this recorder."""
    time_ns: TimeNanoseconds
    overall: Pnl
    """Sum over the strategies, in the account currency."""
    strategies: list[StrategyPnl]


async def pnl(request: Request[PnlQuery, None]) -> PnlReport:
    """Returns realised P&L by day, week and month, and in total, and unrealised P&L, by strategy.

    The history of these figures is `metrics/history?collector=strategy&fields=daily_pnl,realised_pnl`.
    """
    now_ns = request.parts.clock.time_ns()
    wanted = request.query.strategy
    known = [f for f in strategy_state(request.parts).figures(now_ns) if wanted in (None, f.strategy)]
    if not known:
        await check_known(request.parts, {"strategy": wanted})
    return PnlReport(
        recorder=request.parts.recorder,
        time_ns=now_ns,
        overall=Pnl(**_pnl(known).values_with_reasons(), **_counts(known)),
        strategies=[_strategy(figures) for figures in known],
    )


def _strategy(strategy: StrategyFigures) -> StrategyPnl:
    figures = _pnl([strategy])
    figures.add("equity", strategy.equity, "the strategy reports no equity")
    return StrategyPnl(strategy=strategy.strategy, **figures.values_with_reasons(), **_counts([strategy]))


def _pnl(strategies: Sequence[StrategyFigures]) -> Figures:
    figures = Figures()
    for name in ("daily", "weekly", "monthly", "realised"):
        total = sum(getattr(strategy, f"{name}_pnl") for strategy in strategies)
        figures.add(name, finite(float(total)), TOO_LARGE)
    unmarked = [strategy.strategy for strategy in strategies if strategy.unrealised_pnl is None]
    reason = f"{', '.join(unmarked[:3])}: {NO_MARK}" if unmarked else TOO_LARGE
    unrealised = None
    if not unmarked:
        unrealised = finite(sum((strategy.unrealised_pnl or 0.0 for strategy in strategies), 0.0))
    figures.add("unrealised", unrealised, reason)
    realised = figures.values["realised"]
    total = None if unrealised is None or realised is None else finite(realised + unrealised)
    figures.add("total", total, reason)
    return figures


def _counts(strategies: Sequence[StrategyFigures]) -> dict[str, Any]:
    names = ("fills", "trades", "open_positions")
    return {name: sum(getattr(strategy, name) for strategy in strategies) for name in names}


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/pnl",
        summary="P&L by period",
        handler=pnl,
        query=PnlQuery,
        response=PnlReport,
        problems=("not-enabled", "database-unavailable", "unknown-name"),
    ),
)
