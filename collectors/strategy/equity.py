"""The equity curve of a strategy: drawdowns, the daily grid, and P&L by day and week."""

from __future__ import annotations

from collections import deque

from collectors.strategy.statistics import sharpe_ratio, sortino_ratio
from decahertz.clock import NS_PER_SECOND

DAY_NS = 86_400 * NS_PER_SECOND
_DAYS_KEPT = 1000
_MONDAY = 3
"""Day 0 of the epoch was a Thursday; day 4 was a Monday."""


class EquityCurve:
    """A curve of money over time, observed at the instants of the grid.

    Drawdown is the fall from the highest value so far, in money. The daily grid is the last value of each UTC
    day; its differences give the ratios. The day in which the curve starts is the first point of the grid. A
    day without a value repeats the one before.
    """

    __slots__ = (
        "_changes",
        "_day",
        "_day_close",
        "_peak",
        "_peak_ns",
        "_value",
        "drawdown",
        "drawdown_ns",
        "max_drawdown",
        "max_drawdown_ns",
        "sharpe",
        "sortino",
    )

    def __init__(self, now_ns: int, start: float) -> None:
        """The curve starts at ``now_ns`` with the value ``start``, which is its first peak."""
        self._value = self._peak = start
        self._peak_ns = now_ns
        self._day = now_ns // DAY_NS
        self._day_close: float | None = None
        self._changes: deque[float] = deque(maxlen=_DAYS_KEPT)
        self.drawdown = self.max_drawdown = 0.0
        self.drawdown_ns = self.max_drawdown_ns = 0
        self.sharpe: float | None = None
        self.sortino: float | None = None

    @property
    def daily_changes(self) -> int:
        """How many daily changes there are."""
        return len(self._changes)

    def observe(self, now_ns: int, value: float | None) -> None:
        """The value at ``now_ns``; ``None`` when it is not known, which leaves the curve where it was."""
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


class DayLedger:
    """Realised P&L by UTC day: that of the fill which realised it."""

    __slots__ = ("_days", "daily_loss_streak")

    def __init__(self) -> None:
        """Nothing realised yet."""
        self._days: dict[int, float] = {}
        self.daily_loss_streak = 0
        """Newest days in a row that lost; days without P&L are left out."""

    def add(self, time_ns: int, amount: float) -> None:
        """``amount`` of money was realised at ``time_ns``."""
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
        """Realised in the UTC day of ``now_ns``."""
        return self._days.get(now_ns // DAY_NS, 0.0)

    def weekly(self, now_ns: int) -> float:
        """Realised in the ISO week (Monday to Sunday, UTC) of ``now_ns``."""
        today = now_ns // DAY_NS
        monday = today - (today + _MONDAY) % 7
        return sum(self._days.get(day, 0.0) for day in range(monday, monday + 7))
