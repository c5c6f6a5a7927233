"""The ``1s`` tier on plain PostgreSQL once its rows are packed: every answer is as before."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace as replaced
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from decahertz.clock import NS_PER_SECOND, to_datetime
from decahertz.metric import NEWEST, Metric
from decahertz.sample import SampleSchema
from storage.database import DatabaseError
from storage.maintenance import backup
from storage.postgres.cluster import DATABASE
from storage.postgres.embedded import EmbeddedPostgres, Installation, database_url
from storage.query.history.resolution import ResolutionRequest
from storage.query.queries import Queries
from storage.tiers.administration import AdminSession
from storage.tiers.names import ROLLED, Tier
from storage.tiers.plain.table import PlainTable
from storage.tiers.schema import tier_schema_of
from tests.postgres_server import PostgresServer
from tests.storage.tiers.test_packed import packing_process, some_rows
from tests.storage_examples import BOOK, CYCLE_NS, MACHINE, START_NS, WIDER_BOOK, until
from tests.tier_checks import COLUMNS, Row, assert_tiers, raw_rows, row, store
from tests.tiered_database import TieredDatabase, tiered_at

SPAN = 6000
"""Cycles of ten minutes."""
HOUR_NS = 3600 * NS_PER_SECOND
DAY_NS = 24 * HOUR_NS
_BEGIN = -(START_NS // CYCLE_NS % SPAN)
"""The cycle at which the first span begins."""
_ROLLED, _PACKED = "book_samples_1s_rolled", "book_samples_1s_packed"


@pytest.fixture
async def plain(postgres_server: PostgresServer) -> AsyncIterator[TieredDatabase]:
    async with postgres_server.database() as url, tiered_at(url, "plain") as tiered:
        await tiered.prepare()
        yield tiered


def samples(seed: int, first: int, last: int, instruments: str = "ab", late: int = 0) -> list[Row]:
    """Samples of which no two have one key and time: of two the newest value would be either's.

    ``late``: milliseconds that tell them from others of the same cycles.
    """
    rows = {one[:2]: one for one in some_rows(seed, first, last, instruments)}
    return [(one[0] + late * 10**6, *one[1:]) for one in rows.values()]


async def roll_up(tiered: TieredDatabase) -> None:
    """Roll up, and pack nothing."""
    engine = tiered.worker._engine
    assert engine is not None
    async with tiered.database.query() as connection:
        await engine.roll_up(connection, AdminSession(tiered.database, "test"), tiered.clock.time_ns())


async def pack(tiered: TieredDatabase, hours: int = 2) -> None:
    """Let some hours pass, in which old rows are packed."""
    tiered.clock.advance(hours * HOUR_NS)
    for _ in range(2):
        await tiered.worker.run_once()


async def count(tiered: TieredDatabase, relation: str) -> int:
    found: int = await tiered.value(f"SELECT count(*) FROM {relation}")  # noqa: S608 - ours
    return found


async def answers(tiered: TieredDatabase) -> list[Any]:
    """All rows of the tiers, histories from each of them, and what the dashboards ask."""
    queries, found = Queries(tiered.database), list[Any]()
    for tier in ROLLED:
        rows = await tiered.rows(f"SELECT * FROM book_samples_{tier}")  # noqa: S608 - ours
        found.append(Counter(map(tuple, rows)))
    span = (START_NS + 100 * CYCLE_NS, START_NS + 5_000 * CYCLE_NS + 1)
    for seconds in (1, 7, 60):
        request = ResolutionRequest(step_ns=seconds * NS_PER_SECOND)
        for key in ({}, {"instrument": ["a"]}):
            history = await queries.history(BOOK, [], key, *span, request=request)
            found += [(one.key, one.time_ns, one.fields) for one in history.series]
    seen = (
        "SELECT time, recorder, mid, mid_min, mid_max, mid_avg, verdict FROM book_history"
        " WHERE tier = '1s' AND instrument = 'b' AND time >= $1 AND time < $2 ORDER BY time, recorder"
    )
    found += map(tuple, await tiered.rows(seen, *map(to_datetime, span)))
    return found


async def store_as(tiered: TieredDatabase, recorder: str, rows: list[Row]) -> None:
    records = [(to_datetime(time_ns), recorder, "sim", *rest) for time_ns, *rest in rows]
    async with tiered.database.query() as connection:
        await connection.copy_records_to_table("book_samples", records=records, columns=COLUMNS)


@pytest.mark.parametrize("seed", range(4))
async def test_answers_are_the_same_whatever_is_packed_and_comes_late(
    plain: TieredDatabase, seed: int
) -> None:
    tiered, chance = plain, random.Random(seed)
    await store(tiered, samples(seed, 0, 6500))
    await store_as(tiered, "other", samples(seed + 10, 2000, 4000))
    await tiered.worker.run_once()
    before = await answers(tiered)
    await pack(tiered)
    assert await count(tiered, _ROLLED) == 0
    assert await count(tiered, _PACKED) > 0
    assert await answers(tiered) == before
    for number in range(4):
        first = chance.randrange(-2000, 8000)
        last = first + chance.choice([1, 30, 3000])
        late = samples(100 * seed + number, first, last, chance.choice(["a", "bc"]), 1 + number)
        await store_as(tiered, chance.choice(["desk", "other"]), late)
        before = await answers(tiered)  # made from raw rows where these came late
        await roll_up(tiered)
        assert await answers(tiered) == before
        if chance.random() < 0.5:
            await pack(tiered)
            assert await answers(tiered) == before
    before = await answers(tiered)
    await tiered.execute(
        "INSERT INTO book_samples_dirty_buckets (width_seconds, time)"
        " SELECT 1, date_bin('1 s', time, 'epoch') FROM book_samples"
    )
    assert await answers(tiered) == before, "all made anew from raw rows"


async def test_every_bucket_is_that_of_its_raw_rows_and_there_once(plain: TieredDatabase) -> None:
    tiered = plain
    await store(tiered, some_rows(1, 0, 6500))
    await pack(tiered)
    await assert_tiers(tiered)
    packed = await count(tiered, _PACKED)
    late = some_rows(2, 1000, 1005) + [row(tick, "c") for tick in range(40, 70)]
    await store(tiered, late)
    await assert_tiers(tiered)
    await roll_up(tiered)
    await assert_tiers(tiered)
    assert await count(tiered, _ROLLED) > 0
    await pack(tiered)
    await assert_tiers(tiered)
    assert await count(tiered, _ROLLED) == 0
    assert packed < await count(tiered, _PACKED) <= packed + 3 * 2, "the late buckets are rows of their own"
    await store(tiered, [row(tick, "a") for tick in range(_BEGIN, _BEGIN + SPAN, 10)])
    await pack(tiered)
    await assert_tiers(tiered)
    first = await tiered.value(
        f"SELECT count(*) FROM {_PACKED} WHERE time = $1",  # noqa: S608 - ours
        to_datetime(START_NS + _BEGIN * CYCLE_NS),
    )
    assert first == 3, "rows that have lost all their buckets are gone"


async def test_more_series_than_a_transaction_packs_are_packed(plain: TieredDatabase) -> None:
    names = [f"i{number}" for number in range(70)]
    await store(plain, [row(tick, name) for tick in range(0, 40, 7) for name in names])
    await pack(plain)
    assert await count(plain, _ROLLED) == 0
    assert await count(plain, _PACKED) == 70
    await assert_tiers(plain)


async def test_a_new_metric_has_no_value_in_what_is_packed_already(plain: TieredDatabase) -> None:
    tiered = plain
    await store(tiered, some_rows(3, 0, 600))
    await pack(tiered)
    await tiered.prepare([WIDER_BOOK, MACHINE])
    await assert_tiers(tiered)
    found = await tiered.rows("SELECT DISTINCT depth_last, depth_sum, depth_count FROM book_samples_1s")
    assert list(map(tuple, found)) == [(None, None, 0)]
    await tiered.execute("UPDATE book_samples_recent SET depth = 5")
    await pack(tiered)
    await assert_tiers(tiered)


async def test_an_aggregate_that_is_declared_later_is_unknown_of_packed_buckets(
    postgres_server: PostgresServer,
) -> None:
    metrics = {one.name: one for one in BOOK.metrics}
    mid = metrics["mid"]
    metrics["mid"] = replaced(mid, metric=replaced(mid.metric, aggregates=NEWEST))
    async with postgres_server.database() as url, tiered_at(url, "plain") as tiered:
        await tiered.prepare([replaced(BOOK, metrics=tuple(metrics.values())), MACHINE])
        await store(tiered, [row(tick, mid=float(tick)) for tick in range(10)])
        await pack(tiered)
        assert await count(tiered, _PACKED) == 1
        await tiered.prepare([BOOK, MACHINE])
        asked = "SELECT mid_last, mid_min, mid_max, mid_sum, mid_count FROM book_samples_1s ORDER BY time"
        assert list(map(tuple, await tiered.rows(asked))) == [(9, None, None, None, None)]
        later = (tiered.clock.time_ns() - START_NS) // CYCLE_NS - 600
        await store(tiered, [row(later // 10 * 10 + tick, mid=float(tick)) for tick in range(10)])
        await pack(tiered)
        assert await count(tiered, _PACKED) == 2
        found = list(map(tuple, await tiered.rows(asked)))
        assert found == [(9, None, None, None, None), (9, 0, 9, 45, 10)]


async def test_a_table_with_too_many_columns_for_a_packed_row_stays_as_it_is(
    postgres_server: PostgresServer,
) -> None:
    mid = next(one for one in BOOK.metrics if one.name == "mid")
    wide = tuple(replaced(mid, name=f"m{number}", metric=Metric("One of many.")) for number in range(90))
    schema: SampleSchema = replaced(BOOK, metrics=(*BOOK.metrics, *wide))
    async with postgres_server.database() as url, tiered_at(url, "plain") as tiered:
        await tiered.prepare([schema, MACHINE])
        await store(tiered, [row(tick) for tick in range(10)])
        await pack(tiered)
        assert (await count(tiered, _ROLLED), await count(tiered, _PACKED)) == (1, 0)
        await assert_tiers(tiered)


async def test_nothing_is_packed_where_that_is_switched_off(plain: TieredDatabase) -> None:
    plain.settings = replace(plain.settings, tiers=replace(plain.settings.tiers, pack_after_hours=0.0))
    await plain.prepare()
    await store(plain, [row(0)])
    await pack(plain)
    assert (await count(plain, _ROLLED), await count(plain, _PACKED)) == (1, 0)


async def test_packed_seconds_go_with_their_day(plain: TieredDatabase) -> None:
    tiered = plain
    await store(tiered, [row(tick) for tick in range(600)])
    await pack(tiered)
    assert await count(tiered, "packed_seconds") == 600
    await pack(tiered, 29 * 24)
    assert await count(tiered, "book_samples_1s") == 60
    assert await count(tiered, "packed_cycles") == 0
    await pack(tiered, 3 * 24)
    for relation in ("book_samples_1s", _PACKED, "packed_seconds"):
        assert await count(tiered, relation) == 0, relation
    parts = await tiered.rows(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = ANY($1::text[]::regclass[])",
        [_ROLLED, _PACKED, "packed_seconds"],
    )
    assert not [name for (name,) in parts if "20231114" in name], "its partitions are gone"
    assert await tiered.value("SELECT sum(samples) FROM book_samples_1m") == 600


async def test_a_partition_that_packing_has_emptied_is_dropped(plain: TieredDatabase) -> None:
    tiered = plain
    await store(tiered, [row(tick) for tick in range(600)])
    await pack(tiered, 30)
    named = "SELECT count(*) FROM pg_class WHERE relname = $1"
    assert await tiered.value(named, f"{_PACKED}_p20231114") == 1
    assert await tiered.value(named, f"{_ROLLED}_p20231114") == 0
    await store(tiered, [row(3)])  # which needs it again
    await pack(tiered)
    await assert_tiers(tiered)


async def test_plans_have_the_packed_rows_of_their_time_alone(plain: TieredDatabase) -> None:
    tiered, day = plain, 24 * 36_000
    for start in (0, day, 2 * day):
        await store(tiered, [row(start + tick, name) for tick in range(0, 9000, 50) for name in "abcd"])
    await pack(tiered, 3 * 24)
    await tiered.execute("ANALYZE")
    assert await count(tiered, _ROLLED) == 0
    low, high = (to_datetime(START_NS + (day + tick) * CYCLE_NS) for tick in (1000, 1500))
    by_view = f"SELECT time, mid_last FROM book_samples_1s WHERE time >= '{low}' AND time < '{high}'"  # noqa: S608 - ours
    bounds = f"'{low}'::timestamptz", f"'{high}'::timestamptz"
    by_query = PlainTable(tier_schema_of(BOOK)).rows(Tier.S1, bounds)
    for statement in (by_view, by_query):
        async with tiered.database.query() as connection, connection.transaction():
            # Tables as small as these are quicker read whole.
            await connection.execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
            await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_material = off")
            explained = "EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) "
            plan = [line for (line,) in await connection.fetch(explained + statement)]
        parts = [line for line in plan if f"{_PACKED}_" in line and "never executed" not in line]
        assert parts, plan
        assert all("packed_p20231115" in line for line in parts), plan


async def test_kill_9_in_the_middle_of_packing_loses_and_doubles_nothing(plain: TieredDatabase) -> None:
    tiered = plain
    await store(tiered, samples(5, 0, 1800))
    await tiered.worker.run_once()
    before = await answers(tiered)
    await tiered.worker.stop()
    # A span waits when its rows are gone from one table and half of them are in the other.
    await tiered.execute(f"""
        CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN IF NEW.instrument = ''b'' THEN PERFORM pg_advisory_xact_lock(7); END IF; RETURN NEW; END';
        CREATE TRIGGER hold BEFORE INSERT ON {_PACKED} FOR EACH ROW EXECUTE FUNCTION hold();
    """)
    waits = "wait_event = 'advisory' AND query LIKE '%moved%'"
    async with tiered.database.query() as blocker:
        await blocker.execute("SELECT pg_advisory_lock(7)")
        async with packing_process(tiered) as packer:
            await until(lambda: tiered.has_backend(waits))
            packer.kill()
        assert await answers(tiered) == before, "a reader sees each row once meanwhile"
        await blocker.execute("SELECT pg_advisory_unlock(7)")

    async def nobody() -> bool:
        return not await tiered.has_backend(waits)

    await until(nobody)
    assert await answers(tiered) == before
    await tiered.execute(f"DROP TRIGGER hold ON {_PACKED}")
    await tiered.prepare()
    await pack(tiered)
    assert await answers(tiered) == before
    await assert_tiers(tiered)


async def test_a_backend_that_dies_while_late_buckets_are_made_changes_nothing(
    plain: TieredDatabase,
) -> None:
    tiered = plain
    await store(tiered, samples(6, 0, 1800))
    await pack(tiered)
    present = f"SELECT sum(cardinality(array_positions(_present, true))) FROM {_PACKED}"  # noqa: S608 - ours
    await store(tiered, samples(7, 100, 200, late=1))
    before, were = await answers(tiered), await tiered.value(present)
    async with tiered.database.query() as blocker, blocker.transaction():
        # The packed rows have lost these buckets when the roll-up comes to this table.
        await blocker.execute(f"LOCK TABLE {_ROLLED} IN EXCLUSIVE MODE")
        rolling = asyncio.create_task(tiered.worker.run_once())
        await until(lambda: tiered.has_backend("wait_event_type = 'Lock'"))
        await tiered.end_waiting_backends()
        with pytest.raises(DatabaseError):
            await rolling
    assert await tiered.value(present) == were
    assert await answers(tiered) == before
    await pack(tiered)
    assert await answers(tiered) == before
    await assert_tiers(tiered)


async def test_buckets_that_change_while_others_read_are_there_once(plain: TieredDatabase) -> None:
    """Readers meet packing and roll-up at any moment."""
    tiered = plain
    await store(tiered, some_rows(8, 0, 3000))
    await tiered.worker.run_once()
    tiered.clock.advance(2 * HOUR_NS)

    async def work() -> None:
        for number in range(6):
            await store(tiered, [row(tick, "a") for tick in range(500 * number, 500 * number + 20)])
            await tiered.worker.run_once()

    working = asyncio.create_task(work())
    while not working.done():
        async with tiered.database.query() as connection, connection.transaction(isolation="repeatable_read"):
            made: int = await connection.fetchval("SELECT sum(samples) FROM book_samples_1s")
            assert made == await connection.fetchval("SELECT count(*) FROM book_samples")
    await working
    assert len(await raw_rows(tiered)) == await tiered.value("SELECT sum(samples) FROM book_samples_1s")


async def test_a_backup_has_what_is_packed(
    postgres_server: PostgresServer, installation: Installation, tmp_path: Path
) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    async with postgres_server.database() as url:
        async with tiered_at(url, "plain") as tiered:
            await tiered.prepare()
            await store(tiered, samples(9, 0, 1800))
            await pack(tiered)
            before, rows = await answers(tiered), await count(tiered, _PACKED)
        await backup.make(url, installation, file, lambda _, __: None)
    async with EmbeddedPostgres(other, installation=installation):
        where = partial(database_url, other)
        await backup.restore(where, DATABASE, installation, file, lambda _, __: None, replace=True)
        async with tiered_at(where(DATABASE), "plain") as restored:
            assert await answers(restored) == before
            assert await count(restored, _PACKED) == rows
            await restored.prepare()
            await store(restored, some_rows(10, 50, 70))
            await pack(restored)
            await assert_tiers(restored)
