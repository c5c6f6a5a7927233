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
from storage.schema.events import (
    BULK_EVENTS,
    PACKED_EVENTS,
    event_table_statements,
    unpacked_event_functions,
)
from storage.schema.samples import (
    TIME,
    Column,
    columns_of,
    comment_statement,
    default_of,
    key_columns,
    quoted,
    recent_of,
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
  AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p')
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
    """Creates the bulk event tables and these sample tables, or adds their new columns.

    ``connection`` holds the schema lock. Returns the statements that it ran, without
    the functions that read ranges of events. A ``partitioned`` table is
    created partitioned by ``time``, without partitions; tables that are packed have the name of
    :func:`~storage.schema.samples.recent_of` then, and those of versions without packing get it.

    Raises :class:`SchemaConflictError` when the type of a column or the key of a table has changed, and what
    asyncpg raises.
    """
    async with connection.transaction():
        statements = await pending_statements(connection, schemas, partitioned=partitioned)
        for statement in statements:
            await connection.execute(statement)
        if not partitioned:
            schema = quoted(await connection.fetchval("SELECT current_schema()"))
            for statement in unpacked_event_functions(schema):
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
    tables = [*map(table_of, schemas), *(event_type.table for event_type in PACKED_EVENTS)]
    names = {table: recent_of(table) for table in tables}
    for row in await connection.fetch(_COLUMNS, [*events, *names, *names.values()]):
        column = _StoredColumn(**row)
        stored.setdefault(column.table_name, {})[column.name] = column
    statements: list[str] = []
    if partitioned:
        for table in set(names) & set(stored):  # of a version without packing
            statements += _renamed(table)
            stored[names[table]] = stored.pop(table)
    for table, event_type in events.items():
        if table not in stored and names.get(table) not in stored:
            statements += event_table_statements(event_type, partitioned=partitioned)
    for schema in schemas:
        table = table_of(schema)
        if partitioned:
            table = names[table]
        if table not in stored:
            statements += sample_table_statements(schema, partitioned=partitioned)
        else:
            statements += _changes(schema, table, stored[table])
    return statements


def _renamed(table: str) -> Iterator[str]:
    """Makes room for the view over recent and packed rows. Indexes and partitions keep their names."""
    recent = recent_of(table)
    yield f"ALTER TABLE {quoted(table)} RENAME TO {quoted(recent)}"
    default, renamed = default_of(table), default_of(recent)
    yield f"ALTER TABLE IF EXISTS {quoted(default)} RENAME TO {quoted(renamed)}"


def _changes(schema: SampleSchema, table: str, stored: dict[str, _StoredColumn]) -> Iterator[str]:
    columns = columns_of(schema)
    _check(schema, columns, stored)
    for column in columns:
        if column.name not in stored:
            yield f"ALTER TABLE {quoted(table)} ADD COLUMN {column.definition}"
    for column in columns:
        if column.name not in stored or stored[column.name].comment != column.comment:
            yield comment_statement(table, column)


def _check(schema: SampleSchema, columns: Sequence[Column], stored: dict[str, _StoredColumn]) -> None:
    """Raises :class:`SchemaConflictError` where adding columns is not enough."""
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
