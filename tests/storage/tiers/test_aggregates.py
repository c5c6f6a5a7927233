"""Aggregates that a metric declares, and the rows that keep them, on both engines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from decahertz.clock import NS_PER_SECOND, to_datetime
from decahertz.metric import HIGHEST, NEWEST, Aggregate
from decahertz.sample import SampleSchema
from storage.query.history.buckets import Summary
from storage.query.history.resolution import ResolutionRequest
from storage.query.queries import Queries
from storage.tiers.names import ROLLED
from tests.storage_examples import BOOK, MACHINE, START_NS
from tests.tier_checks import assert_tiers, row, store
from tests.tiered_database import TieredDatabase

LATER = 80_000
"""A cycle two hours later, and its second."""
_ALL = ["mid_last", "mid_min", "mid_max", "mid_sum", "mid_count"]


def with_mid(*aggregates: Aggregate) -> SampleSchema:
    """The book sample of a version in which ``mid`` declares these aggregates."""
    metrics = {one.name: one for one in BOOK.metrics}
    mid = metrics["mid"]
    metrics["mid"] = replace(mid, metric=replace(mid.metric, aggregates=aggregates))
    return replace(BOOK, metrics=tuple(metrics.values()))


async def columns_of_mid(tiered: TieredDatabase, relation: str) -> list[str]:
    rows = await tiered.rows(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0"
        " AND attname LIKE 'mid%' ORDER BY attnum",
        relation,
    )
    return [name for (name,) in rows]


async def of_mid(tiered: TieredDatabase, tier: str) -> list[tuple[Any, ...]]:
    rows = await tiered.rows(f"SELECT {', '.join(_ALL)} FROM book_samples_{tier} ORDER BY time")  # noqa: S608 - ours
    return [tuple(one) for one in rows]


async def summary_of_mid(tiered: TieredDatabase, schema: SampleSchema, seconds: int) -> Summary:
    request = ResolutionRequest(step_ns=seconds * NS_PER_SECOND)
    end_ns = START_NS + 4 * 3600 * NS_PER_SECOND
    history = await Queries(tiered.database).history(schema, ["mid"], {}, START_NS, end_ns, request=request)
    found = history.series[0].fields["mid"]
    assert isinstance(found, Summary)
    return found


async def restart(tiered: TieredDatabase, schema: SampleSchema) -> None:
    """Starts another version, two hours later."""
    tiered.clock.advance(2 * 3600 * NS_PER_SECOND)
    await tiered.prepare([schema, MACHINE])


async def test_tiers_views_and_histories_have_the_declared_aggregates_alone(
    untiered_database: TieredDatabase,
) -> None:
    tiered, schema = untiered_database, with_mid(*HIGHEST)
    await tiered.prepare([schema, MACHINE])
    await store(tiered, [row(tick, mid=float(20 - tick)) for tick in range(20)])
    await tiered.worker.run_once()
    for tier in ROLLED:
        assert await columns_of_mid(tiered, f"book_samples_{tier}") == ["mid_last", "mid_max"]
    assert await columns_of_mid(tiered, "book_history") == ["mid", "mid_max"]
    for seconds in (1, 2, 60):  # a bucket of the tier, of several of its buckets
        found = await summary_of_mid(tiered, schema, seconds)
        assert found == (Summary(last=[11, 1], max=[20, 10]) if seconds == 1 else Summary(last=[1], max=[20]))
    raw = await tiered.rows("SELECT max(mid_max) FROM book_history WHERE tier = 'raw'")
    assert raw[0][0] == 20


async def test_an_upgrade_keeps_every_aggregate_that_the_database_has(
    tiered_database: TieredDatabase,
) -> None:
    tiered, schema = tiered_database, with_mid(*NEWEST)
    await store(tiered, [row(tick, mid=float(tick)) for tick in range(20)])
    await tiered.worker.run_once()
    await restart(tiered, schema)
    await store(tiered, [row(LATER + tick, mid=float(tick)) for tick in range(10)])
    await tiered.worker.run_once()
    await assert_tiers(tiered)
    for tier in ROLLED:
        assert await columns_of_mid(tiered, f"book_samples_{tier}") == _ALL
    views = await tiered.rows("SELECT mid_min, mid_avg FROM book_history WHERE tier = '1s' ORDER BY time")
    assert list(map(tuple, views)) == [(0, 4.5), (10, 14.5), (0, 4.5)]
    assert await summary_of_mid(tiered, schema, 1) == Summary(last=[9, 19, 9])


async def test_an_aggregate_that_is_declared_later_is_unknown_of_older_buckets(
    untiered_database: TieredDatabase,
) -> None:
    tiered = untiered_database
    await tiered.prepare([with_mid(*NEWEST), MACHINE])
    await store(tiered, [row(tick, mid=float(tick)) for tick in range(10)])
    await tiered.worker.run_once()
    await restart(tiered, BOOK)
    await store(tiered, [row(LATER + tick, mid=float(tick)) for tick in range(10)])
    for _ in range(2):
        for tier in ROLLED:
            assert await of_mid(tiered, tier) == [(9, None, None, None, None), (9, 0, 9, 45, 10)], tier
        found = await summary_of_mid(tiered, BOOK, 60)
        assert found == Summary(last=[9, 9], min=[None, 0], max=[None, 9], avg=[None, 4.5])
        await tiered.worker.run_once()


@pytest.mark.parametrize("mid", [1.1, None])
async def test_of_a_metric_that_does_not_change_plain_postgresql_stores_the_newest_value_alone(
    tiered_database: TieredDatabase, mid: float | None
) -> None:
    if tiered_database.engine != "plain":
        pytest.skip("the columnstore of TimescaleDB compresses columns")
    await store(tiered_database, [row(tick, mid=mid) for tick in range(0, 40_000, 9)])
    tiered_database.clock.advance(3600 * NS_PER_SECOND)  # most are not old enough to be packed
    await tiered_database.worker.run_once()
    await assert_tiers(tiered_database)
    for tier in ROLLED:
        kept = "SELECT DISTINCT mid_last, num_nonnulls(mid_min, mid_max, mid_sum, mid_count)"
        found = await tiered_database.rows(f"{kept} FROM book_samples_{tier}_rolled")
        assert list(map(tuple, found)) == [(mid, 0)], tier


async def test_complete_rows_of_earlier_versions_read_the_same(tiered_database: TieredDatabase) -> None:
    if tiered_database.engine != "plain":
        pytest.skip("a continuous aggregate takes no rows")
    rows = [(1.0, 1.0, 1.0, 10.0, 10), (2.0, 1.0, 3.0, 18.0, 9), (None, None, None, None, 0)]
    for number, values in enumerate(rows):
        await tiered_database.execute(
            "INSERT INTO book_samples_1s_rolled (time, recorder, venue, instrument, samples,"
            " mid_last, mid_min, mid_max, mid_sum, mid_count)"
            " VALUES ($1, 'desk', 'sim', 'EUR/USD', 10, $2, $3, $4, $5, $6)",
            to_datetime(START_NS + number * NS_PER_SECOND),
            *values,
        )
    assert await of_mid(tiered_database, "1s") == rows
