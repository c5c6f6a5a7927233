"""Retention on plain PostgreSQL: drops partitions, once all of their rows are too old."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from decahertz.clock import NS_PER_SECOND, from_datetime
from storage.schema.samples import TIME, quoted
from storage.tiers.administration import created_at, execute, value_of
from storage.tiers.names import ROLLED, Tier, width_ns
from storage.tiers.plain.partitions import Partitioned, drop_before, has_older, limit_locks

if TYPE_CHECKING:
    from storage.schema.connection import SchemaConnection
    from storage.tiers.plain.table import PlainTable

_DAY_NS = 86_400 * NS_PER_SECOND


def drop_old_rows(
    connection: SchemaConnection, table: PlainTable, tier: Tier, days: int, now_ns: int
) -> list[str]:
    """Drop the rows of a tier that are older than ``days`` (0 keeps them); returns the problems, in words."""
    partitioned = table.partitioned(tier)
    horizon = partitioned.start_of(now_ns - days * _DAY_NS)
    if not days or not has_older(connection, partitioned, horizon):
        return []
    with connection.transaction():
        limit_locks(connection)
        # While the lock is held, no transaction can store older rows and mark their buckets dirty.
        execute(connection, f"LOCK TABLE {quoted(partitioned.name)} IN ACCESS EXCLUSIVE MODE")
        if tier is not Tier.H1 and _is_dirty(connection, table, tier, horizon):
            return [f"{partitioned.name} keeps old rows until they are rolled up"]
        if tier is Tier.RAW:
            execute(
                connection,
                "UPDATE tier_state SET raw_from = greatest(raw_from, %s) WHERE table_name = %s",
                horizon,
                table.schema.table,
            )
        drop_before(connection, partitioned, horizon)
    return []


def drop_old_events(connection: SchemaConnection, table: Partitioned, days: int, now_ns: int) -> None:
    """Drop events older than ``days`` (0 keeps them), but none from before the database was created.

    Those were imported, and are kept until somebody takes the import back.
    """
    if not days:
        return
    horizon = table.start_of(now_ns - days * _DAY_NS)
    start = table.start_of(from_datetime(created_at(connection)))
    if has_older(connection, table, horizon, start):
        with connection.transaction():
            limit_locks(connection)
            drop_before(connection, table, horizon, start)


def _is_dirty(connection: SchemaConnection, table: PlainTable, tier: Tier, horizon: datetime) -> bool:
    """Whether a bucket of the next tier still has to be made from rows before the horizon."""
    coarser = ROLLED[0] if tier is Tier.RAW else ROLLED[ROLLED.index(tier) + 1]
    found: bool = value_of(
        connection,
        f"SELECT EXISTS (SELECT FROM {quoted(table.dirty_buckets)}"  # noqa: S608 - quoted
        f" WHERE width_seconds = %s AND {TIME} < %s)",
        width_ns(coarser) // NS_PER_SECOND,
        horizon,
    )
    return found
