from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from collectors.feeds.coinbase.decoder import CoinbaseDecoder
from collectors.feeds.messages import MalformedMessageError
from decahertz.clock import parse_time
from decahertz.event import AnyEvent, Gap, Instrument, InstrumentKind, Quote, Side, Tick
from tests.collectors.feeds.parts import messages, only

NOW_NS = parse_time("2021-04-17T16:43:40Z")


def decode(decoder: CoinbaseDecoder, now_ns: int = NOW_NS, /, **message: Any) -> list[AnyEvent]:  # noqa: ANN401 - JSON
    return decoder.decode(json.dumps(message), now_ns)


def a_match(sequence: int, trade_id: int, **other: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "type": "match",
        "trade_id": trade_id,
        "sequence": sequence,
        "product_id": "BTC-USD",
        "price": "100.5",
        "size": "0.25",
        "side": "sell",
        "time": "2021-04-17T16:43:39.5Z",
        **other,
    }


def a_ticker(sequence: int, **other: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "type": "ticker",
        "sequence": sequence,
        "product_id": "BTC-USD",
        "price": "100.5",
        "best_bid": "100.4",
        "best_ask": "100.6",
        "time": "2021-04-17T16:43:39.5Z",
        **other,
    }


def a_snapshot() -> dict[str, Any]:
    return {
        "type": "snapshot",
        "product_id": "BTC-USD",
        "bids": [["100.4", "1"], ["100.3", "2"]],
        "asks": [["100.6", "3"], ["100.7", "4"]],
    }


def an_update(*changes: list[str], **other: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "type": "l2update",
        "product_id": "BTC-USD",
        "changes": list(changes),
        "time": "2021-04-17T16:43:41Z",
        **other,
    }


def test_a_match_is_a_tick_with_the_aggressors_side() -> None:
    (tick,) = decode(CoinbaseDecoder(), **a_match(7, 1))
    assert tick == Tick(
        time_ns=parse_time("2021-04-17T16:43:39.5Z"),
        venue="coinbase",
        instrument="BTC-USD",
        sequence=7,
        price=100.5,
        size=0.25,
        side=Side.BUY,
        trade_id="1",
    )


def test_a_skipped_trade_is_missed_by_its_product() -> None:
    decoder = CoinbaseDecoder()
    decode(decoder, **a_match(7, 1))
    decode(decoder, **a_match(7, 50, product_id="ETH-USD"))
    (other,) = decode(decoder, **a_match(8, 51, product_id="ETH-USD"))
    gap, tick = decode(decoder, **a_match(20, 4, time="2021-04-17T16:43:41Z"))
    assert isinstance(tick, Tick)
    assert isinstance(other, Tick)
    assert (tick.instrument, tick.missed) == ("BTC-USD", 2)
    assert other.missed == 0
    assert decoder.counts["gaps"] == 1
    assert decoder.counts["missed"] == 2
    assert gap == Gap(
        time_ns=tick.time_ns,
        venue="coinbase",
        instrument="BTC-USD",
        numbering="ticks",
        from_sequence=2,
        to_sequence=3,
        from_ns=parse_time("2021-04-17T16:43:39.5Z"),
        to_ns=tick.time_ns,
        missing=2,
    )


def test_a_gap_that_late_trades_close_is_reported_again() -> None:
    decoder = CoinbaseDecoder()
    for trade_id in (1, 4):
        decode(decoder, **a_match(trade_id, trade_id))
    only(Tick, decode(decoder, **a_match(3, 3)))
    gap, tick = decode(decoder, **a_match(2, 2))
    assert isinstance(gap, Gap)
    assert (gap.from_sequence, gap.to_sequence, gap.missing, gap.recovered) == (2, 3, 0, True)
    assert isinstance(tick, Tick)
    assert decode(decoder, **a_match(2, 2)) == []


def a_heartbeat(last_trade_id: int, product: str = "BTC-USD") -> dict[str, Any]:
    return {
        "type": "heartbeat",
        "sequence": 1,
        "last_trade_id": last_trade_id,
        "product_id": product,
        "time": "2021-04-17T16:43:45Z",
    }


