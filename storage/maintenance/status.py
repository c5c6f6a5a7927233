"""Status of the database: recorders, tables and their sizes, the lag of tiers, policies, emitters.

Sizes and row counts come from PostgreSQL's statistics, so no query reads a whole table and all of them may
run at any time. Row counts are therefore estimates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from decahertz.clock import NS_PER_SECOND, from_datetime
from storage.database import Database
from storage.maintenance.disk import DiskForecast, disk_forecast
from storage.maintenance.tier_status import (
    PolicyStatus,
    SampleTimes,
    TierStatus,
    plain_tiers,
    policies,
    timescale_tiers,
)
from storage.schema.emitters import stored_events
from storage.schema.samples import recent_of
from storage.tiers.plain.packed import oldest_and_newest
from storage.tiers.plain.table import dirty_buckets_of

if TYPE_CHECKING:
    from storage.database import AnyConnection

_SAMPLES = "_samples"
_RECENT = recent_of(_SAMPLES).removeprefix(_SAMPLES)
_OURS = """
    c.relnamespace = current_schema()::regnamespace AND NOT c.relispartition
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
"""
_TABLES = f"""
WITH RECURSIVE tree AS (
    SELECT c.oid AS root, c.relname AS name, c.oid FROM pg_class c WHERE c.relkind IN ('r', 'p') AND {_OURS}
    UNION ALL
    SELECT tree.root, tree.name, i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid
)
SELECT tree.name, count(*) FILTER (WHERE c.oid <> tree.root AND c.relkind = 'r') AS partitions,
    sum(pg_total_relation_size(c.oid))::bigint AS bytes,
    coalesce(sum(greatest(c.reltuples, s.n_live_tup, 0)) FILTER (WHERE c.relkind = 'r'), 0)::bigint AS rows
