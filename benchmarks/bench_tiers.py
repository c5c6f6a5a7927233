"""Cost of the tiers: the writer's rate into a table with tiers, and the roll-up itself.

The writer fills partitions with a trigger that records dirty buckets (on TimescaleDB: a hypertable below
continuous aggregates); the reference is plain asyncpg into a flat table with the same indexes. The roll-up is
measured as the share of a core that keeps up with a thousand instruments at 10 Hz.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from benchmarks.bench_copy_writer import COLUMNS, CYCLES, SCHEMA, START_NS, records, samples
from benchmarks.engines import Engine, engines
from benchmarks.harness import ROUNDS, Measure, compared, medians
from decahertz.clock import NS_PER_SECOND, SystemClock
from decahertz.fakes import ManualClock
from storage.database import Database
from storage.entry import entry_of
from storage.schema.samples import columns_of
from storage.tiers.worker import RollUpWorker
from storage.write.transaction import EntryWriter

if TYPE_CHECKING:
    from storage.database import Connection

_HOUR_NS = 3600 * NS_PER_SECOND


async def _flat_table(connection: Connection) -> None:
    definitions = ", ".join(column.definition for column in columns_of(SCHEMA))
    await connection.execute(f"CREATE TABLE flat ({definitions})")
    await connection.execute("CREATE INDEX ON flat (time)")
    await connection.execute("CREATE INDEX ON flat (venue, instrument, time DESC)")


async def _writer(database: Database, connection: Connection, engine: Engine) -> Measure:
    batches = [samples(cycle) for cycle in range(CYCLES)]
    tuples = [record for batch in batches for record in records(batch)]
    store = EntryWriter(database, "bench", SystemClock())

    async def ours() -> None:
        await store.write(connection, [entry_of(batch) for batch in batches])

    async def bare() -> None:
        async with connection.transaction():
            await connection.copy_records_to_table("flat", records=tuples, columns=COLUMNS)

    async def rate(work: Callable[[], Awaitable[None]]) -> float:
        await connection.execute(f"TRUNCATE {engine.stored('bench_samples')}, flat")
        await connection.execute("CHECKPOINT")
        start = time.perf_counter()
        await work()
        return len(tuples) / (time.perf_counter() - start)

    await rate(ours)
    await rate(bare)
    pairs = [(await rate(ours), await rate(bare)) for _ in range(ROUNDS)]
    return compared(f"writer-with-tiers-{engine.name}", *medians(pairs), "rows/s", "ratio >= 0.8")


async def _roll_up(connection: Connection, worker: RollUpWorker, engine: Engine) -> Measure:
    """Measures the roll-up of one minute of samples; each round rolls up another minute."""
    table = engine.stored("bench_samples")
    await connection.execute(f"TRUNCATE {table}")
    shares = []
    for first in range(0, 5 * 600, 600):
        for cycle in range(first, first + 600):
            rows = records(samples(cycle))
            await connection.copy_records_to_table(table, records=rows, columns=COLUMNS)
        start = time.perf_counter()
        await worker.run_once()
        shares.append((time.perf_counter() - start) / 60)
    return Measure(name=f"roll-up-{engine.name}", ours=median(shares), unit="cores", goal="ours <= 0.15")


async def _measure(engine: Engine) -> list[Measure]:
    async with engine.database() as (database, settings):
        clock = ManualClock(START_NS + _HOUR_NS)  # late enough for every bucket to be complete
        worker = RollUpWorker(
            database, clock, CollectorRegistry(), settings.tiers, settings.retention, [SCHEMA]
        )
        await worker.prepare()
        connection = await database.connect("benchmark")
        try:
            await _flat_table(connection)
            written = await _writer(database, connection, engine)
            return [written, await _roll_up(connection, worker, engine)]
        finally:
            await worker.stop()
            await database.disconnect(connection)


async def measures() -> list[Measure]:
    return [measure for engine in engines() for measure in await _measure(engine)]


def run() -> list[Measure]:
    return asyncio.run(measures())
