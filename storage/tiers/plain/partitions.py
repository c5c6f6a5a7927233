"""Tables partitioned by time, on plain PostgreSQL.

A partition spans whole UTC days: one, 30, 90 or 360 of them, counted from 1970, so that each width fits into
the next. The width is chosen when the partition is created. Rows of today get a day, or 30 or 90 days where
they are kept for long; rows that are old already get 30 days or 360. So no table has more than about a
hundred partitions, whatever times its rows have. A new partition ends where another one begins, and where the
database was created: older events were imported, and are not dropped by age.

A row outside of all partitions goes into the default partition, so a row of any time can be stored at any
moment; :func:`create_partitions` later gives it a partition, unless its time is in the future.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from decahertz.clock import from_datetime, to_datetime
from storage.schema.samples import TIME, default_of, quoted, shortened
from storage.tiers.administration import created_at

if TYPE_CHECKING:
    from storage.database import AnyConnection

DAY, MONTH, QUARTER, YEAR = 1, 30, 90, 360
"""Widths of partitions in days."""
AHEAD = timedelta(days=2)
"""How long before they are needed partitions are created."""
LOCK_LIMIT = "3s"
"""How long to wait for a table lock, because others queue up behind it."""

BEGINNING = to_datetime(0)

_FOREVER = 100 * YEAR
_OLD, _VERY_OLD = timedelta(days=MONTH), timedelta(days=2 * YEAR)
_CREATION_LOCK = 0x70617274
"""First key of the advisory locks of the tables that a transaction creates a partition of."""
_DAY_NS = 86_400 * 10**9
_PARTITIONS = r"""
SELECT bounds[1]::timestamptz, bounds[2]::timestamptz, name FROM (
    SELECT c.relname AS name, regexp_match(
        pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)'
    ) AS bounds
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass($1)
) AS found WHERE bounds IS NOT NULL ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Partitioned:
    """A partitioned table; ``days`` is the least width of its partitions."""

    name: str
    days: int = DAY
    unanalyzed: tuple[str, ...] = ()
    """Columns that PostgreSQL makes no statistics of."""

    @property
    def default(self) -> str:
        """The default partition, for rows outside of all others."""
        return default_of(self.name)


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of the rows from ``low`` to before ``high``."""

    low: datetime
    high: datetime
    name: str


def day_of(time_ns: int) -> datetime:
    """Start of the day."""
    return to_datetime(time_ns // _DAY_NS * _DAY_NS)


async def is_partitioned(connection: AnyConnection, table: str) -> bool:
    """Whether the table exists and PostgreSQL partitions it."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass($1) AND relkind = 'p')", quoted(table)
    )
    return found


async def partitions_of(connection: AnyConnection, table: Partitioned) -> list[Partition]:
    """The partitions, oldest first; without the default partition."""
    return [Partition(*row) for row in await connection.fetch(_PARTITIONS, quoted(table.name))]


async def stored_range(
    connection: AnyConnection, table: Partitioned, start: datetime, end: datetime
) -> tuple[datetime, datetime] | None:
    """About the times of the oldest and the newest row in ``[start, end)``; ``None``: there is none.

    They are bounds of partitions: no index has the rows in order.
    """
    inside = [one for one in await partitions_of(connection, table) if one.low < end and one.high > start]
    oldest = await _with_rows(connection, inside)
    newest = await _with_rows(connection, inside[::-1])
    return (max(start, oldest.low), min(end, newest.high)) if oldest and newest else None


async def _with_rows(connection: AnyConnection, partitions: Sequence[Partition]) -> Partition | None:
    """The first that has rows."""
    for one in partitions:
        if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {quoted(one.name)})"):  # noqa: S608 - quoted
            return one
    return None


async def ensure_default(connection: AnyConnection, table: Partitioned) -> None:
    """Creates the default partition unless it exists."""
    await connection.execute(
        f"CREATE TABLE IF NOT EXISTS {quoted(table.default)} PARTITION OF {quoted(table.name)} DEFAULT",
    )


async def create_partitions(
    connection: AnyConnection, table: Partitioned, now_ns: int, kept_days: int
) -> None:
    """Creates the partitions of now and soon, and those of the rows in the default partition.

    ``kept_days``: how long rows are kept; 0: forever. Raises as :func:`ensure_partition`; partitions created
    by then remain.
    """
    end = day_of(now_ns) + AHEAD
    time: datetime | None = day_of(now_ns)
    while time is not None and time <= end:
        time = (await ensure_partition(connection, table, time, now_ns, kept_days)).high
    time = datetime(1, 1, 1, tzinfo=UTC)
    while True:
        time = await connection.fetchval(
            f"SELECT min({TIME}) FROM {quoted(table.default)} WHERE {TIME} >= $1 AND {TIME} < $2",  # noqa: S608 - quoted
            time,
            end,
        )
        if time is None:
            return
        time = (await ensure_partition(connection, table, time, now_ns, kept_days)).high


