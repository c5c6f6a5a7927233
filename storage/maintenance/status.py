"""What there is in the database, how large it is, how far everything behind it has come.

Sizes and numbers of rows come from PostgreSQL's own bookkeeping: nothing here reads a table whole, and all of
it may be asked while everything runs. Numbers of rows are therefore estimates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from decahertz.clock import NS_PER_SECOND, from_datetime
from storage.database import Database
from storage.schema.emitters import stored_events
from storage.schema.samples import TIME, quoted
from storage.tiers.names import ROLLED, width_ns
from storage.tiers.schema import shortened

if TYPE_CHECKING:
    from storage.database import AnyConnection

_SAMPLES = "_samples"
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
SELECT tree.name, count(*) FILTER (WHERE c.oid <> tree.root AND c.relkind = 'r') AS parts,
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
    UNION  -- its view of hypertables leaves out those behind continuous aggregates
    SELECT view_name, materialization_hypertable_schema, materialization_hypertable_name, compression_enabled
    FROM timescaledb_information.continuous_aggregates
)
SELECT k.name, hypertable_size(r.id) AS bytes, approximate_row_count(r.id) AS rows,
    (SELECT count(*) FROM timescaledb_information.chunks c
     WHERE (c.hypertable_schema, c.hypertable_name) = (k.schema, k.relation)) AS parts,
    s.number_compressed_chunks AS compressed,
    s.before_compression_total_bytes AS before, s.after_compression_total_bytes AS after
FROM known k
CROSS JOIN LATERAL (SELECT format('%I.%I', k.schema, k.relation)::regclass AS id) r
LEFT JOIN LATERAL (
    SELECT * FROM hypertable_columnstore_stats(r.id)
) s ON k.compression_enabled
ORDER BY 1
"""
_JOBS = """
SELECT j.proc_name AS name, coalesce(a.view_name, j.hypertable_name) AS relation,
    extract(epoch FROM j.schedule_interval)::float8 AS every_seconds, j.config::text AS config,
    s.last_run_status AS last_run, s.total_failures AS failures
FROM timescaledb_information.jobs j
LEFT JOIN timescaledb_information.continuous_aggregates a
    ON a.materialization_hypertable_name = j.hypertable_name
LEFT JOIN timescaledb_information.job_stats s USING (job_id)
WHERE j.hypertable_name IS NOT NULL ORDER BY 2, 1
"""
_WATERMARKS = """
SELECT a.view_name AS name, _timescaledb_functions.cagg_watermark(h.id) AS until_us
FROM timescaledb_information.continuous_aggregates a
JOIN _timescaledb_catalog.hypertable h
    ON (h.schema_name, h.table_name)
        = (a.materialization_hypertable_schema, a.materialization_hypertable_name)
"""


class TableStatus(Struct, frozen=True, kw_only=True):
    """A table, with all its partitions or chunks."""

    name: str
    rows: int
    """Estimated."""
    bytes: int
    """With indexes."""
    parts: int = 0
    """Partitions or chunks."""
    compressed_parts: int = 0
    compression_ratio: float | None = None
    """Bytes before by bytes after, of what is compressed."""


class TierStatus(Struct, frozen=True, kw_only=True):
    """How far a tier is rolled up. What is not, is computed when it is asked for."""

    relation: str
    lag_seconds: float
    """From the end of the oldest bucket that has to be rolled up yet to now; 0: none is."""
    waiting_buckets: int | None = None
    """Changed buckets that are over and not rolled up; ``None`` where the engine does not say."""


class PolicyStatus(Struct, frozen=True, kw_only=True):
    """A policy that TimescaleDB carries out."""

    relation: str
    name: str
    every_seconds: float
    config: str
    """JSON."""
    last_run: str | None = None
    failures: int = 0


class EmitterStatus(Struct, frozen=True, kw_only=True):
    """Which events of one start of one process are stored."""

    source: str
    epoch: int
    stored: int
    highest_sequence: int
    holes: int
    """Gaps in its sequence."""
    missing: int
    """Events in them: on their way, or lost."""
    dropped: dict[str, int]
    """Events it lost before it sent them, by reason."""


class SampleTimes(Struct, frozen=True, kw_only=True):
    """The oldest and the newest raw samples of a table."""

    table: str
    oldest_ns: int
    newest_ns: int
    age_seconds: float
    """Of the newest."""


class DatabaseStatus(Struct, frozen=True, kw_only=True):
    """What :func:`database_status` found."""

    name: str
    """The database's URL, without a password."""
    version: str
    timescaledb: str | None
    """Version of the extension in use; ``None``: PostgreSQL alone."""
    bytes: int
    tables: list[TableStatus]
    tiers: list[TierStatus]
    policies: list[PolicyStatus]
    samples: list[SampleTimes]
    emitters: list[EmitterStatus]
    dead_letters: int


async def database_status(database: Database, now_ns: int) -> DatabaseStatus:
    """Ask the database. Raises :class:`~storage.database.DatabaseUnavailableError`."""
    async with database.query() as connection, connection.transaction(readonly=True):
        server = await connection.fetchrow(_SERVER)
        assert server is not None  # noqa: S101 - the question always has one row
        tables = await _tables(connection)
        policies, tiers = [], []
        if server["timescaledb"] is not None:
            tables |= await _hypertables(connection)
            policies = await _policies(connection)
        names = [name for name in tables if name.endswith(_SAMPLES)]
        samples = await _times(connection, names, now_ns)
        if server["timescaledb"] is not None:
            tiers = await _watermarks(connection, samples, now_ns)
        if not tiers:
            tiers = await _marks(connection, names, tables, now_ns)
        return DatabaseStatus(
            name=database.name,
            version=server["version"].split()[0],
            timescaledb=server["timescaledb"],
            bytes=server["bytes"],
            tables=[tables[name] for name in sorted(tables)],
            tiers=tiers,
            policies=policies,
            samples=samples,
            emitters=await _emitters(connection) if "emitters" in tables else [],
            dead_letters=await _count(connection, "dead_letters") if "dead_letters" in tables else 0,
        )


