"""Rows of the tiers as plain PostgreSQL stores them: null for what follows from other columns.

A null takes no room, so a metric that does not change in a bucket takes that of its newest value alone:

==========  =================================================================
column      null where it is
==========  =================================================================
``_min``    the newest value
``_max``    the newest value
``_count``  the number of samples; 0 of a metric without a value
``_sum``    the newest value times the count, to 13 digits
==========  =================================================================

The view that readers select from has all values. Rows of earlier versions are complete, and read the same.

An aggregate that a metric gains later is unknown in older buckets. Their columns have a value that no metric
can have; ``ALTER TABLE`` gives it to existing rows without a change of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from storage.schema.samples import quoted
from storage.tiers.names import SAMPLES, Suffix
from storage.tiers.schema import TierMetric, TierSchema

UNKNOWN = {"double precision": "'NaN'::double precision", "bigint": "'-9223372036854775808'::bigint"}
"""By SQL type: the value of a column in rows from before the column."""
_DIGITS = "1e-13"
_TINY = "1e-290"
"""PostgreSQL refuses products that underflow: differences are compared with no less than a part of this."""


def stored(schema: TierSchema) -> dict[str, str]:
    """SQL that makes a column to store from a complete row, for those that are not stored as they are."""
    return {
        column: f"CASE WHEN {_last(metric)} IS NOT NULL THEN {_different(metric, suffix, unknown)} END"
        for metric, suffix, column, unknown in _columns(schema)
    }


def complete(schema: TierSchema) -> dict[str, str]:
    """SQL that makes a complete column from a stored row, for those that are not complete as they are."""
    return {
        column: f"nullif(coalesce({quoted(column)}, {_same(metric, suffix)}), {unknown})"
        for metric, suffix, column, unknown in _columns(schema)
    }


def _columns(schema: TierSchema) -> Iterator[tuple[TierMetric, Suffix, str, str]]:
    """The columns that can be null: their metric and suffix, their name, and the value for unknown."""
    for metric in schema.metrics:
        for suffix, (column, sql_type) in zip(metric.suffixes, metric.columns().items(), strict=True):
            if suffix is not Suffix.LAST:
                yield metric, suffix, column, UNKNOWN[sql_type]


def _different(metric: TierMetric, suffix: Suffix, unknown: str) -> str:
    """The value of a metric that has one, null where :func:`_same` says it."""
    column = quoted(f"{metric.name}_{suffix}")
    if suffix is Suffix.SUM:
        is_same = f"abs({column} - {_product(metric)}) <= {_DIGITS} * greatest(abs({column}), {_TINY})"
        return f"CASE WHEN {is_same} THEN NULL ELSE coalesce({column}, {unknown}) END"
    return f"nullif(coalesce({column}, {unknown}), {_same(metric, suffix)})"


def _same(metric: TierMetric, suffix: Suffix) -> str:
    """The value that a null stands for."""
    match suffix:
        case Suffix.COUNT:
            return f"CASE WHEN {_last(metric)} IS NULL THEN 0 ELSE {SAMPLES} END"
        case Suffix.SUM:
            return _product(metric)
        case _:
            return _last(metric)


def _product(metric: TierMetric) -> str:
    count = f"coalesce({quoted(f'{metric.name}_{Suffix.COUNT}')}, {SAMPLES})"
    return f"{_last(metric)}::double precision * {count}"


def _last(metric: TierMetric) -> str:
    return quoted(f"{metric.name}_{Suffix.LAST}")
