"""Tables in partitions by time, on PostgreSQL alone.

A partition holds a fixed number of whole UTC days, counted from 1970, so all widths fit into one another.
Partitions are made ahead. What belongs to none lands in the partition ``…_rest``, and gets one of its own
when :func:`make_room` comes by: a row of any time can be stored at any moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg

from decahertz.clock import to_datetime
from storage.schema.samples import TIME, quoted
from storage.tiers.schema import shortened

if TYPE_CHECKING:
    from storage.database import AnyConnection

AHEAD = 2
"""Partitions that are made before they are needed."""
LOCK_LIMIT = "3s"
"""How long we wait for those who use a table, and hold up others meanwhile."""

_DAY_NS = 86_400 * 10**9
_PARTITIONS = r"""
SELECT c.relname AS name,
       (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\)'))[1]::timestamptz AS low,
       (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''([^'']+)''\)'))[1]::timestamptz AS high
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass($1) ORDER BY 3
"""


@dataclass(frozen=True, slots=True)
class Partitioned:
    """A partitioned table; ``days`` is the width of a partition."""

    name: str
    days: int

    @property
    def rest(self) -> str:
        """The partition for rows that no other takes."""
        return shortened(self.name, "_rest")

    def start_of(self, time_ns: int) -> datetime:
        """Where the partition of a time begins."""
        width_ns = self.days * _DAY_NS
        return to_datetime(time_ns // width_ns * width_ns)

    def partition(self, start: datetime) -> str:
        """The name of the partition that begins there."""
        return shortened(self.name, f"_p{start:%Y%m%d}")


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition and its bounds; ``low`` is ``None`` where it has no lower one."""

    name: str
    low: datetime | None
    high: datetime


async def partitions_of(connection: AnyConnection, table: str) -> list[Partition]:
    """The partitions with an upper bound, oldest first."""
    rows = await connection.fetch(_PARTITIONS, quoted(table))
    return [Partition(row["name"], row["low"], row["high"]) for row in rows if row["high"] is not None]


async def ensure_rest(connection: AnyConnection, table: Partitioned) -> None:
    """Make the partition for rows that no other takes."""
    if await connection.fetchval("SELECT to_regclass($1) IS NULL", quoted(table.rest)):
        await connection.execute(
            f"CREATE TABLE {quoted(table.rest)} PARTITION OF {quoted(table.name)} DEFAULT"
        )


async def make_room(connection: AnyConnection, table: Partitioned, now_ns: int) -> list[str]:
    """Make the partitions of now and ahead, and those of the rows in ``…_rest``; returns their names.

    Each is a transaction of its own, that moves its rows. Raises what asyncpg raises where the table is
    in use for longer than :data:`LOCK_LIMIT`; what was made by then stays.
    """
    width = timedelta(days=table.days)
    first = table.start_of(now_ns)
    wanted = {first + number * width for number in range(AHEAD + 1)}
    wanted |= await _homeless(connection, table)
    there = await partitions_of(connection, table.name)
    made = []
    for start in sorted(wanted):
        low = max([start, *(part.high for part in there if _covers(part, start))])
        if low < start + width:
            await _make(connection, table, table.partition(start), low, start + width)
            made.append(table.partition(start))
    return made


def _covers(part: Partition, start: datetime) -> bool:
    return (part.low is None or part.low <= start) and start < part.high


async def _homeless(connection: AnyConnection, table: Partitioned) -> set[datetime]:
    """Where the partitions begin that the rows in ``…_rest`` want."""
    found: set[datetime] = set()
    after = datetime(1, 1, 1, tzinfo=UTC)
    while True:
        time = await connection.fetchval(
            f"SELECT min({TIME}) FROM {quoted(table.rest)} WHERE {TIME} >= $1",  # noqa: S608 - a table's name
            after,
        )
        if time is None:
            return found
        days = (time - datetime(1970, 1, 1, tzinfo=UTC)).days
        start = table.start_of(days * _DAY_NS)
        found.add(start)
        after = start + timedelta(days=table.days)


async def _make(
    connection: AnyConnection, table: Partitioned, name: str, low: datetime, high: datetime
) -> None:
    parent, rest, partition = quoted(table.name), quoted(table.rest), quoted(name)
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_LIMIT}'")
        await connection.execute("SET LOCAL statement_timeout = 0")
        # Made apart and attached: a CREATE TABLE … PARTITION OF would shut out readers and writers.
        await connection.execute(f"CREATE TABLE {partition} (LIKE {parent} INCLUDING DEFAULTS)")
        await connection.execute(f"LOCK TABLE {rest} IN ACCESS EXCLUSIVE MODE")
        # Names are ours and quoted; a bound is a time that Python wrote.
        within = f"{TIME} >= '{low.isoformat()}' AND {TIME} < '{high.isoformat()}'"
        await connection.execute(
            f"WITH moved AS (DELETE FROM {rest} WHERE {within} RETURNING *)"  # noqa: S608 - see above
            f" INSERT INTO {partition} SELECT * FROM moved"
        )
        await connection.execute(
            f"ALTER TABLE {parent} ATTACH PARTITION {partition}"
            f" FOR VALUES FROM ('{low.isoformat()}') TO ('{high.isoformat()}')"
        )


async def has_older(connection: AnyConnection, table: Partitioned, horizon: datetime) -> bool:
    """Whether :func:`drop_before` would find something to drop."""
    if any(part.high <= horizon for part in await partitions_of(connection, table.name)):
        return True
    found: bool = await connection.fetchval(
        f"SELECT EXISTS (SELECT FROM {quoted(table.rest)} WHERE {TIME} < $1)",  # noqa: S608 - quoted
        horizon,
    )
    return found


async def drop_before(connection: AnyConnection, table: Partitioned, horizon: datetime) -> list[str]:
    """Drop what lies wholly before the horizon; returns the names. To be called in a transaction."""
    old = [part.name for part in await partitions_of(connection, table.name) if part.high <= horizon]
    for name in old:
        await connection.execute(f"DROP TABLE {quoted(name)}")
    await connection.execute(
        f"DELETE FROM {quoted(table.rest)} WHERE {TIME} < $1",  # noqa: S608 - a table's name, quoted
        horizon,
    )
    return old


async def limit_locks(connection: AnyConnection) -> None:
    """In a transaction: rather give up than hold up others."""
    await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_LIMIT}'")


def is_busy(error: BaseException) -> bool:
    """Whether it failed because others use the table: the next time it may work."""
    return isinstance(error, asyncpg.LockNotAvailableError | asyncpg.DeadlockDetectedError)
