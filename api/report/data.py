"""Collects the content of a report from the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from decahertz.statistics.daily import DailyChange, DailyFigures, figures_of_days
from decahertz.statistics.round_trips import RoundTripFigures, figures_of_round_trips
from decahertz.statistics.statistic import SampleBasis
from storage.query.daily_results import DayScope, together
from storage.query.queries import Queries, RoundTripFilter
from storage.query.round_trip_totals import RoundTripSelection, RoundTripTotals

SHOWN_TRADES = 200
_COUNTED_TRADES = 20_000
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyLine:
    """One strategy in the report of a portfolio."""

    strategy: str
    totals: RoundTripTotals
    round_trips: RoundTripFigures
    daily: DailyFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The content of a report."""

    title: str
    recorder: str | None
    currency: str
    start_ns: int | None
    end_ns: int | None
    made_ns: int
    basis: SampleBasis
    changes: list[DailyChange]
    totals: RoundTripTotals
    round_trips: RoundTripFigures
    daily: DailyFigures
    strategies: list[StrategyLine]
    """Of a portfolio."""
    trades: list[Any]
    """The newest round trips, newest first."""
    multiples: list[float]
    """R multiples of the newest round trips with known risk."""
    pnls: list[float]
    """Their P&L, of all with one."""


async def collect(queries: Queries, which: RoundTripSelection, scope: DayScope, minor_unit: float) -> Report:
    """Returns the report of the selected strategy, or of all together, as of one moment."""
    async with queries.snapshot() as of_a_moment:
        return await _collected(of_a_moment, which, scope, minor_unit)


async def _collected(
    queries: Queries, which: RoundTripSelection, scope: DayScope, minor_unit: float
) -> Report:
    (totals,) = await queries.round_trip_totals(which, minor_unit=minor_unit)
    days = await queries.daily_results(which, scope)
    changes, basis = together(days)
    lines = []
    if which.strategy is None:
        by_strategy = await queries.round_trip_totals(which, by_strategy=True, minor_unit=minor_unit)
        known = {one.strategy: one for one in by_strategy}
        for name in sorted({*known, *days}):
            own = known.get(name, RoundTripTotals(strategy=name))
            of_days = days.get(name)
            lines.append(
                StrategyLine(
                    strategy=name,
                    totals=own,
                    round_trips=figures_of_round_trips(own),
                    daily=figures_of_days(
                        of_days.changes if of_days else [],
                        of_days.basis if of_days else SampleBasis.PNL_DAYS,
                        minor_unit,
                    ),
                )
            )
    chosen = RoundTripFilter(
        recorder=which.recorder, strategy=which.strategy, start_ns=which.start_ns, end_ns=which.end_ns
    )
    trades = (await queries.trades(chosen, limit=_COUNTED_TRADES)).items
    return Report(
        title=which.strategy or "Portfolio",
        recorder=which.recorder,
        currency=scope.currency,
        start_ns=which.start_ns,
        end_ns=which.end_ns,
        made_ns=scope.now_ns,
        basis=basis,
        changes=changes,
        totals=totals,
        round_trips=figures_of_round_trips(totals),
        daily=figures_of_days(changes, basis, minor_unit),
        strategies=lines,
        trades=trades[:SHOWN_TRADES],
        multiples=[row["r_multiple"] for row in trades if row["r_multiple"] is not None],
        pnls=[row["pnl"] for row in trades if row["pnl"] is not None],
    )


def date_of(day: int) -> date:
    """Returns the date of a trading day."""
    return _EPOCH + timedelta(days=day)


def by_month(changes: list[DailyChange], *, relative: bool) -> dict[int, dict[int, float]]:
    """Returns the results by year and month: compounded returns, or sums in money."""
    months: dict[int, dict[int, float]] = {}
    for one in changes:
        at = date_of(one.day)
        year = months.setdefault(at.year, {})
        before = year.get(at.month, 0.0)
        if relative and one.level:
            year[at.month] = (1 + before) * (1 + one.change / one.level) - 1
        else:
            year[at.month] = before + one.change
    return months
