"""Days of rows of the first schema become tiers in a process that is killed on the way and begins again."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from decahertz.clock import to_datetime
from storage.database import Database
from storage.settings import StorageSettings
from storage.tiers.names import ROLLED
from tests.storage_examples import START_NS, until
from tests.tiered_database import TieredDatabase

ROWS, DAYS = 30_000, 6
MOST_BYTES = 150 * 2**20
"""Of our process, however many rows there are: it never sees one of them."""
_ROOT = Path(__file__).resolve().parents[3]
_FIRST_SCHEMA = Path(__file__).with_name("first_schema.sql")
_FILL = """
INSERT INTO book_samples (time, venue, instrument, mid, gaps, verdict)
SELECT $1::timestamptz - make_interval(days => day) + n * interval '100 ms',
       'sim', 'I' || instrument, n + day, n, 'live'
FROM generate_series(0, $2::int - 1) AS day, generate_series(1, $3::int) AS n,
     generate_series(1, 5) AS instrument
"""
_STAGES = {
    "plain": [("to=partitions", 1), ("table_marked", DAYS // 2)],
    "timescaledb": [("to=hypertable", DAYS // 2), ("table_rolled_up", DAYS // 2)],
}
"""What the log says when it is in the middle, and how often by then."""
_ALL = "SELECT count(*), sum(hashtextextended(s::text, 0)::numeric) FROM book_samples AS s"


@pytest_asyncio.fixture
async def old(engine: str, engine_url: str) -> AsyncIterator[TieredDatabase]:
    """A database as the first version left it, with rows of some days."""
    connection = await asyncpg.connect(engine_url)
    await connection.execute(_FIRST_SCHEMA.read_text())
    await connection.execute("SET search_path = public")
    await connection.execute(_FILL, to_datetime(START_NS), DAYS, ROWS // DAYS // 5)
    await connection.close()
    database = Database(engine_url, StorageSettings())
    await database.open()
    yield TieredDatabase(database, engine)
    await database.close()


async def upgrade(tiered: TieredDatabase) -> Process:
    command = [sys.executable, "-m", "tests.storage.tiers.upgrading", tiered.database.url, tiered.engine]
    return await asyncio.create_subprocess_exec(*command, cwd=_ROOT, stdout=PIPE)


async def killed_at(process: Process, words: str, times: int) -> None:
    """Kill it when it has said that so many times."""
    assert process.stdout is not None
    async for line in process.stdout:
        times -= words in line.decode()
        if not times:
            process.send_signal(signal.SIGKILL)
            break
    await process.communicate()
    assert process.returncode == -signal.SIGKILL


async def contents(tiered: TieredDatabase) -> tuple[object, ...]:
    """How many rows there are, and a number that each of them takes part in."""
    (found,) = await tiered.rows(_ALL)
    return tuple(found)


@pytest.mark.parametrize("stage", [0, 1], ids=["converting", "rolling up"])
async def test_killed_on_the_way_it_begins_again_and_keeps_every_row(old: TieredDatabase, stage: int) -> None:
    before = await contents(old)
    async with old.database.query() as reader, reader.transaction():
        await reader.execute("SELECT FROM machine_samples LIMIT 0")  # it cannot be done before it is killed
        await killed_at(await upgrade(old), *_STAGES[old.engine][stage])
    assert await contents(old) == before
    process = await upgrade(old)
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0
    assert await contents(old) == before
    raw = await old.rows("SELECT count(*), sum(mid), min(mid), max(mid) FROM book_samples")
    for tier in ROLLED:
        question = f"SELECT sum(samples), sum(mid_sum), min(mid_min), max(mid_max) FROM book_samples_{tier}"  # noqa: S608 - ours
        assert await old.rows(question) == raw
    assert int(said.rpartition("peak_bytes ")[2]) < MOST_BYTES


async def test_a_process_that_was_killed_stands_in_nobodys_way(old: TieredDatabase) -> None:
    gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'decahertz tiers'"
    waits = (
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND query LIKE 'LOCK TABLE%' AND datname = current_database()"
    )
    async with old.database.query() as reader, reader.transaction():
        await reader.execute("SELECT FROM quotes LIMIT 0")
        process = await upgrade(old)
        await until(lambda: old.value(waits))
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        await until(lambda: old.value(f"{gone} AND datname = current_database()"))
