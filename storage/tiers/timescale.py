"""The tiers on TimescaleDB: hypertables, compression, and continuous aggregates on top of one another.

Of each sample table ``{table}_1s_g1`` is made from the raw rows, ``…_1m_g1`` from that and ``…_1h_g1`` from
that, all with real-time aggregation. A continuous aggregate cannot gain a column, so a new metric makes a new
generation (``_g2``) that speaks from the hour in which it was made; readers see a view over all of them
(:mod:`storage.tiers.generations`). TimescaleDB's own jobs compress and drop, and refresh each tier in its
own time (:mod:`storage.tiers.policies`); the worker refreshes all of them in one go and more often, so that
a late row is soon in the coarsest one too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import structlog

from decahertz.clock import NS_PER_SECOND, from_datetime, to_datetime
from decahertz.sample import SampleSchema
from storage.database import Database, DatabaseUnavailableError
from storage.schema.samples import TIME, quoted, table_of
from storage.settings import RetentionSettings, TiersSettings
from storage.tiers.convert import to_hypertable
from storage.tiers.generations import (
    Generation,
    ensure_generation,
    generations_of,
    note_filled,
)
from storage.tiers.names import ROLLED, Tier, relation_of, retention_days, width_ns
from storage.tiers.policies import Policies, apply_policies, failing_jobs
from storage.tiers.schema import columns_in, tier_schema_of

if TYPE_CHECKING:
    from storage.database import AnyConnection

EVENT_TABLES = {"quotes": "venue, instrument", "ticks": "venue, instrument"}
"""The event tables that grow without end, and what their rows are compressed by."""
OLDEST = (2, 18)
"""The oldest TimescaleDB that is used: from it on the columnstore has its present commands."""
_DAY_NS = 86_400 * NS_PER_SECOND
_CHUNK_HOURS = {Tier.S1: 24, Tier.M1: 24 * 30, Tier.H1: 24 * 360}
_REFRESH_SECONDS = {Tier.S1: 60, Tier.M1: 300, Tier.H1: 900}
"""How often the jobs refresh. They are for the time in which no worker runs: each costs a process."""
_INTERVALS = 3
"""After so many intervals of the worker it refreshes: each refresh has its price even where little is new."""
_LIMIT_SECONDS = 3600.0
"""For one refresh: what it did not finish it would have to do again."""
_BUSY_SECONDS, _BUSY_ATTEMPTS = 0.5, 120
"""How long another refresh of the same aggregate is waited for, and how often that is asked."""


async def unusable(database: Database) -> str | None:
    """Why TimescaleDB cannot be used here; ``None``: it can, and the extension is there now."""
    try:
        connection = await database.connect("extension")
    except DatabaseUnavailableError as error:
        return str(error)
    try:
        version = await connection.fetchval(
            "SELECT coalesce(installed_version, default_version) FROM pg_available_extensions"
            " WHERE name = 'timescaledb'"
        )
        if version is None:
            return "the extension is not available"
        if tuple(map(int, version.split(".")[:2])) < OLDEST:
            return f"version {version} is older than {'.'.join(map(str, OLDEST))}"
        # Where the server does not preload it, this ends the connection.
        await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        if await connection.fetchval("SELECT current_setting('timescaledb.license', true)") != "timescale":
            return "its edition has neither compression nor continuous aggregates"
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        return str(error).partition("\n")[0]
    finally:
        await database.disconnect(connection)
    return None


class TimescaleEngine:
    """Implements :class:`storage.tiers.engine.Engine`."""

    name = "timescaledb"

    def __init__(self, tiers: TiersSettings, retention: RetentionSettings) -> None:
        """Nothing happens yet."""
        self.settle_seconds = _INTERVALS * tiers.interval_seconds
        self._tiers = tiers
        self._retention = retention
        self._tables: list[str] = []

    async def prepare(self, connection: AnyConnection, schemas: Sequence[SampleSchema], now_ns: int) -> None:
        """Hypertables, generations, views and policies."""
        for table, segment in EVENT_TABLES.items():
            await self._ensure_hypertable(connection, table)
            days = self._retention.quotes_days if table == "quotes" else self._retention.ticks_days
            policies = Policies(table, segment, self._tiers.compress_after_hours, days)
            await apply_policies(connection, policies)
        for schema in schemas:
            await self._prepare_samples(connection, schema, now_ns)
        self._tables = [table_of(schema) for schema in schemas]

    async def roll_up(self, connection: AnyConnection, now_ns: int) -> int:
        """Refresh what has changed, in every tier, the finest first. Where nothing has it costs little."""
        # The limit is for questions. A refresh that is cut off would begin again, and be cut off again.
        await connection.execute("SET statement_timeout = 0")
        start_ns = now_ns - self._tiers.late_hours * 3600 * NS_PER_SECOND
        end_ns = now_ns - int(self._tiers.lag_seconds * NS_PER_SECOND)
        steps = 0
        for table in self._tables:
            generations = await generations_of(connection, table)
            begins = [from_datetime(one.valid_from) if one.valid_from else 0 for one in generations]
            # Each for the time that it speaks of. One that is refreshed before it is filled would
            # no longer compute what is older.
            for generation, begin, end in zip(generations, begins, [*begins[1:], end_ns], strict=True):
                for tier in ROLLED if generation.is_filled else ():
                    span = max(begin, start_ns), min(end, end_ns)
                    await self._refresh(connection, generation.view(tier), tier, *span)
                    steps += 1
        return steps

    async def maintain(self, connection: AnyConnection, now_ns: int) -> list[str]:
        """See that the jobs run."""
        del now_ns  # the jobs go by the server's clock
        return await failing_jobs(connection)

    async def _prepare_samples(self, connection: AnyConnection, schema: SampleSchema, now_ns: int) -> None:
        table = table_of(schema)
        await self._ensure_hypertable(connection, table)
        raw = await columns_in(connection, table)
        tier_schema = tier_schema_of(schema, raw, await columns_in(connection, relation_of(schema, Tier.S1)))
        await ensure_generation(connection, tier_schema, now_ns)
        for generation in await generations_of(connection, table):
            if not generation.is_filled:
                await self._fill(connection, generation, now_ns)
        segment = ", ".join(quoted(name) for name in schema.key)
        compress = self._tiers.compress_after_hours
        await apply_policies(connection, Policies(table, segment, compress, self._retention.raw_days))
        newest = (await generations_of(connection, table))[-1]
        # One that has a successor gets late rows for as long as any may be late.
        for generation in await generations_of(connection, table):
            for tier in ROLLED:
                await apply_policies(connection, self._policies(generation, newest, tier, segment, now_ns))

    def _policies(
        self, generation: Generation, newest: Generation, tier: Tier, segment: str, now_ns: int
    ) -> Policies:
        late = timedelta(hours=self._tiers.late_hours)
        since = newest.valid_from
        is_old = generation.number < newest.number
        over = is_old and since is not None and since + late < to_datetime(now_ns)
        width = timedelta(microseconds=width_ns(tier) // 1000)
        return Policies(
            generation.view(tier),
            segment,
            self._tiers.compress_after_hours,
            retention_days(self._retention)[tier],
            chunk=timedelta(hours=_CHUNK_HOURS[tier]),
            refresh_from=None if over else late,
            refresh_until=timedelta(seconds=self._tiers.lag_seconds) + width,
            refresh_every=timedelta(seconds=_REFRESH_SECONDS[tier]),
        )

    async def _ensure_hypertable(self, connection: AnyConnection, table: str) -> None:
        """Make it one, with chunks of the width that is set."""
        interval = await connection.fetchval(
            "SELECT time_interval FROM timescaledb_information.dimensions"
            " WHERE hypertable_schema = current_schema() AND hypertable_name = $1 AND dimension_number = 1",
            table,
        )
        if interval is None:
            await to_hypertable(connection, table, self._tiers.chunk_hours)
            return
        wanted = timedelta(hours=self._tiers.chunk_hours)
        if interval != wanted:
            await connection.execute(
                "SELECT set_chunk_time_interval($1::text::regclass, $2::interval)", quoted(table), wanted
            )

    async def _fill(self, connection: AnyConnection, generation: Generation, now_ns: int) -> None:
        """Roll up the rows that were there before it, day by day. Broken off it begins again at a next start.

        Before the first refresh an aggregate computes all that it is asked; after it only what is newer.
        """
        log = structlog.get_logger(part="tiers")
        table = generation.table
        first = (
            f"SELECT min({TIME}) FROM {quoted(table)} WHERE {TIME} >= coalesce($1::timestamptz, '-infinity')"  # noqa: S608
        )
        end_ns = now_ns - int(self._tiers.lag_seconds * NS_PER_SECOND)
        start: datetime | None = await connection.fetchval(first, generation.valid_from)
        while start is not None and from_datetime(start) < end_ns:
            start_ns = from_datetime(start) // _DAY_NS * _DAY_NS
            until_ns = min(start_ns + _DAY_NS, end_ns)
            for tier in ROLLED:
                await self._refresh(connection, generation.view(tier), tier, start_ns, until_ns)
            log.info("table_rolled_up", table=table, until=to_datetime(until_ns).isoformat())
            start = await connection.fetchval(first, to_datetime(start_ns + _DAY_NS))
        await note_filled(connection, generation)

    async def _refresh(
        self, connection: AnyConnection, view: str, tier: Tier, start_ns: int, end_ns: int
    ) -> None:
        width = width_ns(tier)
        start, end = start_ns // width * width, end_ns // width * width
        if start >= end:
            return
        bounds = f"'{to_datetime(start).isoformat()}', '{to_datetime(end).isoformat()}'"
        for attempt in range(1, _BUSY_ATTEMPTS + 1):
            try:
                await connection.execute(
                    f"CALL refresh_continuous_aggregate('{quoted(view)}', {bounds})", timeout=_LIMIT_SECONDS
                )
            except asyncpg.LockNotAvailableError:
                # A job or somebody else is at it; older versions of TimescaleDB wait by themselves.
                if attempt == _BUSY_ATTEMPTS:
                    raise
                await asyncio.sleep(_BUSY_SECONDS)
            else:
                return
