"""A fill that is 199,000 fills late, in a position that was never flat.

``late-fill hold`` is the transaction of the writer that stores it: everything else waits for it. The
reference is that of a fill that is 100 fills late. While the rest is derived again in the background,
``late-fill others`` is the longest transaction that stores a fill of another strategy, once in 50 ms, and
``late-fill total`` the time until all round trips are right again.

``never-flat fill`` is the cost of a fill in order, in transactions of 1,000, after the 200,000 of a position
that was never flat; the reference is that of the first fills of another strategy at the same time.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median

from benchmarks.engines import engines
from benchmarks.harness import Measure, compared, medians
from decahertz.clock import NS_PER_SECOND, SystemClock
from decahertz.event import Arrival, EventBatch, Fill, Side
from storage.database import Database
from storage.entry import entry_of
from storage.write.round_trip_worker import RoundTripWorker
from storage.write.transaction import EntryWriter

FILLS = 200_000
LATE_BY = 199_000
ROUNDS = 3
_AT_ONCE = 1_000
_END = FILLS + 10 * _AT_ONCE
_START_NS = 1_700_000_000 * NS_PER_SECOND
_STEP_NS = NS_PER_SECOND
_RECORDER = "bench"
_PAUSE_SECONDS = 0.05
_MS, _US = 1e3, 1e6


class Desk:
    """Stores fills as the writer does."""

    def __init__(self, database: Database, source: str) -> None:
        self._database = database
        self._source = source
        self._writer = EntryWriter(database, _RECORDER, SystemClock())
        self._epoch = 0

    async def open(self) -> None:
        """Connects."""
        self._connection = await self._database.connect("bench")

    async def close(self) -> None:
        """Disconnects."""
        await self._database.disconnect(self._connection)

    async def store(self, *numbers: float, strategy: str = "never-flat") -> float:
        """Stores fills, at these places, in one transaction; returns its seconds."""
        self._epoch += 1
        fills = tuple(_fill(number, strategy) for number in numbers)
        batch = EventBatch(source=self._source, epoch=self._epoch, first_sequence=1, events=fills)
        entry = entry_of(Arrival(batch=batch, received_ns=_START_NS))
        began = time.perf_counter()
        await self._writer.write(self._connection, [entry])
        return time.perf_counter() - began


def _fill(number: float, strategy: str) -> Fill:
    """Two bought, one sold: the position grows for ever."""
    return Fill(
        time_ns=_START_NS + round(number * _STEP_NS),
        strategy=strategy,
        venue="sim",
        instrument="I1",
        order_id=f"o{number}",
        fill_id=f"f{number}",
        side=Side.SELL if int(number) % 3 == 0 else Side.BUY,
        quantity=1.0,
        price=100.0 + int(number) % 7,
    )


async def _in_order(desk: Desk, first: int, last: int) -> None:
    for start in range(first, last, _AT_ONCE):
        await desk.store(*range(start, start + _AT_ONCE))


async def _others(desk: Desk, done: asyncio.Task[int]) -> float:
    """Stores a fill of another strategy at even intervals; returns the longest time."""
    longest, number = 0.0, 0
    while not done.done():
        number += 1
        longest = max(longest, await desk.store(number, strategy="other"))
        await asyncio.sleep(_PAUSE_SECONDS)
    return longest


async def measure() -> list[Measure]:
    async with engines()[0].database() as (database, _):
        desk, other = Desk(database, "bot"), Desk(database, "other bot")
        await desk.open()
        await other.open()
        await _in_order(desk, 0, FILLS)
        fills = [
            (
                await desk.store(*range(start, start + _AT_ONCE)),
                await other.store(*range(start, start + _AT_ONCE), strategy=f"short {start}"),
            )
            for start in range(FILLS, _END, _AT_ONCE)
        ]
        worker = RoundTripWorker(database, _RECORDER, SystemClock(), lambda: 0.0)
        await worker.run_once()
        holds, nears, longest, totals = [], [], [], []
        for number in range(1, ROUNDS + 1):
            nears.append(await desk.store(_END - 100 + number / 10))
            began = time.perf_counter()
            holds.append(await desk.store(_END - LATE_BY + number / 10))
            working = asyncio.create_task(worker.run_once())
            longest.append(await _others(other, working))
            totals.append(time.perf_counter() - began)
        await desk.close()
        await other.close()
    hold, near = median(holds) * _MS, median(nears) * _MS
    long, short = (seconds / _AT_ONCE * _US for seconds in medians(fills))
    return [
        compared("late-fill hold", hold, near, "ms", "ours <= 500", is_cost=True),
        Measure(name="late-fill others", ours=max(longest) * _MS, unit="ms", goal="ours <= 500"),
        Measure(name="late-fill total", ours=median(totals), unit="s", goal="reported"),
        compared("never-flat fill", long, short, "us", "ratio >= 0.9", is_cost=True),
    ]


def run() -> list[Measure]:
    return asyncio.run(measure())