def test_trades_that_two_heartbeats_name_and_that_did_not_come_are_a_gap() -> None:
    decoder = CoinbaseDecoder()
    assert decode(decoder, **a_heartbeat(9)) == []  # no trade is known: nothing is missing
    decode(decoder, **a_match(7, 1))
    assert decode(decoder, **a_heartbeat(1)) == []
    assert decode(decoder, **a_heartbeat(3)) == []  # they may be on their way
    assert decoder.take_damaged() == []
    (gap,) = decode(decoder, **a_heartbeat(5))
    assert isinstance(gap, Gap)
    assert (gap.from_sequence, gap.to_sequence, gap.missing) == (2, 3, 2)
    assert (gap.announced, gap.recovered) == (True, False)
    assert decoder.take_damaged() == ["BTC-USD"]
    assert decoder.take_damaged() == []
    assert decoder.counts["missed"] == 2
    only(Tick, decode(decoder, **a_match(8, 4)))  # the next one misses nothing more
    assert decode(decoder, **a_heartbeat(5)) != []
    assert decode(decoder, **a_heartbeat(5)) == []  # each number is missing once
    assert decoder.counts["missed"] == 3


def test_a_crossed_book_and_one_without_a_snapshot_need_a_new_subscription() -> None:
    decoder = CoinbaseDecoder()
    assert decode(decoder, **an_update(["buy", "100.5", "1"])) == []
    assert decoder.take_damaged() == ["BTC-USD"]
    decode(decoder, **a_snapshot())
    decode(decoder, **an_update(["buy", "100.6", "1"]))  # locked
    assert decoder.take_damaged() == []
    decode(decoder, **an_update(["buy", "100.65", "1"]))
    assert decoder.take_damaged() == ["BTC-USD"]
    assert decoder.counts["crossed_books"] == 1


def test_a_trade_that_overtakes_its_heartbeat_is_not_missing() -> None:
    decoder = CoinbaseDecoder()
    decode(decoder, **a_match(7, 1))
    for trade_id in range(2, 9):
        assert decode(decoder, **a_heartbeat(trade_id)) == []
        only(Tick, decode(decoder, **a_match(trade_id, trade_id)))


def test_a_repeated_match_and_a_repeated_ticker_are_dropped_and_counted() -> None:
    decoder = CoinbaseDecoder()
    assert len(decode(decoder, **a_match(7, 1))) == 1
    assert len(decode(decoder, **a_ticker(7))) == 1  # the same number on another channel
    assert decode(decoder, **a_match(7, 1)) == []
    assert decode(decoder, **a_ticker(7)) == []
    assert decode(decoder, **a_ticker(6)) == []
    assert decoder.counts["duplicates"] == 3


def test_the_last_match_is_a_tick_without_sequence_once() -> None:
    decoder = CoinbaseDecoder()
    tick = only(Tick, decode(decoder, **a_match(7, 1, type="last_match")))
    assert (tick.sequence, tick.trade_id) == (None, "1")
    decoder.reconnected()
    assert decode(decoder, **a_match(7, 1, type="last_match")) == []
    assert decoder.counts["duplicates"] == 0


def test_the_last_match_after_a_reconnect_tells_what_was_missed() -> None:
    decoder = CoinbaseDecoder()
    decode(decoder, **a_match(7, 1))
    decoder.reconnected()
    gap, tick = decode(decoder, **a_match(30, 6, type="last_match"))
    assert isinstance(tick, Tick)
    assert isinstance(gap, Gap)
    assert (gap.from_sequence, gap.to_sequence) == (2, 5)
    following = only(Tick, decode(decoder, **a_match(31, 7)))
    assert (tick.missed, following.missed) == (4, 0)


def test_a_ticker_is_a_quote_with_its_sequence() -> None:
    (quote,) = decode(CoinbaseDecoder(), **a_ticker(7, best_bid_size="5", best_ask_size="6"))
    assert quote == Quote(
        time_ns=parse_time("2021-04-17T16:43:39.5Z"),
        venue="coinbase",
        instrument="BTC-USD",
        sequence=7,
        bid=100.4,
        ask=100.6,
        bid_size=5.0,
        ask_size=6.0,
    )


