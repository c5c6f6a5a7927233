"""Feed truth on live sockets: silence behind heartbeats, lost trades, one instrument alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from collectors.feeds.coinbase.feed import CoinbaseFeed, CoinbaseOptions
from collectors.feeds.gap_ledger import SOURCE, GapLedger, gaps_of
from collectors.market.collector import MarketCollector, MarketOptions
from collectors.market.sample import MarketSample
from decahertz.bus import EVENTS, LocalBus, Message
from decahertz.clock import NS_PER_SECOND, SystemClock
from decahertz.event import Arrival, EventBatch, Gap, Quote, Tick
from decahertz.ingest import Ingest
from tests.collectors.feeds.exchange import coinbase_confirmation
from tests.collectors.feeds.parts import KeepingSink, Pipeline, until


class Venue:
    """A WebSocket server that speaks like Coinbase, from trade to trade as the test says."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.trade_ids = {"A-B": 100, "C-D": 500}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/", self._handle)
        server = TestServer(app)
        await server.start_server(shutdown_timeout=1.0)
        try:
            yield f"ws://127.0.0.1:{server.port}/"
        finally:
            await server.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            asked = json.loads(message.data)
            self.requests.append(asked)
            if asked["type"] == "subscribe":
                for answer in coinbase_confirmation(asked):
                    await socket.send_str(answer)
        return socket

    async def send(self, **message: Any) -> None:  # noqa: ANN401 - JSON
        await self.sockets[-1].send_str(json.dumps({"time": datetime.now(UTC).isoformat(), **message}))

    async def trade(self, product: str, *, is_sent: bool = True, is_last: bool = False) -> None:
        self.trade_ids[product] += 1
        number = self.trade_ids[product]
        if is_sent:
            await self.send(
                type="last_match" if is_last else "match",
                product_id=product, trade_id=number, sequence=number, price="1", size="1", side="sell",
            )  # fmt: skip

    async def heartbeat(self, product: str) -> None:
        number = self.trade_ids[product]
        await self.send(type="heartbeat", product_id=product, last_trade_id=number, sequence=number)


class Watched:
    """A market collector that is sampled ten times a second, as the sampler does it."""

    def __init__(self, pipeline: Pipeline, **options: Any) -> None:  # noqa: ANN401 - any option
        self.collector = MarketCollector(pipeline.clock, MarketOptions(**options))
        self.samples: list[tuple[float, MarketSample]] = []
        self._pipeline = pipeline
        self._seen = 0

    def sample(self) -> dict[str, MarketSample]:
        while self._seen < len(self._pipeline.published):
            arrival = self._pipeline.published[self._seen]
            self._seen += 1
            for budget in self.collector.budgets:
                budget.emitter = arrival.batch.source
            for event in arrival.batch.events:
                if type(event) in MarketCollector.events:
                    self.collector.on_event(event, arrival.received_ns)
        now_ns = self._pipeline.clock.time_ns()
        found = [s for s in self.collector.sample(now_ns) if isinstance(s, MarketSample)]
        self.samples += [(now_ns / NS_PER_SECOND, sample) for sample in found]
        return {sample.instrument: sample for sample in found}

    async def until(self, holds: Callable[[dict[str, MarketSample]], bool]) -> dict[str, MarketSample]:
        async with asyncio.timeout(20):
            while not holds(found := self.sample()):  # noqa: ASYNC110 - it is sampled, as on the grid
                await asyncio.sleep(0.1)
        return found


def feed_of(pipeline: Pipeline, url: str, **options: Any) -> CoinbaseFeed:  # noqa: ANN401 - any option
    given = {
        "url": url, "products": ["A-B", "C-D"], "channels": ["matches", "heartbeat"],
        "backoff_seconds": 0.001, **options,
    }  # fmt: skip
    return CoinbaseFeed(pipeline.clock, msgspec.convert(given, CoinbaseOptions))


async def test_a_connected_socket_that_falls_silent_is_mute_within_three_times_its_cadence(
    pipeline: Pipeline,
) -> None:
    venue, watched = Venue(), Watched(pipeline, mute_floor_seconds=0.1)
    async with venue.serving() as url, pipeline.running(feed_of(pipeline, url, products=["A-B"])):
        await until(lambda: venue.requests)
        for _ in range(15):
            await venue.trade("A-B")
            await asyncio.sleep(0.3)  # the cadence that it learns
            watched.sample()
        beating = asyncio.create_task(beats(venue))
        try:
            samples = await watched.until(lambda found: found["A-B"].verdict == "mute")
        finally:
            beating.cancel()
    sample = samples["A-B"]
    assert sample.verdict_reason == "feed_silent"
    assert sample.cadence_seconds is not None
    assert 0.25 < sample.cadence_seconds < 0.6
    silence = sample.age_seconds
    assert silence is not None
    assert silence <= 3 * sample.cadence_seconds + 0.25  # a cycle, on a machine that does other things
    assert {s.verdict.value for _, s in watched.samples[:-1]} <= {"quiet", "live"}