async def _tables(connection: AnyConnection) -> dict[str, TableStatus]:
    return {
        row["name"]: TableStatus(name=row["name"], rows=row["rows"], bytes=row["bytes"], parts=row["parts"])
        for row in await connection.fetch(_TABLES)
    }


async def _hypertables(connection: AnyConnection) -> dict[str, TableStatus]:
    return {
        row["name"]: TableStatus(
            name=row["name"],
            rows=row["rows"] or 0,
            bytes=row["bytes"] or 0,
            parts=row["parts"] or 0,
            compressed_parts=row["compressed"] or 0,
            compression_ratio=round(row["before"] / row["after"], 2) if row["after"] else None,
        )
        for row in await connection.fetch(_HYPERTABLES)
    }


async def _policies(connection: AnyConnection) -> list[PolicyStatus]:
    return [
        PolicyStatus(
            relation=row["relation"],
            name=row["name"].removeprefix("policy_"),
            every_seconds=row["every_seconds"],
            config=row["config"],
            last_run=row["last_run"],
            failures=row["failures"] or 0,
        )
        for row in await connection.fetch(_JOBS)
    ]


async def _times(connection: AnyConnection, tables: Sequence[str], now_ns: int) -> list[SampleTimes]:
    found = []
    for table in tables:
        row = await connection.fetchrow(
            f"SELECT min({TIME}) AS oldest, max({TIME}) AS newest FROM {quoted(table)}"  # noqa: S608 - quoted
        )
        if row is not None and row["newest"] is not None:
            newest_ns = from_datetime(row["newest"])
            found.append(
                SampleTimes(
                    table=table,
                    oldest_ns=from_datetime(row["oldest"]),
                    newest_ns=newest_ns,
                    age_seconds=round((now_ns - newest_ns) / NS_PER_SECOND, 3),
                )
            )
    return found


async def _watermarks(
    connection: AnyConnection, samples: Sequence[SampleTimes], now_ns: int
) -> list[TierStatus]:
    """TimescaleDB has materialised what lies before the watermark, and no more than was sampled."""
    times = {found.table: found for found in samples}
    widths = {str(tier): width_ns(tier) for tier in ROLLED}
    tiers: dict[str, tuple[int, TierStatus]] = {}
    for row in await connection.fetch(_WATERMARKS):
        # What is before the newest generation is written no more, but for late rows.
        relation, _, generation = row["name"].rpartition("_g")
        table, _, tier_name = relation.rpartition("_")
        if not generation.isdecimal() or table not in times or tier_name not in widths:
            continue
        width = widths[tier_name]
        until_ns = max((row["until_us"] or 0) * 1000, times[table].oldest_ns // width * width)
        over_ns = now_ns - until_ns - width if times[table].newest_ns >= until_ns else 0
        tier = TierStatus(relation=relation, lag_seconds=round(max(0, over_ns) / NS_PER_SECOND, 3))
        tiers[relation] = max(
            tiers.get(relation, (0, tier)), (int(generation), tier), key=lambda numbered: numbered[0]
        )
    return [tier for _, (_, tier) in sorted(tiers.items())]


async def _marks(
    connection: AnyConnection, samples: Sequence[str], tables: dict[str, TableStatus], now_ns: int
) -> list[TierStatus]:
    """On PostgreSQL alone a changed bucket has a mark until it is rolled up."""
    found = []
    for table in samples:
        changed = shortened(table, "_changed")
        if changed not in tables:
            continue
        rows = await connection.fetch(
            f"SELECT DISTINCT width, {TIME} FROM {quoted(changed)}"  # noqa: S608 - quoted
        )
        for tier in ROLLED:
            width = width_ns(tier)
            ends = [
                from_datetime(row[TIME]) + width for row in rows if row["width"] == width // NS_PER_SECOND
            ]
            over = [end_ns for end_ns in ends if end_ns <= now_ns]
            lag = (now_ns - min(over, default=now_ns)) / NS_PER_SECOND
            found.append(
                TierStatus(relation=f"{table}_{tier}", lag_seconds=round(lag, 3), waiting_buckets=len(over))
            )
    return found


async def _emitters(connection: AnyConnection) -> list[EmitterStatus]:
    dropped: dict[tuple[str, int], dict[str, int]] = {}
    for row in await connection.fetch("SELECT source, epoch, reason, events FROM emitter_drops"):
        dropped.setdefault((row["source"], row["epoch"]), {})[row["reason"]] = row["events"]
    found = []
    stored = await stored_events(connection)
    for (source, epoch), sequences in sorted(stored.items(), key=lambda pair: (-pair[0][1], pair[0][0])):
        holes = sequences.missing(1, sequences.highest)
        found.append(
            EmitterStatus(
                source=source,
                epoch=epoch,
                stored=len(sequences),
                highest_sequence=sequences.highest,
                holes=len(holes),
                missing=sum(high - low + 1 for low, high in holes),
                dropped=dropped.get((source, epoch), {}),
            )
        )
    return found


async def _count(connection: AnyConnection, table: str) -> int:
    count: int = await connection.fetchval(f"SELECT count(*) FROM {quoted(table)}")  # noqa: S608 - quoted
    return count
