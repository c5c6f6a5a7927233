"""The connection logic of the live feeds, at the exchange of each venue."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.typing import EventDict

from collectors.feeds.binance.feed import BinanceFeed
from collectors.feeds.coinbase.feed import CoinbaseFeed
from collectors.feeds.host import FeedHost
from collectors.feeds.kraken.feed import KrakenFeed
from collectors.market.collector import MarketCollector, MarketOptions
from collectors.market.sample import Verdict
from decahertz.clock import NS_PER_SECOND
from decahertz.event import ConnectionState, Heartbeat, Quote, Tick
from decahertz.health import Health, RunState
from tests.collectors.feeds.exchange import Act, Exchange, Request, Script, coinbase_confirmation
from tests.collectors.feeds.parts import Pipeline, texts_of, until


def kraken_confirmation(asked: Request) -> list[str]:
    """Kraken's answers: one per pair."""
    return [
        json.dumps(
            {
                "channelID": 1,
                "channelName": asked["subscription"]["name"],
                "event": "subscriptionStatus",
                "pair": pair,
                "status": "subscribed",
                "subscription": asked["subscription"],
            }
        )
        for pair in asked["pair"]
    ]


def binance_confirmation(asked: Request) -> list[str]:
    """Binance's answer to the request as a whole."""
    return [json.dumps({"result": None, "id": asked["id"]})]


def coinbase_trade(number: int) -> str:
    trade = {"product_id": "A-B", "trade_id": number, "sequence": number, "price": str(number), "size": "1"}
    return json.dumps({"type": "match", "side": "sell", "time": "2021-04-17T16:43:37Z", **trade})


def kraken_trade(number: int) -> str:
    return json.dumps([1, [[str(number), "1", f"{1_600_000_000 + number}.5", "b", "l", ""]], "trade", "A/B"])


def binance_trade(number: int) -> str:
    data = {
        "e": "aggTrade",
        "s": "AB",
        "a": number,
        "p": str(number),
        "q": "1",
        "T": 1_600_000_000_000 + number,
        "m": False,
    }
    return json.dumps({"stream": "ab@aggTrade", "data": data})


@dataclass(frozen=True)
class Venue:
    """A feed and the exchange that it talks to."""

    feed: type[BinanceFeed | CoinbaseFeed | KrakenFeed]
    options: dict[str, Any]
    requests: list[Request]
    confirmation: Callable[[Request], list[str]]
    trade: Callable[[int], str]
    refusal: dict[str, Any]
    reason: str

    def exchange(self, *scripts: Script) -> Exchange:
        """An exchange of this venue."""
        return Exchange(*scripts, confirmation=self.confirmation, requests_expected=len(self.requests))

    def running(
        self, pipeline: Pipeline, url: str, **options: object
    ) -> AbstractAsyncContextManager[FeedHost]:
        """Runs the feed with short waits."""
        given = {"url": url, "backoff_seconds": 0.001, "backoff_max_seconds": 0.01, **self.options, **options}
        feed: Any = self.feed
        return pipeline.running(feed(pipeline.clock, msgspec.convert(given, feed.options_type)))


COINBASE = Venue(
    feed=CoinbaseFeed,
    options={"products": ["A-B"], "channels": ["matches"]},
    requests=[{"type": "subscribe", "product_ids": ["A-B"], "channels": ["matches"]}],
    confirmation=coinbase_confirmation,
    trade=coinbase_trade,
    refusal={"type": "error", "message": "Failed to subscribe", "reason": "no such product"},
    reason="the venue refused the subscription: Failed to subscribe no such product",
)
KRAKEN = Venue(
    feed=KrakenFeed,
    options={"pairs": ["A/B"], "book_depth": 25},
    requests=[
        {"event": "subscribe", "pair": ["A/B"], "subscription": {"name": "book", "depth": 25}},
        {"event": "subscribe", "pair": ["A/B"], "subscription": {"name": "trade"}},
    ],
    confirmation=kraken_confirmation,
    trade=kraken_trade,
    refusal={
        "errorMessage": "Currency pair not supported A/B",
        "event": "subscriptionStatus",
        "pair": "A/B",
        "status": "error",
        "subscription": {"name": "trade"},
    },
    reason="the venue refused the subscription: Currency pair not supported A/B (A/B)",
)
BINANCE = Venue(
    feed=BinanceFeed,
    options={"symbols": ["AB"]},
    requests=[{"method": "SUBSCRIBE", "params": ["ab@bookTicker", "ab@aggTrade"], "id": 1}],
    confirmation=binance_confirmation,
    trade=binance_trade,
    refusal={"error": {"code": 2, "msg": "Invalid request"}, "id": 1},
    reason="the venue refused the subscription: Invalid request (code 2)",
)


