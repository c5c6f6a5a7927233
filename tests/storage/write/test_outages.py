"""The database goes away and comes back in the middle of the work."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from decahertz.event import Side
from decahertz.health import Health
from storage.database import Database
from storage.postgres.embedded import EmbeddedPostgres
from storage.schema.migrate import migrate
from storage.settings import SpoolSettings, StorageSettings
from tests.embedded_server import chosen_installation, create_data
from tests.proxy import PostgresProxy
from tests.storage.write.conftest import SETTINGS
from tests.storage_examples import BOOK, MACHINE, Bench, arrival, book, books, fill, quotes, until, writing
from tests.tables import ensure_tables


class Restartable:
    """A server of the test's own."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._server: EmbeddedPostgres | None = None

    async def start(self) -> str:
        self._server = EmbeddedPostgres(self._data_dir, installation=chosen_installation())
        return await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()
            self._server = None

    async def kill(self) -> None:
        assert self._server is not None
        assert self._server.pid is not None
        os.kill(self._server.pid, signal.SIGKILL)
        await self._server.wait_ended()
        await self.stop()


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Restartable]:
    server = Restartable(create_data(tmp_path / "data", chosen_installation()))
    yield server
    await server.stop()


@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_a_restart_of_the_server_loses_and_doubles_nothing(server: Restartable, way: str) -> None:
    database = Database(await server.start(), SETTINGS)
    await database.open()
    await migrate(database)
    await ensure_tables(database, [BOOK, MACHINE])
    async with writing(database) as bench:
        emitting = asyncio.create_task(emit(bench, 150))
        await until(lambda: (bench.counted("storage_rows_total", table="quotes") or 0) >= 20)
        await (server.stop() if way == "stop" else server.kill())
        await until(lambda: bench.writer.status().health is Health.DEGRADED)
        assert bench.registry.get_sample_value("decahertz_database_up") == 0
        assert (bench.registry.get_sample_value("decahertz_database_lost_seconds") or 0) > 0
        await server.start()
        await emitting
        await bench.drained()
        assert await bench.stored_quotes() == list(range(1, 301))
        ticks = await bench.rows("SELECT gaps FROM book_samples ORDER BY time")
        assert [row[0] for row in ticks] == list(range(150))
        assert bench.spool.dropped == 0
        assert bench.account("samples:book") == (150, 150, 0, {})
        assert bench.account("events:loop") == (300, 300, 0, {})
        assert bench.writer.status().health is Health.OK
        assert bench.registry.get_sample_value("decahertz_database_up") == 1
        assert bench.registry.get_sample_value("decahertz_database_lost_seconds") == 0
    await database.close()


async def test_a_server_killed_in_a_large_copy_does_not_stop_the_writer(server: Restartable) -> None:
    """More rows than fit the buffers of the connection: asyncpg waits for room in them, and never ends."""
    database = Database(await server.start(), SETTINGS)
    await database.open()
    await migrate(database)
    await ensure_tables(database, [BOOK, MACHINE])
    async with writing(database, unanswered_seconds=1.0) as bench:
        blocker = await database.connect("blocker")
        await blocker.execute("BEGIN; LOCK TABLE quotes IN ACCESS EXCLUSIVE MODE")
        await bench.spool.append(quotes(1, 30_000), 10)
        await until(lambda: bench.writer.is_database_lost)
        assert bench.writer.status().detail.endswith(": the database does not answer")
        await server.kill()
        await server.start()
        await bench.drained()
        assert await bench.stored_quotes() == list(range(1, 30_001))
        assert bench.writer.status().health is Health.OK
    blocker.terminate()
    await database.close()


