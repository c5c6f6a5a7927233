"""``POST /api/v1/events``: what is taken, and what happens to what is not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.routes.events import EncodedBatch, EventBatchReader
from api.settings import ApiSettings
from decahertz.clock import NS_PER_SECOND
from decahertz.event import EVENT_TYPES, ConnectionState, Quote
from decahertz.fakes import MessageLog
from decahertz.wire import Codec
from tests.api.checked import MSGPACK, Caller
from tests.api.helpers import START_NS, Stack

JSON = "application/json"
QUOTE: dict[str, Any] = {
    "type": "quote",
    "time_ns": START_NS,
    "venue": "SIM",
    "instrument": "A",
    "bid": 1.0,
    "ask": 2.0,
}

FILL: dict[str, Any] = {
    "type": "fill",
    "strategy": "s",
    "venue": "SIM",
    "instrument": "A",
    "order_id": "o",
    "side": "buy",
    "price": 1.0,
    "quantity": 1.0,
}


def batch(*events: dict[str, Any], first: int = 1, **more: object) -> dict[str, Any]:
    return {"source": "bot", "epoch": 7, "first_sequence": first, "events": events, **more}


async def stored_sequences(stack: Stack) -> list[int]:
    async with stack.database.query() as connection:
        rows = await connection.fetch("SELECT sequence FROM quotes ORDER BY sequence")
    return [row["sequence"] for row in rows]


@pytest.mark.parametrize("codec", [JSON, MSGPACK, "application/msgpack", "Application/JSON; charset=utf-8"])
async def test_a_batch_is_answered_when_it_is_durable(
    stored: Stack, stored_caller: Caller, codec: str
) -> None:
    body = batch(QUOTE, QUOTE, QUOTE)
    data = msgspec.msgpack.encode(body) if "msgpack" in codec else msgspec.json.encode(body)
    answer = await stored_caller.post("events", data=data, headers={"Content-Type": codec})
    assert answer.status == 200
    assert answer.body == {"source": "bot", "epoch": 7, "durable_sequence": 3, "accepted": 3, "duplicates": 0}
    assert await stored_sequences(stored) == [1, 2, 3]


@pytest.mark.parametrize("count", [1, 5_000])
async def test_messagepack_is_kept_as_it_came_and_json_is_not(count: int) -> None:
    body = batch(*[QUOTE] * count)
    packed, text = msgspec.msgpack.encode(body), msgspec.json.encode(body)
    reader = EventBatchReader()
    read = await reader.read(packed, Codec.MSGPACK)
    assert read.encoded is packed
    assert await reader.read(text, Codec.JSON) == EncodedBatch(read.batch, b"")


@pytest.mark.parametrize("count", [1, 5_000])
@pytest.mark.parametrize("key", [b"\xa6events", b"\xd9\x06events"])
async def test_bytes_with_a_repeated_key_are_not_kept_because_they_cannot_be_read_back(
    count: int, key: bytes
) -> None:
    packed = msgspec.msgpack.encode(batch(*[QUOTE] * count))
    invalid = msgspec.msgpack.encode([{"type": "log", "time_ns": START_NS}])
    repeated = bytes([packed[0] + 1]) + key + invalid + packed[1:]
    read = await EventBatchReader().read(repeated, Codec.MSGPACK)
    assert len(read.batch.events) == count
    assert read.encoded == b""


async def test_a_batch_sent_again_is_answered_the_same_and_stored_once(
    stored: Stack, stored_caller: Caller
) -> None:
    await stored_caller.send(batch(QUOTE, QUOTE))
    again = await stored_caller.send(batch(QUOTE, QUOTE), MSGPACK)
    assert again.status == 200
    assert again.body == {"source": "bot", "epoch": 7, "durable_sequence": 2, "accepted": 0, "duplicates": 2}
    overlapping = await stored_caller.send(batch(QUOTE, QUOTE, first=2))
    assert (overlapping.body["accepted"], overlapping.body["duplicates"]) == (1, 1)
    assert await stored_sequences(stored) == [1, 2, 3]


async def test_batches_out_of_order_are_taken_and_stored_once(stored: Stack, stored_caller: Caller) -> None:
    for first in (5, 1, 3, 1):
        answer = await stored_caller.send(batch(QUOTE, QUOTE, first=first))
        assert answer.status == 200
        assert answer.body["durable_sequence"] == 6
    assert await stored_sequences(stored) == [1, 2, 3, 4, 5, 6]


async def test_a_fill_with_an_impossible_time_is_stored_with_a_flag(
    stored: Stack, stored_caller: Caller
) -> None:
    now_ns = stored.clock.time_ns()
    ahead_ns, milliseconds = now_ns + 90 * NS_PER_SECOND, (now_ns - NS_PER_SECOND) // 10**6
    fills = [
        {**FILL, "fill_id": str(number), "time_ns": time_ns}
        for number, time_ns in enumerate((now_ns, ahead_ns, milliseconds))
    ]
    assert (await stored_caller.send(batch(*fills))).status == 200
    await stored.all_stored()
    items = (await stored_caller.get("fills")).body["items"]
    found = {item["fill_id"]: (item["time_ns"], item["stated_time_ns"]) for item in items}
    (receipt_ns,) = {item["received_ns"] for item in items}
    assert found == {
        "0": (now_ns, None),
        "1": (receipt_ns, ahead_ns),
        "2": (milliseconds * 10**6, milliseconds),
    }


async def test_a_quote_in_milliseconds_is_refused_with_the_unit(stored_caller: Caller) -> None:
    answer = await stored_caller.send(batch(QUOTE, {**QUOTE, "time_ns": START_NS // 10**6}))
    (error,) = answer.problem("invalid-batch")["errors"]
    assert (error["index"], error["field"]) == (1, "time_ns")
    assert "milliseconds" in error["reason"]


async def test_an_empty_batch_is_taken(stored_caller: Caller) -> None:
    answer = await stored_caller.send(batch())
    assert (answer.status, answer.body["accepted"], answer.body["duplicates"]) == (200, 0, 0)


NO_NAME = "a name has 1 to 128 characters, no control character, no blank at either end"
NOT_FINITE = "must be a finite number"
TYPES = [str(kind.__struct_config__.tag) for kind in EVENT_TYPES]
BAD_EVENTS: list[tuple[dict[str, Any], str, str | None]] = [
    ({**QUOTE, "bid_size": -1.0}, "bid_size", "must be 0 or more"),
    ({**QUOTE, "time_ns": 0}, "time_ns", None),
    ({**QUOTE, "time_ns": -5}, "time_ns", None),
    ({**QUOTE, "time_ns": 1.5}, "time_ns", None),
    ({**QUOTE, "time_ns": "now"}, "time_ns", None),
    ({**QUOTE, "venue": ""}, "venue", None),
    ({**QUOTE, "instrument": "A\tB"}, "instrument", NO_NAME),
    ({**QUOTE, "instrument": "A\n"}, "instrument", NO_NAME),
    ({**QUOTE, "instrument": " A"}, "instrument", NO_NAME),
    ({**QUOTE, "instrument": "x" * 129}, "instrument", None),
    ({**QUOTE, "missed": -1}, "missed", None),
    ({**QUOTE, "extra": 1}, "extra", None),
    (
        {**QUOTE, "type": "mystery"},
        "type",
        f"'mystery' is unknown; allowed: {', '.join(TYPES)}",
    ),
    (
        {"type": "heartbeat", "time_ns": START_NS, "component": "c", "connection": "shut"},
        "connection",
        f"'shut' is unknown; allowed: {', '.join(ConnectionState)}",
    ),
    ({key: value for key, value in QUOTE.items() if key != "type"}, "type", None),
    ({key: value for key, value in QUOTE.items() if key != "venue"}, "venue", None),
    (
        {"type": "tick", "time_ns": 1, "venue": "v", "instrument": "i", "price": 1.0, "size": -0.1},
        "size",
        None,
    ),
    ({"type": "log", "time_ns": 1, "component": "c", "level": "loud", "message": "m"}, "level", None),
    (
        {"type": "log", "time_ns": 1, "component": "c", "level": "info", "message": "nul \x00"},
        "message",
        None,
    ),
]


@pytest.mark.parametrize(
    ("event", "field", "reason", "codec"),
    [(*bad, codec) for bad in BAD_EVENTS for codec in (JSON, MSGPACK)]
    + [
        ({**QUOTE, field: float(value)}, field, NOT_FINITE, MSGPACK)
        for field in ("bid", "bid_size")
        for value in ("nan", "inf", "-inf")
    ],
)
async def test_a_bad_event_is_named_by_place_field_and_reason(
    stack: Stack, caller: Caller, event: dict[str, Any], field: str, reason: str | None, codec: str
) -> None:
    answer = await caller.send(batch(QUOTE, event, QUOTE), codec)
    assert answer.status == 422
    (error,) = answer.problem("invalid-batch")["errors"]
    assert error["reason"]
    assert error == {"index": 1, "field": field, "reason": reason or error["reason"]}
    assert stack.ingest.events == 0


async def test_a_number_out_of_its_range_beside_a_key_that_is_a_map_is_refused(caller: Caller) -> None:
    event = msgspec.msgpack.encode({**QUOTE, "bid_size": -1.0})
    odd = bytes([event[0] + 1]) + event[1:] + b"\x80\x01"
    data = msgspec.msgpack.encode(batch(msgspec.Raw(odd)))  # type: ignore[arg-type]  # it stands for an event
    answer = await caller.post("events", data=data, headers={"Content-Type": MSGPACK})
    assert answer.problem("invalid-batch")["errors"][0]["field"] == "bid_size"


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "nan", "inf", "-inf"])
async def test_json_with_a_number_that_is_not_finite_is_malformed_and_told_so(
    caller: Caller, token: str
) -> None:
    text = msgspec.json.encode(batch(QUOTE, QUOTE)).decode().replace("1.0", token, 1)
    answer = await caller.post("events", data=text.encode(), headers={"Content-Type": JSON})
    assert "NaN and infinities are not JSON" in answer.problem("malformed-body")["detail"]


async def test_json_that_is_malformed_elsewhere_is_not_told_of_infinities(caller: Caller) -> None:
    text = msgspec.json.encode(batch({**QUOTE, "venue": "NaN"})).decode().replace("1.0", "nope", 1)
    answer = await caller.post("events", data=text.encode(), headers={"Content-Type": JSON})
    assert "NaN" not in answer.problem("malformed-body")["detail"]


async def test_of_a_refused_batch_nothing_is_stored_or_shown(stored: Stack, stored_caller: Caller) -> None:
    refused = await stored_caller.send(batch(QUOTE, {**QUOTE, "bid_size": -1}, QUOTE))
    assert refused.status == 422
    assert await stored_sequences(stored) == []
    assert stored.ingest.events == 0
    taken = await stored_caller.send(batch(QUOTE, QUOTE, QUOTE))
    assert taken.body["accepted"] == 3


async def test_up_to_twenty_bad_events_are_listed(caller: Caller) -> None:
    events = [{**QUOTE, "bid_size": -1} if n % 2 else QUOTE for n in range(100)]
    errors = (await caller.send(batch(*events))).problem("invalid-batch")["errors"]
    assert [error["index"] for error in errors] == list(range(1, 40, 2))


async def test_a_time_far_in_the_future_is_refused_and_a_clock_a_little_ahead_is_not(
    stack: Stack, caller: Caller
) -> None:
    now_ns = stack.clock.time_ns()
    ahead = await caller.send(batch({**QUOTE, "time_ns": now_ns + 5_000_000_000}))
    assert ahead.status == 200
    far = await caller.send(batch(QUOTE, {**QUOTE, "time_ns": now_ns + 3_600_000_000_000}, first=2))
    assert far.status == 422
    errors = far.problem("invalid-batch")["errors"]
    assert [(error["index"], error["field"]) for error in errors] == [(1, "time_ns")]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"epoch": 1, "first_sequence": 1, "events": []}, "source"),
        (batch(source=""), "source"),
        (batch(epoch=-1), "epoch"),
        (batch(first=0), "first_sequence"),
        (batch(more=1), "more"),
        (batch(dropped={"queue": -1}), "dropped"),
        ({**batch(), "events": {}}, "events"),
        ({**batch(), "events": None}, "events"),
        ([], None),
        (7, None),
    ],
)
@pytest.mark.parametrize("codec", [JSON, MSGPACK])
async def test_a_bad_batch_is_named_by_field(
    caller: Caller, body: object, field: str | None, codec: str
) -> None:
    answer = await caller.send(body, codec)
    assert answer.status == 422
    (error,) = answer.problem("invalid-body")["errors"]
    assert (error.get("field") or "").partition("[")[0] == (field or "")
    assert "index" not in error


@pytest.mark.parametrize(
    ("data", "codec"),
    [
        (b"", JSON),
        (b"", MSGPACK),
        (b"{", JSON),
        (b"\xff\xfe", JSON),
        (b"\xc1", MSGPACK),
        (b'{"source":"\xff"}', JSON),
        (b"\x81\xa6source\xa1\xff", MSGPACK),
        (b'{"source":"bot","epoch":7,"first_sequence":1,"events":[{"type":"quote","bid":NaN}]}', JSON),
        (b'{"source":"bot","epoch":7,"first_sequence":1,"events":[{"type":"quote","bid":Infinity}]}', JSON),
        (b'{"source":"bot","events":' + b"[" * 100_000, JSON),
        (b"\x82\xa6source\xa3bot\xa6events" + b"\x91" * 100_000, MSGPACK),
    ],
)
async def test_a_body_in_another_codec_is_malformed(caller: Caller, data: bytes, codec: str) -> None:
    answer = await caller.post("events", data=data, headers={"Content-Type": codec})
    assert answer.status in (400, 422)
    if answer.status == 422:  # the decoder saw a wrong type before it came to the end
        answer.problem("invalid-batch" if "index" in answer.body["errors"][0] else "invalid-body")
    else:
        answer.problem("malformed-body")


async def test_a_body_that_says_json_and_is_messagepack_is_malformed(caller: Caller) -> None:
    data = msgspec.msgpack.encode(batch(QUOTE))
    answer = await caller.post("events", data=data, headers={"Content-Type": JSON})
    assert answer.problem("malformed-body")["status"] == 400


@pytest.mark.parametrize(
    "codec", ["text/plain", "application/xml", "application/octet-stream", "nonsense", ""]
)
async def test_another_codec_is_415_and_told_every_one_that_is_taken(caller: Caller, codec: str) -> None:
    answer = await caller.post(
        "events", data=b"{}", headers={"Content-Type": codec}, skip_auto_headers=["Content-Type"]
    )
    problem = answer.problem("unsupported-media-type")
    assert problem["status"] == 415
    listed = problem["detail"].partition("supported: ")[2].split(", ")
    assert listed == [JSON, MSGPACK, "application/msgpack", "application/x-msgpack"]


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_beyond_the_limit_is_413(*, chunked: bool) -> None:
    async with Stack(settings=ApiSettings(port=0, max_body_bytes=2000)).running() as stack:
        async with Caller(stack.api.url) as caller:
            data = msgspec.json.encode(batch(*[QUOTE] * 100))
            answer = await caller.post(
                "events", data=data, headers={"Content-Type": JSON}, chunked=chunked or None
            )
            assert answer.problem("content-too-large")["status"] == 413
            assert (await caller.send(batch(QUOTE))).status == 200
        assert stack.ingest.events == 1


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
async def test_a_large_batch_is_decoded_in_parts_and_is_the_same(
    stack: Stack, caller: Caller, codec: str
) -> None:
    events = [{**QUOTE, "bid": float(number)} for number in range(20_000)]
    recorder = MessageLog(stack.bus, "events")
    answer = await caller.send(batch(*events, dropped={"ring_full": 3}), codec)
    assert answer.body["accepted"] == 20_000
    assert [event.bid for event in recorder.events() if isinstance(event, Quote)] == [
        e["bid"] for e in events
    ]


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
async def test_a_bad_event_in_a_large_batch_is_named(caller: Caller, codec: str) -> None:
    events = [QUOTE] * 5_000
    events[4_321] = {**QUOTE, "ask_size": -2}
    (error,) = (await caller.send(batch(*events), codec)).problem("invalid-batch")["errors"]
    assert (error["index"], error["field"]) == (4_321, "ask_size")


async def test_a_large_body_of_small_nonsense_is_refused(caller: Caller) -> None:
    data = b'{"source":"bot","epoch":7,"first_sequence":1,"events":[' + b"1," * 500_000 + b"1]}"
    answer = await caller.post("events", data=data, headers={"Content-Type": JSON})
    assert answer.problem("invalid-batch")["errors"][0]["index"] == 0


async def test_more_events_than_a_batch_may_have_are_refused(caller: Caller) -> None:
    event = {"type": "heartbeat", "time_ns": 1, "component": "c"}
    answer = await caller.send(batch(*[event] * 100_001))
    assert answer.problem("invalid-body")["errors"][0]["field"] == "events"


async def test_a_body_that_says_it_is_not_compressed_is_taken(caller: Caller) -> None:
    data = msgspec.json.encode(batch(QUOTE))
    answer = await caller.post(
        "events", data=data, headers={"Content-Type": JSON, "Content-Encoding": "identity"}
    )
    assert answer.status == 200


async def test_a_batch_that_cannot_become_durable_is_to_be_sent_again(
    stored: Stack, stored_caller: Caller
) -> None:
    await stored.sink.stop()  # type: ignore[attr-defined]  # the writer's
    answer = await stored_caller.send(batch(QUOTE))
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    answer.problem("not-durable")
