"""The tiers of books, computed naively from the raw rows."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import asyncpg

from decahertz.clock import from_datetime, to_datetime
from storage.tiers.names import ROLLED, Tier, width_ns
from tests.storage_examples import CYCLE_NS, RECORDER, START_NS
from tests.tiered_database import TieredDatabase

Row: TypeAlias = tuple[int, str, float | None, int | None, str | None, bool | None]
"""Time in nanoseconds, instrument, mid, gaps, verdict, crossed."""
COLUMNS = ("time", "recorder", "venue", "instrument", "mid", "gaps", "verdict", "crossed")


async def store(tiered: TieredDatabase, rows: Iterable[Row]) -> None:
    """Stores rows by COPY, as any program may."""
    records = [(to_datetime(time_ns), RECORDER, "sim", *rest) for time_ns, *rest in rows]
    async with tiered.database.query() as connection:
        await connection.copy_records_to_table("book_samples", records=records, columns=COLUMNS)


async def raw_rows(tiered: TieredDatabase) -> list[Row]:
    found = await tiered.rows("SELECT time, instrument, mid, gaps, verdict, crossed FROM book_samples")
    return [(from_datetime(time), *rest) for time, *rest in found]


def buckets(rows: Iterable[Row], tier: Tier) -> dict[tuple[int, str], list[Row]]:
    found: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[row[0] // width_ns(tier) * width_ns(tier), row[1]].append(row)
    return found


def newest(rows: Sequence[Row], column: int) -> set[Any]:
    """The values of the newest instant that has one. Several: the same instant was stored twice."""
    there = [(row[0], row[column]) for row in rows if row[column] is not None]
    last_ns = max((time_ns for time_ns, _ in there), default=None)
    return {value for time_ns, value in there if time_ns == last_ns} or {None}


def assert_bucket(made: asyncpg.Record, rows: Sequence[Row]) -> None:
    mids = [row[2] for row in rows if row[2] is not None]
    assert made["samples"] == len(rows)
    assert made["mid_count"] == len(mids)
    assert made["mid_min"] == min(mids, default=None)
    assert made["mid_max"] == max(mids, default=None)
    if mids:
        assert math.isclose(made["mid_sum"], math.fsum(mids), rel_tol=1e-9, abs_tol=1e-9)
    else:
        assert made["mid_sum"] is None
    for column, name in enumerate(("mid", "gaps", "verdict", "crossed"), start=2):
        assert made[f"{name}_last"] in newest(rows, column), name


async def assert_tiers(tiered: TieredDatabase) -> None:
    """Every tier holds what a naive computation over the raw rows says, and nothing else."""
    rows = await raw_rows(tiered)
    for tier in ROLLED:
        expected = buckets(rows, tier)
        found = await tiered.rows(f"SELECT * FROM book_samples_{tier}")  # noqa: S608 - ours
        made = {(from_datetime(row["time"]), row["instrument"]): row for row in found}
        assert len(found) == len(made), "a bucket is there twice"
        assert made.keys() == expected.keys(), tier
        for key, row in made.items():
            assert_bucket(row, expected[key])


def row(tick: int, instrument: str = "EUR/USD", mid: float | None = 1.0, gaps: int = 0) -> Row:
    return START_NS + tick * CYCLE_NS, instrument, mid, gaps, "live", None
