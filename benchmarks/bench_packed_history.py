"""Raw samples of an hour, packed: bytes, the cost of packing, and how fast they are read, next to unpacked.

The samples are those of the demo: the market collector over the synthetic market, twenty instruments at
10 Hz. On plain PostgreSQL the reference of every figure is the same table before it is packed; on
TimescaleDB, which is measured if ``DECAHERTZ_TEST_POSTGRES`` names a PostgreSQL that has it, the columnstore
is in its place. The rows of the ``1s`` tier of that hour are measured on plain PostgreSQL alone.

``packed-bytes``: bytes of a row with its share of indexes. ``packing``: seconds of one core for a million
samples and the rows of the ``1s`` tier that are made from them. ``packed-hour``: an hour of one instrument
and three metrics as rows, through ``metrics/history``. ``packed-buckets``: the same in 1,000 points, asked of
the raw tier. ``packed-sql``: a minute of one metric of one instrument, by a statement of one's own on
``market_samples``. ``packed-second-bytes``: bytes of a row of the ``1s`` tier. ``packed-second-history``: a
quarter of an hour of one instrument and three metrics from that tier, through ``metrics/history``.
``packed-second-sql``: the same as a dashboard selects it, from ``market_history``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry

from benchmarks.bench_history import seconds
from benchmarks.engines import Engine, engines
from benchmarks.harness import ROUNDS, Measure, compared, medians
from collectors.feeds.synthetic.market import Rates, SyntheticMarket
from collectors.feeds.synthetic.names import listings
from collectors.market.collector import MarketCollector, MarketOptions
from collectors.market.sample import MarketSample
from decahertz.app.settings import Settings
from decahertz.clock import CYCLE_NS, NS_PER_SECOND, to_datetime
from decahertz.fakes import ManualClock
from decahertz.sample import SampleSchema, schema_of
from storage.database import Database
from storage.query.history.history import History
from storage.query.history.resolution import ResolutionRequest
from storage.query.queries import Queries
from storage.schema.samples import literal, packed_of, quoted, recent_of, table_of
from storage.tiers.names import Tier
from storage.tiers.plain.packed import CYCLES, SECONDS
from storage.tiers.worker import RollUpWorker

if TYPE_CHECKING:
    from storage.database import AnyConnection

INSTRUMENTS = 20
HOUR_NS = 3600 * NS_PER_SECOND
START_NS = 1_767_225_600 * NS_PER_SECOND
ROWS = INSTRUMENTS * HOUR_NS // CYCLE_NS
TIER_ROWS = INSTRUMENTS * HOUR_NS // NS_PER_SECOND
SECONDS_ASKED = 900
POINTS = 1000
FIELDS = ["mid", "spread_bps", "quotes"]
SCHEMA: SampleSchema = schema_of(MarketSample)
_CYCLES_AT_ONCE = 100
_COLUMNS = ("time", "recorder", *SCHEMA.key, *(field.name for field in SCHEMA.metrics))
_SIZE = """
SELECT sum(pg_total_relation_size(relid))::bigint
FROM unnest($1::text[]) AS name, pg_partition_tree(to_regclass(name)) WHERE isleaf
"""
_SQL = """
SELECT avg(mid) FROM market_samples WHERE venue = $1 AND instrument = $2 AND time >= $3 AND time < $4
"""


_DASHBOARD = """
SELECT time, mid, spread_bps, quotes FROM market_history WHERE tier = '1s' AND venue = {} AND instrument = {}
    AND time >= {} AND time < {} ORDER BY time
