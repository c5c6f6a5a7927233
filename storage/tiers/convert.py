"""Tables as they were first made, flat, become partitioned or hypertables, with all their rows.

A table that was just made and is empty goes the same way, so there is one way only. Each conversion is one
transaction: after a crash the table is what it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from storage.schema.samples import TIME, literal, quoted
from storage.tiers.partitions import Partitioned, ensure_rest
from storage.tiers.schema import shortened

if TYPE_CHECKING:
    from storage.database import AnyConnection

_INDEXES = """
SELECT c.relname AS name, pg_get_indexdef(c.oid) AS definition
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass($1) ORDER BY c.relname
"""
_GRANTS = """
SELECT a.privilege_type AS privilege, a.is_grantable AS grantable,
       CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee
FROM pg_class c, aclexplode(c.relacl) a
WHERE c.oid = to_regclass($1) AND a.grantee <> c.relowner
"""


@dataclass(frozen=True, slots=True)
class _Flat:
    """What has to be made again on the new table."""

    indexes: list[tuple[str, str]]
    grants: list[str]
    comment: str | None


async def is_flat(connection: AnyConnection, table: str) -> bool:
    """Whether it is a table in one piece: neither partitioned nor a hypertable."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass($1) AND relkind = 'r')", quoted(table)
    )
    return found


async def to_partitions(connection: AnyConnection, table: Partitioned, today: datetime) -> bool:
    """Make a flat table a partitioned one; returns whether it had rows.

    No row is moved: the table becomes the first partition, for all times up to the day after its newest row,
    and retention drops it when that is over.
    """
    log = structlog.get_logger(part="tiers")
    name, old = table.name, shortened(table.name, "_before")
    async with connection.transaction():
        await _start(connection, name)
        newest = await connection.fetchval(f"SELECT max({TIME}) FROM {quoted(name)}")  # noqa: S608 - quoted
        flat = await _set_aside(connection, name, old)
        await connection.execute(
            f"CREATE TABLE {quoted(name)} (LIKE {quoted(old)} INCLUDING DEFAULTS INCLUDING COMMENTS)"
            f" PARTITION BY RANGE ({TIME})"
        )
        await _make_again(connection, name, flat)
        if newest is None:
            await connection.execute(f"DROP TABLE {quoted(old)}")
        else:
            log.info("table_converting", table=name, to="partitions")
            high = max(newest, today).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            await connection.execute(
                f"ALTER TABLE {quoted(name)} ATTACH PARTITION {quoted(old)}"
                f" FOR VALUES FROM (MINVALUE) TO ('{high.isoformat()}')"
            )
        await ensure_rest(connection, table)
    if newest is not None:
        log.info("table_converted", table=name)
    return newest is not None


async def to_hypertable(connection: AnyConnection, table: str, chunk_hours: int) -> bool:
    """Make a flat table a hypertable; returns whether it had rows. They are copied day by day."""
    log = structlog.get_logger(part="tiers")
    old = shortened(table, "_before")
    async with connection.transaction():
        await _start(connection, table)
        flat = await _set_aside(connection, table, old)
        await connection.execute(
            f"CREATE TABLE {quoted(table)} (LIKE {quoted(old)} INCLUDING DEFAULTS INCLUDING COMMENTS)"
        )
        await connection.execute(
            "SELECT create_hypertable($1::text::regclass, by_range('time', make_interval(hours => $2)),"
            " create_default_indexes => false)",
            quoted(table),
            chunk_hours,
        )
        await _make_again(connection, table, flat)
        start = low = await connection.fetchval(
            f"SELECT min({TIME}) FROM {quoted(old)}"  # noqa: S608 - a table's name, quoted
        )
        while start is not None:
            end = start.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            status = await connection.execute(
                f"INSERT INTO {quoted(table)} SELECT * FROM {quoted(old)}"  # noqa: S608 - names, quoted
                f" WHERE {TIME} >= $1 AND {TIME} < $2",
                start,
                end,
            )
            rows = int(status.rpartition(" ")[2])
            if rows:
                log.info("table_converting", table=table, to="hypertable", until=end.isoformat(), rows=rows)
            # Over days without a row at once: there may be years of them.
            start = await connection.fetchval(
                f"SELECT min({TIME}) FROM {quoted(old)} WHERE {TIME} >= $1",  # noqa: S608 - quoted
                end,
            )
        await connection.execute(f"DROP TABLE {quoted(old)}")
    if low is not None:
        log.info("table_converted", table=table)
    return low is not None


async def _start(connection: AnyConnection, table: str) -> None:
    await connection.execute("SET LOCAL statement_timeout = 0")
    await connection.execute(f"LOCK TABLE {quoted(table)} IN ACCESS EXCLUSIVE MODE")


async def _set_aside(connection: AnyConnection, table: str, old: str) -> _Flat:
    """Rename the table and its indexes; returns what the new one needs."""
    indexes = [(row["name"], row["definition"]) for row in await connection.fetch(_INDEXES, quoted(table))]
    grants = [
        f"GRANT {row['privilege']} ON {quoted(table)} TO {row['grantee']}"
        + (" WITH GRANT OPTION" if row["grantable"] else "")
        for row in await connection.fetch(_GRANTS, quoted(table))
    ]
    comment = await connection.fetchval("SELECT obj_description(to_regclass($1))", quoted(table))
    for name, _ in indexes:
        await connection.execute(f"ALTER INDEX {quoted(name)} RENAME TO {quoted(shortened(name, '_before'))}")
    await connection.execute(f"ALTER TABLE {quoted(table)} RENAME TO {quoted(old)}")
    return _Flat(indexes, grants, comment)


async def _make_again(connection: AnyConnection, table: str, flat: _Flat) -> None:
    for statement in (*(definition for _, definition in flat.indexes), *flat.grants):
        await connection.execute(statement)
    if flat.comment is not None:
        await connection.execute(f"COMMENT ON TABLE {quoted(table)} IS {literal(flat.comment)}")
