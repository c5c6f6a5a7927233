"""Statistics of round trips from the database: ``trades/stats`` and ``performance``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import asdict, replace

from api.http.cache import Caching
from api.http.query import Time, parameter_problem
from api.http.route import AnyRoute, Route
from api.parts import Request
from api.routes.known import check_known
from api.routes.records import AccountName, Text
from collectors.common.values import finite
from decahertz.clock import NS_PER_SECOND
from decahertz.event import Side
from decahertz.quantities import Figures, Money, Ratio, Reasons, RMultiple, Seconds, TimeNanoseconds
from decahertz.statistics.daily import DailyChange, DailyFigures, figures_of_days
from decahertz.statistics.round_trips import (
    NO_LOSS,
    NO_TRADE,
    NO_WIN,
    RoundTripFigures,
    figures_of_round_trips,
)
from decahertz.statistics.statistic import SampleBasis
from decahertz.trading_days import TradingDays
from storage.query.daily_results import DayScope, StrategyDays, together
from storage.query.round_trip_totals import RoundTripSelection, RoundTripTotals

_TOO_LARGE = "the number is too large"


class StatisticsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of statistics of round trips closed in `[start, end)`; absent parameters do not filter."""

    recorder: Text | None = None
    strategy: Text | None = None
    account: AccountName | None = None
    venue: Text | None = None
    instrument: Text | None = None
    regime: (
        Annotated[Text, Meta(description="Regime at the opening: the strategy's, or else the desk's.")] | None
    ) = None
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
    """Round trips with a P&L of less than half a minor unit: neither wins nor losses."""
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
    win_rate_upper: Ratio | None
    """Wilson upper bound of the win rate, 95 % two-sided."""
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
    kelly: Ratio | None
    """Kelly fraction p - (1 - p) / payoff, with p the share of wins among wins and losses."""
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


class PerformanceFigures(Struct, frozen=True, kw_only=True):
    """Statistics with their sample sizes, intervals and reasons."""

    round_trips: RoundTripFigures
    """Of the round trips."""
    daily: DailyFigures
    """Of the complete trading days from that on which the first of the round trips closed: of the equity that
    the strategy reports, without transfers, or else of the P&L of round trips by the day of closing."""


class StrategyStatistics(Struct, frozen=True, kw_only=True):
    """Statistics of the newest round trips of one strategy."""

    strategy: str
    statistics: TradeStatistics
    figures: PerformanceFigures


class Performance(Struct, frozen=True, kw_only=True):
    """Statistics over a rolling window of round trips."""

    window: int
    """Largest number of round trips in each item."""
    overall: TradeStatistics
    """The newest round trips of all selected strategies together."""
    figures: PerformanceFigures
    """Those of the portfolio: of all selected strategies together."""
    strategies: list[StrategyStatistics]
    """The newest round trips of each strategy. One that reports equity and has none has its days."""


async def trades_stats(request: Request[StatisticsQuery, None]) -> TradeStatistics:
    """Returns counts, sums, means and ratios of the round trips that `trades` lists with the same filters.

    `trades` in the answer is the number of items of that list.
    """
    which = _selection(request.query)
    (totals,) = await request.parts.queries.round_trip_totals(
        which, minor_unit=request.parts.accounting.minor_unit
    )
    if not totals.trades:
        await check_known(request.parts, asdict(which))
    return statistics_of(totals)


async def performance(request: Request[PerformanceQuery, None]) -> Performance:
    """Returns statistics of the newest `window` round trips: all together, and of each strategy.

    With `end`, the window ends there: the figures as they were at that time.
    """
    which, window = _selection(request.query), request.query.window
    minor_unit = request.parts.accounting.minor_unit
    scope = DayScope(
        days=request.parts.days,
        now_ns=request.parts.clock.time_ns(),
        currency=request.parts.accounting.currency,
    )
    async with request.parts.queries.snapshot() as queries:
        (overall,) = await queries.round_trip_totals(which, newest=window, minor_unit=minor_unit)
        by_strategy = await queries.round_trip_totals(
            which, newest=window, by_strategy=True, minor_unit=minor_unit
        )
        firsts = (totals.first_closed_ns for totals in by_strategy)
        start_ns = min((first for first in firsts if first is not None), default=which.start_ns)
        days = await queries.daily_results(replace(which, start_ns=start_ns), scope)
        without_trips = days.keys() - {totals.strategy for totals in by_strategy}
        if without_trips and start_ns != which.start_ns:
            # Their record begins before the first of the round trips of others.
            whole = await queries.daily_results(which, scope)
        else:
            whole = days
    if not overall.trades:
        await check_known(request.parts, asdict(which))
    reader = _Days(days, scope.days, minor_unit)
    others = _Days(whole, scope.days, minor_unit)
    by_strategy += [RoundTripTotals(strategy=name) for name in without_trips]
    return Performance(
        window=window,
        overall=statistics_of(overall),
        figures=PerformanceFigures(
            round_trips=figures_of_round_trips(overall), daily=reader.portfolio(overall.first_closed_ns)
        ),
        strategies=[
            StrategyStatistics(
                strategy=totals.strategy,
                statistics=statistics_of(totals),
                figures=PerformanceFigures(
                    round_trips=figures_of_round_trips(totals),
                    daily=(others if totals.strategy in without_trips else reader).strategy(
                        totals.strategy, totals.first_closed_ns
                    ),
                ),
            )
            for totals in sorted(by_strategy, key=lambda totals: totals.strategy)
        ],
    )


