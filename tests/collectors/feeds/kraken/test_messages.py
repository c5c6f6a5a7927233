from __future__ import annotations

import json
import zlib
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from collectors.feeds.kraken.messages import KrakenDecoder
from collectors.feeds.messages import MalformedMessageError
from decahertz.event import Instrument, InstrumentKind, Quote, Side, Tick
from tests.collectors.feeds.parts import messages, only

NOW_NS = 1_618_678_133_700_000_000


def a_snapshot(pair: str = "XBT/USD", channel: str = "book-1000") -> bytes:
    levels = {"as": [["10.2", "1.5", "1618678000.1"]], "bs": [["10.1", "2.5", "1618678000.2"]]}
    return json.dumps([1, levels, channel, pair]).encode()


def a_change(*parts: dict[str, Any], pair: str = "XBT/USD", channel: str = "book-1000") -> bytes:
    return json.dumps([1, *parts, channel, pair]).encode()


def test_a_snapshot_is_a_quote_as_of_its_receipt() -> None:
    definition, quote = KrakenDecoder().decode(a_snapshot(), NOW_NS)
    assert definition == Instrument(
        time_ns=NOW_NS,
        venue="kraken",
        instrument="XBT/USD",
        kind=InstrumentKind.SPOT,
        base_currency="BTC",
        quote_currency="USD",
    )
    assert quote == Quote(
        time_ns=NOW_NS,
        venue="kraken",
        instrument="XBT/USD",
        bid=10.1,
        ask=10.2,
        bid_size=2.5,
        ask_size=1.5,
    )


def test_a_change_of_both_sides_is_one_quote_under_the_newest_time_and_one_below_the_top_none() -> None:
    decoder = KrakenDecoder()
    decoder.decode(a_snapshot(), NOW_NS)
    assert decoder.decode(a_change({"b": [["10.0", "3", "1618678133.3"]]}), NOW_NS) == []
    change = a_change(
        {"a": [["10.2", "0.0", "1618678133.365913"]]},
        {"b": [["10.2", "3", "1618678133.365914", "r"]], "c": "1"},
    )
    quote = only(Quote, decoder.decode(change, NOW_NS))
    assert quote.time_ns == 1_618_678_133_365_914_000
    assert (quote.bid, quote.bid_size, quote.ask, quote.ask_size) == (10.2, 3.0, None, None)


def test_levels_that_fell_out_behind_the_depth_do_not_come_back() -> None:
    decoder = KrakenDecoder()
    decoder.decode(a_snapshot(channel="book-1"), NOW_NS)
    decoder.decode(a_change({"b": [["10.15", "3", "1618678133.3"]]}, channel="book-1"), NOW_NS)
    quote = only(
        Quote, decoder.decode(a_change({"b": [["10.15", "0", "1618678133.4"]]}, channel="book-1"), NOW_NS)
    )
    assert quote.bid is None


def test_books_are_void_after_a_reconnect() -> None:
    decoder = KrakenDecoder()
    decoder.decode(a_snapshot(), NOW_NS)
    decoder.reconnected()
    assert decoder.decode(a_change({"b": [["10.15", "3", "1618678133.3"]]}), NOW_NS) == []
    assert decoder.counts["without_snapshot"] == 1


def test_a_heartbeat_of_the_exchange_and_other_channels_are_messages_and_no_events() -> None:
    decoder = KrakenDecoder()
    spread = b'[1,["5698.4","5700.0","1542057299.5","1.01","0.98"],"spread","XBT/USD"]'
    assert decoder.decode(b'{"event":"heartbeat"}', NOW_NS) == decoder.decode(spread, NOW_NS) == []
    assert decoder.counts == {"messages": 2, "ignored": 1}


def some_trades(*trades: tuple[str, str]) -> bytes:
    rows = [[price, "0.5", time, "s", "l", ""] for price, time in trades]
    return json.dumps([337, rows, "trade", "XBT/USD"]).encode()


