"""Bars of any timeframe, made from ticks.

A bar begins at a multiple of its timeframe since the Unix epoch. Open and close are the prices of the first
and the last tick by time; ticks of the same time are ordered by the venue's trade id, and without one as
their source emitted them. A timeframe without a tick has no bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
from msgspec import Struct

from decahertz.clock import NS_PER_SECOND, to_datetime
from storage.query.pagination import CursorError, decode_cursor, encode_cursor
from storage.schema.samples import storable

if TYPE_CHECKING:
    from storage.database import AnyConnection

LONGEST_TIMEFRAME_NS = 366 * 86_400 * NS_PER_SECOND

_LIST = "bars"
_LATEST_NS = 2**63 - 1
_FIRST_SPAN_NS = 3600 * NS_PER_SECOND
_FEW_TICKS = 20_000
_MANY_TICKS = 200_000
"""A part of the range with fewer ticks is followed by a longer one, with more by a shorter one."""

_VENUES = "SELECT venue, first_ns FROM instruments WHERE instrument = $1 AND first_ns IS NOT NULL"
# "time" repeats time_ns for the planner: it selects the partitions.
_NEWEST = """
SELECT max(newest.time_ns) FROM unnest($2::text[]) AS wanted (venue), LATERAL (
    SELECT time_ns FROM ticks
    WHERE ticks.venue = wanted.venue AND instrument = $1
      AND time_ns >= $3 AND time_ns < $4 AND time >= $5 AND time <= $6
      AND ($7::text IS NULL OR recorder = $7)
    ORDER BY time_ns DESC LIMIT 1
) AS newest
"""
# Numbers as texts are in their order by length first. Ticks without an id keep the order of their source.
_ORDERED = "array_agg(price ORDER BY time_ns, length(trade_id), trade_id, source, epoch, sequence)"
_BARS = f"""
SELECT time_ns - time_ns % $8 AS time_ns, ({_ORDERED})[1] AS open, max(price) AS high, min(price) AS low,
       ({_ORDERED})[count(*)::int] AS close, count(*) AS trades, {{volume}}
FROM ticks
WHERE instrument = $1 AND venue = ANY($2::text[])
  AND time_ns >= $3 AND time_ns < $4 AND time >= $5 AND time <= $6
  AND ($7::text IS NULL OR recorder = $7)
GROUP BY 1 ORDER BY 1 DESC LIMIT $9
"""  # noqa: S608 - the parts are constants
_WITH_VOLUME = _BARS.format(volume="sum(size) AS volume, sum(price * size) / nullif(sum(size), 0) AS vwap")
_WITHOUT = _BARS.format(volume="NULL::double precision AS volume, NULL::double precision AS vwap")


class Bar(Struct, frozen=True, kw_only=True):
    """Open, high, low, close and volume of one timeframe."""

    time_ns: int
    """Start of the bar."""
    open: float
    high: float
    low: float
    close: float
    volume: float | None
    """Sum of the sizes; null where it exceeds a double."""
    trades: int
    """Number of ticks."""
    vwap: float | None
    """Volume-weighted average price; null where the volume is zero or unknown."""


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


async def newest_bars(
    connection: AnyConnection, which: BarFilter, limit: int, cursor: str | None
) -> tuple[list[Bar], str | None]:
    """Bars, the newest first, and the cursor of the rest.

    Raises :class:`~storage.query.pagination.CursorError`.
    """
    width = which.timeframe_ns
    upper = _LATEST_NS if which.end_ns is None else min(-(-which.end_ns // width) * width, _LATEST_NS)
    if cursor is not None:
        upper = min(upper, _start_of(cursor, which))
    if not storable(which.instrument) or not storable(which.recorder or ""):
        return [], None
    known = {row["venue"]: row["first_ns"] for row in await connection.fetch(_VENUES, which.instrument)}
    venues = [venue for venue in known if not which.venues or venue in which.venues]
    lower = max(min((known[venue] for venue in venues), default=upper), which.start_ns or 0) // width * width
    ticks = _TickQueries(connection, which, venues)
    found: list[Bar] = []
    span = min((limit + 1) * width, max(width, _FIRST_SPAN_NS))
    while len(found) <= limit:
        newest_ns = await ticks.newest(lower, upper)
        if newest_ns is None:
            break
        upper = min((newest_ns // width + 1) * width, _LATEST_NS)
        begin = max(lower, (upper - span) // width * width)
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
    if (instrument, width) != (which.instrument, which.timeframe_ns) or before_ns % width:
        raise CursorError("this cursor belongs to other bars")
    return before_ns


class _TickQueries:
    """Queries the ticks of one instrument on some venues."""

    def __init__(self, connection: AnyConnection, which: BarFilter, venues: list[str]) -> None:
        self._connection = connection
        self._which = which
        self._venues = venues

    async def newest(self, start_ns: int, end_ns: int) -> int | None:
        """Time of the last tick in the range."""
        if start_ns >= end_ns or not self._venues:
            return None
        found: int | None = await self._connection.fetchval(_NEWEST, *self._range(start_ns, end_ns))
        return found

    async def bars(self, start_ns: int, end_ns: int, limit: int) -> list[Bar]:
        """The newest bars of the range, which begins and ends at multiples of the timeframe."""
        values = (*self._range(start_ns, end_ns), self._which.timeframe_ns, limit)
        try:
            rows = await self._connection.fetch(_WITH_VOLUME, *values)
        except asyncpg.NumericValueOutOfRangeError:
            rows = await self._connection.fetch(_WITHOUT, *values)
        return [Bar(**row) for row in rows]

    def _range(self, start_ns: int, end_ns: int) -> tuple[Any, ...]:
        times = (to_datetime(start_ns), to_datetime(end_ns))
        which = self._which
        return (which.instrument, self._venues, start_ns, end_ns, *times, which.recorder)
