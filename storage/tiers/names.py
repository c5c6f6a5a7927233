"""Names and columns of the tiers; the same on every engine.

A row of a tier is one key in one bucket; ``time`` is the start of the bucket. Every metric has the column
``_last``; a numeric gauge has those of its declared aggregates, by default ``_min``, ``_max``, ``_sum`` and
``_count``, too. Aggregates ignore nulls: ``_last`` is the newest value that is not null, and the average is
``_sum`` by ``_count``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from decahertz.clock import CYCLE_NS, NS_PER_SECOND
from decahertz.metric import Aggregate
from decahertz.sample import SampleSchema
from storage.schema.events import BULK_EVENTS
from storage.schema.samples import table_of

if TYPE_CHECKING:
    from storage.settings import RetentionSettings

SAMPLES = "samples"
"""Column with the number of raw rows in the bucket."""


class Tier(StrEnum):
    """Resolution at which samples are stored."""

    RAW = "raw"
    S1 = "1s"
    M1 = "1m"
    H1 = "1h"


class Suffix(StrEnum):
    """End of the name of a column that a tier has of a metric."""

    LAST = "last"
    MIN = "min"
    MAX = "max"
    SUM = "sum"
    COUNT = "count"


SUFFIXES = {
    Aggregate.LAST: (Suffix.LAST,),
    Aggregate.MIN: (Suffix.MIN,),
    Aggregate.MAX: (Suffix.MAX,),
    Aggregate.AVG: (Suffix.SUM, Suffix.COUNT),
}
"""Columns that an aggregate is answered from."""

ROLLED = (Tier.S1, Tier.M1, Tier.H1)
"""Tiers that are rolled up, fine to coarse; each is made from the one before it."""
_WIDTHS_NS = {
    Tier.RAW: CYCLE_NS,
    Tier.S1: NS_PER_SECOND,
    Tier.M1: 60 * NS_PER_SECOND,
    Tier.H1: 3600 * NS_PER_SECOND,
}


def width_ns(tier: Tier) -> int:
    """Width of a bucket in nanoseconds; for ``raw`` the length of a cycle."""
    return _WIDTHS_NS[tier]


def finer(tier: Tier) -> Tier:
    """The tier that ``tier`` is rolled up from."""
    return Tier.RAW if tier is Tier.S1 else ROLLED[ROLLED.index(tier) - 1]


def relation_of(schema: SampleSchema, tier: Tier) -> str:
    """The table or view to select from."""
    table = table_of(schema)
    return table if tier is Tier.RAW else f"{table}_{tier}"


def retention_days(retention: RetentionSettings) -> dict[Tier, int]:
    """Days that each tier is kept, fine to coarse; 0: forever."""
    return {
        Tier.RAW: retention.raw_days,
        Tier.S1: retention.one_second_days,
        Tier.M1: retention.one_minute_days,
        Tier.H1: retention.one_hour_days,
    }


def event_days(retention: RetentionSettings) -> dict[str, int]:
    """Days that the rows of each bulk event table are kept; 0: forever."""
    return {event.table: getattr(retention, f"{event.table}_days") for event in BULK_EVENTS}
