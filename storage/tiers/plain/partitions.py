"""Tables partitioned by time, on plain PostgreSQL.

A partition spans a fixed number of whole UTC days, counted from 1970. Partitions are created ahead of time. A
row outside of them goes into the default partition, so a row of any time can be stored at any moment;
:func:`create_partitions` later gives it a partition of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from decahertz.clock import to_datetime
from storage.schema.samples import TIME, quoted
from storage.tiers.schema import shortened

if TYPE_CHECKING:
    from storage.database import AnyConnection

AHEAD = 2
"""Partitions that are created before they are needed."""
LOCK_LIMIT = "3s"
"""How long to wait for a table lock, because others queue up behind it."""

BEGINNING = to_datetime(0)

_DAY_NS = 86_400 * 10**9
_PARTITIONS = r"""
SELECT low::timestamptz, name FROM (
    SELECT c.relname AS name,
           (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\)'))[1] AS low
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass($1)
) AS bounds WHERE low IS NOT NULL ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Partitioned:
    """A partitioned table; ``days`` is the width of its partitions."""

    name: str
    days: int

    @property
    def default(self) -> str:
        """The default partition, for rows outside of all others."""
        return shortened(self.name, "_default")

    @property
    def width(self) -> timedelta:
        """The width of its partitions."""
        return timedelta(days=self.days)

    def start_of(self, time_ns: int) -> datetime:
        """Start of the partition that a time belongs to."""
        width_ns = self.days * _DAY_NS
        return to_datetime(time_ns // width_ns * width_ns)

    def partition(self, start: datetime) -> str:
        """Name of the partition with this start."""
        return shortened(self.name, f"_p{start:%Y%m%d}")


async def partitions_of(connection: AnyConnection, table: Partitioned) -> dict[datetime, str]:
    """Names of the partitions by their start, oldest first; without the default partition."""
    rows = await connection.fetch(_PARTITIONS, quoted(table.name))
    return {row[0]: row[1] for row in rows}


async def ensure_default(connection: AnyConnection, table: Partitioned) -> None:
    """Create the default partition unless it exists."""
    await connection.execute(
        f"CREATE TABLE IF NOT EXISTS {quoted(table.default)} PARTITION OF {quoted(table.name)} DEFAULT",
    )


async def create_partitions(connection: AnyConnection, table: Partitioned, now_ns: int) -> None:
    """Create the partitions of now and ahead, and those of the rows in the default partition.

    Each partition takes one transaction, which moves its rows. Raises what asyncpg raises when the table
    stays in use for longer than :data:`LOCK_LIMIT`; partitions created by then remain.
    """
    first = table.start_of(now_ns)
    wanted = {first + number * table.width for number in range(AHEAD + 1)}
    wanted |= await _starts_in_default(connection, table)
    existing = await partitions_of(connection, table)
    for start in sorted(wanted - existing.keys()):
        await _create_partition(connection, table, start)


async def _starts_in_default(connection: AnyConnection, table: Partitioned) -> set[datetime]:
    """Starts of the partitions that the rows in the default partition belong to."""
    found: set[datetime] = set()
    after = datetime(1, 1, 1, tzinfo=UTC)
    while True:
        time = await connection.fetchval(
            f"SELECT min({TIME}) FROM {quoted(table.default)} WHERE {TIME} >= $1",  # noqa: S608 - quoted
            after,
        )
        if time is None:
            return found
        days = (time - datetime(1970, 1, 1, tzinfo=UTC)).days
        start = table.start_of(days * _DAY_NS)
        found.add(start)
        after = start + table.width


async def _create_partition(connection: AnyConnection, table: Partitioned, start: datetime) -> None:
    parent, default, partition = quoted(table.name), quoted(table.default), quoted(table.partition(start))
    low, high = start.isoformat(), (start + table.width).isoformat()
    async with connection.transaction():
        await limit_locks(connection)
        # Created apart and attached: CREATE TABLE … PARTITION OF would block readers and writers.
        await connection.execute(f"CREATE TABLE {partition} (LIKE {parent} INCLUDING DEFAULTS)")
        await connection.execute(f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE")
        await connection.execute(
            f"WITH moved AS (DELETE FROM {default} WHERE {TIME} >= '{low}' AND {TIME} < '{high}' RETURNING *)"  # noqa: S608 - quoted
            f" INSERT INTO {partition} SELECT * FROM moved",
        )
        await connection.execute(
            f"ALTER TABLE {parent} ATTACH PARTITION {partition} FOR VALUES FROM ('{low}') TO ('{high}')",
        )


async def has_older(
    connection: AnyConnection, table: Partitioned, horizon: datetime, start: datetime = BEGINNING
) -> bool:
    """Whether :func:`drop_before` has anything to drop."""
    if await _older(connection, table, horizon, start):
        return True
    found: bool = await connection.fetchval(
        f"SELECT EXISTS (SELECT FROM {quoted(table.default)} WHERE {TIME} >= $1 AND {TIME} < $2)",  # noqa: S608 - quoted
        start,
        horizon,
    )
    return found


async def drop_before(
    connection: AnyConnection, table: Partitioned, horizon: datetime, start: datetime = BEGINNING
) -> None:
    """Drop the partitions that begin at ``start`` or later and end before the horizon, in a transaction."""
    names = await _older(connection, table, horizon, start)
    for name in names:
        await connection.execute(f"DROP TABLE {quoted(name)}")
    await connection.execute(
        f"DELETE FROM {quoted(table.default)} WHERE {TIME} >= $1 AND {TIME} < $2",  # noqa: S608 - quoted
        start,
        horizon,
    )
    if names:
        structlog.get_logger(part="tiers").info("partitions_dropped", table=table.name, partitions=names)


async def _older(
    connection: AnyConnection, table: Partitioned, horizon: datetime, start: datetime
) -> list[str]:
    partitions = await partitions_of(connection, table)
    return [name for low, name in partitions.items() if start <= low and low + table.width <= horizon]


async def limit_locks(connection: AnyConnection) -> None:
    """In a transaction: give up on a lock rather than block others for long."""
    await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_LIMIT}'")
