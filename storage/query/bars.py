"""Bars of any timeframe, made from ticks.

A bar begins at a multiple of its timeframe since the Unix epoch; one of whole days consists of trading days
(:mod:`decahertz.trading_days`), and one of a week begins on ``accounting.week_start``.

Open and close are the prices of the first and the last tick by time; ticks of the same time are ordered by
the venue's trade id, and without one as their source emitted them. A timeframe without a tick has no bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg

from decahertz.bar import Bar
from decahertz.clock import NS_PER_SECOND, to_datetime
from decahertz.trading_days import DAY_NS, Timeframe, TradingDays
from storage.query.bulk_list import windows_back
from storage.query.pagination import CursorError, decode_cursor, encode_cursor
from storage.schema.samples import storable

if TYPE_CHECKING:
    from storage.database import AnyConnection

LONGEST_TIMEFRAME_NS = 366 * DAY_NS

_LIST = "bars"
_LATEST_NS = 2**63 - 1
_FIRST_SPAN_NS = 3600 * NS_PER_SECOND
_FEW_TICKS = 20_000
_MANY_TICKS = 200_000
"""A part of the range with fewer ticks is followed by a longer one, with more by a shorter one."""

_VENUES = "SELECT venue, first_ns, last_ns FROM instruments WHERE instrument = $1 AND first_ns IS NOT NULL"
# "time" repeats time_ns for the planner: it selects the partitions.
_NEWEST = """
SELECT max(newest.time_ns) FROM unnest($2::text[]) AS wanted (venue), LATERAL (
    SELECT time_ns FROM ticks_between($5, $6) AS ticks
    WHERE ticks.venue = wanted.venue AND instrument = $1
      AND time_ns >= $3 AND time_ns < $4 AND time >= $5 AND time <= $6
      AND ($7::text IS NULL OR recorder = $7)
    ORDER BY time_ns DESC LIMIT 1
) AS newest
"""
# Numbers as texts are in their order by length first. Ticks without an id keep the order of their source.
_ORDERED = "array_agg(price ORDER BY time_ns, length(trade_id), trade_id, source, epoch, sequence)"
_BARS = f"""
SELECT {{start}} AS time_ns, ({_ORDERED})[1] AS open, max(price) AS high, min(price) AS low,
       ({_ORDERED})[count(*)::int] AS close, count(*) AS trades, {{volume}}
FROM ticks_between($5, $6) AS ticks
WHERE instrument = $1 AND venue = ANY($2::text[])
  AND time_ns >= $3 AND time_ns < $4 AND time >= $5 AND time <= $6
  AND ($7::text IS NULL OR recorder = $7)
GROUP BY 1 ORDER BY 1 DESC LIMIT $9
"""  # noqa: S608 - the parts are constants
_WITH_VOLUME = "sum(size) AS volume, sum(price * size) / nullif(sum(size), 0) AS vwap"
_WITHOUT_VOLUME = "NULL::double precision AS volume, NULL::double precision AS vwap"
_REGULAR = "time_ns - time_ns % $8::bigint"
_LISTED = "($8::bigint[])[width_bucket(time_ns, $8::bigint[])]"
"""Start of the bar among those in a list, which this program computes: the time zones of the database server
may be other ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BarFilter:
    """The bars that touch ``[start, end)``, whole. Without venues one bar covers all of them."""

    instrument: str
    timeframe_ns: int
    venues: Sequence[str] = ()
    start_ns: int | None = None
    end_ns: int | None = None
    recorder: str | None = None
    """The recorder whose ticks count (``None``: all). Two that record one venue would double its volume."""
    days: TradingDays = field(default_factory=TradingDays)

    @property
    def timeframe(self) -> Timeframe:
        """The bars."""
        return Timeframe(self.timeframe_ns, self.days)