"""


class TierFigures(NamedTuple):
    """Costs of the ``1s`` tier: bytes a row, and milliseconds of two questions."""

    bytes: float
    history: float
    sql: float


class Figures(NamedTuple):
    """Costs of a table: bytes a row, and milliseconds of three questions."""

    bytes: float
    hour: float
    buckets: float
    sql: float


def samples(clock: ManualClock) -> Iterator[list[MarketSample]]:
    """The samples of each cycle of the hour."""
    listed = listings(INSTRUMENTS, ("sim",))
    market = SyntheticMarket(listed, Rates(), seed=1)
    collector = MarketCollector(clock, MarketOptions())
    while clock.time_ns() < START_NS + HOUR_NS:
        now_ns = clock.time_ns()
        for event in market.until((now_ns - START_NS) / NS_PER_SECOND, START_NS):
            collector.on_event(event, now_ns)
        yield [one for one in collector.sample(now_ns) if isinstance(one, MarketSample)]
        clock.advance(CYCLE_NS)


async def fill(connection: AnyConnection, clock: ManualClock, table: str) -> None:
    """Stores the hour."""
    rest = attrgetter(*_COLUMNS[2:])
    rows: list[tuple[object, ...]] = []
    for number, cycle in enumerate(samples(clock), start=1):
        time_ns = START_NS + (number - 1) * CYCLE_NS
        rows += [(to_datetime(time_ns), "bench", *rest(one)) for one in cycle]
        if number % _CYCLES_AT_ONCE == 0:
            await connection.copy_records_to_table(table, records=rows, columns=_COLUMNS)
            rows = []


async def figures(connection: AnyConnection, queries: Queries, size: int) -> Figures:
    """Measures a table of this size."""
    names = listings(INSTRUMENTS, ("sim",))[7]
    key = {"venue": [names.venue], "instrument": [names.instrument]}
    minute = (START_NS + HOUR_NS // 2, START_NS + HOUR_NS // 2 + 60 * NS_PER_SECOND)

    async def ask(request: ResolutionRequest) -> History:
        return await queries.history(SCHEMA, FIELDS, key, START_NS, START_NS + HOUR_NS, request=request)

    async def hour() -> None:
        (series,) = (await ask(ResolutionRequest(Tier.RAW))).series
        if len(series.time_ns) < HOUR_NS // CYCLE_NS - 100:
            raise RuntimeError(f"{len(series.time_ns)} samples of an hour")

    async def buckets() -> None:
        await ask(ResolutionRequest(Tier.RAW, None, POINTS))

    async def sql() -> None:
        await connection.fetchval(_SQL, names.venue, names.instrument, *map(to_datetime, minute))

    return Figures(size / ROWS, *[await median(work) for work in (hour, buckets, sql)])


async def tier_figures(connection: AnyConnection, queries: Queries, tables: list[str]) -> TierFigures:
    """Measures the ``1s`` tier in these tables."""
    names = listings(INSTRUMENTS, ("sim",))[7]
    key = {"venue": [names.venue], "instrument": [names.instrument]}
    span = (START_NS + HOUR_NS // 4, START_NS + HOUR_NS // 2)
    request = ResolutionRequest(step_ns=NS_PER_SECOND)
    times = (literal(to_datetime(time_ns).isoformat()) for time_ns in span)
    dashboard = _DASHBOARD.format(literal(names.venue), literal(names.instrument), *times)

    async def history() -> None:
        (series,) = (await queries.history(SCHEMA, FIELDS, key, *span, request=request)).series
        if len(series.time_ns) != SECONDS_ASKED:
            raise RuntimeError(f"{len(series.time_ns)} seconds of a quarter of an hour")

    async def sql() -> None:
        if len(await connection.fetch(dashboard)) != SECONDS_ASKED:
            raise RuntimeError("a dashboard finds other seconds")

    size: int = await connection.fetchval(_SIZE, tables)
    return TierFigures(size / TIER_ROWS, *[await median(work) for work in (history, sql)])


async def median(work: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds of a call, once it is warm."""
    await work()
    pairs = [(await seconds(work), 0.0) for _ in range(ROUNDS)]
    return medians(pairs)[0] * 1000


