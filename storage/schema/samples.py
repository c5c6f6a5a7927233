"""Sample tables, derived from the declarations: ``{collector}_samples``.

On plain PostgreSQL that name is a view over ``{collector}_samples_recent``, which rows are written into, and
``{collector}_samples_packed`` (:mod:`storage.tiers.plain.packed`).

A table has the cycle's ``time``, the ``recorder``, the key, and one column for each metric. A sample is
stored once because its batch is (see :mod:`storage.write.transaction`), so there is no unique index.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from decahertz.metric import Kind, Unit
from decahertz.sample import MetricField, SampleSchema

TIME, RECORDER = "time", "recorder"
_LONGEST = 63
_SQL_TYPES = {int: "bigint", float: "double precision", bool: "boolean"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column as it is declared."""

    name: str
    sql_type: str
    required: bool
    comment: str
    default: int | None = None

    @property
    def definition(self) -> str:
        """The column as ``CREATE TABLE`` defines it. Names compare as bytes, as the program compares them."""
        collation = ' COLLATE "C"' if self.required and self.sql_type == "text" else ""
        default = "" if self.default is None else f" DEFAULT {self.default:d}"
        required = " NOT NULL" if self.required else ""
        return f"{quoted(self.name)} {self.sql_type}{collation}{default}{required}"


_TIME_COLUMN = Column(
    TIME, "timestamp with time zone", required=True, comment="The cycle: a multiple of 100 ms, UTC."
)
RECORDER_COLUMN = Column(RECORDER, "text", required=True, comment="The recorder that stored the row.")


def quoted(name: str) -> str:
    """Quotes an identifier. Values are never quoted: they are parameters."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quotes a string constant, for statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'" if "\\" not in text else "E'" + _escaped(text) + "'"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "''")


def shortened(name: str, suffix: str) -> str:
    """A name with a suffix within PostgreSQL's 63 bytes; a digest keeps shortened names distinct."""
    if len(name) + len(suffix) <= _LONGEST:
        return name + suffix
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST - len(suffix) - 9]}_{digest}{suffix}"


def storable(text: str) -> bool:
    """Whether a ``text`` column can hold it. A value that it cannot hold matches no row."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def table_of(schema: SampleSchema) -> str:
    """The table of a collector's samples."""
    return f"{schema.collector}_samples"


def recent_of(table: str) -> str:
    """The partitioned table with the samples that are not packed yet, on plain PostgreSQL."""
    return f"{table}_recent"


def default_of(table: str) -> str:
    """The default partition of a partitioned table, for rows outside of all others."""
    return shortened(table, "_default")


def packed_of(table: str) -> str:
    """The partitioned table with the packed samples, on plain PostgreSQL."""
    return f"{table}_packed"


def key_columns(schema: SampleSchema) -> tuple[str, ...]:
    """The columns that identify one series of samples: the recorder and the sample's key."""
    return (RECORDER, *schema.key)


def columns_of(schema: SampleSchema) -> tuple[Column, ...]:
    """The columns of the table, in order."""
    keys = (Column(name, "text", required=True, comment="Part of the key.") for name in schema.key)
    metrics = (
        Column(field.name, sql_type_of(field), required=False, comment=_comment(field))
        for field in schema.metrics
    )
    return (_TIME_COLUMN, RECORDER_COLUMN, *keys, *metrics)


def sample_table_statements(schema: SampleSchema, *, partitioned: bool) -> list[str]:
    """The statements that create the table with its indexes and comments.

    A ``partitioned`` table is partitioned by ``time`` and has the name of :func:`recent_of`; its partitions,
    and the view over it, are up to the caller.
    """
    table = table_of(schema)
    stored = recent_of(table) if partitioned else table
    columns = columns_of(schema)
    by_time = f" PARTITION BY RANGE ({TIME})" if partitioned else ""
    statements = [
        f"CREATE TABLE {quoted(stored)} ({', '.join(column.definition for column in columns)}){by_time}",
        f"CREATE INDEX {quoted(f'{table}_time')} ON {quoted(stored)} ({quoted(TIME)})",
    ]
    if schema.key:
        # Without the recorder: a history of one key mostly spans all recorders, and few databases have many.
        key = ", ".join(map(quoted, schema.key))
        name = quoted(f"{table}_key")
        statements.append(f"CREATE INDEX {name} ON {quoted(stored)} ({key}, {quoted(TIME)} DESC)")
    return statements + comment_statements(stored, table_comment(schema), columns)


def table_comment(schema: SampleSchema) -> str:
    """The comment on the table, and on the view over it."""
    return f"Samples of the collector {schema.collector}: one row per recorder, key and cycle."


def comment_statements(table: str, text: str, columns: Sequence[Column]) -> list[str]:
    """The statements that comment a table and its columns."""
    return [
        f"COMMENT ON TABLE {quoted(table)} IS {literal(text)}",
        *(comment_statement(table, column) for column in columns),
    ]


def comment_statement(table: str, column: Column) -> str:
    """The statement that comments one column."""
    return f"COMMENT ON COLUMN {quoted(table)}.{quoted(column.name)} IS {literal(column.comment)}"


def sql_type_of(field: MetricField) -> str:
    """The SQL type of a metric's column."""
    return "text" if issubclass(field.type, enum.StrEnum) else _SQL_TYPES[field.type]


def _comment(field: MetricField) -> str:
    unit = f" Unit: {field.metric.unit.value}." if field.metric.unit is not Unit.NONE else ""
    counter = (
        " A total that starts at zero with the process, or goes on where a restored state left off."
        if field.metric.kind is Kind.COUNTER
        else ""
    )
    return f"{field.metric.help}{unit}{counter}"
