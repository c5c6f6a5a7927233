"""Status of the tiers: how far they are rolled up, and the policies of TimescaleDB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from decahertz.clock import NS_PER_SECOND, from_datetime
from storage.schema.samples import TIME, quoted
from storage.tiers.names import ROLLED, width_ns
from storage.tiers.plain.table import dirty_buckets_of

if TYPE_CHECKING:
    from storage.database import AnyConnection

_JOBS = """
SELECT regexp_replace(j.proc_name, '^policy_', '') AS name,
    coalesce(a.view_name, j.hypertable_name) AS relation,
    extract(epoch FROM j.schedule_interval)::float8 AS every_seconds, j.config::text AS config,
    s.last_run_status AS last_run, coalesce(s.total_failures, 0) AS failures
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


class SampleTimes(Struct, frozen=True, kw_only=True):
    """Times of the oldest and the newest raw sample of a table."""

    table: str
    oldest_ns: int
    newest_ns: int
    age_seconds: float
    """Age of the newest."""


class TierStatus(Struct, frozen=True, kw_only=True):
    """The lag of a tier. Queries compute the buckets that are not rolled up yet."""

    relation: str
    lag_seconds: float
    """Time since the end of the oldest bucket that is not rolled up; 0: there is none."""
    dirty_buckets: int | None = None
    """Dirty buckets that have ended; ``None`` on TimescaleDB."""


class PolicyStatus(Struct, frozen=True, kw_only=True):
    """A policy of TimescaleDB."""

    relation: str
    name: str
    every_seconds: float
    config: str
    """JSON."""
    last_run: str | None = None
    failures: int = 0


async def policies(connection: AnyConnection) -> list[PolicyStatus]:
    """The policies that TimescaleDB runs."""
    return [PolicyStatus(**row) for row in await connection.fetch(_JOBS)]


async def timescale_tiers(
    connection: AnyConnection, samples: Sequence[SampleTimes], now_ns: int
) -> list[TierStatus]:
    """The lag of the tiers on TimescaleDB, which has materialised the buckets before the watermark."""
    times = {found.table: found for found in samples}
    widths = {str(tier): width_ns(tier) for tier in ROLLED}
    tiers: dict[str, tuple[int, TierStatus]] = {}
    for row in await connection.fetch(_WATERMARKS):
        # Only late rows still change the generations before the newest.
        relation, _, generation = row["name"].rpartition("_g")
        table, _, tier_name = relation.rpartition("_")
        if not generation.isdecimal() or table not in times or tier_name not in widths:
            continue
        width = widths[tier_name]
        until_ns = max((row["until_us"] or 0) * 1000, times[table].oldest_ns // width * width)
        lag_ns = now_ns - until_ns - width if times[table].newest_ns >= until_ns else 0
        tier = TierStatus(relation=relation, lag_seconds=round(max(0, lag_ns) / NS_PER_SECOND, 3))
        tiers[relation] = max(
            tiers.get(relation, (0, tier)), (int(generation), tier), key=lambda numbered: numbered[0]
        )
    return [tier for _, (_, tier) in sorted(tiers.items())]


async def plain_tiers(connection: AnyConnection, tables: Sequence[str], now_ns: int) -> list[TierStatus]:
    """The lag of the tiers of these sample tables on plain PostgreSQL, from their dirty buckets."""
    found = []
    for table in tables:
        dirty_buckets = quoted(dirty_buckets_of(table))
        rows = await connection.fetch(f"SELECT DISTINCT width_seconds, {TIME} FROM {dirty_buckets}")  # noqa: S608 - quoted
        for tier in ROLLED:
            width = width_ns(tier)
            ends = [
                from_datetime(row[TIME]) + width
                for row in rows
                if row["width_seconds"] == width // NS_PER_SECOND
            ]
            ended = [end_ns for end_ns in ends if end_ns <= now_ns]
            lag = (now_ns - min(ended, default=now_ns)) / NS_PER_SECOND
            found.append(
                TierStatus(relation=f"{table}_{tier}", lag_seconds=round(lag, 3), dirty_buckets=len(ended))
            )
    return found
