"""The tables as hypertables of TimescaleDB: what is written, added and asked stays the same."""

from __future__ import annotations

import pytest

from decahertz.sample import SampleBatch
from storage.database import Database
from storage.query.queries import Queries
from tests.storage_examples import (
    BOOK,
    CYCLE_NS,
    MACHINE,
    START_NS,
    WIDER_BOOK,
    WiderBookSample,
    book,
    books,
    writing,
)
from tests.tables import ensure_tables
from tests.tiered_database import TieredDatabase

pytestmark = pytest.mark.timescale
EVENT_TABLES = ("quotes", "ticks", "order_events", "fills", "signals", "positions", "equity")


@pytest.fixture
def engine() -> str:
    return "timescaledb"


@pytest.fixture
async def timescale(untiered_database: TieredDatabase) -> Database:
    """A migrated database with the extension, its tables made hypertables before any row."""
    await ensure_tables(untiered_database.database, [BOOK, MACHINE])
    await untiered_database.execute("CREATE EXTENSION timescaledb")
    for table in (*EVENT_TABLES, "book_samples"):
        await untiered_database.execute("SELECT create_hypertable($1::regclass, by_range('time'))", table)
    return untiered_database.database


async def test_samples_over_several_chunks_come_back_exactly(timescale: Database) -> None:
    week = 7 * 24 * 3600 * 10**9 // CYCLE_NS
    ticks = [0, 1, week, week + 1, 2 * week]
    async with writing(timescale) as bench:
        for tick in ticks:
            bench.sample(books(tick, book(gaps=tick, mid=tick / 4)))
    end_ns = START_NS + (2 * week + 1) * CYCLE_NS
    (series,) = (await Queries(timescale).history(BOOK, ["gaps", "mid"], {}, START_NS, end_ns)).series
    assert series.time_ns == [START_NS + tick * CYCLE_NS for tick in ticks]
    assert series.fields == {"gaps": ticks, "mid": [tick / 4 for tick in ticks]}
    async with timescale.query() as connection:  # no table stood in the way of becoming a hypertable
        count = await connection.fetchval("SELECT count(*) FROM timescaledb_information.hypertables")
    assert count == len(EVENT_TABLES) + 1


async def test_a_new_metric_becomes_a_column_of_a_hypertable_with_rows(timescale: Database) -> None:
    async with writing(timescale) as bench:
        bench.sample(books(0, book(gaps=7)))
    await ensure_tables(timescale, [WIDER_BOOK])
    async with writing(timescale) as bench:
        sample = WiderBookSample(venue="sim", instrument="EUR/USD", depth=2.5)
        bench.sample(SampleBatch(WIDER_BOOK, START_NS + CYCLE_NS, (sample,)))
    end_ns = START_NS + 10**9
    (series,) = (await Queries(timescale).history(WIDER_BOOK, ["depth"], {}, START_NS, end_ns)).series
    assert series.fields == {"depth": [None, 2.5]}