def test_a_ticker_without_time_counts_as_of_its_receipt() -> None:
    message = a_ticker(7)
    del message["time"]
    (quote,) = decode(CoinbaseDecoder(), **message)
    assert quote.time_ns == NOW_NS


def test_the_first_ticker_of_a_new_connection_may_repeat_the_last_one() -> None:
    decoder = CoinbaseDecoder()
    decode(decoder, **a_ticker(7))
    decoder.reconnected()
    assert decode(decoder, **a_ticker(7)) == []
    assert decoder.counts["duplicates"] == 0
    assert decode(decoder, **a_ticker(7)) == []
    assert decoder.counts["duplicates"] == 1


def test_a_ticker_without_sizes_takes_those_of_the_book_at_the_same_prices() -> None:
    decoder = CoinbaseDecoder()
    decode(decoder, **a_snapshot())
    quote = only(Quote, decode(decoder, **a_ticker(7, best_ask="100.5", time="2021-04-17T16:43:50Z")))
    assert (quote.bid_size, quote.ask_size) == (1.0, None)


def test_a_ticker_older_than_the_book_does_not_stay_the_newest_quote() -> None:
    decoder = CoinbaseDecoder()
    decode(decoder, **a_snapshot())
    ticker, book = decode(decoder, **a_ticker(7, best_bid="90", best_ask="91"))
    assert isinstance(ticker, Quote)
    assert isinstance(book, Quote)
    assert (ticker.sequence, ticker.bid) == (7, 90.0)
    assert (book.sequence, book.bid, book.time_ns) == (None, 100.4, NOW_NS)


def test_the_book_gives_a_quote_only_when_its_top_changes() -> None:
    decoder = CoinbaseDecoder()
    first = only(Quote, decode(decoder, **a_snapshot()))
    assert (first.bid, first.bid_size, first.ask, first.ask_size) == (100.4, 1.0, 100.6, 3.0)
    assert first.time_ns == NOW_NS
    assert decode(decoder, **an_update(["buy", "100.3", "9"])) == []
    second = only(Quote, decode(decoder, **an_update(["buy", "100.4", "0"], ["sell", "100.5", "2"])))
    assert (second.bid, second.bid_size, second.ask, second.ask_size) == (100.3, 9.0, 100.5, 2.0)
    assert second.sequence is None
    assert second.time_ns == parse_time("2021-04-17T16:43:41Z")


def test_a_change_without_a_snapshot_on_this_connection_is_no_quote() -> None:
    decoder = CoinbaseDecoder()
    decode(decoder, **a_snapshot())
    decoder.reconnected()
    assert decode(decoder, **an_update(["buy", "100.5", "1"])) == []
    assert decoder.counts["without_snapshot"] == 1
    assert len(decode(decoder, **a_snapshot())) == 1


def test_a_type_that_is_not_understood_is_ignored() -> None:
    decoder = CoinbaseDecoder()
    assert decode(decoder, type="auction", product_id="BTC-USD") == []
    assert decoder.counts["ignored"] == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"type":7}',
        json.dumps(a_match(7, 1, price="NaN")).encode(),
        json.dumps(a_match(7, 1, price="inf")).encode(),
        json.dumps(a_match(7, 1, size="-1")).encode(),
        json.dumps(a_match(7, 1, time="yesterday")).encode(),
        json.dumps(a_match(7, 1, time="1969-12-31T23:59:59Z")).encode(),
        json.dumps(a_match(7, 1, product_id="a\tb")).encode(),
        json.dumps(a_match(-7, 1)).encode(),
        json.dumps(an_update(["buy", "100", "-1"])).encode(),
        json.dumps(an_update(["hold", "100", "1"])).encode(),
    ],
)
def test_a_malformed_message_is_refused_and_changes_nothing(raw: bytes) -> None:
    decoder = CoinbaseDecoder()
    decode(decoder, **a_snapshot())
    with pytest.raises(MalformedMessageError):
        decoder.decode(raw, NOW_NS)
    assert len(decode(decoder, **a_match(7, 1))) == 1
    assert decode(decoder, **a_snapshot()) == []  # the same top as before


