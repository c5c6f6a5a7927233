from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.typing import EventDict

from collectors.feeds.coinbase.feed import CoinbaseFeed, CoinbaseOptions
from decahertz.event import ConnectionState, Heartbeat, Quote, Tick
from tests.collectors.feeds.exchange import Act, Exchange, Script, coinbase_confirmation
from tests.collectors.feeds.parts import Pipeline, texts_of, until


def a_feed(pipeline: Pipeline, url: str, **options: Any) -> CoinbaseFeed:  # noqa: ANN401 - any option
    defaults: dict[str, Any] = {
        "url": url,
        "products": ("A-B",),
        "channels": ("ticker", "matches", "level2"),
        "backoff_seconds": 0.001,
        "backoff_max_seconds": 0.01,
    }
    return CoinbaseFeed(pipeline.clock, CoinbaseOptions(**{**defaults, **options}))


def a_match(trade_id: int, type_: str = "match") -> str:
    return json.dumps(
        {
            "type": type_,
            "trade_id": trade_id,
            "sequence": trade_id * 10,
            "product_id": "A-B",
            "price": str(trade_id),
            "size": "1",
            "side": "sell",
            "time": "2021-04-17T16:43:37Z",
        }
    )


def a_snapshot(bid: str) -> str:
    return json.dumps({"type": "snapshot", "product_id": "A-B", "bids": [[bid, "1"]], "asks": [["99", "1"]]})


def an_update(bid: str) -> str:
    return json.dumps({"type": "l2update", "product_id": "A-B", "changes": [["buy", bid, "1"]]})


def trades(pipeline: Pipeline) -> list[tuple[str | None, int]]:
    return [(tick.trade_id, tick.missed) for tick in pipeline.of(Tick)]


@asynccontextmanager
async def connected(
    pipeline: Pipeline,
    *scripts: Script,
    **options: Any,  # noqa: ANN401 - any option
) -> AsyncIterator[tuple[Exchange, CoinbaseFeed]]:
    """A running feed, and the exchange that it talks to."""
    exchange = Exchange(*scripts)
    async with exchange.serving() as url:
        feed = a_feed(pipeline, url, **options)
        async with pipeline.running(feed):
            yield exchange, feed


async def test_it_emits_what_the_exchange_says_and_tells_skipped_and_repeated_trades_apart(
    pipeline: Pipeline,
) -> None:
    script: Script = [
        Act.CONFIRM,
        a_snapshot("10"),
        a_match(1).encode(),
        *map(a_match, (2, 2, 5, 4, 6)),
        Act.HOLD,
    ]
    async with connected(pipeline, script) as (exchange, feed):
        await until(lambda: ("6", 0) in trades(pipeline))
    assert exchange.requests == [
        {"type": "subscribe", "product_ids": ["A-B"], "channels": ["ticker", "matches", "level2"]},
    ]
    assert trades(pipeline) == [("1", 0), ("2", 0), ("5", 2), ("4", 0), ("6", 0)]
    assert [quote.bid for quote in pipeline.of(Quote)] == [10.0]
    assert {(beat.component, beat.venue, beat.instrument) for beat in pipeline.of(Heartbeat)} == {
        ("feed-coinbase", "coinbase", None),
        ("feed-coinbase", "coinbase", "A-B"),
    }
    counters = {"subscriptions": 1, "messages": 8, "duplicates": 1, "late": 1, "gaps": 1, "missed": 2}
    assert feed.counters == counters


async def test_trades_missed_while_away_are_told_and_books_start_over(pipeline: Pipeline) -> None:
    first: Script = [Act.CONFIRM, a_snapshot("10"), an_update("20"), a_match(1), Act.CUT]
    then: Script = [
        an_update("30"),
        a_snapshot("5"),
        an_update("6"),
        a_match(5, "last_match"),
        a_match(6),
        Act.HOLD,
    ]
    async with connected(pipeline, first, [Act.CONFIRM, *then]) as (_, feed):
        await until(lambda: len(pipeline.of(Tick)) == 3)
    assert trades(pipeline) == [("1", 0), ("5", 3), ("6", 0)]
    assert [quote.bid for quote in pipeline.of(Quote)] == [10.0, 20.0, 5.0, 6.0]
    assert feed.counters["without_snapshot"] == 1


@pytest.mark.parametrize(
    "answer",
    [
        coinbase_confirmation({"product_ids": ["C-D"], "channels": ["ticker", "matches", "level2"]}),
        coinbase_confirmation({"product_ids": ["A-B"], "channels": ["ticker", "matches"]}),
    ],
)
async def test_a_subscription_that_is_not_confirmed_whole_is_given_up(
    pipeline: Pipeline,
    answer: list[str],
) -> None:
    scripts: tuple[Script, ...] = [*answer, Act.HOLD], [Act.CONFIRM, a_match(2), Act.HOLD]
    async with connected(pipeline, *scripts, confirm_seconds=0.2) as (_, feed):
        await until(lambda: any(trade == "2" for trade, _ in trades(pipeline)))
    assert pipeline.connections == [ConnectionState.DISCONNECTED, ConnectionState.OPEN]
    assert (feed.counters["subscriptions"], feed.counters["reconnects"]) == (1, 1)


async def test_data_without_a_confirmation_does_not_put_the_deadline_off(pipeline: Pipeline) -> None:
    scripts: tuple[Script, ...] = [json.dumps({"type": "status"})] * 200_000, [Act.CONFIRM, Act.HOLD]
    async with connected(pipeline, *scripts, confirm_seconds=0.05) as (exchange, feed):
        await until(lambda: feed.counters.get("subscriptions"))
    assert len(exchange.requests) == 2