@dataclass(frozen=True, slots=True)
class _Days:
    """The daily changes of strategies."""

    strategies: dict[str, StrategyDays]
    calendar: TradingDays
    minor_unit: float

    def portfolio(self, start_ns: int | None) -> DailyFigures:
        """Of all strategies together, from the day of ``start_ns`` on."""
        return self._figures(*together(self.strategies), start_ns)

    def strategy(self, name: str, start_ns: int | None) -> DailyFigures:
        """Of one strategy, from the day of ``start_ns`` on."""
        known = self.strategies.get(name)
        if known is None:
            return figures_of_days([], SampleBasis.PNL_DAYS, self.minor_unit)
        return self._figures(known.changes, known.basis, start_ns)

    def _figures(self, changes: list[DailyChange], basis: SampleBasis, start_ns: int | None) -> DailyFigures:
        first = 0 if start_ns is None else self.calendar.day_of(start_ns)
        return figures_of_days([one for one in changes if one.day >= first], basis, self.minor_unit)


def statistics_of(totals: RoundTripTotals) -> TradeStatistics:
    """Computes the statistics from counts and sums."""
    t, figures, computed = totals, Figures(), figures_of_round_trips(totals)
    no_loss = NO_LOSS if t.trades else NO_TRADE
    no_win = NO_WIN if t.trades else NO_TRADE
    figures.add("first_closed_ns", t.first_closed_ns, NO_TRADE)
    figures.add("last_closed_ns", t.last_closed_ns, NO_TRADE)
    for name in ("pnl", "gross_profit", "gross_loss", "fees"):
        figures.add(name, finite(getattr(t, name)), _TOO_LARGE)
    for name in RoundTripFigures.__struct_fields__:
        one = getattr(computed, name)
        figures.add(name, one.value, one.reason or "")
    bounds = computed.win_rate.interval
    figures.add("win_rate_lower", None if bounds is None else bounds.low, computed.win_rate.reason or "")
    figures.add("win_rate_upper", None if bounds is None else bounds.high, computed.win_rate.reason or "")
    figures.add("largest_win", t.largest_pnl if t.wins else None, no_win)
    figures.add("largest_loss", t.smallest_pnl if t.losses else None, no_loss)
    open_seconds = t.open_ns / NS_PER_SECOND / t.trades if t.trades else None
    figures.add("average_open_seconds", open_seconds, NO_TRADE)
    figures.add("total_r", t.r_total if t.r_trades else None, computed.expectancy_r.reason or "")
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


def _selection(query: StatisticsQuery) -> RoundTripSelection:
    if query.start is not None and query.end is not None and query.start > query.end:
        raise parameter_problem("start", "is later than end")
    names = ("recorder", "strategy", "account", "venue", "instrument", "side", "regime")
    return RoundTripSelection(
        start_ns=query.start, end_ns=query.end, **{name: getattr(query, name) for name in names}
    )


ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path="/api/v1/trades/stats",
        summary="Statistics of round trips",
        handler=trades_stats,
        anywhere=True,
        # Round trips are stored in the transaction of their fills.
        caching=Caching(reads=("fills", "regimes")),
        query=StatisticsQuery,
        response=TradeStatistics,
        problems=("database-unavailable", "unknown-name"),
    ),
    Route(
        path="/api/v1/performance",
        summary="Statistics over a rolling window of round trips",
        handler=performance,
        anywhere=True,
        caching=Caching(reads=("fills", "equity", "cash", "regimes")),
        query=PerformanceQuery,
        response=Performance,
        problems=("database-unavailable", "unknown-name"),
    ),
)
