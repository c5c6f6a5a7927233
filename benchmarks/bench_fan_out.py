"""Fan-out of one state of 0.9 KB at 10 Hz to many WebSocket readers: p99 from the cycle to the receipt.

The reference writes the same frames to as many plain transports, in the same process and run, in turn. The
readers are one process on the other core, and their own work is part of both figures of the latency. A
twentieth of the readers crawl in one row: they are slow before the measurement begins, and the reference
skips them.

``DECAHERTZ_BENCH_READERS=10000`` adds a row of that many readers, and the processor time that they cost;
``DECAHERTZ_BENCH_MINUTES=5`` one of that many minutes, in which the memory must not grow.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

import msgspec
import psutil
import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry

from api.live.client import encode_frames
from api.live.endpoint import WebSocketEndpoint
from api.live.hub import Hub
from api.live.limits import HubLimits
from api.live.messages import Update
from api.live.self_metrics import HubMetrics
from api.live.topics import KnownTopics
from api.security.access import KeyAccess
from api.security.keyring import KeyRing
from api.security.quotas import Quotas
from api.security.sessions import Sessions
from benchmarks.harness import Measure, compared
from collectors.market.sample import MarketSample
from decahertz.bus import LocalBus, samples_topic
from decahertz.clock import SystemClock
from decahertz.latest import LatestAlerts, LatestSamples
from decahertz.sample import SampleBatch, schema_of
from decahertz.wire import Codec
from storage.database import Database
from storage.query.event_log import Numbered
from storage.settings import StorageSettings
from storage.write.api_keys import ApiKeyStore

CYCLES = 50
"""Cycles of one measurement."""
WARM_UP = 10
"""Cycles before them, which do not count."""
ROUNDS = 5
STEP_SECONDS = 0.1
MORE_READERS = int(os.environ.get("DECAHERTZ_BENCH_READERS", "0"))
MINUTES = float(os.environ.get("DECAHERTZ_BENCH_MINUTES", "0"))
_LIMITS = HubLimits(max_clients=50_000, dead_after_seconds=3600.0)  # the readers answer no pings
_BACKLOG = 1024
_BURST = 200
_SCHEMA = schema_of(MarketSample)

Publish = Callable[[], None]


def state(time_ns: int) -> SampleBatch:
    """A state of one instrument, about 0.9 KB as JSON."""
    numbers = {field.name: 61_234.567891 for field in _SCHEMA.metrics if field.type is float}
    counts = {field.name: 123_456_789 for field in _SCHEMA.metrics if field.type is int}
    flags = {field.name: False for field in _SCHEMA.metrics if field.type is bool}
    states = {
        field.name: next(iter(field.type)) for field in _SCHEMA.metrics if issubclass(field.type, StrEnum)
    }
    sample = msgspec.convert(
        {"venue": "bench", "instrument": "BTC-USD", **numbers, **counts, **flags, **states}, MarketSample
    )
    return SampleBatch(_SCHEMA, time_ns, (sample,))


class NoEvents:
    """The benchmark has no events."""

    epoch = 1

    async def pages(self, *_: object) -> AsyncGenerator[tuple[list[Numbered], int], None]:
        """Nothing."""
        yield [], 0


class Readers:
    """The process of the readers."""

    def __init__(self, process: asyncio.subprocess.Process, count: int) -> None:
        self._process = process
        self._count = count

    async def measure(self, publish: Publish, cycles: int = CYCLES) -> Result:
        """Publishes at 10 Hz, and ends the readers."""
        loop = asyncio.get_running_loop()
        began, used, missed = loop.time(), time.process_time(), 0
        resident = psutil.Process().memory_info().rss
        for number in range(WARM_UP + cycles):
            due = began + number * STEP_SECONDS
            await asyncio.sleep(due - loop.time())
            missed += loop.time() - due >= STEP_SECONDS
            publish()
        await asyncio.sleep(STEP_SECONDS)
        seconds = loop.time() - began
        used = (time.process_time() - used) / seconds
        grown = psutil.Process().memory_info().rss - resident
        output, _ = await self._process.communicate(b"")
        read = json.loads(output)
        received: list[int] = read["latencies"]
        latencies = sorted(received[WARM_UP * self._count :])
        return Result(
            p99_ms=latencies[len(latencies) * 99 // 100] / 1e6,
            lost=(WARM_UP + cycles) * self._count - len(received),
            missed=missed,
            processor=used,
            readers_processor=read["processor_seconds"] / seconds,
            growth_bytes=grown,
        )


@dataclass(frozen=True)
class Result:
    """One measurement."""

    p99_ms: float
    lost: int
    """Updates that a reader that does not crawl did not get in one piece."""
    missed: int
    """Cycles that began a whole cycle too late."""
    processor: float
    """Share of a core that the server took."""
    readers_processor: float
    """Share of a core that the readers took."""
    growth_bytes: int
    """By how much the memory of the server grew."""


@asynccontextmanager
async def readers(port: int, count: int, crawling: int, mode: str) -> AsyncIterator[Readers]:
    """Connected readers, of which ``crawling`` more crawl."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.fan_out_readers", str(port), str(count), str(crawling), mode),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 28,
    )
    try:
        output = cast("asyncio.StreamReader", process.stdout)
        if await output.readline() != b"ready\n":
            raise RuntimeError("the readers could not connect")
        yield Readers(process, count)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ours(count: int, crawling: int, cycles: int = CYCLES) -> Result:
    """The hub, its bus and the WebSocket endpoint."""
    bus, clock, metrics = LocalBus(), SystemClock(), HubMetrics(CollectorRegistry())
    latest = LatestSamples(bus)
    hub = Hub(bus, latest, LatestAlerts(bus), clock, metrics, _LIMITS, NoEvents(), recorder="bench")
    no_keys = KeyRing(ApiKeyStore(Database("postgresql://nobody@127.0.0.1/none", StorageSettings())), clock)
    no_sessions = Sessions(no_keys, clock, hours=1, secure=False)
    access = KeyAccess(no_keys, no_sessions, Quotas(clock, CollectorRegistry()), required=False)
    endpoint = WebSocketEndpoint(hub, access, clock, metrics, "0", KnownTopics([_SCHEMA]))
    app = web.Application()
    app.router.add_get("/ws", endpoint.__call__)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=_BACKLOG).start()
    hub.start()

    def publish() -> None:
        bus.publish(samples_topic("market"), state(time.time_ns()))

    try:
        port = runner.addresses[0][1]
        async with readers(port, 0, crawling, "ws"):
            while hub.slow_clients < crawling:  # they are slow before the measurement begins
                for _ in range(_BURST):
                    publish()
                    await asyncio.sleep(0)
            async with readers(port, count, 0, "ws") as connected:
                return await connected.measure(publish, cycles)
    finally:
        await endpoint.stop()
        await runner.cleanup()


