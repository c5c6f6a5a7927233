"""Rows written to PostgreSQL: samples through our encoder and binary COPY, compared with asyncpg and tuples.

Both write the same rows to the same table, truncated before each round, in one transaction. Ours starts from
samples, as the writer does, and yields to the event loop; the reference starts from tuples built before the
measurement. Measured with the indexes of production, and without indexes, where the server takes less of the
time.

The rows named ``bound`` are the upper limit of any writer: COPY of rows encoded before the measurement, so
that only the server works. With indexes the bound is close to the reference, because the server spends three
quarters of the time on the indexes. Without them, ours comes close to the bound only if the server has a core
of its own while the next rows are encoded.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from benchmarks.harness import ROUNDS, Measure, compared
from decahertz.clock import SystemClock, to_datetime
from decahertz.metric import Kind, Metric
from decahertz.sample import Sample, SampleBatch, schema_of
from storage.database import Database
from storage.entry import entry_of
from storage.postgres.embedded import EmbeddedPostgres
from storage.schema.migrate import migrate
from storage.schema.samples import columns_of, sample_table_statements
from storage.settings import StorageSettings
from storage.write.copy_format import HEADER, TRAILER
from storage.write.encoders import SampleRows
from storage.write.transaction import EntryWriter

if TYPE_CHECKING:
    from storage.database import Connection

INSTRUMENTS = 1000
CYCLES = 50
START_NS = 1_700_000_000_000_000_000
CYCLE_NS = 100_000_000


class Verdict(StrEnum):
    """A state with two values."""

    LIVE = "live"
    QUIET = "quiet"


_GAUGE = Annotated[float | None, Metric("A gauge.")]
_COUNTER = Annotated[int, Metric("A counter.", kind=Kind.COUNTER)]


class BenchSample(Sample, frozen=True, kw_only=True):
    """Resembles a market sample: 15 columns with time, recorder and key; every third has no last price."""

    collector: ClassVar[str] = "bench"
    key: ClassVar[tuple[str, ...]] = ("venue", "instrument")
    venue: str
    instrument: str
    bid: _GAUGE
    ask: _GAUGE
    mid: _GAUGE
    spread_bps: _GAUGE
    last_price: _GAUGE
    volume: _GAUGE
    imbalance: _GAUGE
    volatility: _GAUGE
    quotes: _COUNTER
    gaps: _COUNTER
    verdict: Annotated[Verdict, Metric("A state.", kind=Kind.STATE)]


SCHEMA = schema_of(BenchSample)
COLUMNS = [column.name for column in columns_of(SCHEMA)]


def samples(cycle: int) -> SampleBatch:
    return SampleBatch(
        SCHEMA,
        START_NS + cycle * CYCLE_NS,
        tuple(
            BenchSample(
                venue="sim",
                instrument=f"I{number}",
                bid=100.0 + number,
                ask=100.5 + number,
                mid=100.25 + number,
                spread_bps=4.9,
                last_price=None if number % 3 == 0 else 100.0,
                volume=12.5 * cycle,
                imbalance=-0.25,
                volatility=None if cycle % 10 == 0 else 0.125,
                quotes=cycle * 3,
                gaps=number % 2,
                verdict=Verdict.LIVE if number % 4 else Verdict.QUIET,
            )
            for number in range(INSTRUMENTS)
        ),
    )


def records(batch: SampleBatch) -> list[tuple[Any, ...]]:
    time_ = to_datetime(batch.time_ns)
    return [(time_, "bench", *(getattr(sample, name) for name in COLUMNS[2:])) for sample in batch.samples]


async def measure(database: Database, connection: Connection, name: str) -> list[Measure]:
    batches = [samples(cycle) for cycle in range(CYCLES)]
    tuples = [record for batch in batches for record in records(batch)]
    store = EntryWriter(database, "bench", SystemClock())
    rows = SampleRows(SCHEMA, "bench")
    encoded = [b"".join(rows.encode(batch.samples, batch.time_ns).data) for batch in batches]

    async def ours() -> None:
        await store.write(connection, [entry_of(batch) for batch in batches])

    async def bare() -> None:
        async with connection.transaction():
            await connection.copy_records_to_table("bench_samples", records=tuples, columns=COLUMNS)

    async def bound() -> None:
        async with connection.transaction():
            await connection.copy_to_table(
                "bench_samples", source=ready(encoded), columns=rows.columns, format="binary"
            )

    async def rate(work: Callable[[], Awaitable[None]]) -> float:
        await connection.execute("TRUNCATE bench_samples")
        await connection.execute("CHECKPOINT")
        start = time.perf_counter()
        await work()
        seconds = time.perf_counter() - start
        stored = await connection.fetchval("SELECT count(*) FROM bench_samples")
        if stored != len(tuples):
            raise RuntimeError(f"{stored} rows were stored instead of {len(tuples)}")
        return len(tuples) / seconds

    works = (ours, bare, bound)
    rounds = [[await rate(work) for work in works] for _ in range(1 + ROUNDS)][1:]
    mine, reference, most = (median(column) for column in zip(*rounds, strict=True))
    return [
        compared(name, mine, reference, "rows/s", "ratio >= 0.8 (aim 1.5)"),
        compared(f"{name} bound", most, reference, "rows/s", "none: rows encoded beforehand"),
    ]


async def ready(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    yield HEADER
    for chunk in chunks:
        yield chunk
    yield TRAILER


async def measures() -> list[Measure]:
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedPostgres(Path(folder) / "postgres") as server:
            database = Database(server.url, StorageSettings())
            await database.open()
            await migrate(database)
            connection = await database.connect("benchmark")
            try:
                for statement in sample_table_statements(SCHEMA, partitioned=False):
                    await connection.execute(statement)
                indexed = await measure(database, connection, "copy-writer-indexed")
                await connection.execute("DROP INDEX bench_samples_key, bench_samples_time")
                return [*await measure(database, connection, "copy-writer"), *indexed]
            finally:
                await database.disconnect(connection)
                await database.close()


def run() -> list[Measure]:
    return asyncio.run(measures())
