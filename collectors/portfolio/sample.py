"""The metrics of the round trips of all strategies together."""

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
from decahertz.metric import Metric, Unit
from decahertz.sample import Sample


class PortfolioSample(Sample, frozen=True, kw_only=True):
    """The round trips of all strategies, or those of them that were opened in one regime."""

    collector: ClassVar[str] = "portfolio"
    key: ClassVar[tuple[str, ...]] = ("regime",)

    regime: str
    """``all``: whatever the regime; ``none``: opened before any was reported."""
    pnl: Annotated[
        float,
        Metric("P&L of the closed round trips, after fees.", unit=Unit.MONEY, formula="sum(pnl)"),
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
