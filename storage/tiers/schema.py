"""Tier schemas: the columns of a sample table's tiers, and the SQL that computes them.

A metric that is no longer declared keeps its column in the raw table, so late rows can still change its
buckets; it stays in the tiers as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from decahertz.sample import SampleSchema
from storage.schema.samples import (
    RECORDER,
    RECORDER_COLUMN,
    TIME,
    key_columns,
    literal,
    quoted,
    sql_type_of,
    table_of,
)
from storage.tiers.names import SAMPLES, SUFFIXES, Suffix, Tier, width_ns

if TYPE_CHECKING:
    from storage.database import AnyConnection

EPOCH = "TIMESTAMPTZ '1970-01-01 00:00:00+00'"

_TEXTS = {
    Suffix.LAST: "Newest value that is not null",
    Suffix.MIN: "Minimum",
    Suffix.MAX: "Maximum",
    Suffix.SUM: "Sum of the values; divided by the count it is the average",
    Suffix.COUNT: "Number of values that are not null",
}
_COLUMNS = """
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = $1
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""


@dataclass(frozen=True, slots=True)
class TierMetric:
    """A metric of a tier: its name, the SQL type of its raw column, and the columns that it has."""

    name: str
    sql_type: str
    suffixes: tuple[Suffix, ...]

    def columns(self) -> dict[str, str]:
        """SQL types by column name."""
        types = {Suffix.SUM: "double precision", Suffix.COUNT: "bigint"}
        return {f"{self.name}_{one}": types.get(one, self.sql_type) for one in self.suffixes}


@dataclass(frozen=True, slots=True)
class TierSchema:
    """A sample table and the columns of its tiers."""

    table: str
    key: tuple[str, ...]
    metrics: tuple[TierMetric, ...]

    def relation(self, tier: Tier) -> str:
        """The table or view to select from."""
        return self.table if tier is Tier.RAW else f"{self.table}_{tier}"

    def columns(self) -> dict[str, str]:
        """SQL types by name of all columns of a tier, in the order of their creation."""
        columns = {TIME: "timestamp with time zone", **dict.fromkeys(self.key, "text"), SAMPLES: "bigint"}
        for metric in self.metrics:
            columns |= metric.columns()
        return columns


def tier_schema_of(
    schema: SampleSchema, raw: Mapping[str, str] | None = None, tier: Mapping[str, str] | None = None
) -> TierSchema:
    """The tier schema of a declaration, together with what is undeclared and the database still has.

    ``raw`` and ``tier`` are the existing columns (SQL types by name) of the raw table and of a tier. A tier
    goes on with every column that it has of a metric.
    """
    raw, tier = raw or {}, tier or {}

    def metric(name: str, sql_type: str, declared: Collection[Suffix]) -> TierMetric:
        kept = tuple(one for one in Suffix if one in declared or f"{name}_{one}" in tier)
        return TierMetric(name, sql_type, kept)

    metrics = {
        field.name: metric(
            field.name, sql_type_of(field), [suffix for one in field.aggregates for suffix in SUFFIXES[one]]
        )
        for field in schema.metrics
    }
    for name, sql_type in raw.items():
        if name not in metrics and f"{name}_{Suffix.LAST}" in tier:
            metrics[name] = metric(name, sql_type, ())
    return TierSchema(table_of(schema), key_columns(schema), tuple(metrics.values()))


async def columns_in(connection: AnyConnection, relation: str) -> dict[str, str]:
    """SQL types by column name of a table or view; empty if it does not exist."""
    return {row[0]: row[1] for row in await connection.fetch(_COLUMNS, relation)}


async def comment_tier(
    connection: AnyConnection, schema: TierSchema, tier: Tier, commented: Mapping[str, str]
) -> None:
    """Comment the view of a tier and its columns, except those that existed before."""
    view = quoted(schema.relation(tier))
    texts = {
        TIME: "Start of the bucket, UTC.",
        **dict.fromkeys(schema.key, "Part of the key."),
        RECORDER: RECORDER_COLUMN.comment,
        SAMPLES: "Raw samples in the bucket.",
    }
    for metric in schema.metrics:
        for one in metric.suffixes:
            texts[f"{metric.name}_{one}"] = f"{_TEXTS[one]} of {metric.name} in the bucket."
    statements = [
        f"COMMENT ON COLUMN {view}.{quoted(name)} IS {literal(text)}"
        for name, text in texts.items()
        if name not in commented
    ]
    if statements:
        text = f"Samples in buckets of {tier}: one row per recorder, key and bucket."
        await connection.execute("; ".join([f"COMMENT ON VIEW {view} IS {literal(text)}", *statements]))


def interval(tier: Tier) -> str:
    """The width of a bucket as an SQL constant."""
    return f"INTERVAL '{width_ns(tier) // 10**9} seconds'"


def bucket(tier: Tier, column: str = TIME) -> str:
    """SQL for the start of the bucket that a time falls into. Buckets are aligned to 1970 UTC."""
    return f"date_bin({interval(tier)}, {quoted(column)}, {EPOCH})"


def listed(names: Iterable[str]) -> str:
    """Column names, quoted and separated by commas."""
    return ", ".join(map(quoted, names))


def aggregates(schema: TierSchema, tier: Tier, last: str) -> dict[str, str]:
    """SQL that makes a bucket of a tier from rows of the finer one, by column; without time and key.

    ``last`` is a template for a column's newest value; ``{value}`` stands for the column.
    """
    from_raw = tier is Tier.S1
    count = "count({})" if from_raw else "sum({})::bigint"
    found = {SAMPLES: count.format("*" if from_raw else SAMPLES)}
    for metric in schema.metrics:
        source = {one: quoted(metric.name if from_raw else f"{metric.name}_{one}") for one in Suffix}
        expressions = {
            Suffix.LAST: last.format(value=source[Suffix.LAST]),
            Suffix.MIN: f"min({source[Suffix.MIN]})",
            Suffix.MAX: f"max({source[Suffix.MAX]})",
            Suffix.SUM: f"sum({source[Suffix.SUM]})::double precision",
            Suffix.COUNT: count.format(source[Suffix.COUNT]),
        }
        found |= {f"{metric.name}_{one}": expressions[one] for one in metric.suffixes}
    return found
