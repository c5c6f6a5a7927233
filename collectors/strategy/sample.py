"""What is sampled of one strategy."""

from __future__ import annotations

from typing import Annotated, ClassVar

from decahertz.metric import Kind, Metric, Unit
from decahertz.sample import Sample


class StrategySample(Sample, frozen=True, kw_only=True):
    """One strategy at one instant.

    All that is realised or counted covers the fills seen since the strategy appeared here.
    """

    collector: ClassVar[str] = "strategy"
    key: ClassVar[tuple[str, ...]] = ("strategy",)

    strategy: str
    realised_pnl: Annotated[
        float, Metric("P&L realised since the strategy appeared, after fees.", unit=Unit.MONEY)
    ]
    unrealised_pnl: Annotated[
        float | None,
        Metric("P&L of the open positions at their marks; none while a mark is missing.", unit=Unit.MONEY),
    ]
    daily_pnl: Annotated[float, Metric("P&L realised in this UTC day.", unit=Unit.MONEY)]
    weekly_pnl: Annotated[float, Metric("P&L realised in this ISO week (from Monday, UTC).", unit=Unit.MONEY)]
    equity: Annotated[float | None, Metric("Newest equity that the strategy reported.", unit=Unit.MONEY)]
    exposure: Annotated[
        float | None,
        Metric(
            "Sum of the absolute values of the open positions; none while a mark is missing.", unit=Unit.MONEY
        ),
    ]
    net_exposure: Annotated[
        float | None,
        Metric("Long less short value of the open positions; none while a mark is missing.", unit=Unit.MONEY),
    ]
    mark_age_seconds: Annotated[
        float | None,
        Metric("Age of the oldest mark that an open position is valued at.", unit=Unit.SECONDS),
    ]
    open_positions: Annotated[int, Metric("Instruments with an open position, by the fills.")]
    position_breaks: Annotated[
        int, Metric("Instruments where the reported position is not the one that the fills add up to.")
    ]
    current_r: Annotated[
        float | None,
        Metric("P&L of the open trades over their initial risk, where that is known.", unit=Unit.R),
    ]
    signals: Annotated[int, Metric("Signals seen.", kind=Kind.COUNTER)]
    fills: Annotated[int, Metric("Fills seen, without repeated ones.", kind=Kind.COUNTER)]
    duplicate_fills: Annotated[
        int, Metric("Fills that repeated one seen before and were left out.", kind=Kind.COUNTER)
    ]
    trades: Annotated[int, Metric("Trades closed: round trips from flat to flat.", kind=Kind.COUNTER)]
    win_rate: Annotated[
        float | None, Metric("Share of the trades that made money; none without trades.", unit=Unit.RATIO)
    ]
    win_rate_lower: Annotated[
        float | None, Metric("Wilson lower bound (95 %) of the win rate.", unit=Unit.RATIO)
    ]
    profit_factor: Annotated[
        float | None, Metric("Sum of the gains over sum of the losses; none without a loss.", unit=Unit.RATIO)
    ]
    expectancy: Annotated[float | None, Metric("Mean P&L of a trade.", unit=Unit.MONEY)]
    r_trades: Annotated[
        int, Metric("Trades whose initial risk is known: the n of all that is in R.", kind=Kind.COUNTER)
    ]
    expectancy_r: Annotated[float | None, Metric("Mean R multiple of a trade.", unit=Unit.R)]
    average_win_r: Annotated[float | None, Metric("Mean R multiple of the winning trades.", unit=Unit.R)]
    average_loss_r: Annotated[
        float | None, Metric("Mean R multiple of the losing trades; negative.", unit=Unit.R)
    ]
    streak: Annotated[
        int, Metric("Trades won in a row; negative: lost in a row; 0 after a trade without P&L.")
    ]
    daily_loss_streak: Annotated[
        int, Metric("Consecutive most recent UTC days with a realised loss; days without P&L are skipped.")
    ]
    drawdown: Annotated[float | None, Metric("Fall of the equity curve from its peak.", unit=Unit.MONEY)]
    max_drawdown: Annotated[float, Metric("Deepest fall of the equity curve from a peak.", unit=Unit.MONEY)]
    drawdown_seconds: Annotated[
        float | None, Metric("Time since the equity curve was at its peak.", unit=Unit.SECONDS)
    ]
    max_drawdown_seconds: Annotated[
        float, Metric("Longest time that the equity curve stayed below a peak.", unit=Unit.SECONDS)
    ]
    daily_changes: Annotated[
        int, Metric("Daily changes in equity: the sample size of the Sharpe and Sortino ratios.")
    ]
    sharpe: Annotated[float | None, Metric("Annualised Sharpe ratio of the daily changes.", unit=Unit.RATIO)]
    sortino: Annotated[
        float | None, Metric("Annualised Sortino ratio of the daily changes.", unit=Unit.RATIO)
    ]
    regime_changes: Annotated[
        int, Metric("How often the regime that the strategy believes in changed.", kind=Kind.COUNTER)
    ]
