"""The cache of a provider: answers from memory, from Redis, and stale ones while they are renewed.

A venue in the same process answers after 20 ms. The gateway in front of it is that of the recorder, without
the HTTP of its API. Redis is Debian's redis-server. The reference is a call of the venue.

A thousand requests at the same time have to make one call; more are an error.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry

from benchmarks.bench_sampler_grid import free_port
from benchmarks.harness import Measure, compared
from decahertz.clock import SystemClock, format_time
from decahertz.shared_cache import SharedCache
from providers.cached import Ask, Found
from providers.coinbase import CoinbaseOptions, CoinbaseProvider
from providers.gateway import Gateway
from providers.settings import ProvidersSettings
from storage.database import Database
from storage.settings import StorageSettings

ROUNDS = 300
TOGETHER = 1000
VENUE_SECONDS = 0.02


class _Venue:
    def __init__(self) -> None:
        self.calls = 0

    async def ticker(self, _: web.Request) -> web.Response:
        self.calls += 1
        await asyncio.sleep(VENUE_SECONDS)
        body = {"price": "1.5", "bid": "1.4", "ask": "1.6", "volume": "1"}
        return web.json_response({**body, "time": format_time(time.time_ns())})


@asynccontextmanager
async def _venue() -> AsyncIterator[tuple[_Venue, str]]:
    venue, app = _Venue(), web.Application()
    app.router.add_get("/products/{symbol}/ticker", venue.ticker)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield venue, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@asynccontextmanager
async def _gateway(
    url: str, fresh_seconds: float, shared: SharedCache | None = None
) -> AsyncIterator[Gateway]:
    clock = SystemClock()
    options = CoinbaseOptions(url=url, requests_per_second=0, fresh_seconds=fresh_seconds)
    gateway = Gateway(
        [CoinbaseProvider(clock, options)],
        [],
        ProvidersSettings(queue_limit=ROUNDS),
        clock,
        CollectorRegistry(),
        Database("postgresql://127.0.0.1:1/none", StorageSettings()),
        shared,
    )
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


async def _ask(gateway: Gateway, number: int, expected: Found) -> None:
    answer = await gateway.get("coinbase", Ask(symbol=f"S{number}-USD", key="bench", timeout_seconds=30.0))
    if answer.found is not expected:
        raise RuntimeError(f"{answer.found} instead of {expected}")


async def _seconds(work: Callable[[int], Awaitable[None]]) -> list[float]:
    found = []
    for number in range(ROUNDS):
        began = time.perf_counter()
        await work(number)
        found.append(time.perf_counter() - began)
    return sorted(found)


async def _memory(url: str) -> tuple[list[float], list[float]]:
    """Times of calls, and of hits in memory."""
    async with _gateway(url, 60.0) as gateway:
        calls = await _seconds(lambda number: _ask(gateway, number, Found.MISS))
        return calls, await _seconds(lambda number: _ask(gateway, number, Found.HIT))


async def _stale(url: str) -> list[float]:
    async with _gateway(url, 0.001) as gateway:
        await asyncio.gather(*(_ask(gateway, number, Found.MISS) for number in range(ROUNDS)))
        await asyncio.sleep(0.01)
        return await _seconds(lambda number: _ask(gateway, number, Found.STALE))


async def _redis(url: str) -> list[float]:
    """Times of answers that another recorder has put into Redis."""
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("redis-server is not on PATH")
    folder, port = tempfile.mkdtemp(prefix="decahertz-bench-"), free_port()
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", folder]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: ASYNC220 - returns at once
    caches = [_shared_cache(port) for _ in range(2)]
    try:
        for cache in caches:
            while (await cache.get("", ()))[0] is None:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.01)
        async with _gateway(url, 60.0, caches[0]) as first, _gateway(url, 60.0, caches[1]) as second:
            for number in range(ROUNDS):
                await _ask(first, number, Found.MISS)
            await asyncio.sleep(0.2)
            return await _seconds(lambda number: _ask(second, number, Found.SHARED))
    finally:
        for cache in caches:
            await cache.stop()
        server.kill()
        server.wait()
        shutil.rmtree(Path(folder), ignore_errors=True)


def _shared_cache(port: int) -> SharedCache:
    url = f"redis://127.0.0.1:{port}/0"
    return SharedCache(url, "bench", SystemClock(), CollectorRegistry(), timeout_seconds=1.0)


async def _together(venue: _Venue, url: str) -> int:
    """Calls of a thousand requests at the same time."""
    async with _gateway(url, 60.0) as gateway:
        before = venue.calls
        ask = Ask(symbol="BTC-USD", key="bench", timeout_seconds=30.0)
        await asyncio.gather(*(gateway.get("coinbase", ask) for _ in range(TOGETHER)))
        return venue.calls - before


async def _run() -> list[Measure]:
    async with _venue() as (venue, url):
        calls, hits = await _memory(url)
        shared = await _redis(url)
        stale = await _stale(url)
        together = await _together(venue, url)
    call_ms = statistics.median(calls) * 1e3
    rows = [
        compared(f"provider-cache {name}", figure(found) * 1e3, call_ms, "ms", f"ours <= {limit}")
        for name, figure, found, limit in (
            ("memory p99", _p99, hits, 1),
            ("redis median", statistics.median, shared, 5),
            ("redis p99", _p99, shared, 5),
            ("stale p99", _p99, stale, 50),
        )
    ]
    rows.append(compared("provider-cache calls of 1,000 requests", together, TOGETHER, "calls", "ours <= 1"))
    return rows


def _p99(found: list[float]) -> float:
    return found[int(len(found) * 0.99)]


def run() -> list[Measure]:
    """Measures hits in memory and Redis, stale answers, and requests at the same time."""
    return asyncio.run(_run())
