"""The second level of the cache, against Debian's redis-server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from api.http.cache import Cached, Caching, Found, ResponseCache
from decahertz.clock import NS_PER_SECOND
from decahertz.fakes import ManualClock
from decahertz.settings import SettingsError
from decahertz.shared_cache import SharedCache
from decahertz.wire import Codec
from tests.api.helpers import wait_for
from tests.redis_server import PASSWORD, RedisServer

KEY = ("/fills?limit=20", Codec.JSON)


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path)
    await server.start()
    yield server
    await server.stop()


class Process:
    """The cache of one process, and what it computed."""

    def __init__(self, url: str, clock: ManualClock, namespace: str = "database") -> None:
        self.clock = clock
        self.registry = CollectorRegistry()
        self.shared = SharedCache(url, namespace, clock, self.registry, timeout_seconds=5.0)
        self.cache = ResponseCache(clock, self.registry, 100_000, self.shared)
        self.watch = self.cache.watch(Caching(reads=("fills",)))
        self.rows = "none"
        self.computed = 0

    async def produce(self) -> bytes:
        self.computed += 1
        return self.rows.encode()

    async def ask(self, *, bypass: bool = False) -> Cached:
        found = None if bypass else self.cache.lookup(KEY, self.watch)
        return found or await self.cache.respond(KEY, self.watch, self.produce, bypass=bypass)

    async def answer(self) -> tuple[str, Found, int]:
        cached = await self.ask()
        return cached.entry.data.decode(), cached.found, cached.age_seconds

    async def all_sent(self) -> None:
        await wait_for(
            lambda: not self.shared._tasks and self.shared._marking is None, "Redis has everything"
        )

    @property
    def is_up(self) -> bool:
        return self.registry.get_sample_value("decahertz_api_shared_cache_up") == 1.0


@asynccontextmanager
async def processes(
    *urls: str, namespaces: tuple[str, ...] = (), answers: bool = True
) -> AsyncIterator[list[Process]]:
    clock = ManualClock()
    named = namespaces or ("database",) * len(urls)
    running = [Process(url, clock, namespace) for url, namespace in zip(urls, named, strict=True)]
    try:
        for process in running:
            await process.shared.get("", ())  # connects in the background
            await wait_for(lambda one=process: one.is_up or not answers, "Redis answers")  # type: ignore[misc]
        yield running
    finally:
        for process in running:
            await process.cache.stop()


async def test_a_process_gets_the_response_that_another_has_computed(server: RedisServer) -> None:
    async with processes(server.url, server.url) as (first, second):
        first.rows = "one"
        assert await first.answer() == ("one", Found.MISS, 0)
        await first.all_sent()
        assert await second.answer() == ("one", Found.SHARED, 0)
        assert await second.answer() == ("one", Found.HIT, 0)
        assert second.computed == 0


async def test_a_response_keeps_its_age_in_the_second_level(server: RedisServer) -> None:
    async with processes(server.url, server.url) as (first, second):
        await first.answer()
        await first.all_sent()
        first.clock.advance(NS_PER_SECOND * 9 // 10)
        assert (await second.answer())[1] is Found.SHARED
        first.clock.advance(NS_PER_SECOND * 2 // 10)
        assert (await second.answer())[1:] == (Found.STALE, 1)


async def test_a_response_from_before_a_change_is_not_served_by_anybody(server: RedisServer) -> None:
    async with processes(server.url, server.url, server.url) as (writer, reader, late):
        writer.rows = reader.rows = late.rows = "one"
        await writer.answer()
        await writer.all_sent()
        writer.cache.changed(["fills"])
        writer.rows = "two"
        assert await writer.answer() == ("two", Found.MISS, 0)  # the mark is still on its way
        await writer.all_sent()
        reader.rows = "two"
        assert await reader.answer() == ("two", Found.MISS, 0)
        await reader.all_sent()
        assert await late.answer() == ("two", Found.SHARED, 0)


async def test_databases_that_share_a_redis_do_not_mix(server: RedisServer) -> None:
    async with processes(server.url, server.url, namespaces=("a", "b")) as (first, second):
        await first.answer()
        await first.all_sent()
        assert (await second.answer())[1] is Found.MISS


async def test_a_client_that_insists_gets_a_new_response_for_all(server: RedisServer) -> None:
    async with processes(server.url, server.url) as (first, second):
        await first.answer()
        await first.all_sent()
        second.rows = "two"
        cached = await second.ask(bypass=True)
        assert (cached.entry.data, cached.found) == (b"two", Found.BYPASS)


async def test_without_redis_the_database_answers_and_the_log_says_it_once(server: RedisServer) -> None:
    async with processes(server.url) as (process,):
        await process.answer()
        await process.all_sent()
        await server.stop()
        with capture_logs() as logs:
            for number in range(5):
                process.rows = str(number)
                assert (await process.ask(bypass=True)).entry.data == str(number).encode()
            process.cache.changed(["fills"])
            assert (await process.answer())[0] == "4"
            assert not process.is_up
            await server.start()
            await wait_for(lambda: process.is_up, "Redis is used again")
        assert [line["event"] for line in logs] == ["shared_cache_failed", "shared_cache_recovered"]
        assert PASSWORD not in str(logs)


async def test_a_redis_that_does_not_answer_costs_requests_nothing() -> None:
    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    connections: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as mute:
        port = mute.sockets[0].getsockname()[1]
        async with processes(f"redis://127.0.0.1:{port}", answers=False) as (process,):
            for _ in range(100):
                assert (await process.ask(bypass=True)).entry.data == b"none"
            await wait_for(lambda: process.shared._incident.active, "no answer to the first attempt")
            assert not process.is_up
            assert len(connections) == 1
        for writer in connections:
            writer.close()


async def test_what_others_have_written_there_is_no_response(server: RedisServer) -> None:
    async with processes(server.url) as (process,):
        target = f"{KEY[1]} {KEY[0]}"
        await process.shared._redis.set(process.shared._key(target), b"\x93\x01garbage")
        assert await process.answer() == ("none", Found.MISS, 0)


@pytest.mark.parametrize("url", ["http://:swordfish@host", "redis://:swordfish@host:port/0"])
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match=r"api\.redis_url") as caught:
        SharedCache(url, "database", ManualClock(), CollectorRegistry())
    assert PASSWORD not in str(caught.value)
