"""Both engines against a naive computation over the raw rows."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decahertz.clock import NS_PER_SECOND, to_datetime
from storage.tiers.names import ROLLED
from tests.properties import examples
from tests.storage_examples import CYCLE_NS, START_NS
from tests.tier_checks import Row, assert_tiers, row, store
from tests.tiered_database import TieredDatabase


async def test_rolled_up_or_not_the_answer_is_the_same(tiered_database: TieredDatabase) -> None:
    await store(tiered_database, [row(tick, mid=math.sin(tick)) for tick in range(0, 9000, 7)])
    await assert_tiers(tiered_database)
    for _ in range(2):  # the second round finds nothing to do
        await tiered_database.worker.run_once()
        await assert_tiers(tiered_database)


async def test_late_rows_change_the_buckets_they_belong_to(tiered_database: TieredDatabase) -> None:
    await store(tiered_database, [row(tick) for tick in range(0, 8000, 10)])
    await tiered_database.worker.run_once()
    await store(tiered_database, [row(5, mid=99.0), row(3605, mid=-99.0), row(4000, "GBP/USD")])
    await tiered_database.worker.run_once()
    await assert_tiers(tiered_database)
    assert await tiered_database.value("SELECT max(mid_max) FROM book_samples_1h") == 99.0


async def test_rows_that_are_corrected_change_the_buckets_they_were_in_and_are_in(
    tiered_database: TieredDatabase,
) -> None:
    await store(tiered_database, [row(tick, mid=float(tick)) for tick in range(0, 8000, 10)])
    await tiered_database.worker.run_once()
    table = tiered_database.stored("book")
    await tiered_database.execute(f"UPDATE {table} SET mid = -1 WHERE mid BETWEEN 10 AND 700")  # noqa: S608 - ours
    await tiered_database.worker.run_once()
    await assert_tiers(tiered_database)
    if tiered_database.engine == "plain":  # a hypertable takes no row from one chunk to another
        await tiered_database.execute(f"UPDATE {table} SET time = time - interval '2 days' WHERE mid = 0")  # noqa: S608
        await assert_tiers(tiered_database)
        await tiered_database.execute(f"DELETE FROM {table} WHERE mid < 0")  # noqa: S608 - ours
        await assert_tiers(tiered_database)
        await tiered_database.worker.run_once()
        await assert_tiers(tiered_database)


async def test_hours_and_days_that_were_never_there_can_be_filled_in(tiered_database: TieredDatabase) -> None:
    await store(tiered_database, [row(0)])
    await tiered_database.worker.run_once()
    day = 86_400 * 10
    await store(tiered_database, [row(-tick, mid=float(tick)) for tick in range(0, 2 * day, day // 7)])
    await tiered_database.worker.run_once()
    await assert_tiers(tiered_database)


async def test_the_newest_second_is_seen_in_every_tier(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    for second in range(3):
        tiered.clock.advance(NS_PER_SECOND)
        now = (tiered.clock.time_ns() - START_NS) // CYCLE_NS
        await store(tiered, [row(now, mid=float(second))])
        await tiered.worker.run_once()
        for tier in ROLLED:
            last = f"SELECT mid_last FROM book_samples_{tier} ORDER BY time DESC LIMIT 1"  # noqa: S608 - ours
            assert await tiered.value(last) == float(second)


async def test_samples_without_a_key_have_tiers_too(tiered_database: TieredDatabase) -> None:
    insert = "INSERT INTO machine_samples (time, recorder, load) VALUES ($1, 'desk', $2)"
    for tick in range(20):
        await tiered_database.execute(insert, to_datetime(START_NS) + timedelta(seconds=tick), float(tick))
    await tiered_database.worker.run_once()
    found = await tiered_database.rows(
        "SELECT sum(load_sum), sum(samples), max(load_max) FROM machine_samples_1m"
    )
    assert tuple(found[0]) == (190.0, 20, 19.0)


async def test_values_near_zero_are_rolled_up(tiered_database: TieredDatabase) -> None:
    mids = [5e-324, 1e-311, -1e-311, 0.0, 2.2e-308, 1e-300]
    await store(tiered_database, [row(tick, mid=mids[tick % len(mids)]) for tick in range(0, 40_000, 7)])
    await tiered_database.worker.run_once()
    await assert_tiers(tiered_database)


_VALUES = st.none() | st.floats(-1e6, 1e6, allow_nan=False)
_ROWS = st.lists(
    st.builds(
        lambda tick, name, mid, gaps, verdict, crossed: (
            START_NS + tick * CYCLE_NS,
            name,
            mid,
            gaps,
            verdict,
            crossed,
        ),
        st.integers(-3 * 36_000, 9_000) | st.integers(8_000, 8_100),
        st.sampled_from(["A", "B", "C"]),
        _VALUES,
        st.none() | st.integers(0, 2**62),
        st.none() | st.sampled_from(["live", "stale"]),
        st.none() | st.booleans(),
    ),
    max_size=30,
)


@pytest.mark.timeout(120)
@settings(
    max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(parcels=st.lists(st.tuples(_ROWS, st.booleans()), max_size=5))
async def test_any_rows_in_any_order_give_what_the_raw_rows_say(
    tiered_database: TieredDatabase, parcels: list[tuple[list[Row], bool]]
) -> None:
    if tiered_database.engine == "timescaledb":  # what is packed stays, and the rows of all examples add up
        await tiered_database.execute("DELETE FROM book_samples")
    for rows, rolls in parcels:
        await store(tiered_database, rows)
        if rolls:
            await tiered_database.worker.run_once()
            await assert_tiers(tiered_database)
    await tiered_database.worker.run_once()
    await assert_tiers(tiered_database)
