"""Trading days, and bars of whole days and weeks, by the section ``[accounting]``.

A trading day starts when the clocks of ``accounting.timezone`` show ``accounting.day_start``, so it lasts 23
or 25 hours when they change. A start that the change skips is later by as much as the clocks go forward; of a
start that comes twice, the first one counts. Days have numbers: day 0 starts on 1970-01-01.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from decahertz.accounting import AccountingSettings
from decahertz.clock import NS_PER_SECOND
from decahertz.settings import SettingsError

DAY_NS: Final = 86_400 * NS_PER_SECOND
WEEK_DAYS: Final = 7
_FIRST_MONDAY: Final = 4
"""1970-01-05."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class TradingDays:
    """Converts between times and trading days.

    Raises :class:`~decahertz.settings.SettingsError` for a zone that this machine does not know.
    """

    def __init__(self, settings: AccountingSettings | None = None) -> None:
        settings = settings or AccountingSettings()
        self.timezone = settings.timezone
        self.day_start = settings.day_start
        try:
            self._zone = ZoneInfo(settings.timezone)
        except (KeyError, ValueError, OSError) as error:
            raise SettingsError(
                "accounting.timezone",
                f"{settings.timezone[:64]!r} is not a time zone of this machine; Europe/Berlin is one",
            ) from error
        self._starts_at = time.fromisoformat(settings.day_start)
        # Weeks are counted from the first one of 1970.
        self._first_week_day = (_FIRST_MONDAY + settings.week_start) % WEEK_DAYS
        self._newest: tuple[int, int, int] = (0, 0, 0)

    def start_ns(self, day: int) -> int:
        """When a day starts."""
        return self.time_ns(day, self._starts_at)

    def time_ns(self, day: int, at: time) -> int:
        """When the clocks of the zone show ``at`` on the date on which this day starts."""
        date = (_EPOCH + timedelta(days=day)).date()
        moment = datetime.combine(date, at, self._zone)
        return round((moment - _EPOCH).total_seconds()) * NS_PER_SECOND

    def day_of(self, time_ns: int) -> int:
        """The day that holds a time."""
        start_ns, end_ns, newest = self._newest  # mostly it is the day of the question before
        if start_ns <= time_ns < end_ns:
            return newest
        local = datetime.fromtimestamp(time_ns // NS_PER_SECOND, self._zone)
        day = local.toordinal() - _EPOCH.toordinal() + 1
        while self.start_ns(day) > time_ns:
            day -= 1
        self._newest = (self.start_ns(day), self.start_ns(day + 1), day)
        return day

    def first_of_bar(self, day: int, days: int) -> int:
        """The first day of the bar of so many days that holds a day.

        Bars of a week start on ``accounting.week_start``; those of other lengths are counted from the first
        such day of 1970.
        """
        if days == 1:
            return day
        return day - (day - self._first_week_day) % days


class Timeframe:
    """The bars of a width: where they start and end.

    Bars of whole days consist of trading days. Others start at multiples of their width since the Unix epoch.
    """

    def __init__(self, width_ns: int, days: TradingDays) -> None:
        self.width_ns = width_ns
        self._calendar = days
        self._days = width_ns // DAY_NS if width_ns % DAY_NS == 0 else 0

    @property
    def is_regular(self) -> bool:
        """Whether all bars have the same width and start at multiples of it."""
        return not self._days

    def start_of(self, time_ns: int) -> int:
        """Start of the bar that holds a time."""
        if not self._days:
            return time_ns - time_ns % self.width_ns
        calendar = self._calendar
        return calendar.start_ns(calendar.first_of_bar(calendar.day_of(time_ns), self._days))

    def end_of(self, time_ns: int) -> int:
        """End of the bar that holds a time: the start of the next one."""
        if not self._days:
            return time_ns - time_ns % self.width_ns + self.width_ns
        calendar = self._calendar
        day = calendar.first_of_bar(calendar.day_of(time_ns), self._days)
        return calendar.start_ns(day + self._days)

    def starts(self, start_ns: int, end_ns: int) -> list[int]:
        """Starts of the bars that touch ``[start, end)``, ascending."""
        found = []
        at_ns = self.start_of(start_ns)
        while at_ns < end_ns:
            found.append(at_ns)
            at_ns = self.end_of(at_ns)
        return found
