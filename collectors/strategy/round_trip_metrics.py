"""Metrics of round trips that the samples of strategies and of the portfolio have in common."""

from __future__ import annotations

from typing import Annotated, Any

from collectors.strategy.statistics import RoundTripStatistics
from decahertz.metric import NEWEST, Kind, Metric, Unit

Trades = Annotated[int, Metric("Round trips from flat to flat.", kind=Kind.COUNTER)]
WinRate = Annotated[
    float | None,
    Metric(
        "Share of winning round trips; null while none was won or lost.",
        unit=Unit.RATIO,
        formula="won / trades",
        aggregates=NEWEST,
    ),
]
WinRateLower = Annotated[
    float | None,
    Metric(
        "Wilson lower bound (95 %) of the win rate.",
        unit=Unit.RATIO,
        formula="(p + z^2/2n - z * sqrt(p * (1 - p) / n + z^2/4n^2)) / (1 + z^2/n),"
        " p = win_rate, n = trades, z = 1.96",
        source="Wilson, JASA 22 (1927)",
        aggregates=NEWEST,
    ),
]
WinRateUpper = Annotated[
    float | None,
    Metric(
        "Wilson upper bound (95 %) of the win rate.",
        unit=Unit.RATIO,
        formula="(p + z^2/2n + z * sqrt(p * (1 - p) / n + z^2/4n^2)) / (1 + z^2/n),"
        " p = win_rate, n = trades, z = 1.96",
        source="Wilson, JASA 22 (1927)",
        aggregates=NEWEST,
    ),
]
ProfitFactor = Annotated[
    float | None,
    Metric(
        "Sum of gains divided by sum of losses; null without a loss.",
        unit=Unit.RATIO,
        formula="sum(gains) / sum(losses)",
        aggregates=NEWEST,
    ),
]
PayoffRatio = Annotated[
    float | None,
    Metric(
        "Mean gain divided by mean loss; null without a win and a loss.",
        unit=Unit.RATIO,
        formula="mean(gains) / mean(losses)",
        aggregates=NEWEST,
    ),
]
Kelly = Annotated[
    float | None,
    Metric(
        "Kelly fraction of the round trips; negative: no stake grows. Null without a win and a loss.",
        unit=Unit.RATIO,
        formula="p - (1 - p) / payoff_ratio, p = won / (won + lost)",
        source="Kelly, Bell System Technical Journal 35 (1956)",
        aggregates=NEWEST,
    ),
]
Expectancy = Annotated[
    float | None,
    Metric(
        "Mean P&L per round trip.",
        unit=Unit.MONEY,
        formula="sum(pnl) / trades",
        aggregates=NEWEST,
    ),
]
RTrades = Annotated[
    int,
    Metric("Round trips with known initial risk: the sample size of the R metrics.", kind=Kind.COUNTER),
]
ExpectancyR = Annotated[
    float | None,
    Metric(
        "Mean R multiple per round trip.",
        unit=Unit.R,
        formula="sum(pnl / initial risk) / r_trades",
        source="Tharp, Trade Your Way to Financial Freedom (1998)",
        aggregates=NEWEST,
    ),
]
AverageWinR = Annotated[
    float | None,
    Metric(
        "Mean R multiple of winning round trips.",
        unit=Unit.R,
        formula="sum(pnl / initial risk of those won) / won",
        source="Tharp, Trade Your Way to Financial Freedom (1998)",
        aggregates=NEWEST,
    ),
]
AverageLossR = Annotated[
    float | None,
    Metric(
        "Mean R multiple of losing round trips; negative.",
        unit=Unit.R,
        formula="sum(pnl / initial risk of those lost) / lost",
        source="Tharp, Trade Your Way to Financial Freedom (1998)",
        aggregates=NEWEST,
    ),
]
RecentTrades = Annotated[
    int,
    Metric(
        "Round trips in the rolling window: the newest ones, at most the option recent_trades.",
        aggregates=NEWEST,
    ),
]
RecentWinRate = Annotated[
    float | None,
    Metric(
        "Share of winning round trips in the window; null while none was won or lost.",
        unit=Unit.RATIO,
        formula="won / recent_trades",
        aggregates=NEWEST,
    ),
]
RecentProfitFactor = Annotated[
    float | None,
    Metric(
        "Gains divided by losses in the window; null without a loss.",
        unit=Unit.RATIO,
        formula="sum(gains) / sum(losses)",
        aggregates=NEWEST,
    ),
]
RecentExpectancy = Annotated[
    float | None,
    Metric(
        "Mean P&L per round trip in the window.",
        unit=Unit.MONEY,
        formula="sum(pnl) / recent_trades",
        aggregates=NEWEST,
    ),
]
RecentExpectancyR = Annotated[
    float | None,
    Metric(
        "Mean R multiple per round trip in the window.",
        unit=Unit.R,
        formula="sum(pnl / initial risk) / round trips with known risk",
        aggregates=NEWEST,
    ),
]
Streak = Annotated[
    int,
    Metric("Consecutive wins, or losses if negative; 0 after a round trip without P&L.", aggregates=NEWEST),
]


def metrics_of(statistics: RoundTripStatistics) -> dict[str, Any]:
    """Returns the values of these metrics by name."""
    statistics.update()
    s, recent = statistics, statistics.recent
    return {
        "trades": s.trades,
        "win_rate": s.win_rate,
        "win_rate_lower": s.win_rate_lower,
        "win_rate_upper": s.win_rate_upper,
        "profit_factor": s.profit_factor,
        "payoff_ratio": s.payoff_ratio,
        "kelly": s.kelly,
        "expectancy": s.expectancy,
        "r_trades": s.r_trades,
        "expectancy_r": s.expectancy_r,
        "average_win_r": s.average_win_r,
        "average_loss_r": s.average_loss_r,
        "recent_trades": recent.trades,
        "recent_win_rate": recent.win_rate,
        "recent_profit_factor": recent.profit_factor,
        "recent_expectancy": recent.expectancy,
        "recent_expectancy_r": recent.expectancy_r,
        "streak": s.streak,
    }
