"""Finds market events that the database has already, whatever their source.

A print is identified by its venue, its instrument and the venue's own trade id. The id counts within a second
of the print's time: venues round the times of one print differently, and many begin their ids again every
day, on a new contract, or after a restart. A second print with a used id at another time is another print.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias
from zlib import crc32

from decahertz.clock import NS_PER_SECOND, to_datetime
from decahertz.event import Instrument, MarketEvent, Tick
from storage.schema.events import rows_between
from storage.schema.samples import quoted

if TYPE_CHECKING:
    import asyncpg

    from storage.database import AnyConnection

SAME_PRINT_NS = NS_PER_SECOND

_PRINTS_LOCK = 0x70726E74
"""First key of the advisory locks of the venues whose prints a transaction stores."""
_LATEST_NS = 2**63 - 1
_DAY_NS = 86_400 * NS_PER_SECOND
_LONGEST_GAP_NS = _DAY_NS
_LONGEST_GROUP_NS = 30 * _DAY_NS
_LOCK = "SELECT pg_advisory_xact_lock($1, venue) FROM unnest($2::int[]) AS venue"
# LATERAL with OFFSET keeps one index scan for each range. The bounds $7 and $8 select the partitions when the
# statement is planned, those of each range when it runs.
_ROWS = """
SELECT found.* FROM unnest(
    $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::timestamptz[]
) AS wanted (venue, instrument, low_ns, high_ns, low, high), LATERAL (
    SELECT {columns} FROM {rows}
    WHERE venue = wanted.venue AND instrument = wanted.instrument
      AND time_ns >= wanted.low_ns AND time_ns <= wanted.high_ns
      AND time >= wanted.low AND time <= wanted.high AND time >= $7 AND time <= $8
      AND ($9::text IS NULL OR recorder = $9){more}
    OFFSET 0
) AS found
"""

# Only the rows of known prints leave the server. IS TRUE keeps the subquery a hash table that is built once;
# without it the planner makes a join of it for each range.
_SAME_IDS = " AND (trade_id IN (SELECT unnest($10::text[]))) IS TRUE"

_Range: TypeAlias = tuple[str, str, int, int]


class KnownIds:
    """Times of the prints, or of other events with an id, that are known."""

    def __init__(self) -> None:
        self._times: dict[Hashable, list[int]] = {}

    def add(self, identity: Hashable, time_ns: int) -> bool:
        """Adds an event; returns whether it is new."""
        times = self._times.get(identity)
        if times is None:
            self._times[identity] = [time_ns]
            return True
        if any(abs(time_ns - known) <= SAME_PRINT_NS for known in times):
            return False
        times.append(time_ns)
        return True


async def lock_prints(connection: AnyConnection, venues: Iterable[str]) -> None:
    """Makes other transactions that store prints of these venues wait until this one ends."""
    # Sorted, so that two writers lock in the same order.
    keys = sorted({crc32(venue.encode()) - 2**31 for venue in venues})
    await connection.execute(_LOCK, _PRINTS_LOCK, keys)


async def find_prints(
    connection: AnyConnection, ticks: Sequence[Tick], recorder: str, known: KnownIds
) -> None:
    """Adds the ids of the prints that the database has from this recorder near the times of ``ticks``."""
    columns = ("venue", "instrument", "trade_id", "time_ns")
    ids = [tick.trade_id for tick in ticks]
    for statement, values in _queries(Tick, ticks, columns, recorder, _SAME_IDS):
        for row in await connection.fetch(statement, *values, ids):
            *identity, time_ns = row
            known.add(tuple(identity), time_ns)


async def stored_rows(
    connection: AnyConnection,
    event_type: type[MarketEvent | Instrument],
    events: Sequence[MarketEvent | Instrument],
) -> list[asyncpg.Record]:
    """The stored rows of the instruments of ``events`` near their times, of all recorders."""
    found: list[asyncpg.Record] = []
    for statement, values in _queries(event_type, events):
        found += await connection.fetch(statement, *values)
    return found


def _queries(
    event_type: type[MarketEvent | Instrument],
    events: Sequence[MarketEvent | Instrument],
    columns: Sequence[str] = (),
    recorder: str | None = None,
    more: str = "",
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yields statements with their values, one for each group of ranges."""
    statement = _ROWS.format(
        columns=", ".join(map(quoted, columns)) if columns else "*",
        rows=rows_between(event_type, "wanted.low", "wanted.high", "$7", "$8"),
        more=more,
    )
    for ranges in range_groups(events):
        venues, instruments, low, high = map(list, zip(*ranges, strict=True))
        times = (list(map(to_datetime, low)), list(map(to_datetime, high)))
        bounds = (to_datetime(min(low)), to_datetime(max(high)))
        yield statement, (venues, instruments, low, high, *times, *bounds, recorder)


def range_groups(events: Sequence[MarketEvent | Instrument]) -> Iterator[list[_Range]]:
    """Yields the ranges of time around events, in groups without long gaps.

    PostgreSQL locks every partition between the bounds of a statement, and can lock some thousands.
    """
    group: list[_Range] = []
    start = end = 0
    for one in sorted(_ranges(events), key=itemgetter(2)):
        _, _, low, high = one
        if group and (low - end > _LONGEST_GAP_NS or high - start > _LONGEST_GROUP_NS):
            yield group
            group = []
        if not group:
            start = end = low
        group.append(one)
        end = max(end, high)
    if group:
        yield group


def _ranges(events: Iterable[MarketEvent | Instrument]) -> list[_Range]:
    """The ranges of time around the events of each instrument; ranges that touch are joined."""
    times: dict[tuple[str, str], list[int]] = {}
    for event in events:
        times.setdefault((event.venue, event.instrument), []).append(event.time_ns)
    ranges: list[_Range] = []
    for (venue, instrument), found in times.items():
        found.sort()
        low = previous = found[0]
        for time_ns in found:
            if time_ns - previous > 2 * SAME_PRINT_NS:
                ranges.append(_around(venue, instrument, low, previous))
                low = time_ns
            previous = time_ns
        ranges.append(_around(venue, instrument, low, previous))
    return ranges


def _around(venue: str, instrument: str, low: int, high: int) -> _Range:
    return venue, instrument, low - SAME_PRINT_NS, min(high + SAME_PRINT_NS, _LATEST_NS)
