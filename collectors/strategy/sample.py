"""The metrics of one strategy."""

from __future__ import annotations

from typing import Annotated, ClassVar

from decahertz.metric import Kind, Metric, Unit
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
        Metric("P&L realised since the strategy first appeared, after fees.", unit=Unit.MONEY, extremes=True),
    ]
    unrealised_pnl: Annotated[
        float | None,
        Metric(
            "P&L of the open positions; null while a mark price is missing.", unit=Unit.MONEY, extremes=True
        ),
    ]
    daily_pnl: Annotated[float, Metric("P&L realised in this UTC day.", unit=Unit.MONEY, extremes=True)]
    weekly_pnl: Annotated[
        float, Metric("P&L realised in this ISO week (from Monday, UTC).", unit=Unit.MONEY, extremes=True)
    ]
    equity: Annotated[
        float | None, Metric("Latest equity reported by the strategy.", unit=Unit.MONEY, extremes=True)
    ]
    exposure: Annotated[
        float | None,
        Metric(
            "Gross value of the open positions; null while a mark price is missing.",
            unit=Unit.MONEY,
            extremes=True,
        ),
    ]
    net_exposure: Annotated[
        float | None,
        Metric(
            "Long minus short value of the open positions; null while a mark price is missing.",
            unit=Unit.MONEY,
            extremes=True,
        ),
    ]
    mark_age_seconds: Annotated[
        float | None,
        Metric("Age of the oldest mark price in use.", unit=Unit.SECONDS, extremes=True),
    ]
    open_positions: Annotated[int, Metric("Instruments with an open position, according to the fills.")]
    position_breaks: Annotated[int, Metric("Instruments whose reported position differs from the fills.")]
    silent_seconds: Annotated[
        float,
        Metric("Time since the receipt of the newest event of the strategy.", unit=Unit.SECONDS),
    ]
    current_r: Annotated[
        float | None,
        Metric("P&L of the open round trips with known initial risk, relative to that risk.", unit=Unit.R),
    ]
    signals: Annotated[int, Metric("Signals received.", kind=Kind.COUNTER)]
    fills: Annotated[int, Metric("Fills received, without duplicates.", kind=Kind.COUNTER)]
    duplicate_fills: Annotated[int, Metric("Duplicate fills received and ignored.", kind=Kind.COUNTER)]
    trades: Annotated[int, Metric("Round trips from flat to flat.", kind=Kind.COUNTER)]
    win_rate: Annotated[
        float | None, Metric("Share of winning round trips; null without round trips.", unit=Unit.RATIO)
    ]
    win_rate_lower: Annotated[
        float | None, Metric("Wilson lower bound (95 %) of the win rate.", unit=Unit.RATIO)
    ]
    profit_factor: Annotated[
        float | None, Metric("Sum of gains divided by sum of losses; null without a loss.", unit=Unit.RATIO)
    ]
    expectancy: Annotated[float | None, Metric("Mean P&L per round trip.", unit=Unit.MONEY)]
    r_trades: Annotated[
        int,
        Metric("Round trips with known initial risk: the sample size of the R metrics.", kind=Kind.COUNTER),
    ]
    expectancy_r: Annotated[float | None, Metric("Mean R multiple per round trip.", unit=Unit.R)]
    average_win_r: Annotated[float | None, Metric("Mean R multiple of winning round trips.", unit=Unit.R)]
    average_loss_r: Annotated[
        float | None, Metric("Mean R multiple of losing round trips; negative.", unit=Unit.R)
    ]
    streak: Annotated[
        int, Metric("Consecutive wins, or losses if negative; 0 after a round trip without P&L.")
    ]
    daily_loss_streak: Annotated[
        int, Metric("Consecutive most recent UTC days with a realised loss; days without P&L are skipped.")
    ]
    drawdown: Annotated[
        float | None,
        Metric("Current fall of the equity curve from its peak.", unit=Unit.MONEY, extremes=True),
    ]
    max_drawdown: Annotated[float, Metric("Largest fall of the equity curve from a peak.", unit=Unit.MONEY)]
    drawdown_seconds: Annotated[
        float | None, Metric("Time since the peak of the equity curve; 0 at the peak.", unit=Unit.SECONDS)
    ]
    max_drawdown_seconds: Annotated[
        float, Metric("Longest time of the equity curve below a peak.", unit=Unit.SECONDS)
    ]
    daily_changes: Annotated[
        int, Metric("Daily changes in equity: the sample size of the Sharpe and Sortino ratios.")
    ]
    sharpe: Annotated[float | None, Metric("Annualised Sharpe ratio of the daily changes.", unit=Unit.RATIO)]
    sortino: Annotated[
        float | None, Metric("Annualised Sortino ratio of the daily changes.", unit=Unit.RATIO)
    ]
    regime_changes: Annotated[
        int, Metric("Changes of the regime reported by the strategy.", kind=Kind.COUNTER)
    ]
