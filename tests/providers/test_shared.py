"""The second level of the cache: two recorders with one Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from prometheus_client import CollectorRegistry

from decahertz.shared_cache import SharedCache
from providers.cached import Found
from tests.api.helpers import wait_for
from tests.providers.world import World, ask
from tests.redis_server import RedisServer


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path)
    await server.start()
    yield server
    await server.stop()


async def shared_cache(server: RedisServer, world: World) -> SharedCache:
    cache = SharedCache(server.url, "database", world.clock, CollectorRegistry(), timeout_seconds=5.0)
    async with asyncio.timeout(15):
        while (await cache.get("is it up", ()))[0] is None:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    return cache


async def test_what_one_recorder_has_asked_for_the_other_one_need_not(
    world: World, server: RedisServer
) -> None:
    caches = [await shared_cache(server, world) for _ in range(2)]
    try:
        first, second = [await world.gateway(shared=cache) for cache in caches]
        await ask(first)
        await wait_for(lambda: not caches[0]._tasks, "it is in Redis")
        world.pass_seconds(4)
        found = await ask(second)
        assert (found.found, found.age_ns, found.data.price) == (Found.SHARED, 4_000_000_000, "50000.12")
        assert (await ask(second)).found is Found.HIT
        assert len(world.venue.calls) == 1

        world.pass_seconds(10)  # stale: served, and renewed by a call
        third = await world.gateway(shared=caches[1])
        assert (await ask(third)).found is Found.STALE
        await wait_for(lambda: not third.provider("coinbase").flights, "it is renewed")
        assert len(world.venue.calls) == 2
        assert (await ask(third)).found is Found.HIT

        await server.stop()
        world.pass_seconds(100)
        assert (await ask(first)).found is Found.MISS  # without a second level
    finally:
        for cache in caches:
            await cache.stop()
