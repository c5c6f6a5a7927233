"""Execution quality of 10,000 stored orders: from the figures stored with them, and computed by the query.

The orders are those of one hour in 20 instruments with two fills each, in a database as the recorder makes it
(partitions, samples of the market at 1 Hz). The reference computes what is due in the query, as all of it was
before the figures were stored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry

from benchmarks.engines import engines
from benchmarks.harness import Measure, compared
from collectors.market.sample import MarketSample
from decahertz.clock import NS_PER_SECOND, SystemClock, to_datetime
from decahertz.event import Arrival, EventBatch, Fill, Order, OrderState, Side
from decahertz.sample import schema_of
from storage.database import Database
from storage.entry import entry_of
from storage.query.execution_quality import ExecutionSelection, execution_totals, order_quality
from storage.tiers.worker import RollUpWorker
from storage.write.order_quality import OrderQualityWorker
from storage.write.transaction import EntryWriter

ORDERS = 10_000
INSTRUMENTS = 20
SPAN_SECONDS = 3600
ROUNDS = 5
_RECORDER = "bench"
_SAMPLES = """
INSERT INTO market_samples (time, recorder, venue, instrument, mid, {required})
SELECT at, 'bench', 'sim', 'I' || n, 100 + n + random(), {values}
FROM generate_series($1::timestamptz, $2::timestamptz, interval '1 second') AS at,
    generate_series(0, {instruments} - 1) AS n
"""


def _events(start_ns: int) -> Iterator[Order | Fill]:
    for number in range(ORDERS):
        at_ns = start_ns + number * SPAN_SECONDS * NS_PER_SECOND // ORDERS
        name: dict[str, Any] = {
            "strategy": f"S{number % 5}",
            "venue": "sim",
            "instrument": f"I{number % INSTRUMENTS}",
        }
        key: dict[str, Any] = {**name, "order_id": str(number), "side": Side.BUY if number % 2 else Side.SELL}
        price = 100.0 + number % INSTRUMENTS
        yield Order(
            time_ns=at_ns, state=OrderState.SUBMITTED, quantity=3.0, decision_price=price,
            decided_ns=at_ns - 1_000_000, **key,
        )  # fmt: skip
        yield Order(time_ns=at_ns + 1_000_000, state=OrderState.ACCEPTED, quantity=3.0, **key)
        for part in (1, 2):
            yield Fill(
                time_ns=at_ns + part * 2_000_000,
                fill_id=str(part),
                price=price + 0.1,
                quantity=1.0,
                fee=0.01,
                **key,
            )
        state = OrderState.CANCELLED if number % 3 else OrderState.FILLED
        yield Order(time_ns=at_ns + 9_000_000, state=state, quantity=3.0 if number % 3 else 2.0, **key)


async def _fill(database: Database, start_ns: int) -> None:
    connection = await database.connect("bench", unlimited=True)
    try:
        schema = schema_of(MarketSample)
        zeros = {str: "''", bool: "false"}
        required = {field.name: zeros.get(field.type, "0") for field in schema.metrics if not field.optional}
        statement = _SAMPLES.format(
            required=", ".join(required), values=", ".join(required.values()), instruments=INSTRUMENTS
        )
        end_ns = start_ns + (SPAN_SECONDS + 600) * NS_PER_SECOND
        await connection.execute(statement, to_datetime(start_ns - 60 * NS_PER_SECOND), to_datetime(end_ns))
        writer = EntryWriter(database, _RECORDER, SystemClock())
        events = list(_events(start_ns))
        for first in range(0, len(events), 5000):
            part = tuple(events[first : first + 5000])
            batch = EventBatch(source="bench", epoch=1, first_sequence=first + 1, events=part)
            await writer.write(connection, [entry_of(Arrival(batch=batch, received_ns=start_ns))])
        await connection.execute("ANALYZE")
    finally:
        await database.disconnect(connection)


async def _milliseconds(work: Callable[[], Awaitable[object]], rounds: int = ROUNDS) -> float:
    """The median after a warm-up."""
    await work()
    found = []
    for _ in range(rounds):
        begin = time.perf_counter_ns()
        await work()
        found.append((time.perf_counter_ns() - begin) / 1e6)
    return sorted(found)[rounds // 2]


async def _measure() -> list[Measure]:
    clock, schema = SystemClock(), schema_of(MarketSample)
    start_ns = clock.time_ns() - 2 * 3600 * NS_PER_SECOND
    (engine, *_) = engines()
    async with engine.database(read_timeout_seconds=60.0) as (database, settings):
        tiers = RollUpWorker(
            database, clock, CollectorRegistry(), settings.tiers, settings.retention, [schema]
        )
        await tiers.prepare()
        await tiers.run_once()
        await tiers.stop()
        await _fill(database, start_ns)
        everything = ExecutionSelection(start_ns=start_ns - NS_PER_SECOND)
        computed = await _milliseconds(lambda: execution_totals(database, everything), rounds=3)
        key = {
            "recorder": _RECORDER, "strategy": "S1", "venue": "sim", "instrument": "I1", "account": "",
            "order_id": "21",
        }  # fmt: skip
        one_computed = await _milliseconds(lambda: order_quality(database, key))
        before = await execution_totals(database, everything)
        begin = time.perf_counter_ns()
        done = await OrderQualityWorker(database, _RECORDER, clock, lambda: 0.0).run_once()
        took = (time.perf_counter_ns() - begin) / 1e9
        if done != ORDERS:
            raise RuntimeError(f"{done} orders instead of {ORDERS}")
        stored = await _milliseconds(lambda: execution_totals(database, everything))
        one_stored = await _milliseconds(lambda: order_quality(database, key))
        after = await execution_totals(database, everything)
        if [totals.shortfall_n for totals in after] != [totals.shortfall_n for totals in before]:
            raise RuntimeError("the stored figures are not those of the query")
    return [
        compared(f"quality of {ORDERS:,} orders", stored, computed, "ms", "ours <= 200", is_cost=True),
        compared("quality of one order", one_stored, one_computed, "ms", "ours <= 20", is_cost=True),
        Measure(name="order quality worker", ours=done / took, unit="orders/s", goal="ours >= 500"),
    ]


def run() -> list[Measure]:
    """Runs the benchmark."""
    return asyncio.run(_measure())
