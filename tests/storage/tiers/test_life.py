"""What happens to tiers over the years, on both engines: new metrics, retention, crashes, new settings."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import Annotated, ClassVar

import pytest
from msgspec.structs import replace

from decahertz.clock import NS_PER_SECOND, SystemClock, to_datetime
from decahertz.metric import Metric
from decahertz.sample import Sample, schema_of
from storage.database import DatabaseError, DatabaseUnsuitableError
from storage.settings import RetentionSettings
from storage.tiers.names import ROLLED, Tier, relation_of
from storage.tiers.schema import tier_schema_of
from tests.storage_examples import BOOK, CYCLE_NS, MACHINE, START_NS, WIDER_BOOK, until
from tests.tier_checks import Row, assert_tiers, row, store
from tests.tiered_database import TieredDatabase

DAY_NS = 86_400 * NS_PER_SECOND


class NarrowBookSample(Sample, frozen=True, kw_only=True):
    """The book sample of a still later version: all but one metric gone."""

    collector: ClassVar[str] = "book"
    key: ClassVar[tuple[str, ...]] = ("venue", "instrument")
    venue: str
    instrument: str
    depth: Annotated[float | None, Metric("Quantity within ten basis points.")] = None


NARROW = schema_of(NarrowBookSample)
_DEEP = (
    "INSERT INTO book_samples (time, recorder, venue, instrument, mid, depth)"
    " SELECT $1::timestamptz + n * interval '0.5 s', 'desk', 'sim', 'EUR/USD', n, 10 * n"
    " FROM generate_series(1, 10) AS n"
)


async def tier_rows(tiered: TieredDatabase) -> dict[Tier, list[tuple[object, ...]]]:
    question = "SELECT * FROM book_samples_{} ORDER BY time, instrument"
    return {tier: [tuple(r) for r in await tiered.rows(question.format(tier))] for tier in ROLLED}


async def test_the_relations_have_the_columns_that_readers_are_told_of_with_comments(
    tiered_database: TieredDatabase,
) -> None:
    for schema, tier in product((BOOK, MACHINE), ROLLED):
        found = await tiered_database.rows(
            "SELECT attname::text, format_type(atttypid, atttypmod),"
            " col_description(attrelid, attnum) IS NOT NULL AND obj_description(attrelid) IS NOT NULL"
            " FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attnum",
            relation_of(schema, tier),
        )
        columns = tier_schema_of(schema).columns().items()
        assert [tuple(r) for r in found] == [(name, sql_type, True) for name, sql_type in columns]


async def test_a_new_metric_is_in_every_tier_from_then_on_and_no_history_is_lost(
    tiered_database: TieredDatabase,
) -> None:
    tiered = tiered_database
    await store(tiered, [row(tick, mid=float(tick)) for tick in range(100)])
    await tiered.worker.run_once()
    before = await tier_rows(tiered)
    tiered.clock.advance(2 * 3600 * NS_PER_SECOND)
    await tiered.prepare([WIDER_BOOK, MACHINE])
    later = tiered.clock.time_ns()
    await tiered.execute(_DEEP, to_datetime(later))
    for _ in range(2):
        for tier in ROLLED:
            old = f"SELECT * FROM book_samples_{tier} WHERE time < $1 ORDER BY time, instrument"  # noqa: S608
            found = await tiered.rows(old, to_datetime(START_NS + 3600 * NS_PER_SECOND))
            assert [tuple(r)[: len(before[tier][0])] for r in found] == before[tier]
            assert all(r["depth_last"] is None and r["depth_count"] in {None, 0} for r in found)
            new = await tiered.rows(
                "SELECT sum(depth_sum), sum(mid_sum), max(depth_max)"  # noqa: S608 - ours
                f" FROM book_samples_{tier} WHERE time >= $1",
                to_datetime(START_NS + 3600 * NS_PER_SECOND),
            )
            assert tuple(new[0]) == (550.0, 55.0, 100.0)
        await tiered.worker.run_once()


async def test_late_rows_reach_the_tiers_of_before_a_new_metric(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    await store(tiered, [row(tick) for tick in range(100)])
    await tiered.worker.run_once()
    tiered.clock.advance(2 * 3600 * NS_PER_SECOND)
    await tiered.prepare([WIDER_BOOK, MACHINE])
    await store(tiered, [row(50, mid=99.0), row(9000, "GBP/USD", mid=-99.0)])
    await tiered.worker.run_once()
    await assert_tiers(tiered)


async def test_a_late_value_of_a_new_metric_hides_nothing_else_of_its_row(
    tiered_database: TieredDatabase,
) -> None:
    tiered = tiered_database
    tiered.clock.advance(2 * 3600 * NS_PER_SECOND)
    await tiered.prepare([WIDER_BOOK, MACHINE])
    await tiered.execute(_DEEP, to_datetime(START_NS))
    await tiered.worker.run_once()
    await assert_tiers(tiered)
    # Documented: an aggregate of before the metric has no column for it.
    kept = 550.0 if tiered.engine == "plain" else None
    for tier in ROLLED:
        assert await tiered.value(f"SELECT sum(depth_sum) FROM book_samples_{tier}") == kept  # noqa: S608 - ours
    assert await tiered.value("SELECT sum(depth) FROM book_samples") == 550.0


async def test_a_metric_that_is_declared_no_more_stays_in_the_tiers(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    await store(tiered, [row(tick, mid=2.0) for tick in range(20)])
    tiered.clock.advance(2 * 3600 * NS_PER_SECOND)
    await tiered.prepare([NARROW, MACHINE])
    await store(tiered, [row(7, mid=5.0)])  # a late row of the earlier version
    await tiered.worker.run_once()
    assert await tiered.value("SELECT sum(mid_sum) FROM book_samples_1s") == 45.0
    await assert_tiers(tiered)


async def test_raw_rows_go_after_their_time_and_the_tiers_stay(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    now_ns = SystemClock().time_ns()  # TimescaleDB's jobs go by the server's clock
    old_ns = now_ns - 9 * DAY_NS
    rows: list[Row] = [
        (start_ns + tick * CYCLE_NS, "EUR/USD", float(tick), tick, "live", None)
        for start_ns in (old_ns, now_ns - DAY_NS)
        for tick in range(50)
    ]
    tiered.clock.advance(old_ns + 3600 * NS_PER_SECOND - tiered.clock.time_ns())
    await store(tiered, rows[:50])
    await tiered.worker.run_once()
    tiered.clock.advance(now_ns - tiered.clock.time_ns())
    await store(tiered, rows[50:])
    await tiered.worker.run_once()
    await tiered.run_jobs("policy_retention")
    assert await tiered.value("SELECT count(*) FROM book_samples") == 50
    before = await tier_rows(tiered)
    assert sum(int(str(r[4])) for r in before[Tier.S1]) == 100
    # A row that comes later than its bucket can be made again changes nothing.
    await store(tiered, [rows[0]])
    await tiered.worker.run_once()
    await tiered.run_jobs("policy_retention")
    assert await tier_rows(tiered) == before


async def test_bulk_events_go_in_their_own_time_unless_they_are_older_than_the_database(
    tiered_database: TieredDatabase,
) -> None:
    tiered, now_ns = tiered_database, SystemClock().time_ns()
    tiered.clock.advance(now_ns - tiered.clock.time_ns())
    await tiered.execute("UPDATE schema_migrations SET time = now() - interval '60 days'")
    insert = (
        "INSERT INTO {} (time, recorder, component, {} time_ns, received_ns, source, epoch, sequence)"
        " SELECT $1::timestamptz - make_interval(days => day), 'desk', 'bot', {} 1, 1, 'bot', 1, day"
        " FROM unnest(ARRAY[1, 5, 45, 50, 90, 400]) AS day"
    )
    await tiered.execute(insert.format("heartbeats", "connection,", "'open',"), to_datetime(now_ns))
    await tiered.execute(insert.format("logs", "level, message,", "'info', 'x',"), to_datetime(now_ns))
    for _ in range(2):
        await tiered.worker.run_once()
    for table in ("heartbeats", "logs"):
        found = await tiered.rows(f"SELECT sequence FROM {table} ORDER BY 1")  # noqa: S608 - ours
        assert [row["sequence"] for row in found] == [1, 5, 90, 400]


async def test_each_tier_goes_in_its_own_time(untiered_database: TieredDatabase) -> None:
    tiered = untiered_database
    retention = RetentionSettings(raw_days=7, one_second_days=8, one_minute_days=40, one_hour_days=500)
    tiered.settings = replace(tiered.settings, retention=retention)
    await tiered.prepare()
    now_ns = SystemClock().time_ns()
    for days in (600, 80, 12, 1):
        start_ns = now_ns - days * DAY_NS
        tiered.clock.advance(start_ns + 60 * NS_PER_SECOND - tiered.clock.time_ns())
        await store(tiered, [(start_ns, "EUR/USD", 1.0, 1, "live", None)])
        tiered.clock.advance(3600 * NS_PER_SECOND)
        await tiered.worker.run_once()
    tiered.clock.advance(now_ns - tiered.clock.time_ns())
    for _ in range(2):
        await tiered.worker.run_once()
        await tiered.run_jobs("policy_retention")
    left = {tier: len(rows) for tier, rows in (await tier_rows(tiered)).items()}
    # A partition or chunk goes when all of it is too old: here a month of minutes, a year of hours.
    assert left[Tier.S1] == 1
    assert left[Tier.M1] in {2, 3}
    assert left[Tier.H1] in {3, 4}


async def test_a_connection_that_dies_in_the_middle_of_a_roll_up_leaves_nothing_wrong(
    tiered_database: TieredDatabase,
) -> None:
    tiered = tiered_database
    await store(tiered, [row(tick, mid=float(tick)) for tick in range(3000)])
    await tiered.worker.run_once()
    await store(tiered, [row(tick, mid=-1.0) for tick in range(0, 3000, 9)])
    # Held up when the first tier is done and the second is about to be.
    held = "book_samples_1m_rolled"
    if tiered.engine == "timescaledb":
        held = await tiered.materialized("book_samples_1m_g1")
    async with tiered.database.query() as blocker, blocker.transaction():
        await blocker.execute(f"LOCK TABLE {held} IN EXCLUSIVE MODE")
        rolling = asyncio.create_task(tiered.worker.run_once())
        await until(lambda: tiered.has_backend("wait_event_type = 'Lock'"))
        await tiered.end_waiting_backends()
        with pytest.raises(DatabaseError):
            await rolling
    if tiered.engine == "plain":
        await assert_tiers(tiered)
    await tiered.worker.run_once()
    await assert_tiers(tiered)


async def test_of_two_processes_one_keeps_the_tiers_and_the_other_takes_over(
    tiered_database: TieredDatabase,
) -> None:
    tiered = tiered_database
    other = tiered.new_worker([BOOK, MACHINE])
    await other.prepare()
    try:
        assert await tiered.worker.run_once()
        assert not await other.run_once()
        await tiered.worker.stop()
        assert await other.run_once()
    finally:
        await other.stop()


async def test_a_start_on_tiers_that_are_there_changes_nothing(
    tiered_database: TieredDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    await tiered_database.prepare()
    shown = capsys.readouterr().out
    assert "tiers_prepared" in shown
    assert not {"policies_changed", "generation_created", "tables_changed"} & set(shown.split())


async def test_the_engine_of_a_database_stays(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    other = "plain" if tiered.engine == "timescaledb" else "timescaledb"
    tiered.settings = replace(tiered.settings, tiers=replace(tiered.settings.tiers, engine=other))
    with pytest.raises(DatabaseUnsuitableError, match=f"belong to the engine {tiered.engine}"):
        await tiered.prepare()
    tiered.settings = replace(tiered.settings, tiers=replace(tiered.settings.tiers, engine="auto"))
    await tiered.prepare()
    assert tiered.worker.engine == tiered.engine


async def test_left_to_itself_it_takes_timescaledb_where_that_can_be_used(
    untiered_database: TieredDatabase,
) -> None:
    tiered = untiered_database
    tiered.settings = replace(tiered.settings, tiers=replace(tiered.settings.tiers, engine="auto"))
    await tiered.prepare()
    assert tiered.worker.engine == tiered.engine


async def test_the_worker_keeps_up_while_rows_come_in_and_after_its_connection_is_lost(
    untiered_database: TieredDatabase,
) -> None:
    tiered = untiered_database
    quick = replace(tiered.settings.tiers, interval_seconds=0.02)
    tiered.settings = replace(tiered.settings, tiers=quick)
    await tiered.prepare()
    await tiered.worker.start()
    for part in range(20):
        await store(tiered, [row(100 * part + tick, mid=float(tick)) for tick in range(100)])
        if part == 10:
            await tiered.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'decahertz tiers' AND datname = current_database()"
            )
    await tiered.worker.run_once()
    await assert_tiers(tiered)
