from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collectors.feeds.binance.markets import COINM, SPOT, US, USDM, BinanceMarket
from collectors.feeds.binance.messages import BinanceDecoder, decoder_of
from collectors.feeds.messages import MalformedMessageError
from decahertz.event import Gap, Instrument, InstrumentKind, Quote, Side, Tick
from tests.collectors.feeds.parts import messages, only

NOW_NS = 1_633_998_513_377_805_000


def a_ticker(update_id: int, **other: object) -> bytes:
    data = {"u": update_id, "s": "NKNUSDT", "b": "0.3521", "B": "672", "a": "0.3526", "A": "3199", **other}
    return json.dumps({"stream": "nknusdt@bookTicker", "data": data}).encode()


def a_trade(trade_id: int, **other: object) -> bytes:
    data = {
        "e": "aggTrade",
        "s": "NKNUSDT",
        "a": trade_id,
        "p": "0.3528",
        "q": "58",
        "T": 1_633_998_523_963,
        "m": False,
        **other,
    }
    return json.dumps({"stream": "nknusdt@aggTrade", "data": data}).encode()


def test_a_book_ticker_is_a_quote_as_of_its_receipt() -> None:
    _, quote = BinanceDecoder().decode(a_ticker(499_869_768), NOW_NS)
    assert quote == Quote(
        time_ns=NOW_NS,
        venue="binance",
        instrument="NKNUSDT",
        sequence=499_869_768,
        bid=0.3521,
        ask=0.3526,
        bid_size=672.0,
        ask_size=3199.0,
    )


def test_an_aggregate_trade_is_a_tick_with_the_aggressors_side() -> None:
    _, tick = BinanceDecoder().decode(a_trade(15_683_430), NOW_NS)
    assert tick == Tick(
        time_ns=1_633_998_523_963_000_000,
        venue="binance",
        instrument="NKNUSDT",
        sequence=15_683_430,
        price=0.3528,
        size=58.0,
        side=Side.BUY,
        trade_id="15683430",
    )
    sold = only(Tick, BinanceDecoder().decode(a_trade(15_683_430, m=True), NOW_NS)[1:])
    assert sold.side is Side.SELL


BTC_SWAP = {"kind": InstrumentKind.PERPETUAL, "base_currency": "BTC", "quote_currency": "USDT"}


@pytest.mark.parametrize(
    ("market", "symbol", "fields"),
    [
        (SPOT, "BTCUSDT", {**BTC_SWAP, "kind": InstrumentKind.SPOT}),
        (US, "BTCUSD", {**BTC_SWAP, "kind": InstrumentKind.SPOT, "quote_currency": "USD"}),
        (SPOT, "ETHBTC", {"kind": InstrumentKind.SPOT, "base_currency": "ETH", "quote_currency": "BTC"}),
        (USDM, "BTCUSDT", BTC_SWAP),
        (USDM, "1000PEPEUSDT", {**BTC_SWAP, "base_currency": "1000PEPE"}),
        (
            USDM,
            "BTCUSDT_260327",
            {**BTC_SWAP, "kind": InstrumentKind.FUTURE, "expiry_ns": 1_774_598_400_000_000_000},
        ),
        (
            COINM,
            "BTCUSD_PERP",
            {**BTC_SWAP, "quote_currency": "USD", "inverse": True, "multiplier": 100.0},
        ),
        (
            COINM,
            "ETHUSD_PERP",
            {
                **BTC_SWAP,
                "base_currency": "ETH",
                "quote_currency": "USD",
                "inverse": True,
                "multiplier": 10.0,
            },
        ),
    ],
)
def test_a_symbol_and_its_market_tell_the_contract(
    market: BinanceMarket, symbol: str, fields: dict[str, Any]
) -> None:
    expected = Instrument(time_ns=NOW_NS, venue=market.venue, instrument=symbol, **fields)
    assert market.definition(symbol, NOW_NS) == expected


def test_a_symbol_without_a_known_currency_has_no_definition() -> None:
    assert SPOT.definition("NONSENSE", NOW_NS) is None
    assert SPOT.definition("USDT", NOW_NS) is None


def test_the_first_event_of_a_symbol_is_preceded_by_its_definition() -> None:
    decoder = BinanceDecoder()
    first = decoder.decode(a_ticker(1), NOW_NS)
    assert [type(event) for event in first] == [Instrument, Quote]
    assert [type(event) for event in decoder.decode(a_ticker(2), NOW_NS)] == [Quote]


@pytest.mark.parametrize(
    ("host", "venue"),
    [
        ("stream.binance.com", "binance"),
        ("data-stream.binance.vision", "binance"),
        ("stream.binance.us", "binance-us"),
        ("fstream.binance.com", "binance-usdm"),
        ("dstream.binance.com", "binance-coinm"),
    ],
)
def test_each_market_is_a_venue_of_its_own(host: str, venue: str) -> None:
    events = decoder_of(host).decode(a_trade(1), NOW_NS)
    assert {event.venue for event in events if isinstance(event, Instrument | Tick)} == {venue}


def test_a_quote_of_a_future_has_the_venues_time() -> None:
    raw = a_ticker(1, e="bookTicker", E=1_633_998_513_300, T=1_633_998_513_298)
    quote = only(Quote, decoder_of("fstream.binance.com").decode(raw, NOW_NS)[1:])
    assert (quote.time_ns, quote.venue) == (1_633_998_513_298_000_000, "binance-usdm")


def test_a_skipped_trade_is_missed_and_a_repeated_one_or_an_older_update_dropped() -> None:
    decoder = BinanceDecoder()
    decoder.decode(a_trade(10), NOW_NS)
    gap, tick = decoder.decode(a_trade(13), NOW_NS)
    assert isinstance(tick, Tick)
    assert tick.missed == 2
    assert isinstance(gap, Gap)
    assert (gap.from_sequence, gap.to_sequence, gap.missing, gap.recovered) == (11, 12, 2, False)
    assert decoder.decode(a_trade(13), NOW_NS) == []
    assert decoder.counts["duplicates"] == 1
    decoder.decode(a_ticker(10), NOW_NS)
    assert decoder.decode(a_ticker(9), NOW_NS) == []


@pytest.mark.parametrize(
    "raw",
    [b"", b"nonsense", b"{}", b'{"stream":"x@bookTicker","data":{}}', a_trade(1, p="NaN"), a_trade(1, T=0)],
)
def test_a_malformed_message_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        BinanceDecoder().decode(raw, NOW_NS)


@pytest.mark.recordings
def test_the_recording_gives_its_book_tickers_and_trades(recordings: Path) -> None:
    decoder = BinanceDecoder()
    texts = [text for _, text in messages(recordings / "binance.ws")]
    events = [event for text in texts for event in decoder.decode(text, NOW_NS)]
    assert sum(isinstance(event, Quote) for event in events) == sum("@bookTicker" in text for text in texts)
    assert [event.price for event in events if isinstance(event, Tick)] == [
        float(json.loads(text)["data"]["p"]) for text in texts if "@aggTrade" in text
    ]
    assert decoder.counts["duplicates"] == decoder.counts["gaps"] == 0