class Raw(asyncio.Protocol):
    """A plain connection."""

    def __init__(self, on_open: Callable[[asyncio.BaseTransport], None]) -> None:
        self._on_open = on_open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hands the transport over."""
        self._on_open(transport)


async def raw(count: int) -> Result:
    """Writes of the same frames to plain transports."""
    transports: list[asyncio.WriteTransport] = []
    all_open = asyncio.Event()

    def opened(transport: asyncio.BaseTransport) -> None:
        transports.append(cast("asyncio.WriteTransport", transport))
        if len(transports) == count:
            all_open.set()

    server = await asyncio.get_running_loop().create_server(
        lambda: Raw(opened), "127.0.0.1", 0, backlog=_BACKLOG
    )

    def publish() -> None:
        batch = state(time.time_ns())
        topic = _SCHEMA.topic_of(batch.samples[0])
        update = Update(topic=topic, time_ns=batch.time_ns, data=batch.samples[0])
        frames = encode_frames(Codec.JSON, [update])
        for transport in transports:
            transport.write(frames)

    try:
        async with readers(server.sockets[0].getsockname()[1], count, 0, "raw") as connected:
            await all_open.wait()
            return await connected.measure(publish)
    finally:
        for transport in transports:
            transport.abort()
        server.close()


async def measure(count: int, crawling: int, goal: str, rounds: int = ROUNDS) -> list[Measure]:
    """The rows of one number of readers."""
    name = f"fan-out {count + crawling} readers" + (f", {crawling} crawling" if crawling else "")
    pairs = [(await ours(count, crawling), await raw(count)) for _ in range(rounds)]
    rows = [
        compared(
            f"{name}: p99",
            statistics.median(one.p99_ms for one, _ in pairs),
            statistics.median(other.p99_ms for _, other in pairs),
            "ms",
            goal,
            is_cost=True,
        ),
        compared(
            f"{name}: processor",
            statistics.median(one.processor for one, _ in pairs),
            statistics.median(other.processor for _, other in pairs),
            "cores",
            "ratio >= 0.91",
            is_cost=True,
        ),
        compared(
            f"{name}: processor of the readers",
            statistics.median(one.readers_processor for one, _ in pairs),
            statistics.median(other.readers_processor for _, other in pairs),
            "cores",
            "none",
            is_cost=True,
        ),
    ]
    for what, number in (
        ("missed cycles", max(one.missed for one, _ in pairs)),
        ("updates not received", max(one.lost for one, _ in pairs)),
    ):
        rows.append(Measure(name=f"{name}: {what}", ours=number, unit="", goal="ours <= 0"))
    return rows


async def long(count: int, crawling: int, minutes: float) -> list[Measure]:
    """The rows of a long run, without a reference."""
    result = await ours(count, crawling, round(minutes * 60 / STEP_SECONDS))
    name = f"fan-out {count + crawling} readers, {crawling} crawling, {minutes:g} min"
    figures = (
        ("p99", result.p99_ms, "ms", "ours <= 20"),
        ("missed cycles", result.missed, "", "ours <= 0"),
        ("updates not received", result.lost, "", "ours <= 0"),
        ("memory", result.growth_bytes / 2**20, "MiB more", "ours <= 4"),
    )
    return [
        Measure(name=f"{name}: {what}", ours=number, unit=unit, goal=goal)
        for what, number, unit, goal in figures
    ]


async def _all() -> list[Measure]:
    rows = await measure(100, 0, "ours <= 5")
    rows += await measure(1_000, 0, "ours <= 20")
    rows += await measure(950, 50, "ours <= 20")
    if MORE_READERS:
        rows += await measure(MORE_READERS, 0, "none", rounds=1)
    if MINUTES:
        rows += await long(950, 50, MINUTES)
    return rows


def run() -> list[Measure]:
    """All rows."""
    if MORE_READERS:
        files = MORE_READERS + 1_000
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (files, max(files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_all())