def test_each_trade_is_a_tick_with_the_aggressors_side() -> None:
    raw = b"""[0, [["5541.20000", "0.15850568", "1534614057.321597", "s", "l", ""],
                   ["6060.00000", "0.02455000", "1534614057.324998", "b", "l", ""]], "trade", "XBT/USD"]"""
    _, sold, bought = KrakenDecoder().decode(raw, NOW_NS)
    assert sold == Tick(
        time_ns=1_534_614_057_321_597_000,
        venue="kraken",
        instrument="XBT/USD",
        price=5541.2,
        size=0.15850568,
        side=Side.SELL,
    )
    assert isinstance(bought, Tick)
    assert (bought.price, bought.side) == (6060.0, Side.BUY)


def test_trades_of_the_same_time_are_all_ticks_but_those_repeated_after_a_reconnect() -> None:
    decoder = KrakenDecoder()
    assert len(decoder.decode(some_trades(("1", "10.5"), ("2", "10.5")), NOW_NS)) == 3, "their definition too"
    assert len(decoder.decode(some_trades(("3", "10.5"), ("4", "11.5")), NOW_NS)) == 2
    decoder.reconnected()
    tick = only(Tick, decoder.decode(some_trades(("3", "10.5"), ("4", "11.5"), ("5", "12.5")), NOW_NS))
    assert tick.price == 5.0
    assert decoder.counts["duplicates"] == 2


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense",
        b"\xff",
        b"[1]",
        b'[1,{},"book-none","XBT/USD"]',
        b'[1,{},"book-0","XBT/USD"]',
        b'[1,{},"book-10","a\\tb"]',
        b'[1,{"b":[["NaN","1","1618678133.3"]]},"book-10","XBT/USD"]',
        b'[1,{"b":[["1","-1","1618678133.3"]]},"book-10","XBT/USD"]',
        b'[1,{"b":[["1","1","soon"]]},"book-10","XBT/USD"]',
        b'{"event":7}',
        b'[1,[["1","1","10.5","x","l",""]],"trade","XBT/USD"]',
        b'[1,{},"trade","XBT/USD"]',
    ],
)
def test_a_malformed_message_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        KrakenDecoder().decode(raw, NOW_NS)


class ChecksummedBook:
    """A naive book that proves itself by the exchange's checksum over its ten best levels."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[str, str]] = {"a": {}, "b": {}}

    def take(self, part: dict[str, Any]) -> None:
        for side in ("a", "b"):
            if side + "s" in part:
                self.sides[side] = {level[0]: level[1] for level in part[side + "s"]}
            for price, size, *_ in part.get(side, []):
                self.sides[side][price] = size
                if not Decimal(size):
                    del self.sides[side][price]
            kept = self.ordered(side)[:1000]
            self.sides[side] = {price: self.sides[side][price] for price in kept}

    def ordered(self, side: str) -> list[str]:
        return sorted(self.sides[side], key=Decimal, reverse=side == "b")

    def checksum(self) -> int:
        text = "".join(
            number.replace(".", "").lstrip("0")
            for side in ("a", "b")
            for price in self.ordered(side)[:10]
            for number in (price, self.sides[side][price])
        )
        return zlib.crc32(text.encode())

    def top(self) -> tuple[float, float, float, float]:
        bid, ask = self.ordered("b")[0], self.ordered("a")[0]
        return float(bid), float(self.sides["b"][bid]), float(ask), float(self.sides["a"][ask])


@pytest.mark.recordings
def test_the_recordings_book_tops_are_those_of_books_with_the_right_checksum(recordings: Path) -> None:
    decoder = KrakenDecoder()
    books: dict[str, ChecksummedBook] = {}
    shown: dict[str, tuple[float | None, ...]] = {}
    proven = 0
    for received_ns, text in islice(messages(recordings / "kraken.ws"), 1_200):
        for event in decoder.decode(text, received_ns):
            if isinstance(event, Quote):
                shown[event.instrument] = (event.bid, event.bid_size, event.ask, event.ask_size)
        message = json.loads(text)
        if not isinstance(message, list):
            continue
        book = books.setdefault(message[-1], ChecksummedBook())
        for part in message[1:-2]:
            book.take(part)
        if "c" in message[-3]:
            assert book.checksum() == int(message[-3]["c"])
            assert shown[message[-1]] == book.top()
            proven += 1
    assert proven > 1_000
