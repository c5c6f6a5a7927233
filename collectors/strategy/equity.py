"""Equity curve of a strategy: drawdowns, daily changes, and P&L by day and week."""

from __future__ import annotations

from collections import deque

from msgspec import Struct, field

from collectors.strategy.statistics import sharpe_ratio, sortino_ratio
from decahertz.clock import NS_PER_SECOND, to_datetime

DAY_NS = 86_400 * NS_PER_SECOND
_DAYS_KEPT = 1000
_R_DAYS_KEPT = 14
_MONDAY = 3
"""Day 0 of the epoch was a Thursday; day 4 was a Monday."""


class EquityCurve(Struct):
    """Equity over time, in money; observed in every cycle.

    A drawdown is the fall from the highest value so far. The Sharpe and Sortino ratios are computed from the
    changes between the last values of consecutive UTC days, beginning with the day in which the curve starts.
    A day without a value repeats the value of the previous day.
    """

    _value: float
    _peak: float
    _peak_ns: int
    _day: int
    _day_close: float | None = None
    _changes: deque[float] = field(default_factory=deque)
    drawdown: float = 0.0
    max_drawdown: float = 0.0
    drawdown_ns: int = 0
    max_drawdown_ns: int = 0
    sharpe: float | None = None
    sortino: float | None = None

    def __post_init__(self) -> None:
        self._changes = deque(self._changes, _DAYS_KEPT)

    @classmethod
    def starting(cls, now_ns: int, value: float) -> EquityCurve:
        """Starts a curve with its first value, which is the first peak."""
        return cls(value, value, now_ns, now_ns // DAY_NS)

    @property
    def daily_changes(self) -> int:
        """Number of daily changes."""
        return len(self._changes)

    def observe(self, now_ns: int, value: float | None) -> None:
        """Adds the value at ``now_ns``; ``None`` (unknown) leaves the curve unchanged."""
        day = now_ns // DAY_NS
        if day > self._day:
            self._close_days(day)
        if value is None:
            return
        self._value = value
        self.drawdown = self._peak - value
        if self.drawdown > 0:
            self.drawdown_ns = max(now_ns - self._peak_ns, 0)
            self.max_drawdown = max(self.max_drawdown, self.drawdown)
            self.max_drawdown_ns = max(self.max_drawdown_ns, self.drawdown_ns)
        else:
            self._peak = value
            self._peak_ns = now_ns
            self.drawdown = 0.0
            self.drawdown_ns = 0

    def _close_days(self, day: int) -> None:
        if self._day_close is not None:
            self._changes.append(self._value - self._day_close)
        self._day_close = self._value
        self._changes.extend([0.0] * min(day - self._day - 1, _DAYS_KEPT))
        self._day = day
        self.sharpe = sharpe_ratio(self._changes)
        self.sortino = sortino_ratio(self._changes)


class DailyPnl(Struct):
    """Realised P&L by the UTC day of the fills."""

    _days: dict[int, float] = {}
    daily_loss_streak: int = 0
    """Consecutive most recent days with a loss; days without P&L are skipped."""

    def add(self, time_ns: int, amount: float) -> None:
        """Adds P&L realised at ``time_ns``."""
        if not amount:
            return
        day = time_ns // DAY_NS
        self._days[day] = self._days.get(day, 0.0) + amount
        if len(self._days) > _DAYS_KEPT:
            del self._days[min(self._days)]
        self.daily_loss_streak = 0
        for newest in sorted(self._days, reverse=True):
            if self._days[newest] >= 0:
                break
            self.daily_loss_streak += 1

    def daily(self, now_ns: int) -> float:
        """Returns the P&L of the UTC day of ``now_ns``."""
        return self._days.get(now_ns // DAY_NS, 0.0)

    def weekly(self, now_ns: int) -> float:
        """Returns the P&L of the ISO week (Monday to Sunday, UTC) of ``now_ns``."""
        monday = monday_of(now_ns)
        return sum(self._days.get(day, 0.0) for day in range(monday, monday + 7))

    def monthly(self, now_ns: int) -> float:
        """Returns the P&L of the UTC month of ``now_ns``."""
        today = now_ns // DAY_NS
        first = today - to_datetime(now_ns).day + 1
        return sum(self._days.get(day, 0.0) for day in range(first, today + 1))


class DailyR(Struct):
    """R multiples of the closed round trips by the UTC day of their closing."""

    _days: dict[int, tuple[float, int]] = {}

    def add(self, time_ns: int, r_multiple: float) -> None:
        """Adds a round trip closed at ``time_ns``."""
        day = time_ns // DAY_NS
        total, count = self._days.get(day, (0.0, 0))
        self._days[day] = (total + r_multiple, count + 1)
        if len(self._days) > _R_DAYS_KEPT:
            del self._days[min(self._days)]

    def daily(self, now_ns: int) -> tuple[float, int]:
        """Returns sum and number of the R multiples of the UTC day of ``now_ns``."""
        return self._days.get(now_ns // DAY_NS, (0.0, 0))

    def weekly(self, now_ns: int) -> tuple[float, int]:
        """Returns sum and number of the R multiples of the ISO week of ``now_ns``."""
        monday = monday_of(now_ns)
        days = [self._days.get(day, (0.0, 0)) for day in range(monday, monday + 7)]
        return sum(total for total, _ in days), sum(count for _, count in days)


def monday_of(now_ns: int) -> int:
    """Returns the day (since the epoch) on which the ISO week of ``now_ns`` begins."""
    today = now_ns // DAY_NS
    return today - (today + _MONDAY) % 7
