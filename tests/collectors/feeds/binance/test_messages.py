from __future__ import annotations

import json
from pathlib import Path

import pytest

from collectors.feeds.binance.messages import BinanceDecoder
from collectors.feeds.messages import MalformedMessageError
from decahertz.event import Quote, Side, Tick
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
    (quote,) = BinanceDecoder().decode(a_ticker(499_869_768), NOW_NS)
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
    (tick,) = BinanceDecoder().decode(a_trade(15_683_430), NOW_NS)
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
    sold = only(Tick, BinanceDecoder().decode(a_trade(15_683_430, m=True), NOW_NS))
    assert sold.side is Side.SELL


def test_a_skipped_trade_is_missed_and_a_repeated_one_or_an_older_update_dropped() -> None:
    decoder = BinanceDecoder()
    decoder.decode(a_trade(10), NOW_NS)
    tick = only(Tick, decoder.decode(a_trade(13), NOW_NS))
    assert tick.missed == 2
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
