"""Events in until durable: MessagePack bytes through the API's reader, the intake and the spool's fsync.

The reference parses the same bytes with msgspec and does nothing else. Both take the batches that a client
sends when it has much to say: 1,000 events each. Ours keeps eight batches on their way at once, as eight
connections do; the spool writes those that wait together. HTTP and the database are not in it.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from api.routes.events import EventBatchReader
from benchmarks.harness import ROUNDS, Measure
from decahertz.bus import LocalBus
from decahertz.clock import NS_PER_SECOND, SystemClock
from decahertz.event import AnyEvent, EventBatch, Fill, Order, OrderState, Quote, Side, Signal, Tick
from decahertz.event import Direction as Wish
from decahertz.ingest import Ingest
from decahertz.wire import Codec
from storage.settings import SpoolSettings
from storage.spool import Spool

BATCHES = 100
EVENTS = 1_000
AT_ONCE = 8
START_NS = 1_700_000_000_000_000_000


def event(number: int) -> AnyEvent:
    """Mostly prices, as a trading process sends them, and some of everything that it does."""
    where: dict[str, Any] = {"venue": "sim", "instrument": f"I{number % 50}", "time_ns": START_NS + number}
    what = number % 10
    if what < 6:  # noqa: PLR2004 - the share of quotes
        return Quote(**where, bid=100.0 + what, ask=100.5 + what, bid_size=3.0, ask_size=4.0)
    if what < 8:  # noqa: PLR2004 - the share of prints
        return Tick(**where, price=100.25, size=0.5, side=Side.BUY, trade_id=str(number))
    trade = {**where, "strategy": "momentum"}
    if what == 8:  # noqa: PLR2004 - one in ten
        return Signal(**trade, signal_id=f"s{number}", direction=Wish.BUY, strength=0.7, price=100.25)
    if number % 20 == 9:  # noqa: PLR2004 - one in twenty
        return Order(**trade, order_id=f"o{number}", state=OrderState.SUBMITTED, side=Side.BUY, quantity=1.0)
    return Fill(
        **trade, order_id=f"o{number}", fill_id=f"f{number}", side=Side.BUY, price=100.3, quantity=1.0
    )


def bodies(epoch: int) -> list[bytes]:
    """The requests of one emitter."""
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
    """Events per second until the last is on disk."""
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
        raise RuntimeError(f"{accepted} events were taken instead of {BATCHES * EVENTS}")
    return accepted / seconds


def parse(epoch: int) -> float:
    """Events per second of a program that forgets them."""
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
    mine, reference = median(p[0] for p in pairs), median(p[1] for p in pairs)
    return Measure(
        name="events-durable",
        ours=mine,
        reference=reference,
        unit="events/s",
        ratio=mine / reference,
        goal="ours >= 100000",
    )


def run() -> list[Measure]:
    with tempfile.TemporaryDirectory() as folder:
        return [asyncio.run(measure(Path(folder)))]
