"""The engine for PostgreSQL alone: its layout, its roll-up and its retention put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncpg

from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.sample import SampleSchema
from storage.settings import RetentionSettings, TiersSettings
from storage.tiers.names import ROLLED, Tier
from storage.tiers.partitions import Partitioned, is_busy, make_room
from storage.tiers.roll_up import retain, retain_events, roll_up, thin_marks
from storage.tiers.rolled_table import EVENT_TABLES, PlainTable, prepare, prepare_events

if TYPE_CHECKING:
    from storage.database import AnyConnection

_FIRST_LIMIT, _LARGEST_LIMIT = 8, 4096
_QUICK_NS, _SLOW_NS = NS_PER_SECOND // 4, NS_PER_SECOND


class PlainEngine:
    """Implements :class:`storage.tiers.engine.Engine`."""

    name = "plain"
    settle_seconds = 0.0

    def __init__(self, tiers: TiersSettings, retention: RetentionSettings, clock: Clock) -> None:
        """Nothing happens yet."""
        self._tiers = tiers
        self._retention = retention
        self._clock = clock
        self._tables: list[PlainTable] = []
        self._limits: dict[tuple[str, Tier], int] = {}

    async def prepare(self, connection: AnyConnection, schemas: Sequence[SampleSchema], now_ns: int) -> None:
        """Partitions, marks, tables of the tiers and the views over them."""
        await prepare_events(connection, now_ns)
        self._tables = [await prepare(connection, schema, now_ns) for schema in schemas]

    async def roll_up(self, connection: AnyConnection, now_ns: int) -> int:
        """Roll up what has changed in buckets that are over, the finest first; returns how many."""
        before_ns = now_ns - int(self._tiers.lag_seconds * NS_PER_SECOND)
        buckets = 0
        for table in self._tables:
            for tier in ROLLED:
                while made := await self._step(connection, table, tier, before_ns):
                    buckets += made
            await thin_marks(connection, table)
        return buckets

    async def _step(self, connection: AnyConnection, table: PlainTable, tier: Tier, before_ns: int) -> int:
        """One transaction, about as large as takes half a second."""
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
        """Partitions ahead and for rows that have none; drop what had its time."""
        days = {"quotes": self._retention.quotes_days, "ticks": self._retention.ticks_days}
        troubles = []
        for table in self._tables:
            for tier in Tier:
                troubles += await self._room(connection, table.partitioned(tier), now_ns)
            troubles += await retain(connection, table, self._retention, now_ns)
        for name in EVENT_TABLES:
            events = Partitioned(name, 1)
            troubles += await self._room(connection, events, now_ns)
            troubles += await retain_events(connection, events, days[name], now_ns)
        return troubles

    async def _room(self, connection: AnyConnection, table: Partitioned, now_ns: int) -> list[str]:
        try:
            await make_room(connection, table, now_ns)
        except asyncpg.PostgresError as error:
            if is_busy(error):
                return [f"{table.name} is in use: its partitions are made later"]
            raise
        return []
