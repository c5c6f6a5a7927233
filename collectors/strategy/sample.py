"""The metrics of one strategy."""

from __future__ import annotations

from typing import Annotated, ClassVar

from collectors.strategy.round_trip_metrics import (
    AverageLossR,
    AverageWinR,
    Expectancy,
    ExpectancyR,
    Kelly,
    PayoffRatio,
    ProfitFactor,
    RecentExpectancy,
    RecentExpectancyR,
    RecentProfitFactor,
    RecentTrades,
    RecentWinRate,
    RTrades,
    Streak,
    Trades,
    WinRate,
    WinRateLower,
    WinRateUpper,
)
from decahertz.metric import HIGHEST, NEWEST, RANGE, Kind, Metric, Unit
from decahertz.sample import Sample


class StrategySample(Sample, frozen=True, kw_only=True):
    """One strategy at one cycle.

    Realised P&L and counts cover the fills since the strategy first appeared.
    """

    collector: ClassVar[str] = "strategy"
    key: ClassVar[tuple[str, ...]] = ("strategy",)

    strategy: str
    realised_pnl: Annotated[
        float,
        Metric(
            "P&L realised since the strategy first appeared, after fees.",
            unit=Unit.MONEY,
            extremes=True,
            formula="sum((exit price - entry price) * quantity * multiplier * rate) - fees + cash_pnl",
        ),
    ]
    unrealised_pnl: Annotated[
        float | None,
        Metric(
            "P&L of the open positions; null while a mark price is missing.",
            unit=Unit.MONEY,
            extremes=True,
            formula="sum((mark price - entry price) * quantity * multiplier * rate)",
        ),
    ]
    daily_pnl: Annotated[float, Metric("P&L realised in this trading day.", unit=Unit.MONEY, extremes=True)]
    weekly_pnl: Annotated[float, Metric("P&L realised in this trading week.", unit=Unit.MONEY, extremes=True)]
    equity: Annotated[
        float | None, Metric("Latest equity reported by the strategy.", unit=Unit.MONEY, extremes=True)
    ]
    exposure: Annotated[
        float | None,
        Metric(
            "Gross value of the open positions; null while a mark price is missing.",
            unit=Unit.MONEY,
            extremes=True,
            formula="sum(abs(quantity) * mark price * multiplier * rate)",
        ),
    ]
    net_exposure: Annotated[
        float | None,
        Metric(
            "Long minus short value of the open positions; null while a mark price is missing.",
            unit=Unit.MONEY,
            extremes=True,
            formula="sum(quantity * mark price * multiplier * rate)",
        ),
    ]
    mark_age_seconds: Annotated[
        float | None,
        Metric("Age of the oldest mark price in use.", unit=Unit.SECONDS, extremes=True, aggregates=HIGHEST),
    ]
    open_positions: Annotated[
        int, Metric("Instruments with an open position, according to the fills.", aggregates=HIGHEST)
    ]
    undefined_instruments: Annotated[
        int,
        Metric(
            "Open positions in instruments without a definition: they count one to one.", aggregates=HIGHEST
        ),
    ]
    position_breaks: Annotated[
        int, Metric("Instruments whose reported position differs from the fills.", aggregates=HIGHEST)
    ]
    cash_breaks: Annotated[
        int, Metric("Accounts whose reported cash differs from the fills and cash flows.", aggregates=HIGHEST)
    ]
    cash_difference: Annotated[
        float | None,
        Metric(
            "Reported cash minus what fills and cash flows leave; null without a report or a rate, and after"
            " purchases in another currency.",
            unit=Unit.MONEY,
            formula="reported cash - (first reported cash + flows since then)",
            aggregates=RANGE,
        ),
    ]
    silent_seconds: Annotated[
        float,
        Metric(
            "Time since the receipt of the newest event of the strategy.",
            unit=Unit.SECONDS,
            extremes=True,
            aggregates=HIGHEST,
        ),
    ]
    current_r: Annotated[
        float | None,
        Metric(
            "P&L of the open round trips with known initial risk, relative to that risk.",
            unit=Unit.R,
            formula="(open and realised P&L of the open round trips) / their initial risk",
            source="Tharp, Trade Your Way to Financial Freedom (1998)",
        ),
    ]
    cash_pnl: Annotated[
        float,
        Metric(
            "Realised P&L of cash flows: funding, interest, dividends, adjustments.",
            unit=Unit.MONEY,
            aggregates=NEWEST,
        ),
    ]
    transfers: Annotated[
        float, Metric("Deposits minus withdrawals; not a result.", unit=Unit.MONEY, aggregates=NEWEST)
    ]
    unconverted_cash: Annotated[
        int,
        Metric("Cash flows without a rate to the account currency; they are in no sum.", kind=Kind.COUNTER),
    ]
    signals: Annotated[int, Metric("Signals received.", kind=Kind.COUNTER)]
    fills: Annotated[int, Metric("Fills received, without duplicates.", kind=Kind.COUNTER)]
    unconverted_fills: Annotated[
        int,
        Metric("Fills whose result has no rate into the account currency; no sum has it.", aggregates=NEWEST),
    ]
    duplicate_fills: Annotated[int, Metric("Duplicate fills received and ignored.", kind=Kind.COUNTER)]
    conflicting_fills: Annotated[
        int,
        Metric(
            "Fills with the ids of another one and another side, price or quantity; they count.",
            kind=Kind.COUNTER,
        ),
    ]
    misplaced_fills: Annotated[
        int,
        Metric(
            "Fills so late that the fills around their time were not kept any more; they count after those.",
            kind=Kind.COUNTER,
        ),
    ]
    trades: Trades
    win_rate: WinRate
    win_rate_lower: WinRateLower
    win_rate_upper: WinRateUpper
    profit_factor: ProfitFactor
    payoff_ratio: PayoffRatio
    kelly: Kelly
    expectancy: Expectancy
    r_trades: RTrades
    expectancy_r: ExpectancyR
    average_win_r: AverageWinR
    average_loss_r: AverageLossR
    recent_trades: RecentTrades
    recent_win_rate: RecentWinRate
    recent_profit_factor: RecentProfitFactor
    recent_expectancy: RecentExpectancy
    recent_expectancy_r: RecentExpectancyR
    streak: Streak
    daily_loss_streak: Annotated[
        int,
        Metric(
            "Consecutive most recent days with a realised loss; days without P&L are skipped.",
            aggregates=NEWEST,
        ),
    ]
    drawdown: Annotated[
        float | None,
        Metric(
            "Current fall of the equity curve from its peak.",
            unit=Unit.MONEY,
            extremes=True,
            formula="highest equity so far - equity",
            source="Magdon-Ismail and Atiya, Risk 17 (2004)",
            aggregates=HIGHEST,
        ),
    ]
    max_drawdown: Annotated[
        float,
        Metric(
            "Largest fall of the equity curve from a peak.",
            unit=Unit.MONEY,
            formula="max(drawdown)",
            source="Magdon-Ismail and Atiya, Risk 17 (2004)",
            aggregates=NEWEST,
        ),
    ]
    drawdown_seconds: Annotated[
        float | None,
        Metric(
            "Time since the peak of the equity curve; 0 at the peak.", unit=Unit.SECONDS, aggregates=HIGHEST
        ),
    ]
    max_drawdown_seconds: Annotated[
        float, Metric("Longest time of the equity curve below a peak.", unit=Unit.SECONDS, aggregates=NEWEST)
    ]
    daily_changes: Annotated[
        int,
        Metric(
            "Daily changes in equity: the sample size of the Sharpe and Sortino ratios.", aggregates=NEWEST
        ),
    ]
    sharpe: Annotated[
        float | None,
        Metric(
            "Annualised Sharpe ratio of the daily changes.",
            unit=Unit.RATIO,
            formula="mean / sample standard deviation of the daily changes * sqrt(365)",
            source="Sharpe, Journal of Portfolio Management 21 (1994)",
            aggregates=NEWEST,
        ),
    ]
    sharpe_error: Annotated[
        float | None,
        Metric(
            "Standard error of the Sharpe ratio (Lo 2002).",
            unit=Unit.RATIO,
            formula="sqrt((1 + s^2/2) / n * 365), s = sharpe / sqrt(365), n = daily_changes",
            source="Lo, Financial Analysts Journal 58 (2002)",
            aggregates=NEWEST,
        ),
    ]
    sortino: Annotated[
        float | None,
        Metric(
            "Annualised Sortino ratio of the daily changes.",
            unit=Unit.RATIO,
            formula="mean / sqrt(mean(min(daily change, 0)^2)) * sqrt(365)",
            source="Sortino and Price, Journal of Investing 3 (1994)",
            aggregates=NEWEST,
        ),
    ]
    regime_changes: Annotated[
        int, Metric("Changes of the regime reported by the strategy.", kind=Kind.COUNTER)
    ]
