"""The tables as hypertables of TimescaleDB: what is written, added and asked stays the same."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
import pytest_asyncio

from decahertz.metric import Metric
from decahertz.sample import Sample, SampleBatch, schema_of
from storage.database import Database
from storage.postgres.embedded import EmbeddedPostgres, Installation, find_installation
from storage.query.queries import Queries
from storage.schema.migrate import migrate
from storage.settings import StorageSettings
from tests.storage_examples import BOOK, CYCLE_NS, START_NS, book, books, writing
from tests.tables import ensure_tables

pytestmark = pytest.mark.timescale
_SETTINGS = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "max_worker_processes": "24",
    "fsync": "off",
}
EVENT_TABLES = ("quotes", "ticks", "order_events", "fills", "signals", "positions", "equity")


class WiderBookSample(Sample, frozen=True, kw_only=True):
    """The book sample of a later version: one metric more."""

    collector: ClassVar[str] = "book"
    key: ClassVar[tuple[str, ...]] = ("venue", "instrument")
    venue: str
    instrument: str
    depth: Annotated[float | None, Metric("Quantity within ten basis points.")] = None


def has_timescale(installation: Installation) -> bool:
    return any(installation.prefix.glob("share/**/timescaledb.control"))


@pytest_asyncio.fixture
async def timescale(tmp_path: Path) -> AsyncIterator[Database]:
    """A migrated database with the extension, its tables made hypertables before any row."""
    prefix = os.environ.get("DECAHERTZ_TEST_POSTGRES", "")
    installation = find_installation(Path(prefix) if prefix else None)
    if not has_timescale(installation):
        pytest.skip("this PostgreSQL has no TimescaleDB (name one that has with DECAHERTZ_TEST_POSTGRES)")
    server = EmbeddedPostgres(tmp_path / "data", installation=installation, settings=_SETTINGS)
    async with server:
        database = Database(server.url, StorageSettings(flush_seconds=0.01))
        await database.open()
        await migrate(database)
        await ensure_tables(database, [BOOK])
        async with database.query() as connection:
            await connection.execute("CREATE EXTENSION timescaledb")
            for table in (*EVENT_TABLES, "book_samples"):
                await connection.execute("SELECT create_hypertable($1::regclass, by_range('time'))", table)
        yield database
        await database.close()


async def test_no_table_stands_in_the_way_of_becoming_a_hypertable(timescale: Database) -> None:
    async with timescale.query() as connection:
        count = await connection.fetchval("SELECT count(*) FROM timescaledb_information.hypertables")
    assert count == len(EVENT_TABLES) + 1


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


async def test_a_new_metric_becomes_a_column_of_a_hypertable_with_rows(timescale: Database) -> None:
    async with writing(timescale) as bench:
        bench.sample(books(0, book(gaps=7)))
    wider = schema_of(WiderBookSample)
    await ensure_tables(timescale, [wider])
    async with writing(timescale) as bench:
        sample = WiderBookSample(venue="sim", instrument="EUR/USD", depth=2.5)
        bench.sample(SampleBatch(wider, START_NS + CYCLE_NS, (sample,)))
    (series,) = (await Queries(timescale).history(wider, ["depth"], {}, START_NS, START_NS + 10**9)).series
    assert series.fields == {"depth": [None, 2.5]}
