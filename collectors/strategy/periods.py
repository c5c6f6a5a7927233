"""Results of a strategy by trading day, week and month."""

from __future__ import annotations

from datetime import date, timedelta

from msgspec import Struct, field

from decahertz.statistics.equity_days import DAYS_KEPT
from decahertz.statistics.round_trips import outcome
from decahertz.trading_days import WEEK_DAYS, TradingDays

_R_DAYS_KEPT = 14
_EPOCH = date(1970, 1, 1)


class DailyPnl(Struct):
    """Realised P&L by the trading day of the fills."""

    calendar: TradingDays = field(default_factory=TradingDays)
    minor_unit: float = 0.01
    days: dict[int, float] = {}
    daily_loss_streak: int = 0
    """Consecutive most recent days with a loss; days without P&L are skipped."""

    def add(self, time_ns: int, amount: float) -> None:
        """Adds P&L realised at ``time_ns``."""
        if not amount:
            return
        day = self.calendar.day_of(time_ns)
        before = self.days.get(day, 0.0)
        self.days[day] = before + amount
        if len(self.days) > DAYS_KEPT:
            del self.days[min(self.days)]
        if outcome(before, self.minor_unit) != outcome(before + amount, self.minor_unit):
            self._count_losses()

    def _count_losses(self) -> None:
        self.daily_loss_streak = 0
        for day in sorted(self.days, reverse=True):
            result = outcome(self.days[day], self.minor_unit)
            if result > 0:
                break
            self.daily_loss_streak -= result

    def daily(self, now_ns: int) -> float:
        """Returns the P&L of the trading day of ``now_ns``."""
        return self.days.get(self.calendar.day_of(now_ns), 0.0)

    def weekly(self, now_ns: int) -> float:
        """Returns the P&L of the trading week of ``now_ns``."""
        return sum(self.days.get(day, 0.0) for day in week_of(self.calendar, now_ns))

    def monthly(self, now_ns: int) -> float:
        """Returns the P&L of the calendar month in which the trading day of ``now_ns`` starts."""
        today = self.calendar.day_of(now_ns)
        first = today - (_EPOCH + timedelta(days=today)).day + 1
        return sum(self.days.get(day, 0.0) for day in range(first, today + 1))


class DailyR(Struct):
    """R multiples of the closed round trips by the trading day of their closing."""

    calendar: TradingDays = field(default_factory=TradingDays)
    _days: dict[int, tuple[float, int]] = {}

    def add(self, time_ns: int, r_multiple: float) -> None:
        """Adds a round trip closed at ``time_ns``."""
        self._count(time_ns, r_multiple, 1)

    def remove(self, time_ns: int, r_multiple: float) -> None:
        """Removes a round trip that was added."""
        self._count(time_ns, -r_multiple, -1)

    def _count(self, time_ns: int, amount: float, number: int) -> None:
        day = self.calendar.day_of(time_ns)
        total, count = self._days.get(day, (0.0, 0))
        self._days[day] = (total + amount, count + number) if count + number else (0.0, 0)
        if len(self._days) > _R_DAYS_KEPT:
            del self._days[min(self._days)]

    def daily(self, now_ns: int) -> tuple[float, int]:
        """Returns sum and number of the R multiples of the trading day of ``now_ns``."""
        return self._days.get(self.calendar.day_of(now_ns), (0.0, 0))

    def weekly(self, now_ns: int) -> tuple[float, int]:
        """Returns sum and number of the R multiples of the trading week of ``now_ns``."""
        days = [self._days.get(day, (0.0, 0)) for day in week_of(self.calendar, now_ns)]
        return sum(total for total, _ in days), sum(count for _, count in days)


def week_of(calendar: TradingDays, now_ns: int) -> range:
    """Returns the days of the trading week that holds a time."""
    first = calendar.first_of_bar(calendar.day_of(now_ns), WEEK_DAYS)
    return range(first, first + WEEK_DAYS)
