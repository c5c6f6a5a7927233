"""Opening range breakouts: the range of the first minutes of a session, and where the price leaves it.

After T. Crabel: *Day Trading with Short Term Price Patterns and Opening Range Breakout*, 1990. The opening
range is the highest and the lowest price of the ticks from the start of the session on. The breakout is the
first later tick of the session above the high or below the low. With the width of the range, high less low::

    extension       how far the price went beyond the broken side until the end of the session, over the width
    follow_through  how far the last price of the session is beyond the broken side, over the width; negative
                    if it came back
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from decahertz.trading_days import DAY_NS
from storage.query.analytics.tick_selection import (
    LATEST_NS,
    ORDER,
    REVERSED,
    TICKS,
    WHERE,
    WHERE_ONE,
    SelectedTicks,
    TickFilter,
    find_ticks,
)
from storage.query.bulk_list import windows_back

if TYPE_CHECKING:
    from datetime import time

    from decahertz.trading_days import TradingDays
    from storage.database import AnyConnection

# By venue, as the index begins with it.
_NEWEST: Final = f"""
SELECT max(newest.time_ns) FROM unnest($2::text[]) AS wanted (venue), LATERAL (
    SELECT time_ns FROM {TICKS} WHERE ticks.venue = wanted.venue AND {WHERE_ONE} ORDER BY time_ns DESC LIMIT 1
) AS newest
"""  # noqa: S608 - the parts are constants
_SESSION: Final = f"""
WITH session AS MATERIALIZED (
    SELECT price, size, time_ns, trade_id, source, epoch, sequence FROM {TICKS} WHERE {WHERE}
), opening AS (
    SELECT min(price) AS low, max(price) AS high, count(*) AS opening_trades, sum(size) AS opening_volume
    FROM session WHERE time_ns < $8
), later AS (
    SELECT min(price) AS lowest, max(price) AS highest, count(*) AS trades FROM session WHERE time_ns >= $8
), broken AS (
    SELECT time_ns AS broken_ns, price AS broken_price FROM session, opening
    WHERE time_ns >= $8 AND (price > high OR price < low) ORDER BY {ORDER} LIMIT 1
), ended AS (
    SELECT price AS close FROM session ORDER BY {REVERSED} LIMIT 1
)
SELECT * FROM opening CROSS JOIN later LEFT JOIN broken ON true LEFT JOIN ended ON true
"""  # noqa: S608 - the parts are constants


class OpeningRange(Struct, frozen=True, kw_only=True):
    """One session: its opening range, and the breakout."""

    start_ns: int
    """Start of the session."""
    range_end_ns: int
    """End of the opening range."""
    end_ns: int
    """End of the session."""
    low: float
    high: float
    opening_trades: int
    """Ticks in the opening range."""
    opening_volume: float
    trades: int
    """Ticks after it."""
    lowest: float | None
    """Lowest price after the opening range."""
    highest: float | None
    close: float
    """Last price of the session, or so far."""
    broken_ns: int | None
    """Time of the breakout; null: there was none."""
    broken_price: float | None


class Sessions:
    """Sessions that start at a time of the day, with an opening range at their start."""

    def __init__(self, days: TradingDays, at: time, *, range_ns: int, length_ns: int) -> None:
        """A session ends after its length, or where the next one starts."""
        self._days = days
        self._at = at
        self._range_ns = range_ns
        self._length_ns = length_ns

    def times(self, day: int) -> tuple[int, int, int]:
        """Start, end of the opening range, and end of the session of a day."""
        start_ns = self._days.time_ns(day, self._at)
        end_ns = min(start_ns + self._length_ns, self._days.time_ns(day + 1, self._at))
        return start_ns, min(start_ns + self._range_ns, end_ns), end_ns

    def day_of(self, time_ns: int) -> int:
        """The last day whose session starts at a time or before."""
        day = self._days.day_of(time_ns) + 1
        while self._days.time_ns(day, self._at) > time_ns:
            day -= 1
        return day


async def opening_ranges(
    connection: AnyConnection,
    which: TickFilter,
    sessions: Sessions,
    start_ns: int,
    end_ns: int,
    limit: int,
) -> list[OpeningRange]:
    """The newest sessions that start in ``[start, end)`` and have ticks in their opening range."""
    ticks = await find_ticks(connection, which)
    if ticks is None:
        return []
    found: list[OpeningRange] = []
    earliest_ns = max(start_ns, ticks.first_ns)
    day = sessions.day_of(max(end_ns - 1, 0))
    newest_ns = await _newest(connection, ticks, earliest_ns, min(sessions.times(day)[2], LATEST_NS))
    if newest_ns is None:
        return []
    day = min(day, sessions.day_of(newest_ns))
    while len(found) < limit:
        times = sessions.times(day)
        if times[0] < start_ns:
            break
        session = await _session(connection, ticks, times)
        day -= 1
        if session is not None:
            found.append(session)
            continue
        # Past days without ticks at once: there may be years of them.
        newest_ns = await _newest(connection, ticks, earliest_ns, times[0])
        if newest_ns is None:
            break
        day = min(day, sessions.day_of(newest_ns))
    return found


async def _newest(connection: AnyConnection, ticks: SelectedTicks, start_ns: int, end_ns: int) -> int | None:
    for low, high in windows_back(start_ns, min(ticks.last_ns, end_ns), end_ns, DAY_NS):
        found: int | None = await connection.fetchval(_NEWEST, *ticks.values(low, high))
        if found is not None:
            return found
    return None


async def _session(
    connection: AnyConnection, ticks: SelectedTicks, times: tuple[int, int, int]
) -> OpeningRange | None:
    start_ns, range_end_ns, end_ns = times
    row = await connection.fetchrow(_SESSION, *ticks.values(start_ns, end_ns), range_end_ns)
    if row is None or not row["opening_trades"]:
        return None
    return OpeningRange(start_ns=start_ns, range_end_ns=range_end_ns, end_ns=end_ns, **row)