async def test_a_database_that_does_not_answer_is_lost_before_its_time_out(database: Database) -> None:
    async with writing(database, unanswered_seconds=0.2) as bench:
        blocker = await database.connect("blocker")
        try:
            await blocker.execute("BEGIN; LOCK TABLE quotes, book_samples IN ACCESS EXCLUSIVE MODE")
            await bench.spool.append(quotes(1, 3), 10)
            await until(lambda: bench.writer.is_database_lost)
            assert (bench.writer.lost_seconds or 0) > 0.2
            status = bench.writer.status()
            assert (status.health, status.detail[-30:]) == (Health.DEGRADED, ": the database does not answer")
        finally:
            await database.disconnect(blocker)
        await bench.drained()
        assert bench.writer.lost_seconds is None
        assert bench.writer.status().health is Health.OK
        assert await bench.stored_quotes() == [1, 2, 3]


async def emit(bench: Bench, ticks: int) -> None:
    for tick in range(ticks):
        bench.sample(books(tick))
        await bench.spool.append(quotes(2 * tick + 1, 2 * tick + 2), 10)
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(("fault", "times"), [("lose_answers", 1), ("lose_commits", 2)])
async def test_a_lost_commit_or_answer_loses_and_doubles_nothing(
    proxied: tuple[PostgresProxy, Database], fault: str, times: int
) -> None:
    proxy, database = proxied
    async with writing(database) as bench:
        setattr(proxy, fault, times)
        bench.sample(books(0))
        receipt = await bench.append(quotes(1, 3))
        assert proxy.lost == times
        assert (receipt.accepted, receipt.duplicates, receipt.durable_sequence) == (3, 0, 3)
        assert await bench.stored_quotes() == [1, 2, 3]
        await bench.drained()
        assert await bench.value("SELECT count(*) FROM book_samples") == 1
        assert (bench.account("samples:book"), bench.account("events:loop")) == ((1, 1, 0, {}), (3, 3, 0, {}))
        assert bench.counted("storage_retries_total") == times


async def test_trades_survive_a_lost_answer(proxied: tuple[PostgresProxy, Database]) -> None:
    proxy, database = proxied
    async with writing(database) as bench:
        await bench.append(arrival(1, [fill(1, Side.BUY, 1.0, 10.0)]))
        proxy.lose_answers = 1
        await bench.append(arrival(2, [fill(2, Side.SELL, 1.0, 11.0)]))
        await bench.append(arrival(3, [fill(3, Side.BUY, 1.0, 12.0)]))
        assert proxy.lost == 1
        assert [r[0] for r in await bench.rows("SELECT pnl FROM trades")] == [1.0]
        assert await bench.value("SELECT position FROM open_round_trips") == 1.0


async def pour(bench: Bench, ticks: int, instruments: int) -> None:
    """Samples as fast as the disk takes them."""
    for tick in range(ticks):
        bench.sample(books(tick, *(book(f"i{n}", gaps=tick) for n in range(instruments))))
        await bench.spool.flush()


async def away(bench: Bench) -> None:
    await until(lambda: bench.writer.status().health is Health.DEGRADED)


async def test_events_are_durable_without_the_database(proxied: tuple[PostgresProxy, Database]) -> None:
    proxy, database = proxied
    async with writing(database) as bench:
        await proxy.cut()
        receipt = await bench.spool.append(quotes(1, 3), 10)
        assert (receipt.accepted, receipt.durable_sequence) == (3, 3)
        await away(bench)
        assert (await bench.spool.append(quotes(1, 3), 10)).duplicates == 3
        assert bench.account("events:loop") == (3, 0, 3, {})
        assert bench.spool.status().health is Health.OK
        proxy.is_cut = False
        await bench.drained()
        assert await bench.stored_quotes() == [1, 2, 3]
        assert bench.writer.status().health is Health.OK