async def ensure_partition(
    connection: AnyConnection, table: Partitioned, time: datetime, now_ns: int, kept_days: int
) -> Partition:
    """The partition that rows of this time belong to, created unless it exists.

    One transaction creates it and moves its rows out of the default partition. ``kept_days`` as in
    :func:`create_partitions`. Raises what asyncpg raises when the table stays in use for longer than
    :data:`LOCK_LIMIT`.
    """
    found = _containing(await partitions_of(connection, table), time)
    if found is not None:
        return found
    created = day_of(from_datetime(await created_at(connection)))
    async with connection.transaction():
        await limit_locks(connection)
        await connection.execute(
            "SELECT pg_advisory_xact_lock($1, hashtext($2))", _CREATION_LOCK, quoted(table.name)
        )
        existing = await partitions_of(connection, table)
        found = _containing(existing, time)
        if found is None:
            days = _width(table, to_datetime(now_ns) - time, kept_days)
            low = BEGINNING + (time - BEGINNING) // timedelta(days=days) * timedelta(days=days)
            ends = [created, *(end for one in existing for end in (one.low, one.high))]
            found = Partition(
                max([low, *(end for end in ends if end <= time)]),
                min([low + timedelta(days=days), *(end for end in ends if end > time)]),
                "",
            )
            found = Partition(found.low, found.high, shortened(table.name, f"_p{found.low:%Y%m%d}"))
            await _create_partition(connection, table, found)
    return found


def _containing(partitions: Sequence[Partition], time: datetime) -> Partition | None:
    return next((one for one in partitions if one.low <= time < one.high), None)


def _width(table: Partitioned, age: timedelta, kept_days: int) -> int:
    """Days of a new partition for rows of this age."""
    by_age = DAY if age <= _OLD else MONTH if age <= _VERY_OLD else YEAR
    return max(new_width(table.days, kept_days), by_age)


def new_width(least: int, kept_days: int) -> int:
    """Days of a partition for new rows, which are kept for so many days; 0: forever."""
    kept_days = kept_days or _FOREVER
    return max(least, DAY if kept_days <= QUARTER else MONTH if kept_days <= 3 * YEAR else QUARTER)


async def _create_partition(connection: AnyConnection, table: Partitioned, made: Partition) -> None:
    """In a transaction."""
    parent, default, partition = quoted(table.name), quoted(table.default), quoted(made.name)
    low, high = made.low.isoformat(), made.high.isoformat()
    # Created apart and attached: CREATE TABLE … PARTITION OF would block readers and writers.
    await connection.execute(f"CREATE TABLE {partition} (LIKE {parent} INCLUDING DEFAULTS)")
    await leave_unanalyzed(connection, partition, table.unanalyzed)
    await connection.execute(f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE")
    await connection.execute(
        f"WITH moved AS (DELETE FROM {default} WHERE {TIME} >= '{low}' AND {TIME} < '{high}' RETURNING *)"  # noqa: S608 - quoted
        f" INSERT INTO {partition} SELECT * FROM moved",
    )
    await connection.execute(
        f"ALTER TABLE {parent} ATTACH PARTITION {partition} FOR VALUES FROM ('{low}') TO ('{high}')",
    )


async def leave_unanalyzed(connection: AnyConnection, relation: str, columns: Sequence[str]) -> None:
    """Switches off the statistics of columns of a table, quoted, and of its partitions."""
    if columns:
        actions = (f"ALTER COLUMN {quoted(name)} SET STATISTICS 0" for name in columns)
        await connection.execute(f"ALTER TABLE {relation} {', '.join(actions)}")


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


async def lock_before(
    connection: AnyConnection, table: Partitioned, horizon: datetime, start: datetime = BEGINNING
) -> list[str]:
    """Keeps others from storing rows that :func:`drop_before` would drop, in a transaction.

    Returns the partitions that these rows are in, quoted.
    """
    names = [*await _older(connection, table, horizon, start), table.default]
    parts = [quoted(name) for name in names]
    await connection.execute(f"LOCK TABLE {', '.join(parts)} IN SHARE MODE")
    return parts


async def drop_before(
    connection: AnyConnection, table: Partitioned, horizon: datetime, start: datetime = BEGINNING
) -> None:
    """Drops the partitions that begin at ``start`` or later and end before the horizon, in a transaction."""
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
    return [one.name for one in partitions if start <= one.low and one.high <= horizon]


async def limit_locks(connection: AnyConnection) -> None:
    """In a transaction: give up on a lock rather than block others for long."""
    await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_LIMIT}'")
