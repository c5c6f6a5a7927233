"""What TimescaleDB is told to do on its own, and that settings change it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from decahertz.clock import NS_PER_SECOND, SystemClock
from storage.settings import RetentionSettings, SpoolSettings, TiersSettings
from tests.storage_examples import CYCLE_NS, MACHINE, START_NS, WIDER_BOOK
from tests.tier_checks import Row, assert_tiers, raw_rows, row, store
from tests.tiered_database import TieredDatabase

pytestmark = pytest.mark.timescale


@pytest.fixture
def engine() -> str:
    return "timescaledb"


async def jobs(tiered: TieredDatabase, relation: str) -> dict[str, dict[str, Any]]:
    rows = await tiered.rows(
        "SELECT proc_name, schedule_interval AS every, (config->>'drop_after')::interval AS drop_after,"
        " (config->>'compress_after')::interval AS compress_after,"
        " (config->>'start_offset')::interval AS start, (config->>'end_offset')::interval AS until"
        " FROM timescaledb_information.jobs WHERE hypertable_name = $1",
        relation,
    )
    return {r["proc_name"].removeprefix("policy_"): dict(r) for r in rows}


async def chunk_width(tiered: TieredDatabase, table: str) -> timedelta:
    width: timedelta = await tiered.value(
        "SELECT time_interval FROM timescaledb_information.dimensions WHERE hypertable_name = $1", table
    )
    return width


async def test_the_first_start_sets_the_jobs_as_the_settings_say(tiered_database: TieredDatabase) -> None:
    found = await jobs(tiered_database, "book_samples")
    assert found["compression"]["compress_after"] == timedelta(hours=72)
    assert found["retention"]["drop_after"] == timedelta(days=7)
    assert await chunk_width(tiered_database, "book_samples") == timedelta(hours=6)
    for tier, width in (("1s", 1), ("1m", 60), ("1h", 3600)):
        refresh = (await jobs(tiered_database, f"book_samples_{tier}_g1"))["refresh_continuous_aggregate"]
        assert refresh["start"] == timedelta(hours=144)  # the time in which rows may be late
        assert refresh["until"] == timedelta(seconds=5 + width)
    layout = await tiered_database.rows(
        "SELECT segmentby, orderby FROM timescaledb_information.hypertable_columnstore_settings"
        " WHERE hypertable = 'book_samples'::regclass"
    )
    assert [tuple(r) for r in layout] == [("venue,instrument,recorder", '"time" DESC')]


async def test_changed_settings_change_the_jobs(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    tiered.settings = replace(
        tiered.settings,
        tiers=TiersSettings(
            engine="timescaledb", chunk_hours=12, compress_after_hours=24, late_hours=48, lag_seconds=10
        ),
        retention=RetentionSettings(raw_days=3, one_second_days=0, one_minute_days=0),
        spool=SpoolSettings(max_age_hours=24),
    )
    await tiered.prepare()
    raw = await jobs(tiered, "book_samples")
    assert raw["compression"]["compress_after"] == timedelta(hours=24)
    assert raw["retention"]["drop_after"] == timedelta(days=3)
    assert await chunk_width(tiered, "book_samples") == timedelta(hours=12)
    seconds = await jobs(tiered, "book_samples_1s_g1")
    assert "retention" not in seconds
    assert seconds["refresh_continuous_aggregate"]["start"] == timedelta(hours=48)
    assert seconds["refresh_continuous_aggregate"]["until"] == timedelta(seconds=11)
    assert "retention" not in await jobs(tiered, "quotes")  # a job would drop imported events too


async def test_the_jobs_alone_keep_the_tiers_and_compression_changes_no_answer(
    tiered_database: TieredDatabase,
) -> None:
    tiered = tiered_database
    now_ns = SystemClock().time_ns()
    tiered.clock.advance(now_ns - tiered.clock.time_ns())
    start_ns = now_ns - 100 * 3600 * NS_PER_SECOND
    rows: list[Row] = [
        (start_ns + tick * CYCLE_NS, name, float(tick), tick, "live", None)
        for tick in range(0, 9000, 3)
        for name in ("A", "B")
    ]
    await store(tiered, rows)
    for procedure in ("policy_refresh_continuous_aggregate", "policy_compression"):
        await tiered.run_jobs(procedure)
    compressed = (
        "SELECT count(*) FROM timescaledb_information.chunks"
        " WHERE hypertable_name = 'book_samples' AND is_compressed"
    )
    assert await tiered.value(compressed) >= 1
    await assert_tiers(tiered)
    await store(tiered, [(start_ns, "A", -5.0, 1, "stale", None), (start_ns + 7, "C", 1.0, 1, "live", None)])
    await tiered.run_jobs("policy_refresh_continuous_aggregate")
    assert len(await raw_rows(tiered)) == len(rows) + 2
    await assert_tiers(tiered)


async def stored_times(tiered: TieredDatabase, view: str) -> list[datetime]:
    table = await tiered.materialized(view)
    return [r["time"] for r in await tiered.rows(f"SELECT DISTINCT time FROM {table} ORDER BY time")]  # noqa: S608 - ours


async def test_aggregates_with_a_successor_are_refreshed_up_to_it(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    await store(tiered, [row(tick) for tick in range(100)])
    await tiered.worker.run_once()
    tiered.clock.advance(2 * 3600 * NS_PER_SECOND)
    await tiered.prepare([WIDER_BOOK, MACHINE])
    since = await tiered.value("SELECT max(valid_from) FROM tier_generations")
    tiered.clock.advance(600 * NS_PER_SECOND)
    now = (tiered.clock.time_ns() - START_NS) // CYCLE_NS
    await store(tiered, [row(now - 3000 + tick) for tick in range(100)] + [row(200)])
    await tiered.worker.run_once()
    old, new = [await stored_times(tiered, f"book_samples_1s_g{number}") for number in (1, 2)]
    assert len(old) == 11
    assert max(old) < since <= min(new)
    assert len(new) == 10
    await assert_tiers(tiered)
