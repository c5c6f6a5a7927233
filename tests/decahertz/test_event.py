"""Events and batches that the wire accepts and rejects, in both codecs."""

from __future__ import annotations

import math
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decahertz.event import (
    EVENT_TYPES,
    FINAL_ORDER_STATES,
    AnyEvent,
    EventBatch,
    Name,
    OrderState,
    Quote,
)
from decahertz.wire import Codec, Decoder, decoder, encode
from tests.event_examples import events, type_name

DECODERS: dict[Codec, Decoder[EventBatch]] = {codec: decoder(codec, EventBatch) for codec in Codec}
QUOTE: dict[str, Any] = {"type": "quote", "time_ns": 1, "venue": "v", "instrument": "i"}
FILL: dict[str, Any] = {
    "type": "fill", "time_ns": 1, "strategy": "s", "venue": "v", "instrument": "i", "order_id": "o",
    "fill_id": "f", "side": "buy", "price": 1.0, "quantity": 1.0,
}  # fmt: skip
BATCH: dict[str, Any] = {"source": "s", "epoch": 1, "first_sequence": 1, "events": []}
NAN, INFINITY = math.nan, math.inf


def decode(codec: Codec, batch: dict[str, Any]) -> EventBatch:
    """Encodes with the libraries that clients use, and decodes."""
    data = msgspec.json.encode(batch) if codec is Codec.JSON else msgpack.packb(batch)
    return DECODERS[codec].decode(data)


@pytest.mark.parametrize("codec", Codec)
@given(st.lists(events, max_size=5), st.data())
def test_a_batch_of_any_events_survives_the_wire(
    codec: Codec,
    sent: list[AnyEvent],
    data: st.DataObject,
) -> None:
    batch = EventBatch(
        source="s",
        epoch=data.draw(st.integers(0, 2**63 - 1)),
        first_sequence=data.draw(st.integers(1, 2**62)),
        events=tuple(sent),
        dropped=data.draw(st.dictionaries(st.sampled_from(["ring_full", "rejected"]), st.integers(0, 2**48))),
    )
    arrived = DECODERS[codec].decode(encode(codec, batch))
    assert arrived == batch
    assert [type(event) for event in arrived.events] == [type(event) for event in sent]
    assert arrived.last_sequence == batch.first_sequence + len(sent) - 1


@given(events)
def test_msgpack_the_library_reads_what_we_write_and_we_read_what_it_writes(event: AnyEvent) -> None:
    batch = EventBatch(source="s", epoch=1, first_sequence=1, events=(event,))
    plain = msgpack.unpackb(encode(Codec.MSGPACK, batch), strict_map_key=False)
    assert plain["events"][0]["type"] == type_name(type(event))
    assert DECODERS[Codec.MSGPACK].decode(msgpack.packb(plain)) == batch


def test_every_type_has_a_name_of_its_own_on_the_wire() -> None:
    assert [type_name(event_type) for event_type in EVENT_TYPES] == [
        "quote", "tick", "gap", "instrument", "signal", "order", "fill", "position", "cash", "equity",
        "regime", "risk", "news", "log", "heartbeat",
    ]  # fmt: skip


