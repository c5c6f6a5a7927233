"""The tables that are archived: events of every type, and the raw samples of every collector.

Samples have all columns that the database stores, also those of metrics that are no longer declared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from decahertz.clock import NS_PER_SECOND, from_datetime
from decahertz.event import EVENT_BY_TABLE
from storage.query.export import CYCLE, ExportColumn, ExportRequest, events_request
from storage.schema.samples import TIME, packed_of, quoted, recent_of
from storage.tiers.archived import start_of, stored_days
from storage.tiers.plain.packed import PackedTable, has_packed

if TYPE_CHECKING:
    from storage.database import AnyConnection

DAY_NS: Final = 86_400 * NS_PER_SECOND
_SAMPLE_TABLES = "SELECT table_name FROM tier_state UNION SELECT table_name FROM tier_generations ORDER BY 1"
_COLUMNS = """
SELECT attname::text, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_ORDINARY = """
SELECT relkind = 'r' AND NOT EXISTS (
    SELECT FROM pg_inherits WHERE inhparent = pg_class.oid  -- a hypertable has chunks
) FROM pg_class WHERE oid = to_regclass($1)
"""
# One look into the index for each day that has rows.
_DAYS = """
WITH RECURSIVE days AS (
    SELECT (SELECT date_trunc('day', min({time}), 'UTC') FROM {table}) AS start
    UNION ALL
    SELECT (
        SELECT date_trunc('day', min({time}), 'UTC') FROM {table}
        WHERE {time} >= days.start + INTERVAL '24 hours'
    ) FROM days WHERE days.start < $1
)
SELECT (start AT TIME ZONE 'UTC')::date FROM days WHERE start < $1 ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class ArchivedTable:
    """A table whose days are archived."""

    name: str
    written: str
    """The relation that rows are written into; ``name`` unless that is a view."""
    relations: tuple[str, ...]
    """The relations that store its rows."""
    rows: ExportRequest
    """All of its rows."""
    is_ordinary: bool
    """Whether it has neither partitions nor chunks: its days are those that have rows."""

    async def days(self, connection: AnyConnection, end: datetime) -> list[date]:
        """The UTC days before ``end`` of which it may have rows, oldest first."""
        if not self.is_ordinary:
            return await stored_days(connection, self.relations, start_of(date(1970, 1, 1)), end)
        statement = _DAYS.format(time=TIME, table=quoted(self.name))
        return [day for (day,) in await connection.fetch(statement, end)]

    async def has_rows(self, connection: AnyConnection, day: date) -> bool:
        """Whether a day has rows."""
        start = start_of(day)
        for relation in self.relations:
            statement = f"SELECT EXISTS (SELECT FROM {quoted(relation)} WHERE {TIME} >= $1 AND {TIME} < $2)"  # noqa: S608 - quoted
            if await connection.fetchval(statement, start, start + timedelta(days=1)):
                return True
        return False

    def rows_of(self, day: date) -> ExportRequest:
        """The rows of a day."""
        start_ns = from_datetime(start_of(day))
        return replace(self.rows, start_ns=start_ns, end_ns=start_ns + DAY_NS)


async def archived_tables(connection: AnyConnection) -> dict[str, ArchivedTable]:
    """The tables of the database by name: those of samples first."""
    tables = [await _samples(connection, name) for (name,) in await connection.fetch(_SAMPLE_TABLES)]
    for name in sorted(EVENT_BY_TABLE):
        is_ordinary = await connection.fetchval(_ORDINARY, quoted(name))
        if is_ordinary is not None:  # it exists
            relations = (recent_of(name), packed_of(name)) if await has_packed(connection, name) else (name,)
            tables.append(ArchivedTable(name, relations[0], relations, events_request(name), is_ordinary))
    return {table.name: table for table in tables}


async def _samples(connection: AnyConnection, name: str) -> ArchivedTable:
    is_packed = await has_packed(connection, name)
    written = recent_of(name) if is_packed else name
    stored = [tuple(row) for row in await connection.fetch(_COLUMNS, quoted(written))]
    key = [column for column, _, is_required in stored if is_required and column != TIME]
    metrics = {column: sql_type for column, sql_type, is_required in stored if not is_required}
    columns = [
        *(ExportColumn(column, "text") for column in key),
        *(ExportColumn(*metric) for metric in metrics.items()),
    ]
    packed = PackedTable(name, key, metrics) if is_packed else None
    rows = ExportRequest(name, (CYCLE, *columns), order=(TIME, *key), packed=packed)
    relations = (written, packed_of(name)) if is_packed else (name,)
    return ArchivedTable(name, written, relations, rows, is_ordinary=False)
