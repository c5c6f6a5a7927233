"""Exports of many rows take little memory, wait for their reader, and stop when nobody reads on."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator

import pyarrow.parquet
import pytest
import pytest_asyncio

from storage.database import Database
from storage.query import parquet
from storage.query.export import Exports, ExportStoppedError, samples_request
from storage.query.export_format import ExportFormat
from storage.settings import StorageSettings
from tests.postgres_server import PostgresServer, create_tables
from tests.storage.query.exports import BOTH, SlowReader, fill_books
from tests.storage_examples import BOOK, CYCLE_NS, START_NS, until

MANY = 100_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tables_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A database with many rows for all tests of this module, which only read it."""
    async with postgres_server.database(create_tables) as url:
        database = Database(url, StorageSettings())
        await database.open()
        await fill_books(database, MANY)
        await database.close()
        yield url


async def states(database: Database) -> list[str]:
    """The states of the sessions of running exports, or the events that they wait for."""
    async with database.query() as connection:
        rows = await connection.fetch(
            "SELECT coalesce(wait_event, state) FROM pg_stat_activity"
            " WHERE application_name = 'decahertz export' AND datname = current_database()"
        )
    return [row[0] for row in rows]


async def none_runs(database: Database) -> bool:
    return not await states(database)


@BOTH
async def test_memory_does_not_grow_with_the_number_of_rows(
    database: Database, form: ExportFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROWS_OF_A_GROUP", 10_000)
    exports = Exports(database)
    total = 0

    async def forget(data: bytes) -> None:
        nonlocal total
        total += len(data)

    reached: list[int] = []
    few = samples_request(BOOK, end_ns=START_NS + 100 * CYCLE_NS)
    await exports.run(few, form, forget)  # imports, caches
    arrow_before = pyarrow.total_allocated_bytes()
    tracemalloc.start()
    try:
        await exports.run(samples_request(BOOK), form, forget, reached.append)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * 2**20
    assert pyarrow.total_allocated_bytes() - arrow_before < 5 * 2**20
    assert total > MANY * 2
    assert reached[-1] == START_NS + MANY * CYCLE_NS
    assert reached == sorted(reached)


@BOTH
async def test_a_slow_reader_slows_the_query_and_is_not_read_ahead_of(
    database: Database, form: ExportFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROWS_OF_A_GROUP", 10_000)
    reader = SlowReader()
    work = asyncio.create_task(Exports(database).run(samples_request(BOOK), form, reader))
    await reader.waiting.wait()
    held_up = ["ClientWrite" if form is ExportFormat.CSV else "ClientRead"]

    async def is_held_up() -> bool:
        return await states(database) == held_up

    await until(is_held_up)
    assert not work.done()
    reader.go.set()
    await asyncio.wait_for(work, 30)


@BOTH
async def test_a_reader_that_fails_stops_the_query(database: Database, form: ExportFormat) -> None:
    async def fail(_: bytes) -> None:
        raise ConnectionResetError("gone")

    with pytest.raises(ExportStoppedError) as stopped:
        await Exports(database).run(samples_request(BOOK), form, fail)
    assert isinstance(stopped.value.__cause__, ConnectionResetError)
    await until(lambda: none_runs(database))


@BOTH
async def test_an_export_that_is_cancelled_stops_the_query(database: Database, form: ExportFormat) -> None:
    reader = SlowReader()
    work = asyncio.create_task(Exports(database).run(samples_request(BOOK), form, reader))
    await reader.waiting.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await until(lambda: none_runs(database))


async def test_an_export_may_take_longer_than_other_statements(tables_url: str, database: Database) -> None:
    hasty = Database(tables_url, StorageSettings(read_timeout_seconds=0.2))
    await hasty.open()
    pieces = 0

    async def slow(_: bytes) -> None:
        nonlocal pieces
        pieces += 1
        if pieces == 2:
            async with database.query() as connection:
                await connection.execute("SELECT pg_sleep(0.5)")

    await Exports(hasty).run(samples_request(BOOK), ExportFormat.CSV, slow)
    await hasty.close()
    assert pieces > 2
