"""Statistics of round trips from the database: ``trades/stats`` and ``performance``."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import asdict

from api.http.cache import Caching
from api.http.query import Time, parameter_problem
from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.known import check_known
from api.routes.records import Text
from collectors.common.values import finite
from collectors.strategy.statistics import wilson_lower
from decahertz.clock import NS_PER_SECOND
from decahertz.event import Side
from decahertz.quantities import Figures, Money, Ratio, Reasons, RMultiple, Seconds, TimeNanoseconds
from storage.query.round_trip_totals import RoundTripSelection, RoundTripTotals

_TOO_LARGE = "the number is too large"
_NO_TRADE = "there is no round trip"
_NO_WIN = "there is no winning round trip"
_NO_LOSS = "there is no losing round trip"
_NO_RISK = "no round trip has a known initial risk"


class StatisticsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of statistics of round trips closed in `[start, end)`; absent parameters do not filter."""

    recorder: Text | None = None
    strategy: Text | None = None
    venue: Text | None = None
    instrument: Text | None = None
    side: Annotated[Side, Meta(description="`buy`: long round trips; `sell`: short ones.")] | None = None
    start: Time | None = None
    end: Time | None = None


class PerformanceQuery(StatisticsQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same, of the newest round trips only."""

    window: Annotated[int, Meta(ge=1, le=100_000, description="Number of newest round trips.")] = 50


class TradeStatistics(Struct, frozen=True, kw_only=True):
    """Statistics of round trips. Those in money have `trades` as their n, those in R have `r_trades`."""

    trades: int
    """Round trips: the n of the win rate, of its bound, and of the figures in money."""
    wins: int
    losses: int
    breakeven: int
    """Round trips without P&L: neither wins nor losses."""
    unusable: int
    """Round trips left out because their amounts are too large to add up."""
    first_closed_ns: TimeNanoseconds | None
    last_closed_ns: TimeNanoseconds | None
    pnl: Money | None
    """Sum of P&L, after fees."""
    gross_profit: Money | None
    """Sum of P&L of the wins, after fees."""
    gross_loss: Money | None
    """Sum of P&L of the losses, after fees, as a positive number."""
    fees: Money | None
    win_rate: Ratio | None
    win_rate_lower: Ratio | None
    """Wilson lower bound of the win rate, 95 % two-sided."""
    profit_factor: Ratio | None
    """Gross profit divided by gross loss."""
    expectancy: Money | None
    """Mean P&L of a round trip."""
    average_win: Money | None
    """Mean P&L of the wins; n is `wins`."""
    average_loss: Money | None
    """Mean P&L of the losses, negative; n is `losses`."""
    payoff_ratio: Ratio | None
    """Average win divided by the size of the average loss."""
    largest_win: Money | None
    largest_loss: Money | None
    """Negative."""
    average_open_seconds: Seconds | None
    """Mean time from opening to closing."""
    r_trades: int
    """Round trips with a known initial risk."""
    r_wins: int
    r_losses: int
    total_r: RMultiple | None
    expectancy_r: RMultiple | None
    """Mean R multiple."""
    average_win_r: RMultiple | None
    """Mean R multiple of the wins; n is `r_wins`."""
    average_loss_r: RMultiple | None
    """Mean R multiple of the losses, negative; n is `r_losses`."""
    streak: int
    """Wins since the last round trip that was none, or losses as a negative number."""
    longest_winning_streak: int
    longest_losing_streak: int
    reasons: Reasons


class StrategyStatistics(Struct, frozen=True, kw_only=True):
    """Statistics of the newest round trips of one strategy."""

    strategy: str
    statistics: TradeStatistics


class Performance(Struct, frozen=True, kw_only=True):
    """Statistics over a rolling window of round trips."""

    window: int
    """Largest number of round trips in each item."""
    overall: TradeStatistics
    """The newest round trips of all selected strategies together."""
    strategies: list[StrategyStatistics]
    """The newest round trips of each strategy."""


async def trades_stats(request: Request[StatisticsQuery, None]) -> TradeStatistics:
    """Returns counts, sums, means and ratios of the round trips that `trades` lists with the same filters.

    `trades` in the answer is the number of items of that list.
    """
    which = _selection(request.query)
    (totals,) = await request.parts.queries.round_trip_totals(which)
    if not totals.trades:
        await check_known(request.parts, asdict(which))
    return statistics_of(totals)


async def performance(request: Request[PerformanceQuery, None]) -> Performance:
    """Returns statistics of the newest `window` round trips: all together, and of each strategy.

    With `end`, the window ends there: the figures as they were at that time.
    """
    which, window = _selection(request.query), request.query.window
    queries = request.parts.queries
    (overall,) = await queries.round_trip_totals(which, newest=window)
    if not overall.trades:
        await check_known(request.parts, asdict(which))
    by_strategy = await queries.round_trip_totals(which, newest=window, by_strategy=True)
    return Performance(
        window=window,
        overall=statistics_of(overall),
        strategies=[
            StrategyStatistics(strategy=totals.strategy, statistics=statistics_of(totals))
            for totals in by_strategy
        ],
    )


def statistics_of(totals: RoundTripTotals) -> TradeStatistics:
    """Computes the statistics from counts and sums."""
    t, figures = totals, Figures()
    no_loss = _NO_LOSS if t.trades else _NO_TRADE
    no_win = _NO_WIN if t.trades else _NO_TRADE
    figures.add("first_closed_ns", t.first_closed_ns, _NO_TRADE)
    figures.add("last_closed_ns", t.last_closed_ns, _NO_TRADE)
    figures.add("pnl", finite(t.gross_profit - t.gross_loss), _TOO_LARGE)
    figures.add("gross_profit", finite(t.gross_profit), _TOO_LARGE)
    figures.add("gross_loss", finite(t.gross_loss), _TOO_LARGE)
    figures.add("fees", finite(t.fees), _TOO_LARGE)
    figures.add("win_rate", _ratio(t.wins, t.trades), _NO_TRADE)
    figures.add("win_rate_lower", wilson_lower(t.wins, t.trades), _NO_TRADE)
    figures.add("profit_factor", _ratio(t.gross_profit, t.gross_loss), no_loss)
    figures.add("expectancy", _ratio(t.gross_profit - t.gross_loss, t.trades), _NO_TRADE)
    average_win, average_loss = _ratio(t.gross_profit, t.wins), _ratio(-t.gross_loss, t.losses)
    figures.add("average_win", average_win, no_win)
    figures.add("average_loss", average_loss, no_loss)
    payoff = None if average_win is None or average_loss is None else _ratio(average_win, -average_loss)
    figures.add("payoff_ratio", payoff, no_loss if average_loss is None else no_win)
    figures.add("largest_win", t.largest_pnl if t.wins else None, no_win)
    figures.add("largest_loss", t.smallest_pnl if t.losses else None, no_loss)
    figures.add("average_open_seconds", _ratio(t.open_ns / NS_PER_SECOND, t.trades), _NO_TRADE)
    no_r = _NO_RISK if t.trades else _NO_TRADE
    figures.add("total_r", t.r_gains - t.r_lost if t.r_trades else None, no_r)
    figures.add("expectancy_r", _ratio(t.r_gains - t.r_lost, t.r_trades), no_r)
    figures.add("average_win_r", _ratio(t.r_gains, t.r_wins), no_r if not t.r_trades else _NO_WIN)
    figures.add("average_loss_r", _ratio(-t.r_lost, t.r_losses), no_r if not t.r_trades else _NO_LOSS)
    return TradeStatistics(
        trades=t.trades,
        wins=t.wins,
        losses=t.losses,
        breakeven=t.trades - t.wins - t.losses,
        unusable=t.unusable,
        r_trades=t.r_trades,
        r_wins=t.r_wins,
        r_losses=t.r_losses,
        streak=t.streak,
        longest_winning_streak=t.longest_winning_streak,
        longest_losing_streak=t.longest_losing_streak,
        reasons=figures.reasons,
        **figures.values,
    )


def _ratio(numerator: float, denominator: float) -> float | None:
    return finite(numerator / denominator) if denominator else None


def _selection(query: StatisticsQuery) -> RoundTripSelection:
    if query.start is not None and query.end is not None and query.start > query.end:
        raise parameter_problem("start", "is later than end")
    names = ("recorder", "strategy", "venue", "instrument", "side")
    return RoundTripSelection(
        start_ns=query.start, end_ns=query.end, **{name: getattr(query, name) for name in names}
    )


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/trades/stats",
        summary="Statistics of round trips",
        handler=trades_stats,
        anywhere=True,
        caching=Caching(reads=("fills",)),  # round trips are stored in the transaction of their fills
        query=StatisticsQuery,
        response=TradeStatistics,
        problems=("database-unavailable", "unknown-name"),
    ),
    Route(
        path="/api/v1/performance",
        summary="Statistics over a rolling window of round trips",
        handler=performance,
        anywhere=True,
        caching=Caching(reads=("fills",)),
        query=PerformanceQuery,
        response=Performance,
        problems=("database-unavailable", "unknown-name"),
    ),
)
