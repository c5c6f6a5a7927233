"""Plain PostgreSQL: where rows go, and that nothing is lost between those who write and those who roll up."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from msgspec.structs import replace

from decahertz.clock import NS_PER_SECOND, to_datetime
from storage.tiers.administration import AdminSession
from tests.storage_examples import CYCLE_NS, START_NS, until
from tests.tier_checks import assert_tiers, row, store
from tests.tiered_database import TieredDatabase

HOUR = 36_000
DAY = 24 * HOUR


@pytest.fixture
def engine() -> str:
    return "plain"


async def partitions(tiered: TieredDatabase, table: str = "book_samples_recent") -> dict[str, int]:
    """Rows by partition."""
    names = await tiered.rows(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::text::regclass", table
    )
    counts = {name: await tiered.value(f"SELECT count(*) FROM {name}") for (name,) in names}  # noqa: S608
    return {name.removeprefix(table): count for name, count in counts.items()}


async def test_partitions_are_there_before_they_are_needed(tiered_database: TieredDatabase) -> None:
    assert set(await partitions(tiered_database)) == {"_p20231114", "_default"}
    await tiered_database.worker.run_once()
    assert set(await partitions(tiered_database)) == {"_p20231114", "_p20231115", "_p20231116", "_default"}
    tiered_database.clock.advance(86_400 * NS_PER_SECOND)
    await tiered_database.worker.run_once()
    assert "_p20231117" in await partitions(tiered_database)


async def test_a_row_of_any_day_is_taken_and_gets_a_partition(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    unpacked = replace(tiered.settings.tiers, pack_after_hours=0.0)  # else their partitions go again
    tiered.settings = replace(tiered.settings, tiers=unpacked)
    await tiered.prepare()
    await store(tiered, [row(0), row(-5 * DAY), row(-5 * DAY + 1), row(-3 * DAY)])
    assert (await partitions(tiered))["_default"] == 3
    await tiered.worker.run_once()
    found = await partitions(tiered)
    assert (found["_default"], found["_p20231109"], found["_p20231111"]) == (0, 2, 1)
    await assert_tiers(tiered)


async def test_quotes_of_any_day_are_taken_too(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    for days in (0, -1000):
        await tiered.execute(
            "INSERT INTO quotes (time, recorder, venue, instrument, missed, time_ns, received_ns, source,"
            " epoch, sequence) VALUES ($1, 'desk', 'sim', 'EUR/USD', 0, 1, 1, 'a', 1, 1)",
            to_datetime(START_NS) + timedelta(days=days),
        )
    await tiered.worker.run_once()
    assert {name: n for name, n in (await partitions(tiered, "quotes_recent")).items() if n} == {
        "_p20231114": 1,
        "_p20200408": 1,
    }


async def test_only_buckets_that_changed_are_made_again(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    await store(tiered, [row(tick) for tick in range(0, 8000, 5)])
    await tiered.worker.run_once()
    untouched = "SELECT count(*) FROM book_samples_1s_rolled WHERE xmin::text = ANY($1::text[])"
    xmins = [r[0] for r in await tiered.rows("SELECT DISTINCT xmin::text FROM book_samples_1s_rolled")]
    before = await tiered.value(untouched, xmins)
    await store(tiered, [row(3), row(4003)])
    await tiered.worker.run_once()
    assert await tiered.value(untouched, xmins) == before - 2


async def test_rows_that_are_committed_while_their_bucket_is_rolled_up_are_not_lost(
    tiered_database: TieredDatabase,
) -> None:
    tiered = tiered_database
    await store(tiered, [row(tick) for tick in range(10)])
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(tiered.database.query())
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute(
            "INSERT INTO book_samples (time, recorder, venue, instrument, mid)"
            " VALUES ($1, 'desk', 'sim', 'EUR/USD', 77)",
            to_datetime(START_NS),
        )
        await tiered.worker.run_once()  # does not see the row, and does not wait for it
        await transaction.commit()
    await assert_tiers(tiered)
    await tiered.worker.run_once()
    await assert_tiers(tiered)
    assert await tiered.value("SELECT max(mid_max) FROM book_samples_1h") == 77


async def test_concurrent_writers_and_roll_ups_leave_the_tiers_right(
    tiered_database: TieredDatabase,
) -> None:
    tiered = tiered_database

    async def write(number: int) -> None:
        for part in range(15):
            await store(tiered, [row(17 * part + tick, f"I{number}", mid=float(tick)) for tick in range(40)])

    async def keep() -> None:
        while True:
            await tiered.worker.run_once()

    keeping = asyncio.create_task(keep())
    await asyncio.gather(*map(write, range(4)))
    keeping.cancel()
    await asyncio.wait([keeping])
    await assert_tiers(tiered)
    await tiered.worker.run_once()
    await assert_tiers(tiered)


async def test_dirty_buckets_of_an_unfinished_hour_do_not_pile_up(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    now = (tiered.clock.time_ns() - START_NS) // CYCLE_NS
    for _ in range(80):
        await store(tiered, [row(now)])
    await tiered.worker.run_once()
    assert await tiered.value("SELECT count(*) FROM book_samples_dirty_buckets") == 3
    await assert_tiers(tiered)


async def test_a_table_in_use_delays_retention_and_nothing_else(
    tiered_database: TieredDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.tiers.plain.partitions.LOCK_LIMIT", "0.2s")
    tiered = tiered_database
    await store(tiered, [row(0)])
    await tiered.worker.run_once()
    tiered.clock.advance(20 * 86_400 * NS_PER_SECOND)
    async with tiered.database.query() as reader, reader.transaction():
        await reader.fetch("SELECT * FROM book_samples")
        await tiered.worker.run_once()
        assert "book_samples_recent is in use" in tiered.worker.problem
    await tiered.worker.run_once()
    assert tiered.worker.problem == ""
    assert await tiered.value("SELECT count(*) FROM book_samples") == 0
    assert await tiered.value("SELECT sum(samples) FROM book_samples_1m") == 1


async def test_a_failing_worker_reports_it_and_recovers(
    tiered_database: TieredDatabase,
) -> None:
    tiered = tiered_database
    await tiered.worker.start()
    await until(lambda: tiered.worker.status().detail == "")
    await tiered.execute("ALTER TABLE book_samples_dirty_buckets RENAME TO gone")
    await until(lambda: "book_samples_dirty_buckets" in tiered.worker.status().detail)
    tiered.clock.advance(900 * NS_PER_SECOND)
    assert tiered.worker._behind_seconds() >= 900
    await tiered.execute("ALTER TABLE gone RENAME TO book_samples_dirty_buckets")
    await until(lambda: tiered.worker.status().detail == "")
    assert tiered.worker._behind_seconds() < 900


async def test_raw_rows_stay_until_they_are_rolled_up_however_old_they_are(
    tiered_database: TieredDatabase,
) -> None:
    tiered = tiered_database
    await store(tiered, [row(0)])
    tiered.clock.advance(20 * 86_400 * NS_PER_SECOND)
    engine = tiered.worker._engine
    assert engine is not None
    session, now_ns = AdminSession(tiered.database, "test"), tiered.clock.time_ns()
    problems = await session.run(lambda connection: engine.maintain(connection, now_ns))
    await session.close()
    assert "book_samples_recent keeps old rows until they are rolled up" in problems
    assert await tiered.value("SELECT count(*) FROM book_samples") == 1
    await tiered.worker.run_once()
    assert await tiered.value("SELECT count(*) FROM book_samples") == 0
    assert await tiered.value("SELECT sum(samples) FROM book_samples_1h") == 1
