"""Samples that are packed, or in TimescaleDB's columnstore: every reader finds what it found before."""

from __future__ import annotations

import asyncio
import math
import os
import random
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from decahertz.clock import NS_PER_SECOND, to_datetime
from storage.database import DatabaseError
from storage.maintenance.status import database_status
from storage.query.event_history import newest_sample_ns
from storage.query.export import samples_request
from storage.query.export_format import ExportFormat
from storage.query.history.resolution import ResolutionRequest
from storage.query.queries import Queries
from storage.schema.migrate import migrate, shipped_migrations
from storage.tiers.names import Tier
from tests.embedded_server import PROJECT
from tests.postgres_server import PostgresServer
from tests.storage.query.exports import exported
from tests.storage_examples import BOOK, CYCLE_NS, MACHINE, RECORDER, START_NS, WIDER_BOOK, until
from tests.tier_checks import Row, assert_tiers, raw_rows, row, store
from tests.tiered_database import TieredDatabase, tiered_at

MINUTE = 600
"""Cycles of a minute."""
HOUR_NS = 3600 * NS_PER_SECOND
DAY_NS = 24 * HOUR_NS
_BEFORE = Path(__file__).with_name("before_packing.sql")
_PLAN = """
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off)
SELECT time, mid FROM book_samples WHERE time >= '{}' AND time < '{}'
"""
_STORED = "SELECT count(*) FROM book_samples_{}"


def some_rows(seed: int, first: int, last: int, instruments: str = "ab") -> list[Row]:
    """Samples with holes, nulls, a second of some cycles, and one off the grid. Their sums are exact."""
    chance = random.Random(seed)
    rows: list[Row] = []
    for tick in range(first, last):
        for instrument in instruments:
            if chance.random() < 0.8:
                mid = None if chance.random() < 0.1 else 100 + chance.randrange(-80, 80) / 8
                state = chance.choice(["live", "stale", None])
                one = (START_NS + tick * CYCLE_NS, instrument, mid, tick, state, chance.choice([True, None]))
                rows += [one] * (2 if chance.random() < 0.01 else 1)
    rows.append((START_NS + first * CYCLE_NS + 12_345_000, "a", 7.0, 1, "live", False))
    return rows


async def settle(tiered: TieredDatabase) -> None:
    """Lets an hour or two pass, in which old samples are packed or compressed."""
    tiered.clock.advance(2 * HOUR_NS)
    for _ in range(2):
        await tiered.worker.run_once()
    if tiered.engine == "timescaledb":
        await tiered.execute("SELECT compress_chunk(chunk, true) FROM show_chunks('book_samples') AS chunk")


async def read(tiered: TieredDatabase) -> list[Any]:
    """What readers find: SQL, histories in every form, exports, the view of the dashboards."""
    queries, database = Queries(tiered.database), tiered.database
    span = (START_NS + 100 * CYCLE_NS, START_NS + 5_000 * CYCLE_NS + 1)
    of_one = {"instrument": ["a"]}
    found: list[Any] = [Counter(await raw_rows(tiered))]
    for request in (
        ResolutionRequest(Tier.RAW),
        ResolutionRequest(Tier.RAW, 7 * NS_PER_SECOND),
        ResolutionRequest(step_ns=60 * NS_PER_SECOND),
    ):
        for key in ({}, of_one):
            history = await queries.history(BOOK, [], key, *span, request=request)
            found += [
                (one.key, one.time_ns, _set_of(one.fields) if request.step_ns is None else one.fields)
                for one in history.series
            ]
    for request_of in (samples_request(BOOK), samples_request(BOOK, ["gaps"], of_one, *span)):
        lines = (await exported(database, request_of, ExportFormat.CSV)).splitlines()
        times = [int(line.partition(b",")[0]) for line in lines[1:]]
        assert times == sorted(times)
        found.append(Counter(lines))
    narrow = (
        "FROM {} WHERE instrument = 'b' AND time >= $1 AND time < $2 GROUP BY verdict, crossed ORDER BY 1, 2"
    )
    for relation in ("book_samples", "book_history"):
        text = f"SELECT verdict, crossed, count(*), min(mid), max(time), sum(gaps) {narrow.format(relation)}"
        text = text if relation == "book_samples" else text.replace(" GROUP", " AND tier = 'raw' GROUP")
        found.append(list(map(tuple, await tiered.rows(text, *map(to_datetime, span)))))
    found += list(map(tuple, await tiered.rows("SELECT min(time), max(time), count(*) FROM book_samples")))
    for after_ns in (0, START_NS + 5_000 * CYCLE_NS, START_NS + 5_999 * CYCLE_NS, START_NS + DAY_NS):
        found.append(await newest_sample_ns(database, [BOOK], RECORDER, after_ns))
    found += [
        (one.table, one.oldest_ns, one.newest_ns) for one in (await database_status(database, 0)).samples
    ]
    return found


