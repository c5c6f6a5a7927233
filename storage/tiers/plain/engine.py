"""The tier engine for plain PostgreSQL: partitions, incremental roll-up, retention."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import asyncpg

from decahertz.clock import NS_PER_SECOND, Clock, to_datetime
from decahertz.sample import SampleSchema
from storage.schema.events import PACKED_EVENTS
from storage.settings import RetentionSettings, TiersSettings
from storage.tiers.expiry import Expiry
from storage.tiers.names import ROLLED, Tier, event_days, retention_days
from storage.tiers.plain.packed_events import PackedEvents, prepare_packed_events
from storage.tiers.plain.packer import EventPacker, Packer
from storage.tiers.plain.partitions import (
    DAY,
    Partitioned,
    create_partitions,
    ensure_default,
    ensure_partition,
    partitions_of,
)
from storage.tiers.plain.retention import (
    catalogue_of,
    drop_events,
    drop_old_events,
    drop_old_rows,
    drop_old_slots,
    drop_rows,
    drop_slots,
    start_of_recording,
)
from storage.tiers.plain.roll_up import deduplicate, roll_up, with_dirty_buckets
from storage.tiers.plain.table import PACKED_TIERS, PlainTable, prepare_table

if TYPE_CHECKING:
    from storage.database import AnyConnection
    from storage.tiers.administration import AdminSession

_FIRST_LIMIT, _LARGEST_LIMIT = 8, 4096
_QUICK_NS, _SLOW_NS = NS_PER_SECOND // 4, NS_PER_SECOND


class PlainEngine:
    """Implements :class:`storage.tiers.engine.Engine`."""

    name = "plain"
    partitioned = True
    roll_up_seconds = 0.0

    def __init__(
        self,
        tiers: TiersSettings,
        retention: RetentionSettings,
        clock: Clock,
        *,
        archived_only: bool = False,
        is_limited: bool = False,
    ) -> None:
        """``archived_only``: raw samples and events are dropped once they are archived.

        ``is_limited``: the database has a limit of bytes. Partitions are narrow then, as it drops whole ones.
        """
        self._archived_only = archived_only
        self._is_limited = is_limited
        self._tiers = tiers
        self._retention = retention
        self._clock = clock
        self._tables: list[PlainTable] = []
        self._packed_events = [PackedEvents(event_type) for event_type in PACKED_EVENTS]
        stored = {events.table: events.stored for events in self._packed_events}
        self._events = {
            table: (stored.get(table, (Partitioned(table),)), days)
            for table, days in event_days(retention).items()
        }
        """By name of an event table: the tables that have its rows, the one that is written into first, and
        the days that rows are kept."""
        self._limits: dict[tuple[str, Tier], int] = {}
        self._packer = Packer(tiers.pack_after_hours, clock)
        self._event_packer = EventPacker(tiers.pack_after_hours, clock)

    async def prepare(self, connection: AnyConnection, schemas: Sequence[SampleSchema], now_ns: int) -> None:
        """Creates dirty buckets, the tables of the tiers and the views over them, and the partitions of now.

        All other partitions are created by :meth:`maintain`: whatever is stored, a start does not wait.
        """
        for events in self._packed_events:
            await prepare_packed_events(connection, events)
        for (written, *_), _ in self._events.values():
            await ensure_default(connection, written)
        self._tables = [await prepare_table(connection, schema) for schema in schemas]
        for partitioned, days in self._kept().items():
            with _unless_busy(partitioned, []):
                await ensure_partition(connection, partitioned, to_datetime(now_ns), now_ns, days)

    def _kept(self) -> dict[Partitioned, int]:
        """The tables that new rows are written into, and the days that rows stay there; 0: forever."""
        kept = retention_days(self._retention)
        if self._tiers.pack_after_hours:
            for tier in PACKED_TIERS:
                kept[tier] = math.ceil(self._tiers.pack_after_hours / 24)  # then they move
        rows = {table.partitioned(tier): days for table in self._tables for tier, days in kept.items()}
        for (written, *packed), days in self._events.values():
            moves = bool(packed and self._tiers.pack_after_hours)
            rows[written] = math.ceil(self._tiers.pack_after_hours / 24) if moves else days
        return dict.fromkeys(rows, DAY) if self._is_limited else rows

    def _packed(self) -> dict[Partitioned, int]:
        """The tables of packed rows, and the days that these are kept; 0: forever."""
        if not self._tiers.pack_after_hours:
            return {}
        kept: dict[Partitioned, int] = {}
        for table in self._tables:
            for tier in PACKED_TIERS:
                packed, days = table.packed(tier), retention_days(self._retention)[tier]
                kept |= {packed.grid.catalogue: days, packed.packed: days}
        kept |= {table: days for tables, days in self._events.values() for table in tables[1:]}
        return dict.fromkeys(kept, DAY) if self._is_limited else kept

    async def roll_up(self, connection: AnyConnection, session: AdminSession, now_ns: int) -> int:
        """Rolls up the dirty buckets that have ended, the finest first; returns their number."""
        del session  # rows are asyncpg's work
        before_ns = now_ns - int(self._tiers.lag_seconds * NS_PER_SECOND)
        buckets = 0
        for table in await with_dirty_buckets(connection, self._tables):
            for tier in ROLLED:
                while made := await self._step(connection, table, tier, before_ns):
                    buckets += made
            await deduplicate(connection, table)
        return buckets

    async def _step(self, connection: AnyConnection, table: PlainTable, tier: Tier, before_ns: int) -> int:
        """One transaction, sized to take about half a second."""
        key = table.schema.table, tier
        limit = self._limits.get(key, _FIRST_LIMIT)
        start_ns = self._clock.monotonic_ns()
        try:
            made = await roll_up(connection, table, tier, before_ns, limit)
        except (TimeoutError, asyncpg.QueryCanceledError):
            self._limits[key] = max(1, limit // 4)
            raise
        took_ns = self._clock.monotonic_ns() - start_ns
        if took_ns > _SLOW_NS:
            self._limits[key] = max(1, limit // 2)
        elif took_ns < _QUICK_NS and made == limit:
            self._limits[key] = min(_LARGEST_LIMIT, 2 * limit)
        return made

    async def pack(self, connection: AnyConnection, now_ns: int, *, everything: bool) -> int:
        """Packs samples, rows of the ``1s`` tier and events that are old enough; returns their number."""
        kept = self._packed()
        packed = await self._packer.run(connection, self._tables, kept, now_ns, everything=everything)
        events = [(events, kept.get(events.packed, DAY)) for events in self._packed_events]
        return packed + await self._event_packer.run(connection, events, now_ns, everything=everything)

    async def maintain(self, connection: AnyConnection, now_ns: int) -> list[str]:
        """Creates partitions and drops those that are too old; returns the problems, in words."""
        problems: list[str] = []
        days_of = retention_days(self._retention)
        # First: events that come too late need no partition any more.
        for name, (tables, days) in self._events.items():
            with _unless_busy(tables[0], problems):
                problems += await drop_old_events(
                    connection, name, tables, days, now_ns, archived_only=self._archived_only
                )
        for partitioned, days in (self._kept() | self._packed()).items():
            with _unless_busy(partitioned, problems):
                await create_partitions(connection, partitioned, now_ns, days)
        emptied = [one.recent for one in self._packed_events]
        emptied += [table.partitioned(tier) for table in self._tables for tier in PACKED_TIERS]
        for recent in emptied:
            with _unless_busy(recent, problems):
                await self._packer.drop_emptied(connection, recent, now_ns)
        for table in self._tables:
            for tier, days in days_of.items():
                partitioned = table.partitioned(tier)
                with _unless_busy(partitioned, problems):
                    problems += await drop_old_rows(
                        connection, table, tier, days, now_ns, archived_only=self._archived_only
                    )
        for tier in PACKED_TIERS if self._tables else ():
            with _unless_busy(catalogue_of(tier), problems):
                await drop_old_slots(connection, self._tables, tier, days_of[tier], now_ns)
        return problems

    async def expire_oldest(self, connection: AnyConnection, tier: Tier, now_ns: int) -> Expiry | None:
        """Drops the oldest partitions of a tier, with raw samples those of quotes and ticks."""
        horizon = await self._oldest_end(connection, tier, now_ns)
        if horizon is None:
            return None
        expiry = Expiry(tier, horizon)
        for table in self._tables:
            with _unless_busy(table.partitioned(tier), expiry.problems):
                expiry.problems += await drop_rows(
                    connection, table, tier, horizon, expiry, archived_only=self._archived_only
                )
        if tier in PACKED_TIERS and self._tables:
            with _unless_busy(catalogue_of(tier), expiry.problems):
                await drop_slots(connection, self._tables, tier, horizon)
        if tier is Tier.RAW:
            for events in self._packed_events:
                with _unless_busy(events.recent, expiry.problems):
                    expiry.problems += await drop_events(
                        connection,
                        events.table,
                        events.stored,
                        horizon,
                        expiry,
                        archived_only=self._archived_only,
                    )
        return expiry

    async def _oldest_end(self, connection: AnyConnection, tier: Tier, now_ns: int) -> datetime | None:
        """End of the oldest partition of a tier that nobody writes into any more; ``None``: there is none."""
        ends: list[datetime] = []
        for table in self._tables:
            for one in table.stored(tier):
                ends += [partition.high for partition in await partitions_of(connection, one)]
        for events in self._packed_events if tier is Tier.RAW else ():
            first = await start_of_recording(connection)
            for stored in events.stored:
                ends += [one.high for one in await partitions_of(connection, stored) if one.low >= first]
        now = to_datetime(now_ns)
        return min((end for end in ends if end <= now), default=None)


@contextmanager
def _unless_busy(table: Partitioned, problems: list[str]) -> Iterator[None]:
    """Turns the error that a table is in use into a problem."""
    try:
        yield
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        problems.append(f"{table.name} is in use: its partitions are maintained later")
