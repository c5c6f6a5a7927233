"""Quotes and ticks of two hours, packed: bytes, the cost of packing, and how fast they are read.

The reference of each figure is the same table before it is packed. The events are those of the demo's market:
twenty instruments, four quotes and a print a second each, stored by the writer. Plain PostgreSQL only.

``bytes``: of a row with its share of indexes. ``packing``: seconds of one core for a million rows. ``list``:
a page of 1,000 rows of one instrument from the middle, as ``GET /api/v1/quotes`` and ``/ticks`` read it.
``bars``: an hour of one instrument in bars of a minute. ``sql``: a minute of one instrument by a statement of
one's own, on the function ``quotes_between`` and on the view.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import CollectorRegistry

from benchmarks.bench_packed_history import HOUR_NS, INSTRUMENTS, START_NS, median
from benchmarks.engines import engines
from benchmarks.harness import Measure, compared
from collectors.feeds.synthetic.market import Rates, SyntheticMarket
from collectors.feeds.synthetic.names import listings
from decahertz.clock import NS_PER_SECOND, to_datetime
from decahertz.event import Arrival, EventBatch
from decahertz.fakes import ManualClock
from storage.entry import entry_of
from storage.query.bars import BarFilter
from storage.query.pagination import KeysetPage
from storage.query.queries import Queries
from storage.query.stored_events import QUOTES, TICKS
from storage.schema.events import PACKED_EVENTS
from storage.schema.samples import packed_of, quoted, recent_of
from storage.tiers.worker import RollUpWorker
from storage.write.transaction import EntryWriter

if TYPE_CHECKING:
    from decahertz.app.settings import Settings
    from storage.database import AnyConnection, Database

HOURS = 2
_AT_ONCE = 5000
_SIZE = """
SELECT sum(pg_total_relation_size(relid))::bigint
FROM pg_partition_tree(to_regclass($1)) WHERE isleaf
"""
_SQL = """
SELECT avg(bid) FROM {} WHERE venue = $1 AND instrument = $2 AND time >= $3 AND time <= $4
"""


class Figures(NamedTuple):
    """Bytes of a row of quotes and of ticks, and milliseconds of five questions."""

    quotes_bytes: float
    ticks_bytes: float
    quotes_list: float
    ticks_list: float
    bars: float
    sql: float
    view_sql: float


def batches() -> Iterator[Arrival]:
    """The events of two hours."""
    market = SyntheticMarket(listings(INSTRUMENTS, ("sim",)), Rates(), seed=1)
    events = list(market.until(HOURS * HOUR_NS / NS_PER_SECOND, START_NS))
    for first in range(0, len(events), _AT_ONCE):
        part = tuple(events[first : first + _AT_ONCE])
        batch = EventBatch(source="feed-synthetic", epoch=START_NS, first_sequence=first + 1, events=part)
        received_ns = max(event.time_ns for event in part) + 20_000_000
        yield Arrival(batch=batch, received_ns=received_ns, number=received_ns // 1000)


async def fill(database: Database, connection: AnyConnection, clock: ManualClock) -> None:
    """Stores the events as a recorder does."""
    writer = EntryWriter(database, "bench", clock)
    for arrival in batches():
        await writer.write(connection, [entry_of(arrival)])
    await writer.finish(connection)


async def figures(
    connection: AnyConnection, queries: Queries, tables: Callable[[str], str], rows: dict[str, int]
) -> Figures:
    """Measures; ``tables`` names the table that has the rows of an event table."""
    names = listings(INSTRUMENTS, ("sim",))[7]
    middle_ns = START_NS + HOUR_NS // 2
    which: dict[str, Any] = {"venue": [names.venue], "instrument": names.instrument, "recorder": None}
    which |= {"start_ns": None, "end_ns": middle_ns}
    times = to_datetime(middle_ns), to_datetime(middle_ns + 60 * NS_PER_SECOND)

    def page(of: KeysetPage) -> Callable[[], Awaitable[object]]:
        return lambda: queries.market(of, which, limit=1000, now_ns=START_NS + HOURS * HOUR_NS)

    async def bars() -> None:
        hour = BarFilter(
            instrument=names.instrument,
            timeframe_ns=60 * NS_PER_SECOND,
            start_ns=START_NS,
            end_ns=START_NS + HOUR_NS,
        )
        if len((await queries.bars(hour, limit=100)).items) != HOUR_NS // hour.timeframe_ns:
            raise RuntimeError("a minute without ticks")

    def sql(relation: str) -> Callable[[], Awaitable[object]]:
        text = _SQL.format(relation)
        return lambda: connection.fetchval(text, names.venue, names.instrument, *times)

    sizes = [await connection.fetchval(_SIZE, tables(one.table)) for one in PACKED_EVENTS]
    bytes_ = [size / rows[one.table] for one, size in zip(PACKED_EVENTS, sizes, strict=True)]
    questions = (page(QUOTES), page(TICKS), bars, sql("quotes_between($3, $4) AS quotes"), sql("quotes"))
    return Figures(*bytes_, *[await median(work) for work in questions])


async def measure(database: Database, settings: Settings) -> list[Measure]:
    clock = ManualClock(START_NS + HOURS * HOUR_NS)
    worker = RollUpWorker(database, clock, CollectorRegistry(), settings.tiers, settings.retention, [])
    await worker.prepare()
    queries = Queries(database)
    connection = await database.connect("benchmark", unlimited=True)
    try:
        # Events of before the database was created were imported.
        await connection.execute("UPDATE schema_migrations SET time = $1", to_datetime(START_NS - HOUR_NS))
        await worker.run_once()
        await fill(database, connection, clock)
        await connection.execute("VACUUM ANALYZE")
        rows = {
            one.table: await connection.fetchval(f"SELECT count(*) FROM {quoted(one.table)}")  # noqa: S608 - ours
            for one in PACKED_EVENTS
        }
        before = await figures(connection, queries, recent_of, rows)
        clock.advance(2 * HOUR_NS)
        start = time.perf_counter()
        await worker.run_once()
        took = time.perf_counter() - start
        await connection.execute("VACUUM ANALYZE")
        after = await figures(connection, queries, packed_of, rows)
    finally:
        await database.disconnect(connection)
        await worker.stop()
    core = Measure(
        name="packed-events-packing",
        ours=took / sum(rows.values()) * 1e6,
        unit="s/million rows",
        goal="ours <= 50",
    )
    goals = dict.fromkeys(Figures._fields, ("ms", "ours <= 50"))
    goals |= {"quotes_bytes": ("bytes/row", "ours <= 60"), "ticks_bytes": ("bytes/row", "ours <= 60")}
    measured = [
        compared(
            f"packed-events-{name.replace('_', '-')}",
            getattr(after, name),
            getattr(before, name),
            unit,
            goal,
            is_cost=True,
        )
        for name, (unit, goal) in goals.items()
    ]
    return [*measured, core]


async def measures() -> list[Measure]:
    found: list[Measure] = []
    for engine in engines():
        if engine.name == "plain":
            async with engine.database(statement_timeout_seconds=600.0, read_timeout_seconds=600.0) as opened:
                found += await measure(*opened)
    return found


def run() -> list[Measure]:
    return asyncio.run(measures())