def _set_of(fields: Any) -> dict[str, Counter[Any]]:  # noqa: ANN401 - lists by field
    """Two samples of one cycle come in either order."""
    return {name: Counter(values) for name, values in fields.items()}


async def test_readers_find_the_same_before_and_after(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    rows = some_rows(1, 0, 6000)
    await store(tiered, rows)
    before = await read(tiered)
    await settle(tiered)
    assert await read(tiered) == before
    await assert_tiers(tiered)
    await store(tiered, [row(tick) for tick in range(70_000, 70_010)])  # not old enough
    await tiered.worker.run_once()
    if tiered.engine == "plain":
        assert await tiered.value(_STORED.format("recent")) == 1 + 10
        assert 22 <= await tiered.value(_STORED.format("packed")) <= 44
    assert sum((await read(tiered))[0].values()) == len(rows) + 10


async def test_late_samples_of_a_packed_minute_are_there_at_once_and_packed_too(
    tiered_database: TieredDatabase,
) -> None:
    tiered = tiered_database
    rows = some_rows(2, 0, 2 * MINUTE)
    await store(tiered, rows)
    await settle(tiered)
    late: list[Row] = [
        (START_NS + tick * CYCLE_NS, "c", 1e6, tick, "live", True) for tick in range(3, 1000, 10)
    ]
    late += [(START_NS + tick * CYCLE_NS, "a", -1e6, tick, None, None) for tick in range(500)]
    await store(tiered, late)
    expected = Counter(rows) + Counter(late)
    assert Counter(await raw_rows(tiered)) == expected
    if tiered.engine == "plain":
        await assert_tiers(tiered)
    for _ in range(3):  # whatever has the key and the cycle of another waits for the next round
        await tiered.worker.run_once()
        assert Counter(await raw_rows(tiered)) == expected
        await assert_tiers(tiered)
    if tiered.engine == "plain":
        assert await tiered.value(_STORED.format("recent")) == 1
    before = await read(tiered)
    await tiered.worker.run_once()
    assert await read(tiered) == before


async def test_a_new_metric_is_null_in_what_is_packed_already(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    await store(tiered, some_rows(3, 0, MINUTE))
    before = await raw_rows(tiered)
    await settle(tiered)
    await tiered.prepare([WIDER_BOOK, MACHINE])
    assert Counter(await raw_rows(tiered)) == Counter(before)
    assert await tiered.value("SELECT count(depth) FROM book_samples") == 0
    span = (START_NS - HOUR_NS, START_NS + HOUR_NS)
    history = await Queries(tiered.database).history(WIDER_BOOK, ["depth"], {}, *span)
    assert sum(len(one.time_ns) for one in history.series) == len(before)
    insert = (
        "INSERT INTO book_samples (time, recorder, venue, instrument, depth) VALUES ($1, 'x', 'y', 'z', 5)"
    )
    await tiered.execute(insert, to_datetime(START_NS))
    await settle(tiered)
    assert await tiered.value("SELECT depth FROM book_samples WHERE depth IS NOT NULL") == 5.0


async def test_packed_samples_go_with_their_day(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    if tiered.engine == "timescaledb":
        pytest.skip("its policies drop chunks, compressed or not")
    await store(tiered, some_rows(4, 0, 2 * MINUTE))
    await settle(tiered)
    assert await tiered.value("SELECT count(*) FROM packed_cycles") > 0
    tiered.clock.advance(9 * 24 * HOUR_NS)
    for _ in range(2):
        await tiered.worker.run_once()
    for relation in ("book_samples", "book_samples_packed", "packed_cycles"):
        assert await tiered.value(f"SELECT count(*) FROM {relation}") == 0  # noqa: S608 - ours
    parts = await tiered.rows(
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhparent IN ('book_samples_recent'::regclass, 'packed_cycles'::regclass)"
    )
    assert not [name for (name,) in parts if "20231114" in name], "its partitions are gone"
    assert await tiered.value("SELECT sum(samples) > 0 FROM book_samples_1m")


async def test_nothing_is_packed_where_that_is_switched_off(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    if tiered.engine == "timescaledb":
        pytest.skip("it packs nothing")
    tiered.settings = replace(tiered.settings, tiers=replace(tiered.settings.tiers, pack_after_hours=0.0))
    await tiered.prepare()
    await store(tiered, [row(0)])
    await settle(tiered)
    assert await tiered.value(_STORED.format("recent")) == 1


async def test_a_statement_reads_only_the_packed_rows_of_its_minutes(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    if tiered.engine == "timescaledb":
        pytest.skip("TimescaleDB prunes its chunks")
    day = 24 * 60 * MINUTE
    for start in (0, day, 2 * day):
        await store(tiered, [row(start + tick, name) for tick in range(0, 3000, 20) for name in "abcd"])
    tiered.clock.advance(3 * 24 * HOUR_NS)
    await tiered.worker.run_once()
    await tiered.execute("ANALYZE")
    assert await tiered.value(_STORED.format("recent")) == 0
    low, high = (to_datetime(START_NS + (day + tick) * CYCLE_NS) for tick in (1000, 1010))
    async with tiered.database.query() as connection, connection.transaction():
        # Tables as small as these are quicker read whole.
        await connection.execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_material = off")
        plan = await connection.fetch(_PLAN.format(low, high))
    lines = [line for (line,) in plan]
    read_parts = [line for line in lines if "book_samples_packed_p" in line and "never executed" not in line]
    assert read_parts, lines
    assert all("packed_p20231115" in line for line in read_parts), lines


PACKS = """
import asyncio, sys
from tests.tiered_database import tiered_at
from tests.storage_examples import BOOK, MACHINE

async def main():
    async with tiered_at(sys.argv[1], "plain") as tiered:
        tiered.clock.advance(int(sys.argv[2]) * 3600 * 10**9)
        await tiered.prepare()
        print("ready", flush=True)
        await tiered.worker.run_once()

asyncio.run(main())
"""


@asynccontextmanager
async def packing_process(tiered: TieredDatabase, hours: int = 2) -> AsyncIterator[Process]:
    """Another process, which packs what is some hours old; it is over when the block ends."""
    packer = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PACKS,
        tiered.database.url,
        str(hours),
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert packer.stdout is not None
    try:
        while await packer.stdout.readline() != b"ready\n":
            assert not packer.stdout.at_eof()
        yield packer
    finally:
        with suppress(ProcessLookupError):
            packer.kill()
        await packer.wait()


async def test_kill_9_in_the_middle_of_packing_loses_and_doubles_nothing(
    tiered_database: TieredDatabase,
) -> None:
    tiered = tiered_database
    if tiered.engine == "timescaledb":
        pytest.skip("it packs nothing")
    rows = some_rows(5, 0, 3 * MINUTE)
    await store(tiered, rows)
    await tiered.worker.run_once()
    await tiered.worker.stop()
    # Each minute waits when its rows are gone from one table and half of them are in the other.
    await tiered.execute("""
        CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN IF NEW.instrument = ''b'' THEN PERFORM pg_advisory_xact_lock(7); END IF; RETURN NEW; END';
        CREATE TRIGGER hold BEFORE INSERT ON book_samples_packed FOR EACH ROW EXECUTE FUNCTION hold();
    """)
    waits = "wait_event = 'advisory' AND query LIKE '%moved%'"
    for _ in range(2):
        async with tiered.database.query() as blocker:
            await blocker.execute("SELECT pg_advisory_lock(7)")
            async with packing_process(tiered) as packer:
                await until(lambda: tiered.has_backend(waits))
                packer.kill()
            assert Counter(await raw_rows(tiered)) == Counter(rows), "a reader sees each row once meanwhile"
            await blocker.execute("SELECT pg_advisory_unlock(7)")
        await until(lambda: _nobody(tiered, waits))
        assert Counter(await raw_rows(tiered)) == Counter(rows)
    await tiered.execute("DROP TRIGGER hold ON book_samples_packed")
    await tiered.prepare()
    await settle(tiered)
    assert Counter(await raw_rows(tiered)) == Counter(rows)
    await assert_tiers(tiered)


async def _nobody(tiered: TieredDatabase, condition: str) -> bool:
    return not await tiered.has_backend(condition)


async def test_a_backend_that_dies_in_the_middle_changes_nothing(tiered_database: TieredDatabase) -> None:
    tiered = tiered_database
    if tiered.engine == "timescaledb":
        pytest.skip("it packs nothing")
    rows = some_rows(6, 0, 2 * MINUTE)
    await store(tiered, rows)
    await tiered.worker.run_once()
    tiered.clock.advance(2 * HOUR_NS)
    async with tiered.database.query() as blocker, blocker.transaction():
        await blocker.execute("LOCK TABLE packed_cycles IN EXCLUSIVE MODE")
        packing = asyncio.create_task(tiered.worker.run_once())
        await until(lambda: tiered.has_backend("wait_event_type = 'Lock'"))
        await tiered.end_waiting_backends()
        with pytest.raises(DatabaseError):
            await packing
    assert Counter(await raw_rows(tiered)) == Counter(rows)
    await settle(tiered)
    assert Counter(await raw_rows(tiered)) == Counter(rows)
    assert await tiered.value(_STORED.format("recent")) == 1


async def test_a_database_from_before_packing_goes_on(postgres_server: PostgresServer) -> None:
    shipped = shipped_migrations()
    number = next(one.number for one in shipped if one.name == "packed_cycles")
    async with postgres_server.database() as url, tiered_at(url, "plain", shipped[: number - 1]) as tiered:
        await tiered.execute(_BEFORE.read_text(encoding="utf-8"))
        rows = [one for one in some_rows(7, 0, 2 * MINUTE) if one[0] % CYCLE_NS == 0]
        await store(tiered, rows)  # as the version before it did
        await tiered.execute("CREATE VIEW mine AS SELECT mid FROM book_samples")
        expected = math.fsum(mid for _, _, mid, *_ in rows if mid is not None)
        await migrate(tiered.database)
        await tiered.prepare()
        assert Counter(await raw_rows(tiered)) == Counter(rows)
        await assert_tiers(tiered)
        await settle(tiered)
        assert Counter(await raw_rows(tiered)) == Counter(rows)
        await assert_tiers(tiered)
        for relation in ("book_samples_packed", "book_samples_1s_packed"):
            assert await tiered.value(f"SELECT count(*) FROM {relation}") > 0  # noqa: S608 - ours
        for tier in Tier:
            total = await tiered.value(
                "SELECT sum(mid_avg * samples) FROM book_history WHERE tier = $1", tier
            )
            assert total is not None
        assert math.isclose(await tiered.value("SELECT sum(mid) FROM book_samples"), expected)
        await tiered.prepare()  # the second start finds nothing to do
        assert Counter(await raw_rows(tiered)) == Counter(rows)
