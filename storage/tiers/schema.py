"""What a tier is made of, as the engines need it: the declaration, and what is in the database already.

A metric that is declared no more keeps its column in the samples, so its buckets can be computed again when
late rows arrive; it stays in the tiers too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from decahertz.sample import SampleSchema
from storage.schema.samples import TIME, quoted, sql_type_of, table_of
from storage.tiers.names import SAMPLES, Part, Tier, has_parts, width_ns

if TYPE_CHECKING:
    from storage.database import AnyConnection

_LONGEST = 63
EPOCH = "TIMESTAMPTZ '1970-01-01 00:00:00+00'"

_COLUMNS = """
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS sql_type
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = $1
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""


@dataclass(frozen=True, slots=True)
class ShapedMetric:
    """A metric by its name, the type of its raw column, and whether it has min, max, sum and count."""

    name: str
    sql_type: str
    parts: bool

    def columns(self) -> tuple[tuple[str, str], ...]:
        """Names and types of its columns in a tier."""
        last = (f"{self.name}_{Part.LAST}", self.sql_type)
        if not self.parts:
            return (last,)
        return (
            last,
            (f"{self.name}_{Part.MIN}", self.sql_type),
            (f"{self.name}_{Part.MAX}", self.sql_type),
            (f"{self.name}_{Part.SUM}", "double precision"),
            (f"{self.name}_{Part.COUNT}", "bigint"),
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """A sample table and what its tiers hold."""

    table: str
    key: tuple[str, ...]
    metrics: tuple[ShapedMetric, ...]

    def relation(self, tier: Tier) -> str:
        """What readers select from."""
        return self.table if tier is Tier.RAW else f"{self.table}_{tier}"

    def columns(self) -> tuple[tuple[str, str], ...]:
        """Names and types of all columns of a tier, in the order in which they are made."""
        keys = ((name, "text") for name in self.key)
        metrics = (column for metric in self.metrics for column in metric.columns())
        return ((TIME, "timestamp with time zone"), *keys, (SAMPLES, "bigint"), *metrics)


def shape_of(schema: SampleSchema, raw: Mapping[str, str], tier: Mapping[str, str]) -> Shape:
    """The shape from the declaration and from the columns (name to type) that are there already."""
    metrics = {
        field.name: ShapedMetric(
            field.name, sql_type_of(field), has_parts(field) or f"{field.name}_{Part.COUNT}" in tier
        )
        for field in schema.metrics
    }
    for name, sql_type in raw.items():
        if name not in metrics and f"{name}_{Part.LAST}" in tier:
            metrics[name] = ShapedMetric(name, sql_type, f"{name}_{Part.COUNT}" in tier)
    return Shape(table_of(schema), schema.key, tuple(metrics.values()))


async def columns_in(connection: AnyConnection, relation: str) -> dict[str, str]:
    """Names and types of the columns of a table or view; empty where there is none."""
    return {row["name"]: row["sql_type"] for row in await connection.fetch(_COLUMNS, relation)}


def interval(tier: Tier) -> str:
    """The width of a bucket as an SQL constant."""
    return f"INTERVAL '{width_ns(tier) // 10**9} seconds'"


def bucket(tier: Tier, column: str = TIME) -> str:
    """The start of the bucket that a time falls in. Buckets count from 1970, whatever the time zone."""
    return f"date_bin({interval(tier)}, {quoted(column)}, {EPOCH})"


def listed(names: Iterable[str]) -> str:
    """Names of columns, quoted, with commas."""
    return ", ".join(map(quoted, names))


def values_of_raw(shape: Shape, newest: str) -> dict[str, str]:
    """Expressions that make a bucket from raw rows, by name of column; without time and key.

    ``newest`` is a template for the newest of a column's values: ``{value}`` stands for the column.
    """
    found = {SAMPLES: "count(*)"}
    for metric in shape.metrics:
        value = quoted(metric.name)
        made = [newest.format(value=value)]
        if metric.parts:
            made += [f"min({value})", f"max({value})", f"sum({value})::double precision", f"count({value})"]
        found |= _named(metric, made)
    return found


def values_of_tier(shape: Shape, newest: str) -> dict[str, str]:
    """Expressions that make a bucket from those of the finer tier; as :func:`values_of_raw`."""
    found = {SAMPLES: f"sum({SAMPLES})::bigint"}
    for metric in shape.metrics:
        part = {part: quoted(f"{metric.name}_{part}") for part in Part}
        made = [newest.format(value=part[Part.LAST])]
        if metric.parts:
            made += [
                f"min({part[Part.MIN]})",
                f"max({part[Part.MAX]})",
                f"sum({part[Part.SUM]})",
                f"sum({part[Part.COUNT]})::bigint",
            ]
        found |= _named(metric, made)
    return found


def _named(metric: ShapedMetric, expressions: list[str]) -> dict[str, str]:
    return {name: made for (name, _), made in zip(metric.columns(), expressions, strict=True)}


def shortened(name: str, suffix: str) -> str:
    """A name of ours with a suffix, within PostgreSQL's 63 bytes, and still one of a kind."""
    if len(name) + len(suffix) <= _LONGEST:
        return name + suffix
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST - len(suffix) - 9]}_{digest}{suffix}"
