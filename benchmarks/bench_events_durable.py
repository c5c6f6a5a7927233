"""Rate of durable events: MessagePack through the API's body reader, the ingest and the spool's fsync.

The reference only parses the same bytes with msgspec. Both get batches of 1,000 events, as a busy client
sends them. Ours has eight batches in progress, as with eight connections, and the spool commits waiting
batches together. HTTP and the database are not part of the measurement.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from api.routes.events import EventBatchReader
from benchmarks.harness import ROUNDS, Measure, compared, medians
from decahertz.bus import LocalBus
from decahertz.clock import NS_PER_SECOND, SystemClock
from decahertz.event import (
    AnyEvent,
    Direction,
    EventBatch,
    Fill,
    Order,
    OrderState,
    Quote,
    Side,
    Signal,
    Tick,
)
from decahertz.ingest import Ingest
from decahertz.wire import Codec
from storage.settings import SpoolSettings
from storage.spool import Spool

BATCHES = 100
EVENTS = 1_000
AT_ONCE = 8
START_NS = 1_700_000_000_000_000_000


def event(number: int) -> AnyEvent:
    """Returns mostly quotes and ticks, with some signals, orders and fills."""
    where: dict[str, Any] = {"venue": "sim", "instrument": f"I{number % 50}", "time_ns": START_NS + number}
    what = number % 10
    if what < 6:  # noqa: PLR2004 - the share of quotes
        return Quote(**where, bid=100.0 + what, ask=100.5 + what, bid_size=3.0, ask_size=4.0)
    if what < 8:  # noqa: PLR2004 - the share of ticks
        return Tick(**where, price=100.25, size=0.5, side=Side.BUY, trade_id=str(number))
    trade = {**where, "strategy": "momentum"}
    if what == 8:  # noqa: PLR2004 - one in ten
        return Signal(**trade, signal_id=f"s{number}", direction=Direction.BUY, strength=0.7, price=100.25)
    if number % 20 == 9:  # noqa: PLR2004 - one in twenty
        return Order(**trade, order_id=f"o{number}", state=OrderState.SUBMITTED, side=Side.BUY, quantity=1.0)
    return Fill(
        **trade, order_id=f"o{number}", fill_id=f"f{number}", side=Side.BUY, price=100.3, quantity=1.0
    )


def bodies(epoch: int) -> list[bytes]:
    """Returns the request bodies of one emitter."""
    return [
        msgspec.msgpack.encode(
            EventBatch(
                source="bench",
                epoch=epoch,
                first_sequence=first,
                events=tuple(event(number) for number in range(first, first + EVENTS)),
            )
        )
        for first in range(1, BATCHES * EVENTS, EVENTS)
    ]


async def ours(ingest: Ingest, epoch: int) -> float:
    """Returns the events per second until the last one is durable."""
    reader, waiting = EventBatchReader(), iter(bodies(epoch))
    accepted = 0

    async def connection() -> None:
        nonlocal accepted
        for body in waiting:
            read = await reader.read(body, Codec.MSGPACK)
            receipt = await ingest.submit(read.batch, read.encoded)
            accepted += receipt.accepted

    start = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(AT_ONCE)))
    seconds = time.perf_counter() - start
    if accepted != BATCHES * EVENTS:
        raise RuntimeError(f"{accepted} events were accepted instead of {BATCHES * EVENTS}")
    return accepted / seconds


def parse(epoch: int) -> float:
    """Returns the events per second of parsing alone."""
    decoder = msgspec.msgpack.Decoder(EventBatch)
    waiting = bodies(epoch)
    start = time.perf_counter()
    for body in waiting:
        decoder.decode(body)
    return BATCHES * EVENTS / (time.perf_counter() - start)


async def measure(folder: Path) -> Measure:
    bus, clock = LocalBus(), SystemClock()
    spool = Spool(folder, bus, clock, CollectorRegistry(), SpoolSettings())
    await spool.start()
    try:
        ingest = Ingest(bus, spool, clock, max_future_ns=NS_PER_SECOND, timeout_seconds=10.0)
        await ours(ingest, 1)
        parse(1)
        pairs = [(await ours(ingest, epoch), parse(epoch)) for epoch in range(2, 2 + ROUNDS)]
    finally:
        await spool.stop()
    return compared("events-durable", *medians(pairs), "events/s", "ours >= 100000")


def run() -> list[Measure]:
    with tempfile.TemporaryDirectory() as folder:
        return [asyncio.run(measure(Path(folder)))]
