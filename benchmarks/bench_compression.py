"""Bytes on disk per stored value: on plain PostgreSQL, and on TimescaleDB before and after compression.

The rows are a random walk of a thousand instruments for a minute at 10 Hz, with prices in cents, counters and
states. A value is one metric of one sample, with its share of time, key, row header and indexes. TimescaleDB
is measured if ``DECAHERTZ_TEST_POSTGRES`` names a PostgreSQL that has it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from benchmarks.bench_copy_writer import COLUMNS, CYCLE_NS, INSTRUMENTS, SCHEMA, START_NS
from benchmarks.engines import Engine, engines
from benchmarks.harness import Measure, compared
from decahertz.clock import SystemClock, to_datetime
from storage.tiers.worker import RollUpWorker

if TYPE_CHECKING:
    from storage.database import AnyConnection

CYCLES = 600


class Walk:
    """The random walk of one instrument."""

    def __init__(self, number: int, chance: random.Random) -> None:
        self.name = f"I{number}"
        self._chance = chance
        self._cents = chance.randrange(1_000, 100_000)
        self._quotes = 0
        self._volume = 0.0
        self._last: float | None = None

    def step(self, cycle: int) -> tuple[object, ...]:
        """Returns the row of a cycle, in the order of the columns."""
        chance = self._chance
        moves = chance.random() < 0.3  # noqa: PLR2004 - the share of cycles with a new price
        if moves:
            self._cents += chance.choice((-1, 1))
            self._quotes += chance.randrange(1, 4)
        if chance.random() < 0.1:  # noqa: PLR2004 - a tick a second
            self._last = self._cents / 100
            self._volume += chance.randrange(1, 50) / 10
        bid, ask = self._cents / 100, (self._cents + 2) / 100
        mid = (bid + ask) / 2
        return (
            to_datetime(START_NS + cycle * CYCLE_NS),
            "bench",
            "sim",
            self.name,
            bid,
            ask,
            mid,
            (ask - bid) / mid * 1e4,
            self._last,
            self._volume,
            round(chance.gauss(0, 0.3), 3) if moves else 0.0,
            0.0001 * (1 + cycle // 100),
            self._quotes,
            0,
            "live",
        )


@asynccontextmanager
async def stored(engine: Engine) -> AsyncIterator[tuple[AnyConnection, int]]:
    """Yields a connection to a database with the rows, and the number of their values."""
    chance = random.Random(7)
    walks = [Walk(number, chance) for number in range(INSTRUMENTS)]
    async with engine.database() as (database, settings):
        worker = RollUpWorker(
            database, SystemClock(), CollectorRegistry(), settings.tiers, settings.retention, [SCHEMA]
        )
        await worker.prepare()
        connection = await database.connect("benchmark", unlimited=True)
        try:
            for cycle in range(CYCLES):
                rows = [walk.step(cycle) for walk in walks]
                table = engine.stored("bench_samples")
                await connection.copy_records_to_table(table, records=rows, columns=COLUMNS)
            yield connection, CYCLES * INSTRUMENTS * len(SCHEMA.metrics)
        finally:
            await database.disconnect(connection)


async def plain(engine: Engine) -> float:
    async with stored(engine) as (connection, values):
        size: int = await connection.fetchval(
            "SELECT sum(pg_total_relation_size(relid))::bigint"
            " FROM pg_partition_tree('bench_samples_recent') WHERE isleaf"
        )
    return size / values


async def timescale(engine: Engine) -> tuple[float, float]:
    async with stored(engine) as (connection, values):
        before: int = await connection.fetchval("SELECT hypertable_size('bench_samples')")
        for (chunk,) in await connection.fetch("SELECT show_chunks('bench_samples')::text"):
            await connection.execute(f"CALL convert_to_columnstore('{chunk}')")
        after: int = await connection.fetchval("SELECT hypertable_size('bench_samples')")
    return before / values, after / values


async def measures() -> list[Measure]:
    first, *others = engines()
    rows = await plain(first)
    unit = "bytes/value"
    found = [Measure(name="bytes-per-value-plain", ours=rows, unit=unit, goal="reported")]
    for engine in others:
        before, after = await timescale(engine)
        found.append(compared("bytes-per-value-compressed", after, before, unit, "ratio >= 8", is_cost=True))
    return found


def run() -> list[Measure]:
    return asyncio.run(measures())
