"""Cost of an emitted event for the trading thread, compared with putting the same event into a queue.

The client's own thread works at the same time: it encodes the events and sends them to an ingest in another
process, which decodes and acknowledges them. Every call is timed by itself, so the figures include two clock
readings, and the tail shows the effect of the other thread.
"""

from __future__ import annotations

import asyncio
import queue
import statistics
import time

import msgspec
from aiohttp import web

from benchmarks.harness import ROUNDS, Measure, compared, durations, serve, serving
from decahertz.bus import LocalBus
from decahertz.clock import SystemClock
from decahertz.event import Arrival, EventBatch
from decahertz.ingest import Ingest, Receipt
from decahertz.wire import Codec, Decoder, decoder
from decahertz_client import Client

_EVENTS = 30_000  # per round: less than the ring holds


class _Durable:
    """Reports every event as durable."""

    async def append(self, arrival: Arrival, timeout_seconds: float) -> Receipt:  # noqa: ARG002 - the protocol
        batch = arrival.batch
        return Receipt(
            source=batch.source,
            epoch=batch.epoch,
            durable_sequence=batch.last_sequence,
            accepted=len(batch.events),
            duplicates=0,
        )

    async def enqueue(self, arrival: Arrival) -> None:
        """Discards the batch."""


async def _serve() -> None:
    batches: Decoder[EventBatch] = decoder(Codec.MSGPACK, EventBatch)
    ingest = Ingest(LocalBus(), _Durable(), SystemClock(), max_future_ns=60 * 10**9, timeout_seconds=10)

    async def post(request: web.Request) -> web.Response:
        receipt = await ingest.submit(batches.decode(await request.read()))
        return web.Response(body=msgspec.json.encode(receipt), content_type="application/json")

    app = web.Application(client_max_size=8 << 20)
    app.router.add_post("/api/v1/events", post)
    await serve(app)


def _fill(client: Client, number: int) -> bool:
    return client.fill(
        strategy="momentum",
        venue="kraken",
        instrument="BTC/USD",
        order_id="order-17",
        fill_id="fill-17",
        side="buy",
        price=67_321.5 + number,
        quantity=0.25,
        fee=1.25,
    )


def _emit(client: Client, number: int) -> bool:
    return client.emit(
        "fill",
        strategy="momentum",
        venue="kraken",
        instrument="BTC/USD",
        order_id="order-17",
        fill_id="fill-17",
        side="buy",
        price=67_321.5 + number,
        quantity=0.25,
        fee=1.25,
    )


def _put(fills: queue.SimpleQueue[dict[str, object]], number: int) -> None:
    fills.put(
        {
            "type": "fill",
            "time_ns": time.time_ns(),
            "strategy": "momentum",
            "venue": "kraken",
            "instrument": "BTC/USD",
            "order_id": "order-17",
            "fill_id": "fill-17",
            "side": "buy",
            "price": 67_321.5 + number,
            "quantity": 0.25,
            "fee": 1.25,
        },
    )


def run() -> list[Measure]:
    """Measures the median and the 99.9th percentile of one call."""
    rounds: dict[str, list[list[int]]] = {"fill": [], "emit": [], "put": []}
    with serving("benchmarks.bench_client_emit") as url, Client(url, source="benchmark") as client:
        for _ in range(ROUNDS + 1):
            for name, call in (("fill", _fill), ("emit", _emit)):
                rounds[name].append(durations(lambda number, call=call: call(client, number), _EVENTS))  # type: ignore[misc]
                if not client.flush(30):
                    raise RuntimeError(f"the ingest does not keep up: {client.stats()}")
            fills: queue.SimpleQueue[dict[str, object]] = queue.SimpleQueue()
            rounds["put"].append(durations(lambda number, fills=fills: _put(fills, number), _EVENTS))  # type: ignore[misc]
        stats = client.stats()
    if stats.dropped or stats.acknowledged != stats.emitted:
        raise RuntimeError(f"not all events arrived: {stats}")

    def figure(name: str, share: float) -> float:
        each = (sorted(found)[int(len(found) * share)] for found in rounds[name][1:])
        return statistics.median(each) / 1000

    def row(title: str, name: str, share: float, goal: str) -> Measure:
        return compared(title, figure(name, share), figure("put", share), "µs", goal)

    return [
        row("client-emit", "fill", 0.5, "ours <= 1.5"),
        row("client-emit by name", "emit", 0.5, "ours <= 1.5"),
        row("client-emit p99.9", "fill", 0.999, "reported"),
    ]


if __name__ == "__main__":
    asyncio.run(_serve())