FROM tree JOIN pg_class c ON c.oid = tree.oid LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
GROUP BY tree.root, tree.name ORDER BY tree.name
"""  # noqa: S608 - constants of this module
_SERVER = """
SELECT current_setting('server_version') AS version, pg_database_size(current_database()) AS bytes,
    (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS timescaledb
"""
_HYPERTABLES = """
WITH known AS (
    SELECT hypertable_name AS name, hypertable_schema AS schema, hypertable_name AS relation,
        compression_enabled
    FROM timescaledb_information.hypertables
    UNION  -- the view of hypertables omits those of continuous aggregates
    SELECT view_name, materialization_hypertable_schema, materialization_hypertable_name, compression_enabled
    FROM timescaledb_information.continuous_aggregates
)
SELECT k.name, coalesce(hypertable_size(r.id), 0) AS bytes, coalesce(approximate_row_count(r.id), 0) AS rows,
    (SELECT count(*) FROM timescaledb_information.chunks c
     WHERE (c.hypertable_schema, c.hypertable_name) = (k.schema, k.relation)) AS partitions,
    coalesce(s.number_compressed_chunks, 0) AS compressed_partitions,
    round(s.before_compression_total_bytes::numeric / nullif(s.after_compression_total_bytes, 0), 2)::float8
        AS compression_ratio
FROM known k
CROSS JOIN LATERAL (SELECT format('%I.%I', k.schema, k.relation)::regclass AS id) r
LEFT JOIN LATERAL (
    SELECT * FROM hypertable_columnstore_stats(r.id)
) s ON k.compression_enabled
ORDER BY 1
"""


_RECORDERS = """
SELECT recorder, host, process_id, extract(epoch FROM now() - held_since)::float8 AS held_seconds,
    extract(epoch FROM expires_at - now())::float8 AS expires_seconds
FROM recorders ORDER BY recorder
"""


class RecorderStatus(Struct, frozen=True, kw_only=True):
    """A recorder that writes, or wrote, into this database."""

    recorder: str
    host: str
    process_id: int
    held_seconds: float
    """How long its process has held the lease."""
    expires_seconds: float
    """Time until the lease expires; negative once it has."""


class TableStatus(Struct, frozen=True, kw_only=True):
    """A table, with all its partitions or chunks."""

    name: str
    rows: int
    """Estimated."""
    bytes: int
    """With indexes."""
    partitions: int = 0
    """Partitions, or chunks on TimescaleDB."""
    compressed_partitions: int = 0
    compression_ratio: float | None = None
    """Bytes before by bytes after compression, of the compressed chunks."""


class EmitterStatus(Struct, frozen=True, kw_only=True):
    """The stored events of one start of one emitting process."""

    source: str
    epoch: int
    stored: int
    highest_sequence: int
    gaps: int
    """Gaps in its sequence."""
    missing: int
    """Events in those gaps: in flight, or lost."""
    dropped: dict[str, int]
    """Events that it dropped before sending, by reason."""


class DatabaseStatus(Struct, frozen=True, kw_only=True):
    """Result of :func:`database_status`."""

    name: str
    """The database's URL, without a password."""
    version: str
    timescaledb: str | None
    """Version of the extension in use; ``None``: plain PostgreSQL."""
    bytes: int
    disk: DiskForecast | None
    """``None`` before the first start of a recorder."""
    recorders: list[RecorderStatus]
    tables: list[TableStatus]
    tiers: list[TierStatus]
    policies: list[PolicyStatus]
    samples: list[SampleTimes]
    emitters: list[EmitterStatus]
    dead_letters: int


async def database_status(database: Database, now_ns: int) -> DatabaseStatus:
    """Queries the status. Raises :class:`~storage.database.DatabaseUnavailableError`."""
    async with database.session("status") as connection, connection.transaction(readonly=True):
        server = await connection.fetchrow(_SERVER)
        assert server is not None  # noqa: S101 - the query always has one row
        tables = await _tables(connection, _TABLES)
        jobs: list[PolicyStatus] = []
        tiers: list[TierStatus] = []
        if server["timescaledb"] is not None:
            tables |= await _tables(connection, _HYPERTABLES)
            jobs = await policies(connection)
        names = sorted(
            {name.removesuffix(_RECENT) for name in tables if name.endswith((_SAMPLES, _SAMPLES + _RECENT))}
        )
        samples = await _times(connection, names, now_ns)
        if server["timescaledb"] is not None:
            tiers = await timescale_tiers(connection, samples, now_ns)
        if not tiers:
            rolled = [name for name in names if dirty_buckets_of(name) in tables]
            tiers = await plain_tiers(connection, rolled, now_ns)
        return DatabaseStatus(
            name=database.name,
            version=server["version"].split()[0],
            timescaledb=server["timescaledb"],
            bytes=server["bytes"],
            disk=await disk_forecast(connection, database.settings.max_bytes, now_ns)
            if "database_sizes" in tables
            else None,
            recorders=[RecorderStatus(**row) for row in await connection.fetch(_RECORDERS)]
            if "recorders" in tables
            else [],
            tables=[tables[name] for name in sorted(tables)],
            tiers=tiers,
            policies=jobs,
            samples=samples,
            emitters=await _emitters(connection) if "emitters" in tables else [],
            dead_letters=await connection.fetchval("SELECT count(*) FROM dead_letters")
            if "dead_letters" in tables
            else 0,
        )


async def _tables(connection: AnyConnection, question: str) -> dict[str, TableStatus]:
    return {row["name"]: TableStatus(**row) for row in await connection.fetch(question)}


async def _times(connection: AnyConnection, tables: Sequence[str], now_ns: int) -> list[SampleTimes]:
    found = []
    for table in tables:
        times = await oldest_and_newest(connection, table)
        if times is not None:
            newest_ns = from_datetime(times[1])
            found.append(
                SampleTimes(
                    table=table,
                    oldest_ns=from_datetime(times[0]),
                    newest_ns=newest_ns,
                    age_seconds=round((now_ns - newest_ns) / NS_PER_SECOND, 3),
                )
            )
    return found


async def _emitters(connection: AnyConnection) -> list[EmitterStatus]:
    dropped: dict[tuple[str, int], dict[str, int]] = {}
    for row in await connection.fetch("SELECT source, epoch, reason, events FROM emitter_drops"):
        dropped.setdefault((row["source"], row["epoch"]), {})[row["reason"]] = row["events"]
    found = []
    stored = await stored_events(connection)
    for (source, epoch), sequences in sorted(stored.items(), key=lambda pair: (-pair[0][1], pair[0][0])):
        gaps = sequences.missing(1, sequences.highest)
        found.append(
            EmitterStatus(
                source=source,
                epoch=epoch,
                stored=len(sequences),
                highest_sequence=sequences.highest,
                gaps=len(gaps),
                missing=sum(high - low + 1 for low, high in gaps),
                dropped=dropped.get((source, epoch), {}),
            )
        )
    return found
