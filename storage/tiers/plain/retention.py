"""Retention on plain PostgreSQL: drops partitions, once all of their rows are too old."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from decahertz.clock import NS_PER_SECOND, from_datetime
from storage.schema.samples import TIME, quoted
from storage.tiers.administration import created_at
from storage.tiers.names import ROLLED, Tier, width_ns
from storage.tiers.plain.partitions import Partitioned, drop_before, has_older, limit_locks

if TYPE_CHECKING:
    from storage.database import AnyConnection
    from storage.tiers.plain.table import PlainTable

_DAY_NS = 86_400 * NS_PER_SECOND


async def drop_old_rows(
    connection: AnyConnection, table: PlainTable, tier: Tier, days: int, now_ns: int
) -> list[str]:
    """Drop the rows of a tier that are older than ``days`` (0 keeps them); returns the problems, in words."""
    partitioned = table.partitioned(tier)
    horizon = partitioned.start_of(now_ns - days * _DAY_NS)
    if not days or not await has_older(connection, partitioned, horizon):
        return []
    async with connection.transaction():
        await limit_locks(connection)
        # While the lock is held, no transaction can store older rows and mark their buckets dirty.
        await connection.execute(f"LOCK TABLE {quoted(partitioned.name)} IN ACCESS EXCLUSIVE MODE")
        if tier is not Tier.H1 and await _is_dirty(connection, table, tier, horizon):
            return [f"{partitioned.name} keeps old rows until they are rolled up"]
        if tier is Tier.RAW:
            await connection.execute(
                "UPDATE tier_state SET raw_from = greatest(raw_from, $1) WHERE table_name = $2",
                horizon,
                table.schema.table,
            )
        await drop_before(connection, partitioned, horizon)
    return []


async def drop_old_events(connection: AnyConnection, table: Partitioned, days: int, now_ns: int) -> None:
    """Drop events older than ``days`` (0 keeps them), but none from before the database was created.

    Those were imported, and are kept until somebody takes the import back.
    """
    if not days:
        return
    horizon = table.start_of(now_ns - days * _DAY_NS)
    start = table.start_of(from_datetime(await created_at(connection)))
    if await has_older(connection, table, horizon, start):
        async with connection.transaction():
            await limit_locks(connection)
            await drop_before(connection, table, horizon, start)


async def _is_dirty(connection: AnyConnection, table: PlainTable, tier: Tier, horizon: datetime) -> bool:
    """Whether a bucket of the next tier still has to be made from rows before the horizon."""
    coarser = ROLLED[0] if tier is Tier.RAW else ROLLED[ROLLED.index(tier) + 1]
    found: bool = await connection.fetchval(
        f"SELECT EXISTS (SELECT FROM {quoted(table.dirty_buckets)}"  # noqa: S608 - quoted
        f" WHERE width_seconds = $1 AND {TIME} < $2)",
        width_ns(coarser) // NS_PER_SECOND,
        horizon,
    )
    return found
