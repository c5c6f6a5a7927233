"""Daily changes from reported equities: transfers are not results."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from decahertz.statistics.daily import DailyChange

DAYS_KEPT = 1000
"""Newest days that statistics cover."""
_TRANSFERS_KEPT = 1000


class Transfers(Struct):
    """Deposits and withdrawals in order of time."""

    _times: list[int] = []
    _sums: list[float] = []
    """Sum of all transfers up to each time."""
    _forgotten: float = 0.0

    def add(self, time_ns: int, amount: float) -> None:
        """Adds a transfer; negative: a withdrawal."""
        at = bisect_right(self._times, time_ns)
        before = self._sums[at - 1] if at else self._forgotten
        self._times.insert(at, time_ns)
        self._sums.insert(at, before)
        for later in range(at, len(self._sums)):
            self._sums[later] += amount
        if len(self._times) > _TRANSFERS_KEPT:
            del self._times[0]
            self._forgotten = self._sums.pop(0)

    def until(self, time_ns: int) -> float:
        """Returns the sum of the transfers up to and including a time."""
        at = bisect_right(self._times, time_ns)
        return self._sums[at - 1] if at else self._forgotten


def changes_of_equity(
    closes: Mapping[int, tuple[int, float]], transfers: Transfers, today: int
) -> list[DailyChange]:
    """Returns the changes between the last equities of consecutive days before ``today``, oldest first.

    ``closes`` has time and value by day. A day without a value changes nothing. Transfers between two
    closes are not a result; the deposits are part of the level that earned the change.
    """
    days = sorted(day for day in closes if day < today)
    changes: list[DailyChange] = []
    if not days:
        return changes
    start = max(days[0] + 1, today - DAYS_KEPT)
    close_ns, close = closes[max((day for day in days if day < start), default=days[0])]
    for day in range(start, today):
        if day not in closes:
            changes.append(DailyChange(day, 0.0, close))
            continue
        before_ns, before = close_ns, close
        close_ns, close = closes[day]
        moved = transfers.until(close_ns) - transfers.until(before_ns)
        changes.append(DailyChange(day, close - before - moved, before + max(moved, 0.0)))
    return changes


def merged(parts: Iterable[Sequence[DailyChange]]) -> list[DailyChange]:
    """Returns the changes of several accounts or strategies together, by day.

    The level of a day is the sum of theirs; ``None`` if one is not known.
    """
    days: dict[int, DailyChange] = {}
    for changes in parts:
        for one in changes:
            other = days.get(one.day)
            if other is not None:
                is_known = one.level is not None and other.level is not None
                level = (one.level or 0.0) + (other.level or 0.0) if is_known else None
                days[one.day] = DailyChange(one.day, one.change + other.change, level)
            else:
                days[one.day] = one
    return [days[day] for day in sorted(days)]