async def plain(database: Database, settings: Settings) -> list[Measure]:
    clock = ManualClock(START_NS)
    worker = RollUpWorker(database, clock, CollectorRegistry(), settings.tiers, settings.retention, [SCHEMA])
    await worker.prepare()
    table, queries = table_of(SCHEMA), Queries(database)
    recent, packed = recent_of(table), packed_of(table)
    connection = await database.connect("benchmark", unlimited=True)
    try:
        await fill(connection, clock, recent)
        await worker.run_once()
        await connection.execute("VACUUM ANALYZE")
        before = await figures(connection, queries, await connection.fetchval(_SIZE, [recent]))
        tier_before = await tier_figures(connection, queries, [f"{table}_1s_rolled"])
        clock.advance(2 * HOUR_NS)
        start = time.perf_counter()
        await worker.run_once()
        took = time.perf_counter() - start
        for name in (recent, f"{table}_1s_rolled"):  # empty, and in use as long as the day lasts
            await connection.execute(f"TRUNCATE {quoted(name)}")
        await connection.execute("VACUUM ANALYZE")
        size: int = await connection.fetchval(_SIZE, [packed, CYCLES.name])
        after = await figures(connection, queries, size)
        tier_after = await tier_figures(connection, queries, [f"{table}_1s_packed", SECONDS.name])
    finally:
        await database.disconnect(connection)
        await worker.stop()
    goals = {
        "bytes": ("bytes/row", "ratio >= 2"),
        "history": ("ms", "ours <= 50"),
        "sql": ("ms", "ours <= 100"),
    }
    tier = [
        compared(
            f"packed-second-{name}",
            getattr(tier_after, name),
            getattr(tier_before, name),
            *goal,
            is_cost=True,
        )
        for name, goal in goals.items()
    ]
    core = Measure(name="packing", ours=took / ROWS * 1e6, unit="s/million rows", goal="ours <= 50")
    return [*rows("plain", after, before), *tier, core]


async def timescale(database: Database, settings: Settings) -> list[Measure]:
    clock = ManualClock(START_NS)
    worker = RollUpWorker(database, clock, CollectorRegistry(), settings.tiers, settings.retention, [SCHEMA])
    await worker.prepare()
    table, queries = table_of(SCHEMA), Queries(database)
    connection = await database.connect("benchmark", unlimited=True)
    try:
        await fill(connection, clock, table)
        await worker.run_once()
        await connection.execute("VACUUM ANALYZE")
        size = "SELECT hypertable_size($1::text::regclass)"
        before = await figures(connection, queries, await connection.fetchval(size, table))
        for (chunk,) in await connection.fetch("SELECT show_chunks($1::text::regclass)::text", table):
            await connection.execute(f"CALL convert_to_columnstore('{chunk}')")
        await connection.execute("VACUUM ANALYZE")
        after = await figures(connection, queries, await connection.fetchval(size, table))
    finally:
        await database.disconnect(connection)
        await worker.stop()
    return rows("timescaledb", after, before)


def rows(engine: str, after: Figures, before: Figures) -> list[Measure]:
    """One row for each figure."""
    goals = {"bytes": ("bytes/row", "ours <= 50"), "hour": ("ms", "ratio >= 0.5")}
    goals |= {"buckets": ("ms", "ratio >= 0.5"), "sql": ("ms", "ours <= 20")}
    return [
        compared(
            f"packed-{name}-{engine}", getattr(after, name), getattr(before, name), unit, goal, is_cost=True
        )
        for name, (unit, goal) in goals.items()
    ]


async def measure(engine: Engine) -> list[Measure]:
    async with engine.database(statement_timeout_seconds=600.0, read_timeout_seconds=600.0) as opened:
        return await (plain if engine.name == "plain" else timescale)(*opened)


async def measures() -> list[Measure]:
    return [row for engine in engines() for row in await measure(engine)]


def run() -> list[Measure]:
    return asyncio.run(measures())
