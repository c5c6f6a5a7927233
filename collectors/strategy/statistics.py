"""Statistics of round trips and of daily changes. A statistic that is undefined is ``None``."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from collectors.common.values import finite
from decahertz.round_trip import RoundTrip

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: two-sided 95 %."""
DAYS_PER_YEAR = 365.0
"""Calendar days. Days without trading add changes of zero, so the annualised ratio is that of trading days
only, annualised with their number per year."""


def wilson_lower(wins: int, trades: int) -> float | None:
    """Returns the lower bound of the win rate; ``None`` without round trips.

    The score interval of E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical
    Inference", Journal of the American Statistical Association 22 (1927).
    """
    if not trades:
        return None
    z = Z_95
    rate = wins / trades
    spread = z * math.sqrt(rate * (1 - rate) / trades + z * z / (4 * trades * trades))
    lower = (rate + z * z / (2 * trades) - spread) / (1 + z * z / trades)
    return min(max(lower, 0.0), rate)


def sharpe_ratio(changes: Sequence[float]) -> float | None:
    """Returns mean over sample standard deviation of daily changes, annualised.

    W. F. Sharpe, "The Sharpe Ratio", Journal of Portfolio Management 21 (1994), against zero. The changes
    may be in money: a constant capital cancels out. ``None`` for fewer than two changes, or if all are equal.
    """
    n = len(changes)
    if n < 2:  # noqa: PLR2004 - a standard deviation needs two
        return None
    mean = math.fsum(changes) / n
    deviation = math.hypot(*(change - mean for change in changes)) / math.sqrt(n - 1)
    return _annual(mean, deviation)


def sortino_ratio(changes: Sequence[float]) -> float | None:
    """Returns mean over downside deviation (target zero) of daily changes, annualised.

    F. A. Sortino and L. N. Price, "Performance Measurement in a Downside Risk Framework", Journal of
    Investing 3 (1994). ``None`` for fewer than two changes, or if none is negative.
    """
    n = len(changes)
    if n < 2:  # noqa: PLR2004 - one day is no distribution
        return None
    downside = math.hypot(*(min(change, 0.0) for change in changes)) / math.sqrt(n)
    return _annual(math.fsum(changes) / n, downside)


def _annual(mean: float, deviation: float) -> float | None:
    # Equal changes differ from their mean by rounding only; that is not a deviation.
    if deviation <= abs(mean) * 1e-12:
        return None
    return finite(mean / deviation * math.sqrt(DAYS_PER_YEAR))


class RoundTripStatistics(Struct):
    """Statistics of the round trips of one strategy. A round trip without P&L is neither a win nor a loss."""

    trades: int = 0
    r_trades: int = 0
    streak: int = 0
    win_rate: float | None = None
    win_rate_lower: float | None = None
    profit_factor: float | None = None
    expectancy: float | None = None
    expectancy_r: float | None = None
    average_win_r: float | None = None
    average_loss_r: float | None = None
    _wins: int = 0
    _win_r_trades: int = 0
    _loss_r_trades: int = 0
    _gains: float = 0.0
    _losses: float = 0.0
    _win_r: float = 0.0
    _loss_r: float = 0.0

    def add(self, round_trip: RoundTrip) -> None:
        """Adds a round trip."""
        pnl = round_trip.pnl
        self.trades += 1
        if pnl > 0:
            self._wins += 1
            self._gains += pnl
            self.streak = max(self.streak, 0) + 1
        elif pnl < 0:
            self._losses -= pnl
            self.streak = min(self.streak, 0) - 1
        else:
            self.streak = 0
        self.win_rate = self._wins / self.trades
        self.win_rate_lower = wilson_lower(self._wins, self.trades)
        self.profit_factor = finite(self._gains / self._losses) if self._losses else None
        self.expectancy = (self._gains - self._losses) / self.trades
        if round_trip.r_multiple is not None:
            self._add_r(round_trip.r_multiple)

    def _add_r(self, r_multiple: float) -> None:
        self.r_trades += 1
        if r_multiple > 0:
            self._win_r += r_multiple
            self._win_r_trades += 1
            self.average_win_r = finite(self._win_r / self._win_r_trades)
        elif r_multiple < 0:
            self._loss_r += r_multiple
            self._loss_r_trades += 1
            self.average_loss_r = finite(self._loss_r / self._loss_r_trades)
        self.expectancy_r = finite((self._win_r + self._loss_r) / self.r_trades)