async def beats(venue: Venue) -> None:
    while True:
        await venue.heartbeat("A-B")
        await asyncio.sleep(0.1)  # the cadence of heartbeats


async def test_trades_that_heartbeats_name_and_that_do_not_come_are_a_gap_of_that_instrument_alone(
    pipeline: Pipeline,
) -> None:
    venue, watched = Venue(), Watched(pipeline)
    async with venue.serving() as url, pipeline.running(feed_of(pipeline, url)) as host:
        await until(lambda: venue.requests)
        for product in ("A-B", "C-D"):
            await venue.trade(product)
        for _ in range(3):
            await venue.trade("A-B", is_sent=False)
        await venue.heartbeat("A-B")  # it may have overtaken its trades
        await venue.trade("C-D")
        await until(lambda: len(pipeline.of(Tick)) == 3)
        assert watched.sample()["A-B"].verdict == "live"
        assert pipeline.of(Gap) == []
        await venue.heartbeat("A-B")
        await until(lambda: len(venue.requests) == 3)
        samples = watched.sample()
        assert (samples["A-B"].verdict, samples["A-B"].gaps) == ("gap", 3)
        assert (samples["C-D"].verdict, samples["C-D"].gaps) == ("live", 0)
        (gap,) = pipeline.of(Gap)
        assert (gap.instrument, gap.from_sequence, gap.to_sequence, gap.missing) == ("A-B", 102, 104, 3)
        assert (gap.announced, gap.recovered, gap.numbering) == (True, False, "ticks")
        assert gap.from_ns is not None
        assert gap.to_ns is not None
        assert gap.from_ns < gap.to_ns == gap.time_ns
        # Only that product is subscribed again, on the same connection; it is not gone for the ledger.
        assert [(asked["type"], asked["product_ids"]) for asked in venue.requests[1:]] == [
            ("unsubscribe", ["A-B"]),
            ("subscribe", ["A-B"]),
        ]
        assert len(venue.sockets) == 1
        assert host.feeds()[0].counters["resyncs"] == 1
        # The last trade comes with the new subscription, the others late: the gap is closed.
        venue.trade_ids["A-B"] = 103
        await venue.trade("A-B", is_last=True)
        venue.trade_ids["A-B"] = 101
        await venue.trade("A-B")
        await venue.trade("A-B")
        await until(lambda: len(pipeline.of(Gap)) == 2)
        closed = pipeline.of(Gap)[1]
        assert (closed.from_sequence, closed.to_sequence, closed.missing) == (102, 104, 0)
        assert closed.recovered
        assert watched.sample()["A-B"].gaps == 3


async def test_a_feed_without_market_data_connects_again_and_waits_longer_each_time(
    pipeline: Pipeline,
) -> None:
    venue = Venue()
    async with venue.serving() as url:
        feed = feed_of(pipeline, url, products=["A-B"], idle_seconds=0.4)
        async with pipeline.running(feed):
            await until(lambda: venue.sockets)
            beating = asyncio.create_task(beats(venue))
            try:
                await until(lambda: len(venue.sockets) == 3)
            finally:
                beating.cancel()
    assert feed.counters["idle_reconnects"] == 2
    assert feed.last_error == "no market data for 0.8 s"


# The ledger of emitters that only count.


async def test_missed_messages_of_a_client_are_in_the_ledger() -> None:
    bus, clock, sink = LocalBus(), SystemClock(), KeepingSink()
    published: list[Arrival] = []

    def keep(message: Message) -> None:
        assert isinstance(message, Arrival)
        published.append(message)

    bus.subscribe(EVENTS, keep)
    ingest = Ingest(bus, sink, clock, max_future_ns=60 * NS_PER_SECOND, timeout_seconds=5.0)
    ledger = GapLedger(bus, ingest, clock)
    await ledger.start()
    now_ns = clock.time_ns()
    about: dict[str, Any] = {"time_ns": now_ns, "venue": "v", "instrument": "A"}
    events = (
        Quote(**about, sequence=9),
        Quote(**about, sequence=13, missed=3),
        Tick(**about, price=1.0, size=1.0, missed=2),
    )
    await ingest.take(EventBatch(source="bot", epoch=1, first_sequence=1, events=events), now_ns)
    await until(lambda: len(published) == 2)
    await ledger.stop()
    await ledger.stop()
    batch = published[1].batch
    assert (batch.source, batch.first_sequence) == (SOURCE, 1)
    assert batch.events == (
        Gap(**about, numbering="quotes", from_sequence=10, to_sequence=12, to_ns=now_ns, missing=3),
        Gap(**about, numbering="ticks", to_ns=now_ns, missing=2),
    )
    assert [arrival.batch.source for arrival in sink.arrivals] == ["bot", SOURCE]


def test_a_feed_that_reports_its_gaps_is_not_reported_twice() -> None:
    tick = Tick(time_ns=1, venue="v", instrument="A", price=1.0, size=1.0, missed=2)
    gap = Gap(time_ns=1, venue="v", instrument="A", numbering="ticks", missing=2)
    assert gaps_of([tick], [gap, tick]) == []
