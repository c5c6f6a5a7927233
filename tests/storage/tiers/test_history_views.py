"""The views of the dashboards: every tier with the same columns, and the function that chooses one."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import pytest

from decahertz.clock import to_datetime
from decahertz.sample import SampleSchema
from storage.settings import RetentionSettings
from storage.tiers.names import Tier
from tests.storage_examples import BOOK, MACHINE, START_NS
from tests.tier_checks import row, store
from tests.tiered_database import TieredDatabase

DAY = 86_400


async def test_every_tier_answers_with_the_same_columns_and_totals(tiered_database: TieredDatabase) -> None:
    mids = [math.sin(tick) for tick in range(0, 8000, 7)]
    await store(tiered_database, [row(7 * n, mid=mid) for n, mid in enumerate(mids)])
    await tiered_database.worker.run_once()
    for tier in Tier:
        [[samples, lowest, highest, total]] = await tiered_database.rows(
            "SELECT sum(samples), min(mid_min), max(mid_max), sum(mid_avg * samples)"
            " FROM book_history WHERE tier = $1 AND instrument = 'EUR/USD'",
            tier,
        )
        assert (samples, lowest, highest) == (len(mids), min(mids), max(mids)), tier
        assert math.isclose(total, math.fsum(mids), abs_tol=1e-6)


async def test_the_tier_fits_the_step_and_reaches_back(tiered_database: TieredDatabase) -> None:
    retention = RetentionSettings(raw_days=3, one_second_days=10, one_minute_days=100, one_hour_days=1000)
    tiered_database.settings = msgspec.structs.replace(tiered_database.settings, retention=retention)
    await tiered_database.prepare()
    for seconds_back, step_ms, tier in (
        (900, 50, "raw"),
        (900, 0, "raw"),
        (900, 999, "raw"),
        (900, 1000, "1s"),
        (900, 59_999, "1s"),
        (900, 60_000, "1m"),
        (900, 10**9, "1h"),
        (-900, 1000, "1s"),  # a range that begins in the future
        (5 * DAY, 100, "1s"),  # the raw samples are gone
        (15 * DAY, 1000, "1m"),
        (15 * DAY, 3_600_000, "1h"),
        (400 * DAY, 1000, "1h"),
        (4000 * DAY, 1000, "1h"),  # nothing reaches back that far
    ):
        found = await tiered_database.value(
            "SELECT decahertz_tier(now() - make_interval(secs => $1), $2)", seconds_back, step_ms
        )
        assert found == tier, (seconds_back, step_ms)


async def test_a_query_reads_the_chosen_tier_alone(tiered_database: TieredDatabase) -> None:
    await store(tiered_database, [row(tick) for tick in range(0, 8000, 10)])
    await tiered_database.worker.run_once()
    plan = await tiered_database.rows(
        "EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) SELECT time, mid_avg FROM book_history"
        " WHERE tier = decahertz_tier(now() - interval '1 hour', 60000)"
    )
    branches = [line for (line,) in plan if "One-Time Filter" in line]
    assert len(branches) >= len(Tier) - 1
    text = "\n".join(line for (line,) in plan if "never executed" not in line)
    assert "Seq Scan on book_samples_p" not in text, text


async def test_the_view_keeps_the_columns_of_a_metric_that_is_no_longer_declared(
    tiered_database: TieredDatabase,
) -> None:
    await store(tiered_database, [row(1)])
    before = await _columns(tiered_database)
    assert {"tier", "time", "recorder", "instrument", "samples", "mid", "mid_min", "gaps"} <= set(before)
    fewer: SampleSchema = replace(BOOK, metrics=tuple(f for f in BOOK.metrics if f.name != "mid"))
    await tiered_database.prepare([fewer, MACHINE])
    assert await _columns(tiered_database) == before
    assert await tiered_database.value("SELECT count(mid) FROM book_history") == 0
    await tiered_database.prepare()
    assert await _columns(tiered_database) == before
    assert await tiered_database.value("SELECT count(mid) FROM book_history WHERE tier = 'raw'") == 1


async def _columns(tiered: TieredDatabase) -> list[str]:
    rows = await tiered.rows(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = 'book_history'::regclass ORDER BY attnum"
    )
    return [name for (name,) in rows]


async def test_dirty_buckets_are_joined_by_hash_whatever_is_known_of_them(
    tiered_database: TieredDatabase,
) -> None:
    """Otherwise every row of a range is compared with every dirty bucket."""
    if tiered_database.engine != "plain":
        pytest.skip("TimescaleDB has no dirty buckets of ours")
    start = to_datetime(START_NS)
    await tiered_database.execute(
        "INSERT INTO book_samples_1m_rolled (time, recorder, venue, instrument, samples, mid_last)"
        " SELECT $1::timestamptz + n * interval '1 minute', 'r' || i, 'sim', 'EUR/USD', 1, 1"
        " FROM generate_series(1, 1400) AS n, generate_series(1, 10) AS i",
        start,
    )
    await tiered_database.execute("ANALYZE book_samples_1m_rolled")
    await tiered_database.execute("VACUUM book_samples_dirty_buckets")  # as autovacuum does; it is empty
    for dirty in (0, 3, 1500):
        await tiered_database.execute(
            "INSERT INTO book_samples_dirty_buckets (time, width_seconds)"
            " SELECT $1::timestamptz + n * interval '1 minute', 60 FROM generate_series(1, $2::int) AS n",
            start,
            dirty,
        )
        plan = await tiered_database.rows("EXPLAIN SELECT sum(samples) FROM book_samples_1m")
        text = "\n".join(line for (line,) in plan)
        assert "Hash Anti Join" in text, (dirty, text)
        assert "Nested Loop Anti Join" not in text, (dirty, text)
