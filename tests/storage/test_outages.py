"""The database goes away and comes back in the middle of the work."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from decahertz.event import Side
from decahertz.health import Health
from decahertz.ingest import NotDurableError
from decahertz.settings import StorageSettings
from storage.database import Database
from storage.embedded import EmbeddedPostgres
from storage.migrate import migrate
from tests.embedded_server import chosen_installation
from tests.postgres_proxy import Proxy
from tests.storage_examples import Bench, arrival, book, books, fill, quotes, until, writing

SETTINGS = StorageSettings(flush_seconds=0.01, connect_timeout_seconds=5.0)


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
    server = Restartable(tmp_path / "data")
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def proxied(database_url: str) -> AsyncIterator[tuple[Proxy, Database]]:
    """A migrated database behind a proxy."""
    with tempfile.TemporaryDirectory() as folder:  # a socket's path must be short
        async with Proxy(database_url, Path(folder)).running() as proxy:
            database = Database(proxy.url, SETTINGS)
            await database.open()
            await migrate(database)
            yield proxy, database
            await database.close()


async def stored(bench: Bench) -> list[int]:
    return [row[0] for row in await bench.rows("SELECT sequence FROM quotes ORDER BY sequence")]


async def append_until_durable(bench: Bench, first: int, last: int) -> int:
    """As an emitter does it: send again until it is durable. Returns how many were stored by this."""
    accepted = 0
    while True:
        try:
            return accepted + (await bench.writer.append(quotes(first, last), 0.2)).accepted
        except NotDurableError:
            continue


@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_a_restart_of_the_server_loses_and_doubles_nothing(server: Restartable, way: str) -> None:
    database = Database(await server.start(), SETTINGS)
    await database.open()
    await migrate(database)
    async with writing(database) as bench:
        emitting = asyncio.create_task(emit(bench, 150))
        await until(lambda: bench.writer.events_stored >= 20)
        await (server.stop() if way == "stop" else server.kill())
        await until(lambda: bench.writer.status().health is Health.DEGRADED)
        await server.start()
        await emitting
        await bench.drained()
        assert await stored(bench) == list(range(1, 301))
        ticks = await bench.rows("SELECT gaps FROM book_samples ORDER BY time")
        assert [row[0] for row in ticks] == list(range(150))
        assert bench.writer.dropped == 0
        assert bench.writer.status().health is Health.OK
    await database.close()


async def emit(bench: Bench, ticks: int) -> None:
    for tick in range(ticks):
        bench.sample(books(tick))
        await append_until_durable(bench, 2 * tick + 1, 2 * tick + 2)


async def test_an_answer_lost_after_the_commit_doubles_nothing(proxied: tuple[Proxy, Database]) -> None:
    proxy, database = proxied
    async with writing(database) as bench:
        proxy.lose_answers = 1
        bench.sample(books(0))
        receipt = await bench.writer.append(quotes(1, 3), 10)
        assert proxy.lost == 1
        assert (receipt.accepted, receipt.duplicates, receipt.durable_sequence) == (3, 0, 3)
        assert await stored(bench) == [1, 2, 3]
        await bench.drained()
        assert await bench.value("SELECT count(*) FROM book_samples") == 1
        assert bench.writer.rows_stored == 4


async def test_trades_survive_a_lost_answer(proxied: tuple[Proxy, Database]) -> None:
    proxy, database = proxied
    async with writing(database) as bench:
        await bench.writer.append(arrival(1, [fill(1, Side.BUY, 1.0, 10.0)]), 10)
        proxy.lose_answers = 1
        await bench.writer.append(arrival(2, [fill(2, Side.SELL, 1.0, 11.0)]), 10)
        await bench.writer.append(arrival(3, [fill(3, Side.BUY, 1.0, 12.0)]), 10)
        assert proxy.lost == 1
        assert [r[0] for r in await bench.rows("SELECT pnl FROM trades")] == [1.0]
        assert await bench.value("SELECT position FROM round_trips") == 1.0


async def test_a_commit_that_never_arrived_is_made_good(proxied: tuple[Proxy, Database]) -> None:
    proxy, database = proxied
    async with writing(database) as bench:
        proxy.lose_commits = 2
        bench.sample(books(0))
        receipt = await bench.writer.append(quotes(1, 3), 10)
        assert proxy.lost == 2
        assert receipt.accepted == 3
        assert await stored(bench) == [1, 2, 3]
        assert bench.registry.get_sample_value("decahertz_storage_retries_total") == 2


async def test_events_that_cannot_be_stored_in_time_are_refused(proxied: tuple[Proxy, Database]) -> None:
    proxy, database = proxied
    async with writing(database) as bench:
        proxy.refuse = True
        proxy.cut()
        with pytest.raises(NotDurableError, match="not stored within"):
            await bench.writer.append(quotes(1, 3), 0.2)
        assert bench.writer.status().health is Health.DEGRADED
        proxy.refuse = False
        receipt = await bench.writer.append(quotes(1, 3), 10)
        assert receipt.accepted + receipt.duplicates == 3
        assert await stored(bench) == [1, 2, 3]
        assert bench.writer.status().health is Health.OK


async def test_emitters_that_keep_asking_do_not_fill_the_memory(proxied: tuple[Proxy, Database]) -> None:
    proxy, database = proxied
    async with writing(database) as bench:
        proxy.refuse = True
        proxy.cut()
        for _ in range(5):
            with pytest.raises(NotDurableError):
                await bench.writer.append(quotes(1, 100), 0.02)
        assert bench.writer.rows_waiting <= 100
        proxy.refuse = False
        await bench.drained()
        assert await stored(bench) in ([], list(range(1, 101)))


async def test_what_does_not_fit_into_memory_goes_oldest_first_and_is_counted(
    proxied: tuple[Proxy, Database],
) -> None:
    proxy, database = proxied
    small = Database(database.url, StorageSettings(flush_seconds=0.01, queue_rows=1000))
    await small.open()
    async with writing(small) as bench:
        await bench.writer.enqueue(quotes(1, 1))
        await bench.drained()
        proxy.refuse = True
        proxy.cut()
        await bench.writer.enqueue(quotes(2, 101))
        await until(lambda: bench.writer.status().health is Health.DEGRADED)
        for tick in range(300):  # ten rows each: what is on its way already, the queue, and more
            bench.sample(books(tick, *(book(f"i{n}", gaps=tick) for n in range(10))))
        lost = int(bench.dropped("samples:book", "queue_full"))
        assert lost > 0
        proxy.refuse = False
        await bench.drained()
        ticks = [row[0] for row in await bench.rows("SELECT DISTINCT gaps FROM book_samples ORDER BY gaps")]
        assert ticks == list(range(lost // 10, 300))
        assert await stored(bench) == list(range(1, 102))
        assert bench.writer.samples_stored + lost == 3000
    await small.close()


async def test_stopping_without_a_database_ends_and_says_what_was_lost(
    proxied: tuple[Proxy, Database],
) -> None:
    proxy, database = proxied
    async with writing(database, stop_seconds=0.2) as bench:
        proxy.refuse = True
        proxy.cut()
        bench.sample(books(0))
        await bench.writer.enqueue(quotes(1, 5))
        waiting = asyncio.create_task(bench.writer.append(quotes(6, 7), 30))
        await until(lambda: bench.writer.status().health is Health.DEGRADED)
        await bench.writer.stop()
        with pytest.raises(NotDurableError):
            await waiting
    assert bench.dropped("samples:book", "shutdown") == 1
    assert bench.dropped("events", "shutdown") == 5