@pytest.mark.recordings
def test_the_recording_gives_every_match_and_every_ticker_once(recordings: Path) -> None:
    decoder = CoinbaseDecoder()
    said: list[dict[str, Any]] = []
    events: list[AnyEvent] = []
    for received_ns, text in messages(recordings / "coinbase.ws"):
        said.append(json.loads(text))
        events += decoder.decode(text, received_ns)
    matches = [m for m in said if m["type"] == "match"]
    tickers = [m for m in said if m["type"] == "ticker"]
    assert (len(matches), len(tickers)) == (97, 107)
    ticks = [e for e in events if isinstance(e, Tick) and e.sequence is not None]
    assert [(t.instrument, t.sequence, t.trade_id, t.price, t.size) for t in ticks] == [
        (m["product_id"], m["sequence"], str(m["trade_id"]), float(m["price"]), float(m["size"]))
        for m in matches
    ]
    quotes = [e for e in events if isinstance(e, Quote) and e.sequence is not None]
    assert [(q.instrument, q.sequence, q.bid, q.ask) for q in quotes] == [
        (m["product_id"], m["sequence"], float(m["best_bid"]), float(m["best_ask"])) for m in tickers
    ]
    last_of = {event.instrument: event.price for event in events if isinstance(event, Tick)}
    assert last_of == {m["product_id"]: float(m["price"]) for m in tickers}  # the last of each product
    assert decoder.counts["gaps"] == decoder.counts["duplicates"] == 0


@pytest.mark.recordings
def test_the_recordings_book_tops_are_those_of_naive_books(recordings: Path) -> None:
    decoder = CoinbaseDecoder()
    naive: dict[str, dict[str, dict[float, float]]] = defaultdict(dict)
    shown: dict[str, tuple[float | None, ...]] = {}
    compared = 0
    for received_ns, text in messages(recordings / "coinbase.ws"):
        message = json.loads(text)
        for event in decoder.decode(text, received_ns):
            if isinstance(event, Quote) and event.sequence is None:
                shown[event.instrument] = (event.bid, event.bid_size, event.ask, event.ask_size)
        if message["type"] not in ("snapshot", "l2update"):
            continue
        product = message["product_id"]
        sides = naive[product]
        if message["type"] == "snapshot":
            sides["buy"] = {float(price): float(size) for price, size in message["bids"]}
            sides["sell"] = {float(price): float(size) for price, size in message["asks"]}
        for side, price, size in message.get("changes", []):
            sides[side][float(price)] = float(size)
            if not float(size):
                del sides[side][float(price)]
        bid, ask = max(sides["buy"]), min(sides["sell"])
        assert shown[product] == (bid, sides["buy"][bid], ask, sides["sell"][ask])
        compared += 1
    assert compared == 9_729


def a_status(**other: str) -> dict[str, Any]:
    products = [
        {
            "id": product,
            "base_currency": product[:3],
            "quote_currency": "USD",
            "base_increment": "0.00000001",
            "quote_increment": "0.01",
            "display_name": product.replace("-", "/"),
            "status": "online",
            "status_message": None,
            **other,
        }
        for product in ("BTC-USD", "ETH-USD")
    ]
    return {"type": "status", "products": products, "currencies": [{"id": "USD"}]}


def subscribed_to(*products: str) -> dict[str, Any]:
    channels = [{"name": "ticker", "product_ids": products}, {"name": "status", "product_ids": None}]
    return {"type": "subscriptions", "channels": channels}


def test_the_status_defines_the_subscribed_products_again_only_when_they_change() -> None:
    decoder = CoinbaseDecoder()
    decode(decoder, **subscribed_to("BTC-USD"))
    assert decode(decoder, **a_status()) == [
        Instrument(
            time_ns=NOW_NS,
            venue="coinbase",
            instrument="BTC-USD",
            kind=InstrumentKind.SPOT,
            base_currency="BTC",
            quote_currency="USD",
            tick_size=0.01,
            lot_size=1e-8,
            aliases=("BTC/USD",),
        )
    ]
    decoder.reconnected()
    assert decode(decoder, **a_status(status="offline")) == []
    changed = only(Instrument, decode(decoder, **a_status(quote_increment="0.05")))
    assert changed.tick_size == 0.05