@pytest.fixture(params=[COINBASE, KRAKEN, BINANCE], ids=lambda venue: venue.feed.name)
def venue(request: pytest.FixtureRequest) -> Venue:
    """Each venue in turn."""
    found: Venue = request.param
    return found


def prices(pipeline: Pipeline) -> list[float]:
    return [tick.price for tick in pipeline.of(Tick)]


OPEN, LOST = ConnectionState.OPEN, ConnectionState.DISCONNECTED


async def test_it_subscribes_and_emits_what_the_venue_sends(pipeline: Pipeline, venue: Venue) -> None:
    exchange = venue.exchange([Act.CONFIRM, venue.trade(1), venue.trade(2).encode(), Act.HOLD])
    async with exchange.serving() as url:
        async with venue.running(pipeline, url) as host:
            await until(lambda: prices(pipeline) == [1.0, 2.0])
        await until(lambda: exchange.left)  # with a closing frame
    assert exchange.requests == venue.requests
    heartbeats = pipeline.of(Heartbeat)
    assert {(beat.component, beat.venue) for beat in heartbeats} == {
        (f"feed-{venue.feed.name}", venue.feed.name)
    }
    (instrument,) = {tick.instrument for tick in pipeline.of(Tick)}
    assert [(beat.instrument, beat.connection) for beat in heartbeats] == [
        (None, LOST),
        (instrument, LOST),
        (None, OPEN),
        (instrument, OPEN),
    ]
    assert host.feeds()[0].counters["subscriptions"] == 1


@pytest.mark.parametrize("ending", [[Act.CUT], []], ids=["cut", "closed"])
async def test_after_a_disconnect_it_connects_and_subscribes_again(
    pipeline: Pipeline, venue: Venue, logs: list[EventDict], ending: Script
) -> None:
    first: Script = [Act.CONFIRM, venue.trade(1), *ending]
    exchange = venue.exchange(first, [Act.CONFIRM, venue.trade(2), Act.HOLD])
    async with exchange.serving() as url, venue.running(pipeline, url) as host:
        await until(lambda: 2.0 in prices(pipeline))
    assert exchange.requests == venue.requests * 2
    assert pipeline.connections == [LOST, OPEN, LOST, OPEN]
    assert [entry["event"] for entry in logs if entry["event"].startswith("feed_")] == [
        "feed_connection_failed",
        "feed_connection_recovered",
    ]
    (status,) = host.feeds()
    assert (status.restarts, status.counters["reconnects"], status.counters["subscriptions"]) == (0, 1, 2)


async def test_a_handshake_that_is_refused_is_tried_again(
    pipeline: Pipeline, venue: Venue, logs: list[EventDict]
) -> None:
    exchange = venue.exchange()
    async with exchange.serving() as url, venue.running(pipeline, url) as host:
        await until(lambda: exchange.refused >= 3)
        (status,) = host.feeds()
        assert status.state is RunState.CONNECTING
        assert status.last_error is not None
        health = host.status()
        assert health.health is Health.DEGRADED
        assert health.detail == f"{venue.feed.name} is connecting: {status.last_error}"
        market = MarketCollector(pipeline.clock, MarketOptions())
        now_ns = pipeline.clock.time_ns()
        for heartbeat in pipeline.of(Heartbeat):
            market.on_event(heartbeat, now_ns)
        verdicts = [[s.verdict for s in market.sample(now_ns + n * NS_PER_SECOND)] for n in range(16)]  # type: ignore[attr-defined]
        assert (verdicts[0], verdicts[15]) == ([Verdict.QUIET], [Verdict.STALE])
        exchange.scripts.append([Act.CONFIRM, venue.trade(1), Act.HOLD])
        await until(lambda: prices(pipeline))
        assert host.feeds()[0].state is RunState.RUNNING
        assert host.status().health is Health.OK
    assert pipeline.connections == [LOST, OPEN]
    assert [entry["event"] for entry in logs].count("feed_connection_failed") == 1
    assert host.feeds()[0].restarts == 0


@pytest.mark.parametrize("sends_data", [False, True])
async def test_without_a_confirmation_in_time_it_reconnects(
    pipeline: Pipeline,
    venue: Venue,
    sends_data: bool,  # noqa: FBT001 - pytest passes by name
) -> None:
    first: Script = [venue.trade(1), Act.HOLD] if sends_data else [Act.HOLD]
    exchange = venue.exchange(first, [Act.CONFIRM, venue.trade(2), Act.HOLD])
    async with exchange.serving() as url, venue.running(pipeline, url, confirm_seconds=0.2) as host:
        await until(lambda: 2.0 in prices(pipeline))
    assert pipeline.connections == [LOST, OPEN]
    counters = host.feeds()[0].counters
    assert (counters["subscriptions"], counters["reconnects"]) == (1, 1)