async def newest_bars(
    connection: AnyConnection, which: BarFilter, limit: int, cursor: str | None
) -> tuple[list[Bar], str | None]:
    """Bars, the newest first, and the cursor of the rest.

    Raises :class:`~storage.query.pagination.CursorError`.
    """
    width, frame = which.timeframe_ns, which.timeframe
    upper = _LATEST_NS if which.end_ns is None else min(frame.end_of(max(which.end_ns - 1, 0)), _LATEST_NS)
    if cursor is not None:
        upper = min(upper, _start_of(cursor, which))
    if not storable(which.instrument) or not storable(which.recorder or ""):
        return [], None
    rows = await connection.fetch(_VENUES, which.instrument)
    known = [row for row in rows if not which.venues or row["venue"] in which.venues]
    lower = frame.start_of(max(min((row["first_ns"] for row in known), default=upper), which.start_ns or 0))
    last_ns = max((row["last_ns"] for row in known), default=0)
    ticks = _TickQueries(connection, which, [row["venue"] for row in known], last_ns)
    found: list[Bar] = []
    span = min((limit + 1) * width, max(width, _FIRST_SPAN_NS))
    while len(found) <= limit:
        newest_ns = await ticks.newest(lower, upper, span)
        if newest_ns is None:
            break
        upper = min(frame.end_of(newest_ns), _LATEST_NS)
        begin = frame.start_of(max(lower, upper - span))
        bars = await ticks.bars(begin, upper, limit + 1 - len(found))
        count = sum(bar.trades for bar in bars)
        span = span * 4 if count < _FEW_TICKS else span // 4 if count > _MANY_TICKS else span
        found += bars
        upper = begin
    if len(found) <= limit:
        return found, None
    return found[:limit], encode_cursor(_LIST, (found[limit - 1].time_ns, which.instrument, width, 0))


def _start_of(cursor: str, which: BarFilter) -> int:
    before_ns, instrument, width, _ = decode_cursor(_LIST, cursor).place
    if (
        (instrument, width) != (which.instrument, which.timeframe_ns)
        or not 0 <= before_ns <= _LATEST_NS
        or which.timeframe.start_of(before_ns) != before_ns
    ):
        raise CursorError("this cursor belongs to other bars")
    return before_ns


class _TickQueries:
    """Queries the ticks of one instrument on some venues."""

    def __init__(self, connection: AnyConnection, which: BarFilter, venues: list[str], last_ns: int) -> None:
        """``last_ns``: about the time of its last tick."""
        self._connection = connection
        self._which = which
        self._venues = venues
        self._last_ns = last_ns

    async def newest(self, start_ns: int, end_ns: int, span_ns: int) -> int | None:
        """Time of the last tick in the range; ``span_ns``: how far back it is likely to be."""
        if start_ns >= end_ns or not self._venues:
            return None
        span_ns = min(span_ns, _FIRST_SPAN_NS)  # packed ticks have no index: all of a window are read
        for low, high in windows_back(start_ns, min(self._last_ns, end_ns), end_ns, span_ns):
            found: int | None = await self._connection.fetchval(_NEWEST, *self._range(low, high))
            if found is not None:
                return found
        return None

    async def bars(self, start_ns: int, end_ns: int, limit: int) -> list[Bar]:
        """The newest bars of the range, which begins and ends with a bar."""
        frame = self._which.timeframe
        grid = frame.width_ns if frame.is_regular else frame.starts(start_ns, end_ns)
        start = _REGULAR if frame.is_regular else _LISTED
        values = (*self._range(start_ns, end_ns), grid, limit)
        try:
            rows = await self._connection.fetch(_BARS.format(start=start, volume=_WITH_VOLUME), *values)
        except asyncpg.NumericValueOutOfRangeError:
            rows = await self._connection.fetch(_BARS.format(start=start, volume=_WITHOUT_VOLUME), *values)
        return [Bar(**row) for row in rows]

    def _range(self, start_ns: int, end_ns: int) -> tuple[Any, ...]:
        times = (to_datetime(start_ns), to_datetime(end_ns))
        which = self._which
        return (which.instrument, self._venues, start_ns, end_ns, *times, which.recorder)