@pytest.mark.parametrize(
    ("channels", "confirmed"),
    [
        (("level2_batch",), {"level2_50": ["A-B"]}),  # the exchange names the batched book otherwise
        (("status", "ticker"), {"ticker": ["A-B"], "status": None}),  # a channel without products
    ],
)
async def test_the_exchange_confirms_some_channels_in_its_own_way(
    pipeline: Pipeline, channels: tuple[str, ...], confirmed: dict[str, list[str] | None]
) -> None:
    said = [{"name": name, "product_ids": products} for name, products in confirmed.items()]
    script: Script = [json.dumps({"type": "subscriptions", "channels": said}), Act.HOLD]
    async with connected(pipeline, script, channels=channels) as (_, feed):
        await until(lambda: feed.counters.get("subscriptions"))


async def test_a_message_that_is_too_large_ends_the_connection(pipeline: Pipeline) -> None:
    scripts: tuple[Script, ...] = [Act.CONFIRM, "x" * 3_000, Act.HOLD], [Act.CONFIRM, a_match(1), Act.HOLD]
    async with connected(pipeline, *scripts, max_message_bytes=2_000) as (_, feed):
        await until(lambda: pipeline.of(Tick))
    assert feed.counters["reconnects"] == 1


async def test_it_keeps_trying_where_nobody_listens(
    pipeline: Pipeline,
    unused_tcp_port: int,
    logs: list[EventDict],
) -> None:
    feed = a_feed(pipeline, f"ws://127.0.0.1:{unused_tcp_port}/")
    async with pipeline.running(feed):
        await until(lambda: feed.counters.get("reconnects", 0) >= 3)
        assert pipeline.connections == [ConnectionState.DISCONNECTED]
        async with Exchange([Act.CONFIRM, a_match(1), Act.HOLD]).serving(unused_tcp_port):
            await until(lambda: pipeline.of(Tick))
    assert [entry["event"] for entry in logs].count("feed_connection_failed") == 1


@pytest.mark.recordings
async def test_the_recording_with_mishaps_in_the_middle(pipeline: Pipeline, recordings: Path) -> None:
    texts = await texts_of(recordings / "coinbase.ws")
    said = [json.loads(text) for text in texts]
    products = sorted({message["product_id"] for message in said if message["type"] == "snapshot"})

    def place(type_: str, number: int) -> int:
        """Where the so-many-th message of a type stands."""
        return [index for index, message in enumerate(said) if message["type"] == type_][number]

    skipped = place("match", 30)  # its ticker follows, with the same sequence
    lost = said[skipped]
    lost_ticker = next(
        index
        for index, message in enumerate(said)
        if message["type"] == "ticker" and message["sequence"] == lost["sequence"]
    )
    repeated_match, repeated_ticker = place("match", 40), place("ticker", 60)
    cut = place("match", 70)
    first: list[str | Act] = [
        text for index, text in enumerate(texts[:cut]) if index not in (skipped, lost_ticker)
    ]
    first.insert(500, '{"type":"match","product_id":"SKL-USD"')
    first += [texts[repeated_match], texts[repeated_ticker], Act.CUT]
    # After a reconnect the exchange repeats books, last trades and last tickers.
    newest = {
        (message["type"].removeprefix("last_"), message["product_id"]): index
        for index, message in enumerate(said[:cut])
        if message["type"] in ("snapshot", "ticker", "match", "last_match")
    }
    greeting = [
        texts[index].replace('"type":"match"', '"type":"last_match"') for index in sorted(newest.values())
    ]
    second: Script = [Act.CONFIRM, *greeting, *texts[cut:], Act.HOLD]
    async with connected(pipeline, first, second, products=tuple(products)) as (exchange, feed):
        await until(lambda: exchange.held, limit_seconds=40)
        last = said[place("match", -1)]
        await until(lambda: any(tick.sequence == last["sequence"] for tick in pipeline.of(Tick)))
        await until(lambda: feed.counters["messages"] == len(first) - 2 + len(second) - 1)

    expected_trades = Counter(
        (message["product_id"], str(message["trade_id"]), float(message["price"]))
        for message in said
        if message["type"] == "match" and message is not lost
    )
    expected_tickers = Counter(
        (message["product_id"], message["sequence"])
        for message in said
        if message["type"] == "ticker" and message["sequence"] != lost["sequence"]
    )
    ticks = [tick for tick in pipeline.of(Tick) if tick.sequence is not None]
    assert Counter((tick.instrument, tick.trade_id, tick.price) for tick in ticks) == expected_trades
    assert expected_trades.total() == 96
    tickers = [quote for quote in pipeline.of(Quote) if quote.sequence is not None]
    assert Counter((quote.instrument, quote.sequence) for quote in tickers) == expected_tickers
    assert [(tick.instrument, tick.trade_id, tick.missed) for tick in pipeline.of(Tick) if tick.missed] == [
        (lost["product_id"], str(lost["trade_id"] + 1), 1)
    ]
    assert pipeline.connections == [ConnectionState.DISCONNECTED, ConnectionState.OPEN] * 2
    assert len(exchange.requests) == 2
    assert exchange.requests[0] == exchange.requests[1]
    counters = feed.counters
    assert {name: counters[name] for name in ("malformed", "duplicates", "gaps", "missed")} == {
        "malformed": 1,
        "duplicates": 2,
        "gaps": 1,
        "missed": 1,
    }
    assert (counters["reconnects"], counters["subscriptions"]) == (1, 2)
    assert len(pipeline.of(Tick)) == 96 + 10  # and the last trades before the first connection, once
