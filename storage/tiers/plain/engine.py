"""The tier engine for plain PostgreSQL: partitions, incremental roll-up, retention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.sample import SampleSchema
from storage.settings import RetentionSettings, TiersSettings
from storage.tiers.names import ROLLED, Tier, event_days, retention_days
from storage.tiers.plain.partitions import Partitioned, create_partitions, ensure_default
from storage.tiers.plain.retention import drop_old_events, drop_old_rows
from storage.tiers.plain.roll_up import deduplicate, roll_up, with_dirty_buckets
from storage.tiers.plain.table import PlainTable, prepare_table

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

    def __init__(self, tiers: TiersSettings, retention: RetentionSettings, clock: Clock) -> None:
        self._tiers = tiers
        self._retention = retention
        self._clock = clock
        self._tables: list[PlainTable] = []
        self._events = {Partitioned(table, 1): days for table, days in event_days(retention).items()}
        self._limits: dict[tuple[str, Tier], int] = {}

    async def prepare(self, connection: AnyConnection, schemas: Sequence[SampleSchema], now_ns: int) -> None:
        """Create partitions, dirty buckets, the tables of the tiers and the views over them."""
        for events in self._events:
            await ensure_default(connection, events)
            await create_partitions(connection, events, now_ns)
        self._tables = [await prepare_table(connection, schema, now_ns) for schema in schemas]

    async def roll_up(self, connection: AnyConnection, session: AdminSession, now_ns: int) -> int:
        """Roll up the dirty buckets that have ended, the finest first; returns their number."""
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

    async def maintain(self, connection: AnyConnection, now_ns: int) -> list[str]:
        """Create partitions and drop those that are too old; returns the problems, in words."""
        problems: list[str] = []
        for table in self._tables:
            for tier, days in retention_days(self._retention).items():
                partitioned = table.partitioned(tier)
                with _unless_busy(partitioned, problems):
                    await create_partitions(connection, partitioned, now_ns)
                with _unless_busy(partitioned, problems):
                    problems += await drop_old_rows(connection, table, tier, days, now_ns)
        for events, days in self._events.items():
            with _unless_busy(events, problems):
                await create_partitions(connection, events, now_ns)
            with _unless_busy(events, problems):
                await drop_old_events(connection, events, days, now_ns)
        return problems


@contextmanager
def _unless_busy(table: Partitioned, problems: list[str]) -> Iterator[None]:
    """Turn the error that a table is in use into a problem."""
    try:
        yield
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        problems.append(f"{table.name} is in use: its partitions are maintained later")