async def test_a_refused_subscription_is_counted_and_tried_again(
    pipeline: Pipeline, venue: Venue, logs: list[EventDict]
) -> None:
    refusal = json.dumps(venue.refusal)
    exchange = venue.exchange([refusal, Act.HOLD], [refusal, Act.HOLD], [Act.CONFIRM, Act.HOLD])
    async with exchange.serving() as url, venue.running(pipeline, url) as host:
        await until(lambda: host.feeds()[0].counters.get("subscriptions"))
    counters = host.feeds()[0].counters
    assert (counters["errors"], counters["reconnects"]) == (2, 2)
    (entry,) = [entry for entry in logs if entry["event"] == "feed_connection_failed"]
    assert entry["reason"] == venue.reason


async def test_a_silent_connection_is_closed_and_replaced(pipeline: Pipeline, venue: Venue) -> None:
    exchange = venue.exchange([Act.CONFIRM, Act.HOLD], [Act.CONFIRM, venue.trade(1), Act.HOLD])
    async with exchange.serving() as url, venue.running(pipeline, url, stale_seconds=0.2):
        await until(lambda: prices(pipeline))
        assert exchange.left == 1
    assert pipeline.connections == [LOST, OPEN, LOST, OPEN]


async def test_a_malformed_message_is_counted_and_costs_nothing_else(
    pipeline: Pipeline, venue: Venue
) -> None:
    exchange = venue.exchange([Act.CONFIRM, venue.trade(1), "{", b"\xff", venue.trade(2), Act.HOLD])
    async with exchange.serving() as url, venue.running(pipeline, url) as host:
        await until(lambda: prices(pipeline) == [1.0, 2.0])
    assert host.feeds()[0].counters["malformed"] == 2
    assert exchange.requests == venue.requests


async def test_kraken_is_live_only_when_each_pair_is_confirmed_on_each_channel(pipeline: Pipeline) -> None:
    half = kraken_confirmation(KRAKEN.requests[0])  # the book, but not the trades
    exchange = KRAKEN.exchange([*half, Act.HOLD], [Act.CONFIRM, kraken_trade(1), Act.HOLD])
    async with exchange.serving() as url, KRAKEN.running(pipeline, url, confirm_seconds=0.2):
        await until(lambda: prices(pipeline))
    assert pipeline.connections == [LOST, OPEN]


async def test_binances_pings_are_answered_and_count_as_messages(pipeline: Pipeline) -> None:
    exchange = BINANCE.exchange([Act.CONFIRM, Act.PING, binance_trade(1), Act.PING, Act.HOLD])
    async with exchange.serving() as url, BINANCE.running(pipeline, url) as host:
        await until(lambda: prices(pipeline))
    assert host.feeds()[0].counters["messages"] == 2  # the confirmation and the trade
    assert pipeline.connections == [LOST, OPEN]


@pytest.mark.recordings
async def test_the_kraken_recording_is_confirmed_and_emits_its_quotes(
    pipeline: Pipeline, recordings: Path
) -> None:
    texts = await texts_of(recordings / "kraken.ws")
    answers = [json.loads(text) for text in texts if '"subscriptionStatus"' in text]
    pairs = [answer["pair"] for answer in answers]
    exchange = Exchange([*texts, Act.HOLD], confirmation=kraken_confirmation)
    options = {"pairs": pairs, "channels": ["book"], "book_depth": 1000}
    async with exchange.serving() as url, KRAKEN.running(pipeline, url, **options) as host:
        await until(lambda: host.feeds()[0].counters.get("messages") == len(texts), limit_seconds=40)
    assert {quote.instrument for quote in pipeline.of(Quote)} == set(pairs)
    counters = host.feeds()[0].counters
    assert counters["subscriptions"] == 1
    assert "malformed" not in counters
    assert pipeline.connections == [LOST, OPEN]


@pytest.mark.recordings
async def test_the_binance_recording_emits_its_quotes_and_ticks(pipeline: Pipeline, recordings: Path) -> None:
    texts = await texts_of(recordings / "binance.ws")
    exchange = Exchange([Act.CONFIRM, *texts, Act.HOLD], confirmation=binance_confirmation)
    symbols = ["NKNUSDT", "BLZETH", "LRCBTC", "RUNEEUR"]
    async with exchange.serving() as url, BINANCE.running(pipeline, url, symbols=symbols) as host:
        await until(lambda: host.feeds()[0].counters.get("messages") == len(texts) + 1, limit_seconds=40)
    assert len(pipeline.of(Quote)) == sum("@bookTicker" in text for text in texts)
    assert len(pipeline.of(Tick)) == sum("@aggTrade" in text for text in texts)
    assert "malformed" not in host.feeds()[0].counters