def test_fields_at_their_defaults_are_left_out() -> None:
    quote = Quote(time_ns=1, venue="v", instrument="i", bid=1.0)
    assert msgspec.json.decode(encode(Codec.JSON, quote)) == {**QUOTE, "bid": 1.0}


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize(
    ("event", "field"),
    [
        pytest.param({**QUOTE, "type": "quota"}, "", id="unknown type"),
        pytest.param({k: v for k, v in QUOTE.items() if k != "type"}, "", id="no type"),
        pytest.param({k: v for k, v in QUOTE.items() if k != "venue"}, "", id="no venue"),
        pytest.param({**QUOTE, "bit": 1.0}, "", id="unknown field"),
        pytest.param({**QUOTE, "time_ns": 0}, "time_ns", id="time at the epoch"),
        pytest.param({**QUOTE, "time_ns": -1}, "time_ns", id="time before the epoch"),
        pytest.param({**QUOTE, "time_ns": 2**63}, "time_ns", id="time beyond 64 bits"),
        pytest.param({**QUOTE, "time_ns": 1.5}, "time_ns", id="time that is no integer"),
        pytest.param({**QUOTE, "time_ns": "1"}, "time_ns", id="time as text"),
        pytest.param({**QUOTE, "time_ns": None}, "time_ns", id="no time"),
        pytest.param({**QUOTE, "bid": "1"}, "bid", id="number as text"),
        pytest.param({**QUOTE, "bid": True}, "bid", id="yes as a number"),
        pytest.param({**QUOTE, "bid": 1e300}, "bid", id="number beyond reason"),
        pytest.param({**QUOTE, "bid_size": -1.0}, "bid_size", id="negative size"),
        pytest.param({**QUOTE, "missed": -1}, "missed", id="negative count"),
        pytest.param({**QUOTE, "sequence": 2**63}, "sequence", id="sequence beyond 64 bits"),
        pytest.param({**FILL, "quantity": 0.0}, "quantity", id="fill of nothing"),
        pytest.param({**FILL, "quantity": -1.0}, "quantity", id="fill of less than nothing"),
        pytest.param({**FILL, "side": "BUY"}, "side", id="side in capitals"),
        pytest.param({**FILL, "side": None}, "side", id="no side"),
        pytest.param({**FILL, "liquidity": "none"}, "liquidity", id="unknown member"),
        pytest.param({**FILL, "order_id": ""}, "order_id", id="empty identifier"),
        pytest.param({**FILL, "order_id": "x" * 257}, "order_id", id="long identifier"),
        pytest.param({**FILL, "order_id": "a\0b"}, "order_id", id="identifier that PostgreSQL cannot hold"),
        pytest.param({**FILL, "risk": -1.0}, "risk", id="negative risk"),
        pytest.param(
            {"type": "log", "time_ns": 1, "component": "c", "level": "info", "message": "x" * 16_385},
            "message",
            id="long text",
        ),
        pytest.param(
            {"type": "regime", "time_ns": 1, "regime": "calm", "confidence": 1.01}, "confidence", id="above 1"
        ),
        pytest.param(
            {"type": "news", "time_ns": 1, "headline": "h", "sentiment": -1.01}, "sentiment", id="below -1"
        ),
        pytest.param(
            {"type": "news", "time_ns": 1, "headline": "h", "instruments": ["a", "b\tc"]},
            "instruments[1]",
            id="name in a list",
        ),
    ],
)
def test_a_bad_event_is_refused_and_the_place_is_named(
    codec: Codec, event: dict[str, Any], field: str
) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        decode(codec, {**BATCH, "events": [QUOTE, event]})
    assert f"$.events[1]{'.' if field else ''}{field}" in str(caught.value)


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize(
    ("event", "field"), [(QUOTE, "bid"), (QUOTE, "bid_size"), (FILL, "price"), (FILL, "fee")]
)
def test_nan_and_infinity_in_messagepack_are_refused(
    event: dict[str, Any],
    field: str,
    value: float,
) -> None:
    with pytest.raises(msgspec.ValidationError, match=field):
        decode(Codec.MSGPACK, {**BATCH, "events": [{**event, field: value}]})


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e400", "-1e400", "0x10", "01"])
def test_nan_and_infinity_in_json_are_refused_in_any_spelling(text: str) -> None:
    data = msgspec.json.encode({**BATCH, "events": [{**QUOTE, "bid": 12345.0}]}).replace(
        b"12345.0", text.encode()
    )
    with pytest.raises(msgspec.DecodeError):
        DECODERS[Codec.JSON].decode(data)


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize(
    ("spoiled", "field"),
    [
        ({"source": ""}, "source"),
        ({"source": "a\tb"}, "source"),
        ({"epoch": -1}, "epoch"),
        ({"epoch": 2**63}, "epoch"),
        ({"first_sequence": 0}, "first_sequence"),
        ({"first_sequence": 2**62 + 1}, "first_sequence"),
        ({"dropped": {"full": -1}}, "dropped"),
        ({"dropped": {"full": 2**48 + 1}}, "dropped"),
        ({"dropped": {str(n): 1 for n in range(17)}}, "dropped"),
        ({"events": None}, "events"),
        ({"more": 1}, "more"),
    ],
)
def test_a_bad_envelope_is_refused_and_the_field_is_named(
    codec: Codec,
    spoiled: dict[str, Any],
    field: str,
) -> None:
    with pytest.raises(msgspec.ValidationError, match=field):
        decode(codec, {**BATCH, **spoiled})


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("data", [b"", b"\xff", b"{", b"\x81", b"[1,2]", b"null"])
def test_bytes_that_are_no_batch_are_refused(codec: Codec, data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        DECODERS[codec].decode(data)


def test_more_events_than_a_batch_may_hold_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="events"):
        decode(Codec.MSGPACK, {**BATCH, "events": [QUOTE] * 100_001})


@pytest.mark.parametrize(
    "name",
    ["a", "BTC/USD", "BRK.B", "S&P 500", "日経225", "a b", "x" * 128, "-", "é", "a:b", "*", "a*", "5%"],
)
def test_names_in_use_are_accepted(name: str) -> None:
    assert msgspec.convert(name, Name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        " a",
        "a ",
        "a\n",
        "\na",
        "a\tb",
        "a\0b",
        "\x1fa",
        "a\x1f",
        "x" * 129,
        "\u2028a",
    ],
)
def test_a_name_with_invisible_characters_at_its_ends_or_control_characters_is_refused(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(name, Name)


def test_the_last_sequence_of_an_empty_batch_is_the_one_before_the_first() -> None:
    assert EventBatch(source="s", epoch=1, first_sequence=7, events=()).last_sequence == 6


def test_the_final_states_of_an_order_are_the_last_four() -> None:
    assert set(list(OrderState)[-4:]) == FINAL_ORDER_STATES
