"""What the tiers of a sample table are called, and which columns they have. The same on every engine.

A row of a tier is one key in one bucket: ``time`` is the start of the bucket. Of an int or float gauge it
has last, min, max, sum and count, of everything else the last value. Nulls do not take part: ``_last`` is
the newest value that is not null, ``_count`` says how many there were, and the average is sum by count.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from decahertz.clock import CYCLE_NS, NS_PER_SECOND
from decahertz.metric import Kind
from decahertz.sample import MetricField, SampleSchema
from storage.schema.samples import TIME, Column, sql_type_of, table_of
from storage.schema.samples import columns_of as raw_columns_of

SAMPLES = "samples"
"""The column that says how many raw rows are in the bucket."""


class Tier(StrEnum):
    """How fine."""

    RAW = "raw"
    S1 = "1s"
    M1 = "1m"
    H1 = "1h"


class Part(StrEnum):
    """What a column of a tier keeps of a metric; also the end of its name."""

    LAST = "last"
    MIN = "min"
    MAX = "max"
    SUM = "sum"
    COUNT = "count"


ROLLED = (Tier.S1, Tier.M1, Tier.H1)
"""All but the raw one, from fine to coarse; each is made from the one before."""
_WIDTHS_NS = {
    Tier.RAW: CYCLE_NS,
    Tier.S1: NS_PER_SECOND,
    Tier.M1: 60 * NS_PER_SECOND,
    Tier.H1: 3600 * NS_PER_SECOND,
}


@dataclass(frozen=True, slots=True)
class TierColumn:
    """One column that a tier has of a metric."""

    field: MetricField
    part: Part

    @property
    def name(self) -> str:
        """``{metric}_{part}``."""
        return f"{self.field.name}_{self.part}"

    @property
    def sql_type(self) -> str:
        """Last, min and max have the type of the raw column."""
        if self.part is Part.SUM:
            return "double precision"
        return "bigint" if self.part is Part.COUNT else sql_type_of(self.field)


def width_ns(tier: Tier) -> int:
    """The length of a bucket in nanoseconds; of ``raw`` the spacing of the grid."""
    return _WIDTHS_NS[tier]


def relation_of(schema: SampleSchema, tier: Tier) -> str:
    """What readers select from: a table or a view."""
    table = table_of(schema)
    return table if tier is Tier.RAW else f"{table}_{tier}"


def parts_of(field: MetricField) -> tuple[Part, ...]:
    """What a tier keeps of a metric."""
    return tuple(Part) if has_parts(field) else (Part.LAST,)


def has_parts(field: MetricField) -> bool:
    """Whether a tier keeps more of it than the last value: it is a gauge and a number."""
    return field.metric.kind is Kind.GAUGE and field.type is not bool


def tier_columns_of(schema: SampleSchema) -> tuple[TierColumn, ...]:
    """The columns of the metrics in a tier, in order."""
    return tuple(TierColumn(field, part) for field in schema.metrics for part in parts_of(field))


def columns_of(schema: SampleSchema, tier: Tier) -> tuple[Column, ...]:
    """All columns of the relation, in order."""
    if tier is Tier.RAW:
        return raw_columns_of(schema)
    time = Column(TIME, "timestamp with time zone", required=True, comment="Where the bucket begins.")
    keys = (Column(name, "text", required=True, comment="Part of the key.") for name in schema.key)
    rows = Column(SAMPLES, "bigint", required=False, comment="Raw rows in the bucket.")
    metrics = (
        Column(column.name, column.sql_type, required=False, comment="") for column in tier_columns_of(schema)
    )
    return (time, *keys, rows, *metrics)
