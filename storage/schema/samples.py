"""Sample tables, derived from the declarations: ``{collector}_samples``.

A table has the grid instant ``time``, the key, and one column for each metric. A new metric becomes a new
column at start. Nothing is ever dropped: the column of a metric that is gone stays and is null from then on.
A sample is stored once because its batch is (see :mod:`storage.write.transaction`), so there is no unique
index.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
import structlog

from decahertz.metric import Kind, Unit
from decahertz.sample import MetricField, SampleSchema
from storage.database import Database, DatabaseError
from storage.schema.migrate import LOCK_SECONDS, SCHEMA_LOCK

if TYPE_CHECKING:
    from storage.database import AnyConnection

TIME = "time"
_SQL_TYPES = {int: "bigint", float: "double precision", bool: "boolean"}
_COLUMNS_OF_TABLES = """
SELECT c.relname AS table_name, a.attname AS column_name, a.attnotnull AS required,
       format_type(a.atttypid, a.atttypmod) AS sql_type, col_description(c.oid, a.attnum) AS comment
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY($1::text[])
  AND a.attnum > 0 AND NOT a.attisdropped
"""


class SchemaConflictError(DatabaseError):
    """A table in the database and the declaration of its sample contradict each other."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as it should be."""

    name: str
    sql_type: str
    required: bool
    comment: str

    @property
    def definition(self) -> str:
        """As it stands in ``CREATE TABLE``."""
        collation = ' COLLATE "C"' if self.required and self.sql_type == "text" else ""
        return f"{quoted(self.name)} {self.sql_type}{collation}{' NOT NULL' if self.required else ''}"


@dataclass(frozen=True, slots=True)
class _Found:
    """A column as it is."""

    sql_type: str
    required: bool
    comment: str | None


def quoted(name: str) -> str:
    """An identifier, safe in SQL. Values never come here: they are parameters."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string constant, for the statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'" if "\\" not in text else "E'" + _escaped(text) + "'"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "''")


def storable(text: str) -> bool:
    """Whether a ``text`` can hold it. What it cannot hold cannot be found either."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def table_of(schema: SampleSchema) -> str:
    """The table of a collector's samples."""
    return f"{schema.collector}_samples"


def columns_of(schema: SampleSchema) -> tuple[Column, ...]:
    """The columns of the table, in order."""
    time = Column(TIME, "timestamp with time zone", required=True, comment="The instant of the 10 Hz grid.")
    keys = (Column(name, "text", required=True, comment="Part of the key.") for name in schema.key)
    metrics = (
        Column(field.name, sql_type_of(field), required=False, comment=_comment(field))
        for field in schema.metrics
    )
    return (time, *keys, *metrics)


def sql_type_of(field: MetricField) -> str:
    """The type of a metric's column."""
    return "text" if issubclass(field.type, enum.StrEnum) else _SQL_TYPES[field.type]


def _comment(field: MetricField) -> str:
    unit = f" Unit: {field.metric.unit.value}." if field.metric.unit is not Unit.NONE else ""
    counter = " A total since the start of the process." if field.metric.kind is Kind.COUNTER else ""
    return f"{field.metric.help}{unit}{counter}"


async def ensure_tables(database: Database, schemas: Iterable[SampleSchema]) -> list[str]:
    """Make the tables of these samples fit their declarations; returns the statements that it took.

    Where all is as it should be this is one question and no lock. Raises :class:`SchemaConflictError`
    for a column whose type has changed and for a key that has, and
    :class:`~storage.database.DatabaseError` where PostgreSQL refuses.
    """
    schemas = list(schemas)
    try:
        return await _ensure(database, schemas)
    except asyncpg.PostgresError as error:
        raise DatabaseError(f"cannot make the tables in {database.name}: {error}") from error


async def _ensure(database: Database, schemas: Sequence[SampleSchema]) -> list[str]:
    async with database.query() as connection:
        if not await _missing(connection, schemas):
            return []
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
            await connection.execute("SET LOCAL statement_timeout = 0")
            await connection.execute(
                "SELECT pg_advisory_xact_lock($1)", SCHEMA_LOCK, timeout=LOCK_SECONDS + 5
            )
            statements = await _missing(connection, schemas)  # another process may have been faster
            for statement in statements:
                await connection.execute(statement)
    if statements:
        tables = [table_of(schema) for schema in schemas]
        structlog.get_logger(part="schema").info("tables_changed", tables=tables, statements=len(statements))
    return statements


async def _missing(connection: AnyConnection, schemas: Sequence[SampleSchema]) -> list[str]:
    tables = [table_of(schema) for schema in schemas]
    found: dict[str, dict[str, _Found]] = {}
    for row in await connection.fetch(_COLUMNS_OF_TABLES, tables):
        column = _Found(row["sql_type"], row["required"], row["comment"])
        found.setdefault(row["table_name"], {})[row["column_name"]] = column
    return [statement for schema in schemas for statement in _statements(schema, found.get(table_of(schema)))]


def _statements(schema: SampleSchema, found: dict[str, _Found] | None) -> Iterator[str]:
    table = table_of(schema)
    columns = columns_of(schema)
    if found is None:
        yield from _creation(schema, table, columns)
        found = {}
    else:
        _check(schema, table, columns, found)
        for column in columns:
            if column.name not in found:
                yield f"ALTER TABLE {quoted(table)} ADD COLUMN {column.definition}"
    for column in columns:
        if column.name not in found or found[column.name].comment != column.comment:
            yield f"COMMENT ON COLUMN {quoted(table)}.{quoted(column.name)} IS {literal(column.comment)}"


def _creation(schema: SampleSchema, table: str, columns: Sequence[Column]) -> Iterator[str]:
    definitions = ", ".join(column.definition for column in columns)
    yield f"CREATE TABLE {quoted(table)} ({definitions})"
    text = f"Samples of the collector {schema.collector}: one row for each key and instant."
    yield f"COMMENT ON TABLE {quoted(table)} IS {literal(text)}"
    yield f"CREATE INDEX {quoted(f'{table}_time')} ON {quoted(table)} ({quoted(TIME)})"
    if schema.key:
        key = ", ".join(quoted(name) for name in schema.key)
        yield f"CREATE INDEX {quoted(f'{table}_key')} ON {quoted(table)} ({key}, {quoted(TIME)} DESC)"


def _check(schema: SampleSchema, table: str, columns: Sequence[Column], found: dict[str, _Found]) -> None:
    """Raise :class:`SchemaConflictError` where adding columns is not enough."""
    for column in columns:
        there = found.get(column.name)
        if there is not None and there.sql_type != column.sql_type:
            raise SchemaConflictError(
                f"column {table}.{column.name} holds {there.sql_type} and its metric is declared as"
                f" {column.sql_type}: give the metric another name, or rename the column"
            )
    required = {name for name, column in found.items() if column.required} - {TIME}
    if required != set(schema.key):
        raise SchemaConflictError(
            f"table {table} has the key ({', '.join(sorted(required))}) and its sample is declared with"
            f" ({', '.join(sorted(schema.key))}): rename the table to keep what it holds"
        )