async def test_what_does_not_fit_into_memory_waits_on_disk(
    proxied: tuple[PostgresProxy, Database],
) -> None:
    proxy, database = proxied
    small = Database(database.url, StorageSettings(flush_seconds=0.01, queue_rows=1000))
    await small.open()
    async with writing(small) as bench:
        await proxy.cut()
        await bench.spool.append(quotes(1, 500), 10)
        await away(bench)
        await pour(bench, 300, 10)
        await bench.spool.append(quotes(501, 3500), 10)
        await bench.spool.flush()
        assert bench.writer.rows_waiting <= 1000
        assert bench.spool.backlog_rows >= 5500
        proxy.is_cut = False
        await bench.drained()
        ticks = await bench.rows("SELECT gaps, count(*) FROM book_samples GROUP BY gaps ORDER BY gaps")
        assert [tuple(row) for row in ticks] == [(tick, 10) for tick in range(300)]
        assert await bench.stored_quotes() == list(range(1, 3501))
        assert bench.account("samples:book") == (3000, 3000, 0, {})
        assert bench.account("events:loop") == (3500, 3500, 0, {})
    await small.close()


async def test_after_an_outage_the_newest_is_stored_first(proxied: tuple[PostgresProxy, Database]) -> None:
    proxy, database = proxied
    small = Database(database.url, StorageSettings(flush_seconds=0.01, queue_rows=1000))
    await small.open()
    slow = SpoolSettings(commit_seconds=0.005, backlog_rows_per_second=2000)
    newest = "SELECT max(gaps) FROM book_samples"
    async with writing(small, spool=slow) as bench:
        await proxy.cut()
        await pour(bench, 200, 100)
        await away(bench)
        proxy.is_cut = False
        waited: list[int] = []
        for tick in range(200, 210):
            bench.sample(books(tick, book(gaps=tick)))

            async def is_there(wanted: int = tick) -> bool:
                return bool(await bench.value(newest) == wanted)

            await until(is_there)
            waited.append(bench.spool.backlog_rows)
        assert min(waited) > 0  # the backlog was still there each time
        assert await bench.value("SELECT count(*) FROM book_samples WHERE gaps = 199") == 100
        assert await bench.value("SELECT count(*) FROM book_samples WHERE gaps = 0") == 0
    await small.close()


async def test_stopping_without_a_database_ends_and_keeps_everything(
    proxied: tuple[PostgresProxy, Database], tmp_path: Path
) -> None:
    proxy, database = proxied
    async with writing(database, tmp_path / "spool") as bench:
        await proxy.cut()
        bench.sample(books(0))
        await bench.spool.enqueue(quotes(1, 5))
        await bench.spool.append(quotes(6, 7), 30)
        await away(bench)
    assert bench.account("events:loop") == (7, 0, 7, {})
    proxy.is_cut = False
    async with writing(database, tmp_path / "spool") as bench:
        await bench.drained()
        assert await bench.stored_quotes() == [1, 2, 3, 4, 5, 6, 7]
        assert bench.account("events:loop") == (7, 7, 0, {})
        assert bench.account("samples:book") == (1, 1, 0, {})


async def test_a_crash_between_the_commit_and_the_deletion_doubles_nothing(
    proxied: tuple[PostgresProxy, Database], tmp_path: Path
) -> None:
    proxy, database = proxied
    async with writing(database, tmp_path / "spool") as bench:
        bench.spool.on_acked = lambda _: None  # what has crashed forgets nothing
        await bench.rows("ALTER TABLE book_samples ADD CONSTRAINT positive CHECK (gaps >= 0)")
        await proxy.cut()
        bench.sample(books(0, *(book(f"i{n}", gaps=n - 1) for n in range(10))))
        await bench.spool.append(quotes(1, 5), 10)
        await bench.spool.flush()
        shutil.copytree(tmp_path / "spool", tmp_path / "as it was")
        proxy.is_cut = False
        await bench.drained()
        counted = bench.account("samples:book"), bench.account("events:loop")
    assert counted == ((10, 9, 0, {"dead_letter": 1}), (5, 5, 0, {}))
    async with writing(database, tmp_path / "as it was") as bench:
        await bench.drained()
        assert (bench.account("samples:book"), bench.account("events:loop")) == counted
        assert await bench.stored_quotes() == [1, 2, 3, 4, 5]
        assert await bench.value("SELECT count(*) FROM book_samples") == 9
        assert await bench.value("SELECT count(*) FROM dead_letters") == 1
