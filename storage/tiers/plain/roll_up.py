"""The incremental roll-up on plain PostgreSQL.

Each step is one transaction with one snapshot: it picks dirty buckets, computes them from the finer tier,
replaces their rolled-up rows, packed ones too, and deletes the dirty buckets that it saw. An interrupted step
has no effect, and a repeated one gives the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from decahertz.clock import NS_PER_SECOND, to_datetime
from storage.schema.samples import TIME, quoted
from storage.tiers.names import Tier, width_ns
from storage.tiers.plain.packed import clear
from storage.tiers.plain.table import PACKED_TIERS

if TYPE_CHECKING:
    from storage.database import AnyConnection
    from storage.tiers.plain.table import PlainTable

_MOST_DUPLICATES = 64
"""Duplicate entries of unfinished buckets that are left alone."""


async def roll_up(
    connection: AnyConnection, table: PlainTable, tier: Tier, before_ns: int, limit: int
) -> int:
    """One step: roll up at most ``limit`` dirty buckets that ended before; returns their number."""
    width_seconds = width_ns(tier) // NS_PER_SECOND
    dirty_buckets, rolled = quoted(table.dirty_buckets), quoted(table.rolled(tier).name)
    last = to_datetime(before_ns) - timedelta(seconds=width_seconds)
    # Names are quoted, values are parameters.
    async with connection.transaction(isolation="repeatable_read"):
        buckets = await connection.fetchval(
            f"SELECT array_agg({TIME} ORDER BY {TIME}) FROM (SELECT DISTINCT {TIME} FROM {dirty_buckets}"  # noqa: S608 - see above
            f" WHERE width_seconds = $1 AND {TIME} <= $2 ORDER BY {TIME} LIMIT $3) AS oldest",
            width_seconds,
            last,
            limit,
        )
        if not buckets:
            return 0
        if tier in PACKED_TIERS:
            await clear(connection, table.packed(tier), buckets)
        await connection.execute(f"DELETE FROM {rolled} WHERE {TIME} = ANY($1)", buckets)  # noqa: S608
        end = buckets[-1] + timedelta(seconds=width_seconds)
        await connection.execute(table.roll_up(tier), buckets, buckets[0], end)
        await connection.execute(
            f"DELETE FROM {dirty_buckets} WHERE width_seconds = $1 AND {TIME} = ANY($2)",  # noqa: S608
            width_seconds,
            buckets,
        )
    return len(buckets)


async def with_dirty_buckets(connection: AnyConnection, tables: Sequence[PlainTable]) -> list[PlainTable]:
    """The tables that have dirty buckets, finished or not, by one statement for all."""
    checks = [
        f"SELECT {number} WHERE EXISTS (SELECT FROM {quoted(table.dirty_buckets)})"  # noqa: S608 - quoted
        for number, table in enumerate(tables)
    ]
    return (
        [tables[number] for (number,) in await connection.fetch(" UNION ALL ".join(checks))] if tables else []
    )


async def deduplicate(connection: AnyConnection, table: PlainTable) -> None:
    """Deletes duplicate dirty buckets, in one statement: no bucket is ever missing."""
    dirty_buckets = quoted(table.dirty_buckets)
    too_many = await connection.fetchval(
        f"SELECT count(*) > $1 + 2 * count(DISTINCT (width_seconds, {TIME})) FROM {dirty_buckets}",  # noqa: S608
        _MOST_DUPLICATES,
    )
    if too_many:
        await connection.execute(
            f"WITH seen AS (DELETE FROM {dirty_buckets} RETURNING width_seconds, {TIME})"  # noqa: S608 - quoted
            f" INSERT INTO {dirty_buckets} (width_seconds, {TIME})"
            f" SELECT DISTINCT width_seconds, {TIME} FROM seen"
        )
