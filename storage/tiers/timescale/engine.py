"""The tier engine for TimescaleDB: hypertables, compression, and hierarchical continuous aggregates.

For each sample table ``{table}_1s_g1`` is made from the raw rows, ``…_1m_g1`` from that and ``…_1h_g1`` from
that, all with real-time aggregation. A continuous aggregate cannot gain a column, so a new metric starts a
new generation (``_g2``), which readers see from the hour of its creation; they select from a view over all
generations (:mod:`storage.tiers.timescale.generations`). TimescaleDB's own jobs compress, drop, and refresh
each tier on its own schedule (:mod:`storage.tiers.timescale.policies`). The roll-up worker refreshes all
tiers in one go and more often, so that a late row soon reaches the coarsest one as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg

from decahertz.clock import NS_PER_SECOND, from_datetime, to_datetime
from decahertz.sample import SampleSchema
from storage.database import Database, DatabaseUnavailableError, first_line
from storage.entry import samples_stream
from storage.schema.connection import schema_connection
from storage.schema.events import BULK_EVENTS
from storage.schema.samples import RECORDER, quoted, table_of
from storage.settings import MIN_LATE_HOURS, RetentionSettings, TiersSettings
from storage.tiers.administration import created_at
from storage.tiers.archived import limit_to_archived, note_dropped
from storage.tiers.expiry import RAW_EVENTS, Expiry
from storage.tiers.names import ROLLED, Tier, event_days, relation_of, retention_days, width_ns
from storage.tiers.plain.partitions import LOCK_LIMIT
from storage.tiers.schema import columns_in, listed, tier_schema_of
from storage.tiers.timescale.expiry import (
    DROP_CHUNKS,
    expire_events,
    expire_samples,
    oldest_chunk_end,
    raw_from,
    set_raw_from,
)
from storage.tiers.timescale.generations import Generation, ensure_generation, generations_of
from storage.tiers.timescale.policies import Policies, apply_policies, failing_jobs

if TYPE_CHECKING:
    from storage.database import AnyConnection
    from storage.tiers.administration import AdminSession

OLDEST = (2, 18)
"""The oldest TimescaleDB that is supported: it introduced the current commands of the columnstore."""
_CHUNK_HOURS = {Tier.S1: 24, Tier.M1: 24 * 30, Tier.H1: 24 * 360}
_REFRESH_SECONDS = {Tier.S1: 60, Tier.M1: 300, Tier.H1: 900}
"""Schedule of the refresh jobs, which matter while no worker runs: each run starts a process."""
_SETTLED = timedelta(hours=MIN_LATE_HOURS + 1)
"""Age from which raw chunks may be dropped to save space: a refresh needs a few buckets of the 1h tier."""
_INTERVALS = 3
"""The worker refreshes every third interval, because even a refresh without changes costs something."""
_BUSY_SECONDS, _BUSY_ATTEMPTS = 0.5, 120
"""How long to wait for another refresh of the same aggregate, and how often to try again."""


async def unusable(database: Database) -> str | None:
    """Creates the extension TimescaleDB; returns the reason if that is impossible, else ``None``."""
    try:
        async with schema_connection(database, "extension") as connection:
            version = await connection.fetchval(
                "SELECT coalesce(installed_version, default_version) FROM pg_available_extensions"
                " WHERE name = 'timescaledb'",
            )
            if version is None:
                return "the extension is not available"
            if tuple(map(int, version.split(".")[:2])) < OLDEST:
                return f"version {version} is older than {'.'.join(map(str, OLDEST))}"
            # A server that does not preload the extension closes the connection here.
            await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
            if (
                await connection.fetchval("SELECT current_setting('timescaledb.license', true)")
                != "timescale"
            ):
                return "its edition has neither compression nor continuous aggregates"
    except (asyncpg.PostgresError, DatabaseUnavailableError, ValueError) as error:
        return first_line(error)
    return None


class TimescaleEngine:
    """Implements :class:`storage.tiers.engine.Engine`."""

    name = "timescaledb"
    partitioned = False

    def __init__(
        self, tiers: TiersSettings, retention: RetentionSettings, *, archived_only: bool = False
    ) -> None:
        """``archived_only``: raw samples and events are dropped once they are archived."""
        self._archived_only = archived_only
        self.roll_up_seconds = _INTERVALS * tiers.interval_seconds
        self._tiers = tiers
        self._retention = retention
        self._schemas: Sequence[SampleSchema] = ()

    async def prepare(self, connection: AnyConnection, schemas: Sequence[SampleSchema], now_ns: int) -> None:
        """Creates hypertables, generations, views and policies."""
        for event in BULK_EVENTS:
            await self._ensure_hypertable(connection, event.table)
            segment, after = listed([*event.key, RECORDER]), self._tiers.compress_after_hours
            await apply_policies(connection, Policies(event.table, segment, after, 0))
        for schema in schemas:
            await self._prepare_samples(connection, schema, now_ns)
        self._schemas = schemas

    async def roll_up(self, connection: AnyConnection, session: AdminSession, now_ns: int) -> int:
        """Refresh every tier, the finest first; returns the number of refreshes."""
        del connection  # a refresh may take long
        return await session.run(lambda connection: self._refresh_all(connection, now_ns))

    async def pack(self, connection: AnyConnection, now_ns: int, *, everything: bool) -> int:
        """Leaves it to TimescaleDB, whose policies move old chunks into its columnstore."""
        del connection, now_ns, everything
        return 0

    async def maintain(self, connection: AnyConnection, now_ns: int) -> list[str]:
        """Drops events that are too old, and reports the jobs that fail.

        A retention policy would drop events from before the database was created, too; those were imported.
        It knows no archive either: where rows have to be archived first, samples are dropped here, too.
        """
        start = await created_at(connection) - timedelta(hours=self._tiers.chunk_hours)
        problems = []
        for table, days in event_days(self._retention).items():
            problems += await self._drop_chunks(connection, table, days, start, now_ns)
        if self._archived_only:
            for schema in self._schemas:
                problems += await self._drop_chunks(
                    connection, table_of(schema), self._retention.raw_days, to_datetime(0), now_ns
                )
        return problems + await failing_jobs(connection)

    async def _drop_chunks(
        self, connection: AnyConnection, table: str, days: int, start: datetime, now_ns: int
    ) -> list[str]:
        """Drops the chunks from ``start`` on that are too old; returns the problems, in words."""
        horizon = to_datetime(now_ns) - timedelta(days=days)
        problems: list[str] = []
        if not days:
            return problems
        async with connection.transaction():
            if self._archived_only:
                await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_LIMIT}'")
                await connection.execute(
                    f"LOCK TABLE {quoted(table)} IN SHARE MODE"
                )  # no row comes meanwhile
                horizon = horizon.replace(hour=0, minute=0, second=0, microsecond=0)  # whole days
                horizon, problems = await limit_to_archived(connection, table, [table], horizon, start)
            if horizon <= start:  # TimescaleDB refuses an empty range
                return problems
            dropped = await connection.fetch(
                "SELECT drop_chunks($1::regclass, older_than => $2::timestamptz,"
                " newer_than => $3::timestamptz)",
                quoted(table),
                horizon,
                start,
            )
            if dropped:
                await note_dropped(connection, table, [table], start, horizon)
        return problems

    async def expire_oldest(self, connection: AnyConnection, tier: Tier, now_ns: int) -> Expiry | None:
        """Drops the oldest chunks of a tier, with raw samples those of quotes and ticks."""
        start = await created_at(connection) - timedelta(hours=self._tiers.chunk_hours)
        events = sorted(RAW_EVENTS) if tier is Tier.RAW else []
        relations = []
        for schema in self._schemas:
            table = table_of(schema)
            generations = await generations_of(connection, table)
            relations += [table] if tier is Tier.RAW else [one.view(tier) for one in generations]
        until = to_datetime(now_ns) - _SETTLED
        horizon = await oldest_chunk_end(connection, relations, events, start, until)
        if horizon is None:
            return None
        expiry = Expiry(tier, horizon)
        if self._archived_only and tier is Tier.RAW:
            starts = dict.fromkeys(relations, to_datetime(0)) | dict.fromkeys(events, start)
            for relation, first in starts.items():
                _, problems = await limit_to_archived(connection, relation, [relation], horizon, first)
                expiry.problems += problems
        if not expiry.problems:
            await self._expire(connection, expiry, relations, start, now_ns)
        return expiry

    async def _expire(
        self,
        connection: AnyConnection,
        expiry: Expiry,
        relations: Sequence[str],
        start: datetime,
        now_ns: int,
    ) -> None:
        """Drops what ends by the horizon; ``start``: of the events that were not imported."""
        horizon = expiry.horizon
        for schema in self._schemas:
            # Before anything is dropped: no refresh may make these buckets again, from nothing.
            await set_raw_from(connection, table_of(schema), horizon)
            await self._prepare_samples(connection, schema, now_ns)
        try:
            if expiry.tier is Tier.RAW:
                for schema in self._schemas:
                    stream = samples_stream(schema.collector)
                    await expire_samples(connection, table_of(schema), stream, expiry)
                for table in sorted(RAW_EVENTS):
                    await expire_events(connection, table, start, expiry)
            else:
                await connection.executemany(DROP_CHUNKS, [(quoted(one), horizon) for one in relations])
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            expiry.problems.append(f"chunks are in use, and dropped later: {first_line(error)}")

    async def _prepare_samples(self, connection: AnyConnection, schema: SampleSchema, now_ns: int) -> None:
        table = table_of(schema)
        await self._ensure_hypertable(connection, table)
        raw, seconds = (
            await columns_in(connection, table),
            await columns_in(connection, relation_of(schema, Tier.S1)),
        )
        generations = await ensure_generation(connection, tier_schema_of(schema, raw, seconds), now_ns)
        segment, after = listed([*schema.key, RECORDER]), self._tiers.compress_after_hours
        days = 0 if self._archived_only else self._retention.raw_days
        await apply_policies(connection, Policies(table, segment, after, days))
        kept = to_datetime(now_ns) - await raw_from(connection, table)
        late = min(timedelta(hours=self._tiers.late_hours), kept)
        for generation in generations:
            for tier in ROLLED:
                policies = self._policies(generation, generations[-1], tier, segment, late, now_ns)
                await apply_policies(connection, policies)

    def _policies(
        self,
        generation: Generation,
        newest: Generation,
        tier: Tier,
        segment: str,
        late: timedelta,
        now_ns: int,
    ) -> Policies:
        since = newest.valid_from
        # A generation with a successor is refreshed for as long as rows may be late for it.
        is_over = generation != newest and since is not None and since + late < to_datetime(now_ns)
        width = timedelta(microseconds=width_ns(tier) // 1000)
        return Policies(
            generation.view(tier),
            segment,
            self._tiers.compress_after_hours,
            retention_days(self._retention)[tier],
            chunk=timedelta(hours=_CHUNK_HOURS[tier]),
            refresh_from=None if is_over else late,
            refresh_until=timedelta(seconds=self._tiers.lag_seconds) + width,
            refresh_every=timedelta(seconds=_REFRESH_SECONDS[tier]),
        )

    async def _ensure_hypertable(self, connection: AnyConnection, table: str) -> None:
        """Makes a new table a hypertable, and sets the chunk interval."""
        interval = await connection.fetchval(
            "SELECT time_interval FROM timescaledb_information.dimensions"
            " WHERE hypertable_schema = current_schema() AND hypertable_name = $1 AND dimension_number = 1",
            table,
        )
        wanted = timedelta(hours=self._tiers.chunk_hours)
        if interval is None:
            await connection.execute(
                "SELECT create_hypertable($1::regclass, by_range('time', $2::interval),"
                " create_default_indexes => false)",
                quoted(table),
                wanted,
            )
        elif interval != wanted:
            await connection.execute(
                "SELECT set_chunk_time_interval($1::regclass, $2::interval)", quoted(table), wanted
            )

    async def _refresh_all(self, connection: AnyConnection, now_ns: int) -> int:
        start_ns = now_ns - self._tiers.late_hours * 3600 * NS_PER_SECOND
        end_ns = now_ns - int(self._tiers.lag_seconds * NS_PER_SECOND)
        refreshes = 0
        for table in map(table_of, self._schemas):
            raw_from_ns = from_datetime(await raw_from(connection, table))
            generations = await generations_of(connection, table)
            begins = [from_datetime(one.valid_from) if one.valid_from else 0 for one in generations]
            for generation, begin, end in zip(generations, begins, [*begins[1:], end_ns], strict=True):
                for tier in ROLLED:
                    await _refresh(
                        connection,
                        generation.view(tier),
                        tier,
                        max(begin, start_ns, raw_from_ns),
                        min(end, end_ns),
                    )
                    refreshes += 1
        return refreshes


async def _refresh(connection: AnyConnection, view: str, tier: Tier, start_ns: int, end_ns: int) -> None:
    """Refresh the buckets of a tier that lie within the range."""
    width = width_ns(tier)
    start, end = start_ns // width * width, end_ns // width * width
    if start >= end:
        return
    bounds = f"'{to_datetime(start).isoformat()}', '{to_datetime(end).isoformat()}'"
    for attempt in range(1, _BUSY_ATTEMPTS + 1):
        try:
            await connection.execute(f"CALL refresh_continuous_aggregate('{quoted(view)}', {bounds})")
        except asyncpg.LockNotAvailableError:
            # A job or another process refreshes it; older versions of TimescaleDB wait by themselves.
            if attempt == _BUSY_ATTEMPTS:
                raise
            await asyncio.sleep(_BUSY_SECONDS)
        else:
            return
