"""The incremental roll-up and the retention on PostgreSQL alone.

Each step is one transaction with one snapshot: it takes the marks of some buckets, computes these from the
finer tier, puts the result in the place of what was there, and removes the marks it saw. Cut off at any point
it has happened whole or not at all, and done twice it gives the same.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import structlog

from decahertz.clock import NS_PER_SECOND, to_datetime
from storage.schema.samples import TIME, quoted
from storage.tiers.names import ROLLED, Tier, retention_days, width_ns
from storage.tiers.partitions import (
    Partitioned,
    drop_before,
    has_older,
    is_busy,
    limit_locks,
)
from storage.tiers.rolled_table import PlainTable
from storage.tiers.schema import listed

if TYPE_CHECKING:
    from storage.database import AnyConnection
    from storage.settings import RetentionSettings

_CROWDED = 64
"""Marks of buckets that are not over yet, beyond which they are reduced to one for each bucket."""


async def roll_up(
    connection: AnyConnection, table: PlainTable, tier: Tier, before_ns: int, limit: int
) -> int:
    """One step: roll up at most so many changed buckets that ended by then; returns how many."""
    width = width_ns(tier) // NS_PER_SECOND
    changed, rolled = quoted(table.changed), quoted(table.rolled(tier).name)
    last = to_datetime(before_ns) - timedelta(seconds=width)
    # Names are quoted, values are parameters.
    async with connection.transaction(isolation="repeatable_read"):
        buckets = await connection.fetchval(
            f"SELECT array_agg({TIME}) FROM (SELECT DISTINCT {TIME} FROM {changed}"  # noqa: S608 - see above
            f" WHERE width = $1 AND {TIME} <= $2 ORDER BY {TIME} LIMIT $3) AS oldest",
            width,
            last,
            limit,
        )
        if not buckets:
            return 0
        await connection.execute(f"DELETE FROM {rolled} WHERE {TIME} = ANY($1)", buckets)  # noqa: S608
        await connection.execute(
            f"INSERT INTO {rolled} ({listed(table.columns(tier))})"
            + table.computed(tier, f"unnest($1::timestamptz[]) AS changed ({TIME})"),
            buckets,
        )
        await connection.execute(
            f"DELETE FROM {changed} WHERE width = $1 AND {TIME} = ANY($2)",  # noqa: S608 - see above
            width,
            buckets,
        )
    return len(buckets)


async def thin_marks(connection: AnyConnection, table: PlainTable) -> None:
    """Leave one mark of many for each bucket. In one statement: no bucket is ever without."""
    changed = quoted(table.changed)
    crowded = await connection.fetchval(
        f"SELECT count(*) > $1 + 2 * count(DISTINCT (width, {TIME})) FROM {changed}",  # noqa: S608 - quoted
        _CROWDED,
    )
    if crowded:
        await connection.execute(
            f"WITH seen AS (DELETE FROM {changed} RETURNING width, {TIME})"  # noqa: S608 - a name, quoted
            f" INSERT INTO {changed} (width, {TIME}) SELECT DISTINCT width, {TIME} FROM seen"
        )


async def retain(
    connection: AnyConnection, table: PlainTable, retention: RetentionSettings, now_ns: int
) -> list[str]:
    """Drop the partitions that have had their time; returns what stands in the way, in words."""
    troubles = []
    for tier, days in retention_days(retention).items():
        partitioned = table.partitioned(tier)
        if days:
            horizon = partitioned.start_of(now_ns - days * 86_400 * NS_PER_SECOND)
            try:
                troubles += await _drop(connection, table, tier, horizon)
            except asyncpg.PostgresError as error:
                if not is_busy(error):
                    raise
                troubles.append(f"{partitioned.name} is in use: what is too old is dropped later")
    return troubles


async def _drop(connection: AnyConnection, table: PlainTable, tier: Tier, horizon: datetime) -> list[str]:
    partitioned = table.partitioned(tier)
    if not await has_older(connection, partitioned, horizon):
        return []
    async with connection.transaction():
        await limit_locks(connection)
        # With this lock nobody is in the middle of adding rows, and marks, that are older.
        await connection.execute(f"LOCK TABLE {quoted(partitioned.name)} IN ACCESS EXCLUSIVE MODE")
        if tier is not Tier.H1 and await _unrolled(connection, table, tier, horizon):
            return [f"{partitioned.name} keeps rows that are too old until they are rolled up"]
        if tier is Tier.RAW:
            await connection.execute(
                "UPDATE tier_state SET raw_from = greatest(raw_from, $2) WHERE table_name = $1",
                table.schema.table,
                horizon,
            )
        _log_dropped(partitioned, await drop_before(connection, partitioned, horizon))
    return []


def _log_dropped(table: Partitioned, partitions: list[str]) -> None:
    if partitions:
        log = structlog.get_logger(part="tiers")
        log.info("partitions_dropped", table=table.name, partitions=partitions)


async def _unrolled(connection: AnyConnection, table: PlainTable, tier: Tier, horizon: datetime) -> bool:
    """Whether a bucket of the next tier that needs these rows is still to be made."""
    coarser = ROLLED[0] if tier is Tier.RAW else ROLLED[ROLLED.index(tier) + 1]
    found: bool = await connection.fetchval(
        f"SELECT EXISTS (SELECT FROM {quoted(table.changed)} WHERE width = $1 AND {TIME} < $2)",  # noqa: S608
        width_ns(coarser) // NS_PER_SECOND,
        horizon,
    )
    return found


async def retain_events(connection: AnyConnection, table: Partitioned, days: int, now_ns: int) -> list[str]:
    """Drop the partitions of an event table that have had their time; as :func:`retain`."""
    if not days:
        return []
    horizon = table.start_of(now_ns - days * 86_400 * NS_PER_SECOND)
    if not await has_older(connection, table, horizon):
        return []
    try:
        async with connection.transaction():
            await limit_locks(connection)
            _log_dropped(table, await drop_before(connection, table, horizon))
    except asyncpg.PostgresError as error:
        if not is_busy(error):
            raise
        return [f"{table.name} is in use: what is too old is dropped later"]
    return []
