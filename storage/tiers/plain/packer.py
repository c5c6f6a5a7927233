"""Packs samples, the ``1s`` tier and events that are old enough, a little in every round.

A transaction packs a minute of samples, ten minutes of some series of the tier, or an hour of the events of
one instrument, or less of many.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from decahertz.clock import NS_PER_SECOND, Clock, from_datetime, to_datetime
from storage.schema.samples import TIME, quoted
from storage.tiers.names import Tier, width_ns
from storage.tiers.plain.packed import pack_span
from storage.tiers.plain.packed_events import SPAN_NS, PackedEvents, pack_group
from storage.tiers.plain.partitions import (
    BEGINNING,
    Partition,
    Partitioned,
    day_of,
    ensure_partition,
    limit_locks,
    partitions_of,
)
from storage.tiers.plain.retention import start_of_recording
from storage.tiers.plain.table import PACKED_TIERS

if TYPE_CHECKING:
    from storage.database import AnyConnection
    from storage.tiers.plain.table import PlainTable

_ROUND_NS = NS_PER_SECOND // 5
"""A round begins no further minute after this time: a tenth of the time between two rounds."""
_SPAN = timedelta(microseconds=SPAN_NS // 1000)
_MOST_AT_ONCE = 20_000
"""Events of a transaction, about: half a second."""
_MADE_FIRST = {Tier.RAW: (Tier.S1,), Tier.S1: (Tier.S1, Tier.M1)}
"""By tier that is packed: the tiers whose buckets are made before."""
_SMALL_BYTES = 4_000_000
_LATE_NS = 600 * NS_PER_SECOND
"""How often to look for late rows of times that are packed already."""


class Packer:
    """Packs the samples and the ``1s`` tier of all tables, the oldest minutes of each first."""

    def __init__(self, after_hours: float, clock: Clock) -> None:
        """Rows are packed when they are ``after_hours`` old; 0: never."""
        self._after_ns = int(after_hours * 3600 * NS_PER_SECOND)
        self._clock = clock
        self._from: dict[str, datetime] = {}
        """By table: the first time that is not packed yet, late rows apart."""
        self._late_ns: int | None = None
        self._partitions = _PackedPartitions()

    async def run(
        self,
        connection: AnyConnection,
        tables: Sequence[PlainTable],
        kept: Mapping[Partitioned, int],
        now_ns: int,
        *,
        everything: bool,
    ) -> int:
        """Packs for a fifth of a second, or ``everything`` that is due; returns the number of rows.

        ``kept``: the days that packed rows are kept, by table.
        """
        if not self._after_ns:
            return 0
        start_ns = self._clock.monotonic_ns()
        if everything or self._late_ns is None or start_ns - self._late_ns >= _LATE_NS:
            self._from.clear()
            self._late_ns = start_ns
        packed = 0
        for tier in PACKED_TIERS:
            for table in tables:
                while everything or self._clock.monotonic_ns() - start_ns < _ROUND_NS:
                    moved = await self._next(connection, table, tier, kept, now_ns)
                    if moved is None:
                        break
                    packed += moved
        return packed

    async def _next(
        self,
        connection: AnyConnection,
        table: PlainTable,
        tier: Tier,
        kept: Mapping[Partitioned, int],
        now_ns: int,
    ) -> int | None:
        """Packs some of the oldest span; returns the number of rows, ``None`` if there is no such span."""
        packed = table.packed(tier)
        if not packed.is_narrow:
            return None
        name, span_ns = packed.recent.name, packed.grid.span_ns
        time: datetime | None = await connection.fetchval(
            f"SELECT min({TIME}) FROM {quoted(name)} WHERE {TIME} >= $1 AND {TIME} < $2",  # noqa: S608 - quoted
            self._from.get(name, BEGINNING),
            to_datetime((now_ns - self._after_ns) // span_ns * span_ns),
        )
        if time is None:
            return None
        start_ns = from_datetime(time) // span_ns * span_ns
        start, end = to_datetime(start_ns), to_datetime(start_ns + span_ns)
        moved = 0
        if not await self._is_dirty(connection, table, tier, start, end):
            for partitioned in (packed.grid.catalogue, packed.packed):
                await self._partitions.ensure(connection, partitioned, start, now_ns, kept[partitioned])
            moved = await pack_span(connection, packed, start)
        # Other series of the span may be left.
        self._from[name] = start if moved and packed.grid.series else end
        return moved

    async def _is_dirty(
        self, connection: AnyConnection, table: PlainTable, tier: Tier, start: datetime, end: datetime
    ) -> bool:
        """Whether a bucket still has to be made, of the tier or of the next: that is quicker from rows."""
        found: bool = await connection.fetchval(
            f"SELECT EXISTS (SELECT FROM {quoted(table.dirty_buckets)}"  # noqa: S608 - quoted
            f" WHERE width_seconds = ANY($1) AND {TIME} >= $2 AND {TIME} < $3)",
            [width_ns(one) // NS_PER_SECOND for one in _MADE_FIRST[tier]],
            start,
            end,
        )
        return found

    async def drop_emptied(self, connection: AnyConnection, recent: Partitioned, now_ns: int) -> None:
        """Drops the partitions that packing has emptied; a late row gets another one."""
        if not self._after_ns:
            return
        horizon = day_of(now_ns - self._after_ns)
        for partition in await partitions_of(connection, recent):
            if partition.high > horizon or not await _is_empty(connection, partition.name):
                continue
            async with connection.transaction():
                await limit_locks(connection)
                await connection.execute(f"LOCK TABLE {quoted(recent.name)} IN ACCESS EXCLUSIVE MODE")
                if await _is_empty(connection, partition.name):
                    await connection.execute(f"DROP TABLE {quoted(partition.name)}")


class EventPacker:
    """Packs quotes and ticks, the oldest hour first."""

    def __init__(self, after_hours: float, clock: Clock) -> None:
        """Events are packed when they are ``after_hours`` old; 0: never."""
        self._after_ns = int(after_hours * 3600 * NS_PER_SECOND)
        self._clock = clock
        self._from: dict[str, datetime] = {}
        """By table: the time from which on nothing was looked at yet."""
        self._due: dict[str, deque[tuple[datetime, datetime, Sequence[object]]]] = {}
        """By table: what is to be packed of the hour before: start, end and group of each transaction."""
        self._late_ns: int | None = None
        self._partitions = _PackedPartitions()

    async def run(
        self,
        connection: AnyConnection,
        tables: Iterable[tuple[PackedEvents, int]],
        now_ns: int,
        *,
        everything: bool,
    ) -> int:
        """Packs for a fifth of a second, or ``everything`` that is due; returns the number of events.

        ``tables`` come with the days that their rows are kept.
        """
        if not self._after_ns:
            return 0
        start_ns = self._clock.monotonic_ns()
        if everything or self._late_ns is None or start_ns - self._late_ns >= _LATE_NS:
            self._from.clear()
            self._due.clear()
            self._late_ns = start_ns
        horizon = to_datetime((now_ns - self._after_ns) // SPAN_NS * SPAN_NS)
        packed = 0
        for events, kept_days in tables:
            due = self._due.setdefault(events.table, deque())
            partitions = await partitions_of(connection, events.recent)
            while everything or self._clock.monotonic_ns() - start_ns < _ROUND_NS:
                if due:
                    start, end, group = due.popleft()
                    await self._partitions.ensure(connection, events.packed, start, now_ns, kept_days)
                    packed += await pack_group(connection, events, start, end, group)
                elif not await self._look(connection, events, partitions, horizon):
                    break
        return packed

    async def _look(
        self,
        connection: AnyConnection,
        events: PackedEvents,
        partitions: Sequence[Partition],
        horizon: datetime,
    ) -> bool:
        """Finds what is due in the next hour, or skips a partition; returns whether there was one."""
        first = self._from.get(events.table) or await start_of_recording(connection)
        part = next((one for one in partitions if one.high > first), None)
        if part is None or max(first, part.low) >= horizon:
            return False
        first = max(first, part.low)
        if part.high <= horizon and await _is_small(connection, part.name):
            time: datetime | None = await connection.fetchval(
                f"SELECT min({TIME}) FROM {quoted(part.name)} WHERE {TIME} >= $1",  # noqa: S608 - quoted
                first,
            )
            if time is None:
                self._from[events.table] = part.high
                return True
            first = to_datetime(from_datetime(time) // SPAN_NS * SPAN_NS)
        end = first + _SPAN
        for count, *group in await connection.fetch(events.due(), first, end):
            parts = math.ceil(count / _MOST_AT_ONCE)
            times = [first + _SPAN * number / parts for number in range(parts)]
            self._due[events.table].extend((low, high, group) for low, high in pairwise([*times, end]))
        self._from[events.table] = end
        return True


class _PackedPartitions:
    """Creates the partitions of packed rows, and remembers which ones there are."""

    def __init__(self) -> None:
        self._days: set[tuple[str, datetime]] = set()

    async def ensure(
        self, connection: AnyConnection, table: Partitioned, time: datetime, now_ns: int, kept_days: int
    ) -> None:
        """Creates the partition of a time unless it exists."""
        day = (table.name, day_of(from_datetime(time)))
        if day not in self._days:
            await ensure_partition(connection, table, time, now_ns, kept_days)
            self._days.add(day)


async def _is_small(connection: AnyConnection, partition: str) -> bool:
    """Whether to read all of a partition takes some milliseconds: most of it is packed already."""
    found: bool = await connection.fetchval(
        "SELECT pg_relation_size(to_regclass($1)) < $2", quoted(partition), _SMALL_BYTES
    )
    return found


async def _is_empty(connection: AnyConnection, partition: str) -> bool:
    found: bool = await connection.fetchval(f"SELECT NOT EXISTS (SELECT FROM {quoted(partition)})")  # noqa: S608 - quoted
    return found
