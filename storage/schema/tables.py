"""Creates the tables that derive from declarations, and adds a column for each new metric.

Nothing is ever dropped: the column of a metric that is no longer declared stays, and is null from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from decahertz.sample import SampleSchema
from storage.database import DatabaseError
from storage.schema.events import BULK_EVENTS, event_table_statements
from storage.schema.samples import (
    TIME,
    Column,
    columns_of,
    comment_statement,
    key_columns,
    quoted,
    sample_table_statements,
    table_of,
)

if TYPE_CHECKING:
    from storage.database import AnyConnection

_COLUMNS = """
SELECT c.relname AS table_name, a.attname AS name, a.attnotnull AS required,
       format_type(a.atttypid, a.atttypmod) AS sql_type, col_description(c.oid, a.attnum) AS comment
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY($1)
  AND a.attnum > 0 AND NOT a.attisdropped
"""


class SchemaConflictError(DatabaseError):
    """A table contradicts the declaration of its sample."""


@dataclass(frozen=True, slots=True)
class _StoredColumn:
    """A column as the database has it."""

    table_name: str
    name: str
    required: bool
    sql_type: str
    comment: str | None


async def update_tables(
    connection: AnyConnection, schemas: Sequence[SampleSchema], *, partitioned: bool
) -> list[str]:
    """Create the bulk event tables and these sample tables, or add their new columns.

    ``connection`` holds the schema lock. Returns the statements that it ran. A ``partitioned`` table is
    created partitioned by ``time``, without partitions.

    Raises :class:`SchemaConflictError` when the type of a column or the key of a table has changed, and what
    asyncpg raises.
    """
    async with connection.transaction():
        statements = await pending_statements(connection, schemas, partitioned=partitioned)
        for statement in statements:
            await connection.execute(statement)
    if statements:
        structlog.get_logger(part="schema").info("tables_changed", statements=len(statements))
    return statements


async def pending_statements(
    connection: AnyConnection, schemas: Sequence[SampleSchema], *, partitioned: bool
) -> list[str]:
    """The statements that :func:`update_tables` runs. Raises :class:`SchemaConflictError`."""
    events = {event_type.table: event_type for event_type in BULK_EVENTS}
    stored: dict[str, dict[str, _StoredColumn]] = {}
    for row in await connection.fetch(_COLUMNS, [*events, *map(table_of, schemas)]):
        column = _StoredColumn(**row)
        stored.setdefault(column.table_name, {})[column.name] = column
    statements = []
    for table, event_type in events.items():
        if table not in stored:
            statements += event_table_statements(event_type, partitioned=partitioned)
    for schema in schemas:
        if table_of(schema) not in stored:
            statements += sample_table_statements(schema, partitioned=partitioned)
        else:
            statements += _changes(schema, stored[table_of(schema)])
    return statements


def _changes(schema: SampleSchema, stored: dict[str, _StoredColumn]) -> Iterator[str]:
    table = table_of(schema)
    columns = columns_of(schema)
    _check(schema, columns, stored)
    for column in columns:
        if column.name not in stored:
            yield f"ALTER TABLE {quoted(table)} ADD COLUMN {column.definition}"
    for column in columns:
        if column.name not in stored or stored[column.name].comment != column.comment:
            yield comment_statement(table, column)


def _check(schema: SampleSchema, columns: Sequence[Column], stored: dict[str, _StoredColumn]) -> None:
    """Raise :class:`SchemaConflictError` where adding columns is not enough."""
    table = table_of(schema)
    for column in columns:
        existing = stored.get(column.name)
        if existing is not None and existing.sql_type != column.sql_type:
            raise SchemaConflictError(
                f"column {table}.{column.name} is {existing.sql_type}, but its metric is declared as"
                f" {column.sql_type}: rename the metric or the column"
            )
    required = {name for name, column in stored.items() if column.required} - {TIME}
    declared = set(key_columns(schema))
    if required != declared:
        raise SchemaConflictError(
            f"table {table} has the key ({', '.join(sorted(required))}), but its sample is declared with"
            f" ({', '.join(sorted(declared))}): rename the table to keep its rows"
        )
