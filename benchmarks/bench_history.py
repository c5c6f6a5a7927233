"""History of 24 hours of one instrument at 10 Hz in 1,000 points, compared with one computed from raw rows.

Ours is the query behind ``metrics/history`` with ``max_points=1000``; the reference adds ``tier=raw``. Both
return the same buckets with last, min, max and average, and both are timed from the call to the lists of
numbers. The table holds ten instruments, and the tiers are rolled up. Measured on plain PostgreSQL, and on
TimescaleDB if ``DECAHERTZ_TEST_POSTGRES`` names a PostgreSQL that has it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, ClassVar

from prometheus_client import CollectorRegistry

from benchmarks.engines import Engine, engines
from benchmarks.harness import ROUNDS, Measure, compared, medians
from decahertz.app.settings import Settings
from decahertz.clock import CYCLE_NS, NS_PER_SECOND
from decahertz.fakes import ManualClock
from decahertz.metric import Kind, Metric
from decahertz.sample import Sample, SampleSchema, schema_of
from storage.database import Database
from storage.query.history.history import History
from storage.query.history.resolution import ResolutionRequest
from storage.query.queries import Queries
from storage.schema.samples import quoted, table_of
from storage.tiers.names import Tier
from storage.tiers.worker import RollUpWorker

DAY_NS = 86_400 * NS_PER_SECOND
START_NS = 1_767_225_600 * NS_PER_SECOND
ROWS = DAY_NS // CYCLE_NS
OTHERS = 9
OTHERS_EVERY = 10
"""The other instruments have a sample a second, so that the rows of the measured one are not adjacent."""
POINTS = 1000
REPEAT = 3
"""Consecutive calls per measurement: a single one of ours is too short to time."""
_GAUGE = Annotated[float | None, Metric("A gauge.")]


class BenchHistory(Sample, frozen=True, kw_only=True):
    """Resembles a market sample."""

    collector: ClassVar[str] = "history"
    key: ClassVar[tuple[str, ...]] = ("venue", "instrument")
    venue: str
    instrument: str
    bid: _GAUGE
    ask: _GAUGE
    mid: _GAUGE
    spread_bps: _GAUGE
    last_price: _GAUGE
    imbalance: _GAUGE
    quotes: Annotated[int, Metric("A counter.", kind=Kind.COUNTER)]


SCHEMA: SampleSchema = schema_of(BenchHistory)
KEY = {"venue": ["sim"], "instrument": ["I0"]}
FIELDS = ["mid", "spread_bps", "quotes"]
_FILL = """
INSERT INTO {table}
    (time, recorder, venue, instrument, bid, ask, mid, spread_bps, last_price, imbalance, quotes)
SELECT to_timestamp($1::bigint / 1e9) + n * interval '100 ms', 'bench', 'sim', 'I' || i,
       100 + sin(n / 1e4), 101 + sin(n / 1e4),
       100.5 + sin(n / 1e4) + random() / 10, random(), CASE WHEN n % 3 > 0 THEN 100.0 END, random() - 0.5, n
FROM generate_series(0, $2::bigint - 1) AS n, generate_series(0, $3::int) AS i
WHERE i = 0 OR n % $4 = 0
ORDER BY n
"""


async def fill(engine: Engine, database: Database, settings: Settings) -> None:
    """Creates the tables and tiers, inserts the rows and rolls them up."""
    clock = ManualClock(START_NS + DAY_NS + 60 * NS_PER_SECOND)
    worker = RollUpWorker(database, clock, CollectorRegistry(), settings.tiers, settings.retention, [SCHEMA])
    await worker.prepare()
    connection = await database.connect("benchmark", unlimited=True)
    try:
        table = quoted(engine.stored(table_of(SCHEMA)))
        await connection.execute(_FILL.format(table=table), START_NS, ROWS, OTHERS, OTHERS_EVERY)
        await worker.run_once()
        await connection.execute("VACUUM ANALYZE")
    finally:
        await database.disconnect(connection)
        await worker.stop()


async def measure(engine: Engine) -> Measure:
    async with engine.database(statement_timeout_seconds=600.0) as (database, settings):
        await fill(engine, database, settings)
        return await compare(engine.name, Queries(database))


async def compare(name: str, queries: Queries) -> Measure:
    async def ask(request: ResolutionRequest) -> History:
        return await queries.history(SCHEMA, FIELDS, KEY, START_NS, START_NS + DAY_NS, request=request)

    async def ours() -> History:
        return await ask(ResolutionRequest(max_points=POINTS))

    async def raw() -> History:
        return await ask(ResolutionRequest(Tier.RAW, None, POINTS))

    check(await ours(), await raw())
    pairs = [(await seconds(ours, REPEAT), await seconds(raw, REPEAT)) for _ in range(ROUNDS)]
    mine, reference = medians(pairs)
    goal = "ratio >= 50, ours <= 20"
    return compared(f"history-24h-{name}", mine * 1000, reference * 1000, "ms", goal, is_cost=True)


def check(mine: History, raw: History) -> None:
    """Raises ``RuntimeError`` unless both return the same buckets of all samples."""
    (one,), (other,) = mine.series, raw.series
    same = one.time_ns == other.time_ns and one.fields["quotes"] == other.fields["quotes"]
    if (
        mine.tier is Tier.RAW
        or raw.tier is not Tier.RAW
        or not same
        or not POINTS // 2 < len(one.time_ns) <= POINTS
    ):
        raise RuntimeError(
            f"the answers differ: {mine.tier} {len(one.time_ns)}, {raw.tier} {len(other.time_ns)}"
        )


async def seconds(work: Callable[[], Awaitable[object]], repeat: int = 1) -> float:
    """Returns the wall time of one call, averaged over ``repeat`` consecutive calls."""
    start = time.perf_counter()
    for _ in range(repeat):
        await work()
    return (time.perf_counter() - start) / repeat


async def measures() -> list[Measure]:
    return [await measure(engine) for engine in engines()]


def run() -> list[Measure]:
    return asyncio.run(measures())
