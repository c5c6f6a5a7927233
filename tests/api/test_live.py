"""The WebSocket protocol, on real sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import websockets
from aiohttp import ClientSession, WSServerHandshakeError

from api.live.limits import HubLimits
from decahertz.bus import samples_topic
from decahertz.clock import CYCLE_NS
from decahertz.event import EVENT_TYPES, event_topic
from decahertz.fakes import example_events
from decahertz.sample import SampleBatch
from tests.api.checked import Caller
from tests.api.helpers import (
    DESK,
    START_NS,
    DeskSample,
    Stack,
    quote,
    reader,
    slow_reader,
    wait_for,
)

JSON = "decahertz.v1.json"
MSGPACK = "decahertz.v1.msgpack"


async def test_the_first_message_says_who_and_what_and_how_often(stack: Stack) -> None:
    async with websockets.connect(stack.live_url, proxy=None) as socket:
        hello = json.loads(await socket.recv())
    assert hello["type"] == "connected"
    assert hello["client_id"]
    assert hello["protocol"] == JSON
    assert hello["version"] == "0.0.test"
    assert hello["epoch"] <= hello["time_ns"]
    assert (hello["heartbeat_seconds"], hello["dead_after_seconds"]) == (15.0, 30.0)


@pytest.mark.parametrize(
    ("offered", "spoken"), [([MSGPACK, JSON], MSGPACK), ([JSON], JSON), (["x", MSGPACK], MSGPACK)]
)
async def test_the_first_known_subprotocol_is_spoken(stack: Stack, offered: list[str], spoken: str) -> None:
    protocols = [websockets.Subprotocol(name) for name in offered]
    async with websockets.connect(stack.live_url, subprotocols=protocols, proxy=None) as socket:
        assert socket.subprotocol == spoken
        assert isinstance(await socket.recv(), bytes) is (spoken == MSGPACK)


@pytest.mark.parametrize("protocol", [None, JSON, MSGPACK])
async def test_a_subscription_gets_the_present_and_then_what_changes(
    stack: Stack, protocol: str | None
) -> None:
    first_ns = stack.publish_cycle(1, ["BTC-USD", "EUR/USD"])
    async with reader(stack, protocol) as client:
        items = await client.subscribe("metrics:probe:SIM:EUR/USD")
        data = {"venue": "SIM", "instrument": "EUR/USD", "mid": 1.5, "ticks": 1}
        assert items == [{"topic": "metrics:probe:SIM:EUR/USD", "time_ns": first_ns, "data": data}]
        second_ns = stack.publish_cycle(2, ["BTC-USD", "EUR/USD"])
        assert await client.hear() == {
            "type": "update",
            "topic": "metrics:probe:SIM:EUR/USD",
            "time_ns": second_ns,
            "data": {**data, "ticks": 2},
            "conflated": 0,
        }
        assert await client.until_pong() == []


async def test_patterns_choose_among_collectors_and_keys(stack: Stack) -> None:
    stack.publish_cycle(1, ["A", "B"])
    stack.bus.publish(samples_topic("desk"), SampleBatch(DESK, START_NS, (DeskSample(strategy="s"),)))
    async with reader(stack) as client:
        topics = [item["topic"] for item in await client.subscribe("metrics:*:s", "metrics:probe:**")]
        assert sorted(topics) == ["metrics:desk:s", "metrics:probe:SIM:A", "metrics:probe:SIM:B"]


async def test_a_second_pattern_brings_only_the_topics_that_are_new(stack: Stack) -> None:
    stack.publish_cycle(1, ["A", "B"])
    async with reader(stack) as client:
        assert len(await client.subscribe("metrics:probe:SIM:A")) == 1
        assert [item["topic"] for item in await client.subscribe("metrics:**")] == ["metrics:probe:SIM:B"]
        assert await client.subscribe("metrics:**") == []
        stack.publish_cycle(2, ["A", "B"])
        heard = await client.until_pong()
        assert sorted(message["topic"] for message in heard) == ["metrics:probe:SIM:A", "metrics:probe:SIM:B"]


async def test_a_large_snapshot_comes_in_parts(stack: Stack) -> None:
    names = [f"I{number}" for number in range(450)]
    stack.publish_cycle(1, names)
    async with reader(stack) as client:
        await client.say(type="subscribe", topics=["metrics:**"])
        parts = [await client.hear() for _ in range(3)]
        assert [(len(part["items"]), part["complete"]) for part in parts] == [
            (200, False),
            (200, False),
            (50, True),
        ]
        assert {item["data"]["instrument"] for part in parts for item in part["items"]} == set(names)


async def test_nothing_comes_after_unsubscribing(stack: Stack) -> None:
    async with reader(stack) as client:
        await client.subscribe("metrics:**", "quotes:A")
        await client.say(type="unsubscribe", topics=["metrics:**", "never:subscribed"])
        await client.until_pong()
        stack.publish_cycle(1)
        await stack.emit(quote("A"))
        assert [message["topic"] for message in await client.until_pong()] == ["quotes:A"]


async def test_every_type_of_event_has_its_topic(stack: Stack) -> None:
    assert len({kind.topic for kind in EVENT_TYPES}) == len(EVENT_TYPES)
    events = example_events()
    async with reader(stack) as client:
        await client.subscribe(*sorted({event_topic(event) for event in events}))
        await stack.emit(*events)
        heard = await client.until_pong()
    assert [message["topic"] for message in heard] == [event_topic(event) for event in events]
    assert [message["time_ns"] for message in heard] == [event.time_ns for event in events]
    assert [message["data"]["type"] for message in heard] == [
        type(event).__name__.lower() for event in events
    ]
    assert {message["topic"] for message in heard} >= {
        "quotes:EUR/USD",
        "ticks:EUR/USD",
        "orders",
        "fills",
        "logs",
    }


@pytest.mark.parametrize("protocol", [JSON, MSGPACK])
async def test_events_are_numbered_and_none_is_missing(stack: Stack, protocol: str) -> None:
    async with reader(stack, protocol) as client:
        await client.subscribe("**")
        for number in range(30):
            await stack.emit(*(quote(name, bid=float(number)) for name in "ABC"))
        heard = await client.until_pong()
    assert [message["sequence"] for message in heard] == list(range(1, 91))
    assert [message["data"]["bid"] for message in heard] == [float(n) for n in range(30) for _ in "ABC"]


async def test_the_numbers_go_on_while_nobody_listens(stack: Stack) -> None:
    await stack.emit(quote(), quote())
    async with reader(stack) as client:
        await client.say(type="subscribe", topics=["quotes:*"])
        assert (await client.hear())["sequence"] == 2
        await stack.emit(quote())
        assert (await client.hear())["sequence"] == 3


async def test_a_burst_larger_than_a_turn_arrives_whole_and_in_order(stack: Stack) -> None:
    count = 6_000
    async with reader(stack) as client:
        await client.subscribe("quotes:A")
        await stack.emit(*(quote("A" if number % 3 else "B") for number in range(count)))
        expected = [number + 1 for number in range(count) if number % 3]
        assert [(await client.hear())["sequence"] for _ in expected] == expected


async def test_a_ping_is_answered_with_its_id(stack: Stack) -> None:
    async with reader(stack) as client:
        await client.say(type="ping")
        assert set(await client.hear()) == {"type", "time_ns"}
        await client.say(type="ping", id="x1")
        assert (await client.hear())["id"] == "x1"


BAD: list[tuple[str | bytes, str]] = [
    ("", "malformed"),
    ("{", "malformed"),
    ('{"type":"ping","id":NaN}', "malformed"),
    ("[" * 5000, "invalid"),
    (b'{"type":"ping"}', "malformed"),
    ("[]", "invalid"),
    ("{}", "invalid"),
    ('{"type":"shout"}', "invalid"),
    ('{"type":"subscribe"}', "invalid"),
    ('{"type":"subscribe","topics":[]}', "invalid"),
    ('{"type":"subscribe","topics":"quotes:*"}', "invalid"),
    ('{"type":"subscribe","topics":[1]}', "invalid"),
    ('{"type":"ping","extra":1}', "invalid"),
    ('{"type":"subscribe","topics":["a::b"]}', "bad_topic"),
    ('{"type":"subscribe","topics":["quotes:*","**:a"]}', "bad_topic"),
    ('{"type":"subscribe","topics":["quo*"]}', "bad_topic"),
    ('{"type":"subscribe","topics":["quotes:BTC/USDT:USDT"]}', "bad_topic"),
]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            '{"type":"shout"}',
            "type: 'shout' is unknown; allowed: authenticate, subscribe, resume, unsubscribe, ping",
        ),
        ("{}", "type: the field type is missing"),
        ("[]", "a message must be an object, not a list"),
        ('{"type":"subscribe","topics":[]}', "topics: must have at least 1 item"),
        ('{"type":"subscribe","topics":[1]}', "topics[0]: must be a text, not a whole number"),
        ('{"type":"subscribe","topics":["fills"],"max_hz":0}', "max_hz: must be more than 0"),
        ('{"type":"ping","extra":1}', "extra: there is no field extra"),
        ("{", "not valid application/json: it ends too early"),
        (
            '{"type":"subscribe","topics":["quote:EUR/USD"]}',
            "no topic can match 'quote:EUR/USD'; similar: quotes:{instrument}",
        ),
        (
            '{"type":"subscribe","topics":["fills:momentum"]}',
            "no topic can match 'fills:momentum'; similar: fills",
        ),
        (
            '{"type":"subscribe","topics":["metrics:markets:**"]}',
            "no topic can match 'metrics:markets:**'; similar: metrics:market:{venue}:{instrument}",
        ),
        (
            '{"type":"subscribe","topics":["metrics:prob:SIM:A"]}',
            "no topic can match 'metrics:prob:SIM:A'; similar: metrics:probe:{venue}:{instrument}",
        ),
        (
            '{"type":"resume","topics":["regime_change"],"epoch":0,"sequence":0}',
            "no topic can match 'regime_change'; similar: regime",
        ),
    ],
)
async def test_a_refusal_says_in_plain_words_what_is_right(stack: Stack, text: str, reason: str) -> None:
    async with reader(stack) as client:
        await client.socket.send(text)
        refusal = await client.hear()
        assert refusal["text"] == reason
        named = reason.partition(": ")[0] if ": " in reason else None
        fields = {"malformed": None, "bad_topic": "topics"}
        assert refusal.get("field") == fields.get(refusal["code"], named)


@pytest.mark.parametrize("topic", ["xyzzy", "*:*:*:*:*:*:*", "metrics", "quotes", "metrics:probe"])
async def test_a_topic_that_cannot_exist_is_refused_with_those_that_can(stack: Stack, topic: str) -> None:
    async with reader(stack) as client:
        await client.say(type="subscribe", topics=["fills", topic])
        refusal = await client.hear()
        assert (refusal["code"], refusal["type"]) == ("bad_topic", "error")
        assert ":" in refusal["text"].partition(";")[2]
        for can_exist in (
            "**",
            "*",
            "metrics:**",
            "metrics:*:SIM:A",
            "metrics:execution:**",
            "*:*",
            "quotes:not-yet",
            "bars:A:1m",
            "alerts",
        ):
            await client.say(type="subscribe", topics=[can_exist])
            assert (await client.hear())["type"] == "snapshot", can_exist


@pytest.mark.parametrize(("text", "code"), BAD)
async def test_a_bad_message_is_refused_with_a_reason_and_the_connection_stays(
    stack: Stack, text: str | bytes, code: str
) -> None:
    async with reader(stack) as client:
        await client.socket.send(text)
        refusal = await client.hear()
        assert refusal["type"] == "error"
        assert refusal["code"] == code
        assert refusal["text"]
        assert await client.until_pong() == []
        stack.publish_cycle(1)
        await stack.emit(quote())
        assert await client.until_pong() == []  # nothing of a refused subscription took effect


async def test_a_name_with_a_colon_is_answered_with_its_topic(stack: Stack) -> None:
    async with reader(stack) as client:
        await client.say(type="subscribe", topics=["quotes:BTC/USDT:USDT"])
        assert "quotes:BTC/USDT%3AUSDT" in (await client.hear())["text"]
        await client.subscribe("quotes:BTC/USDT%3AUSDT")
        await stack.emit(quote("BTC/USDT:USDT"))
        (event,) = await client.until_pong()
        assert event["data"]["instrument"] == "BTC/USDT:USDT"


async def test_text_is_refused_where_messagepack_was_agreed_on(stack: Stack) -> None:
    async with reader(stack, MSGPACK) as client:
        await client.socket.send('{"type":"ping"}')
        assert (await client.hear())["code"] == "malformed"
        await client.socket.send(b"\xc1")
        assert (await client.hear())["code"] == "malformed"
        assert await client.until_pong() == []


async def test_who_keeps_sending_nonsense_is_disconnected() -> None:
    async with Stack(limits=HubLimits(max_bad_messages=3)).running() as stack, reader(stack) as client:
        reason = {"reason": "abuse"}
        assert stack.registry.get_sample_value("decahertz_api_websocket_closed_total", reason) == 0
        for _ in range(3):
            await client.socket.send("nonsense")
        assert await client.close_code() == 1008
        assert stack.counted("decahertz_api_websocket_closed_total", reason="abuse") == 1
        assert stack.counted("decahertz_api_websocket_refused_total") == 3


async def test_a_message_beyond_the_limit_closes_the_connection(stack: Stack) -> None:
    async with reader(stack) as client:
        await client.socket.send(json.dumps({"type": "ping", "id": "x" * 70_000}))
        assert await client.close_code() == 1009


def masked(first: int, payload: bytes) -> bytes:
    """A frame of a client whose mask is zero."""
    return bytes((first, 0x80 | len(payload), 0, 0, 0, 0)) + payload


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(0x81, b"\xff\xfe"), 1007),
        (masked(0xC1, b"{}"), 1002),  # compressed, which was not agreed on
        (masked(0x83, b"{}"), 1002),  # an opcode of nobody
        (masked(0x09, b"{}"), 1002),  # a ping in fragments
        (masked(0x80, b"{}"), 1002),  # continues nothing
        (masked(0x88, b"\x03"), 1002),  # a close code of one byte
        (b"\x81\xff" + (2**40).to_bytes(8, "big") + bytes(100), 1009),
        (b"\x81\x0f" + b'{"type":"ping"}', 1002),  # not masked
        (b"\x81\x7e\x01\x00" + bytes(256), 1002),  # not masked, and longer
        (masked(0x01, b"{") + b"\x80\x01}", 1002),  # its second part is not masked
    ],
)
async def test_a_frame_that_breaks_the_protocol_closes_the_connection(
    stack: Stack, data: bytes, code: int
) -> None:
    async with slow_reader(stack, ["a"]) as client, reader(stack) as other:
        client.send(data)
        assert [message async for message in client.messages()] == []
        assert client.close_code == code
        await wait_for(lambda: len(stack.clients()) == 1, "the client is forgotten")
        assert await other.until_pong() == []


async def test_a_message_of_exactly_the_limit_is_read(stack: Stack) -> None:
    limit = stack.limits.max_message_bytes
    around = json.dumps({"type": "subscribe", "topics": [""]})
    async with reader(stack) as client:
        text = json.dumps({"type": "subscribe", "topics": ["x" * (limit - len(around))]})
        assert len(text) == limit
        await client.socket.send(text)
        assert (await client.hear())["type"] == "error"
        assert await client.until_pong() == []
        await client.socket.send(text + " ")
        assert await client.close_code() == 1009


async def test_frames_may_arrive_in_any_pieces(stack: Stack) -> None:
    frames = b"".join(
        bytes((0x81, 0x80 | 126)) + len(text).to_bytes(2, "big") + bytes(4) + text
        for text in (json.dumps({"type": "ping", "id": str(n) + "x" * 110}).encode() for n in range(5))
    )
    async with slow_reader(stack, ["a"]) as client:
        for at in range(0, len(frames), 3):
            client.send(frames[at : at + 3])
            await asyncio.sleep(0)
        for number in range(5):
            _, payload = await client.hear()
            assert json.loads(payload)["id"][0] == str(number)


async def test_a_client_has_a_limited_number_of_patterns() -> None:
    async with Stack(limits=HubLimits(max_subscriptions=2)).running() as stack, reader(stack) as client:
        await client.subscribe("fills", "orders")
        await client.subscribe("fills")
        await client.say(type="subscribe", topics=["cash"])
        assert (await client.hear())["code"] == "too_many_subscriptions"
        await client.say(type="unsubscribe", topics=["fills"])
        await client.subscribe("cash")


async def test_there_is_a_limited_number_of_clients() -> None:
    async with Stack(limits=HubLimits(max_clients=1)).running() as stack:
        async with reader(stack):
            with pytest.raises(websockets.InvalidStatus) as refusal:
                await websockets.connect(stack.live_url, proxy=None)
            response = refusal.value.response
            assert response.status_code == 503
            assert response.headers["Retry-After"]
            assert json.loads(response.body)["type"] == "urn:decahertz:problem:overloaded"
        await wait_for(lambda: not stack.clients(), "the client is forgotten")
        async with reader(stack):
            pass


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Sec-WebSocket-Protocol": "soap"}, 400),
    ],
)
async def test_a_handshake_from_elsewhere_or_in_another_protocol_is_refused(
    stack: Stack, headers: dict[str, str], status: int
) -> None:
    async with ClientSession(stack.api.url) as session:
        with pytest.raises(WSServerHandshakeError) as refusal:
            await session.ws_connect("/ws", headers=headers)
        assert refusal.value.status == status
        assert not stack.clients()
        assert (
            stack.counted("decahertz_api_requests_total", route="/ws", method="GET", status=str(status)) == 1
        )


@pytest.mark.parametrize(
    ("first", "version"), [("GET /ws HTTP/1.1", "8"), ("GET /ws HTTP/1.1", "14"), ("GET /ws HTTP/1.0", "13")]
)
async def test_another_version_of_websocket_or_http_is_told_to_upgrade(
    stack: Stack, first: str, version: str
) -> None:
    incoming, outgoing = await asyncio.open_connection("127.0.0.1", stack.api.port)
    lines = (
        first, "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade",
        f"Sec-WebSocket-Version: {version}", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "",
    )  # fmt: skip
    outgoing.write("\r\n".join(lines).encode())
    async with asyncio.timeout(20):
        head = (await incoming.readuntil(b"\r\n\r\n")).decode()
    outgoing.transport.abort()
    assert head.split()[1] == "426"
    assert "Sec-WebSocket-Version: 13" in head
    assert not stack.clients()


@pytest.mark.parametrize("keys", [[], ["short"], ["a" * 24], ["dGhlIHNhbXBsZSBub25jZQ=="] * 2])
async def test_a_handshake_names_a_bad_key(stack: Stack, keys: list[str]) -> None:
    incoming, outgoing = await asyncio.open_connection("127.0.0.1", stack.api.port)
    lines = (
        "GET /ws HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade, close",
        "Sec-WebSocket-Version: 13", *(f"Sec-WebSocket-Key: {key}" for key in keys), "", "",
    )  # fmt: skip
    outgoing.write("\r\n".join(lines).encode())
    async with asyncio.timeout(20):
        answer = (await incoming.readuntil(b"}")).decode()
    outgoing.transport.abort()
    assert answer.split()[1] == "400"
    assert "the header Sec-WebSocket-Key must be there once: 16 bytes in base64" in answer
    assert not stack.clients()


async def test_a_page_of_this_server_can_connect(stack: Stack) -> None:
    async with reader(stack, origin=stack.api.url):
        pass


async def test_a_plain_request_is_told_to_upgrade(stack: Stack) -> None:
    async with ClientSession(stack.api.url) as session, session.get("/ws") as response:
        assert response.status == 426
        assert response.headers["Upgrade"] == "websocket"
        assert (await response.json(content_type=None))["type"] == "urn:decahertz:problem:upgrade-required"


async def test_who_answers_pings_stays_and_who_is_silent_is_disconnected() -> None:
    limits = HubLimits(heartbeat_seconds=0.1, dead_after_seconds=1.5)
    async with (
        Stack(limits=limits).running() as stack,
        reader(stack) as alive,
        slow_reader(stack, ["never:published"]) as silent,
    ):
        await wait_for(lambda: len(stack.clients()) == 2, "both are connected")
        await wait_for(lambda: len(stack.clients()) == 1, "the silent one is disconnected")
        await wait_for(
            lambda: stack.counted("decahertz_api_websocket_closed_total", reason="heartbeat_timeout") == 1,
            "it is counted",
        )
        assert await alive.until_pong() == []
        assert [message async for message in silent.messages()] == []
        assert silent.close_code == 4009


async def test_a_client_can_ping_too(stack: Stack) -> None:
    async with reader(stack) as client, asyncio.timeout(20):
        await (await client.socket.ping(b"are you there"))


async def test_stopping_says_going_away_to_all() -> None:
    async with Stack().running() as stack, reader(stack) as one, reader(stack, MSGPACK) as two:
        closing = asyncio.gather(one.close_code(), two.close_code())
        async with asyncio.timeout(20):
            await stack.api.stop()
        assert list(await closing) == [1001, 1001]
        assert stack.counted("decahertz_api_websocket_clients") == 0


async def test_sent_messages_are_counted_per_client(stack: Stack) -> None:
    async with reader(stack) as client, reader(stack):
        await client.subscribe("**")
        stack.publish_cycle(1, ["A", "B"])
        await stack.emit(quote())
        await client.until_pong()
        one, other = stack.clients()
        assert (one.updates, one.events, len(one.patterns), one.received) == (2, 1, 1, 2)
        assert (other.updates, other.events, len(other.patterns)) == (0, 0, 0)
        assert stack.counted("decahertz_api_websocket_sent_total", lane="state") == 2
        assert stack.counted("decahertz_api_websocket_sent_total", lane="event") == 1
        assert stack.counted("decahertz_api_websocket_clients") == 2


async def test_a_sample_that_cannot_be_encoded_costs_only_itself(stack: Stack) -> None:
    class Odd:
        """Not serialisable."""

    async with reader(stack) as client:
        await client.subscribe("metrics:**")
        odd: Any = Odd()
        stack.bus.publish(
            samples_topic("desk"), SampleBatch(DESK, START_NS, (DeskSample(strategy="s", pnl=odd),))
        )
        stack.publish_cycle(1)
        assert [message["topic"] for message in await client.until_pong()] == ["metrics:probe:SIM:A"]
        assert stack.counted("decahertz_api_websocket_errors_total") == 1


async def test_a_reader_sets_how_many_updates_a_second_it_gets(stack: Stack) -> None:
    async with reader(stack) as client, reader(stack) as other:
        await client.say(type="subscribe", topics=["metrics:**"], max_hz=4)
        assert (await client.hear())["type"] == "snapshot"
        await other.subscribe("metrics:**")
        began_ns = stack.clock.monotonic_ns()
        for number in range(1, 41):
            stack.publish_cycle(number, ["A", "B"])
            await asyncio.sleep(0.02)
        last_ns = START_NS + 40 * CYCLE_NS
        sent = {"metrics:probe:SIM:A": 0, "metrics:probe:SIM:B": 0}
        conflated = dict.fromkeys(sent, 0)
        newest: dict[str, int] = {}
        while set(newest.values()) != {last_ns} or len(newest) < 2:
            message = await client.hear()
            sent[message["topic"]] += 1
            conflated[message["topic"]] += message["conflated"]
            newest[message["topic"]] = message["time_ns"]
        seconds = (stack.clock.monotonic_ns() - began_ns) / 1e9
        for topic, count in sent.items():
            assert count <= seconds * 4 + 1
            assert count + conflated[topic] == 40
        assert [message["conflated"] for message in await other.until_pong()] == [0] * 80


async def test_without_a_rate_every_state_comes_again(stack: Stack) -> None:
    async with reader(stack) as client:
        await client.say(type="subscribe", topics=["metrics:**"], max_hz=0.01)
        await client.hear()
        for number in range(1, 4):
            stack.publish_cycle(number)
        (first,) = await client.until_pong()
        assert first["conflated"] in (0, 1, 2)
        stack.publish_cycle(4)
        stack.publish_cycle(5)
        assert await client.until_pong() == []
        await client.say(type="subscribe", topics=["metrics:**"], max_hz=None)
        waited, snapshot = await client.hear(), await client.hear()
        assert (waited["data"]["ticks"], waited["conflated"], snapshot["type"]) == (5, 1, "snapshot")
        stack.publish_cycle(6)
        stack.publish_cycle(7)
        assert [message["data"]["ticks"] for message in await client.until_pong()] == [6, 7]


@pytest.mark.parametrize("protocol", [JSON, MSGPACK])
async def test_a_reader_gets_the_states_of_a_cycle_in_one_message(stack: Stack, protocol: str) -> None:
    async with reader(stack, protocol) as client:
        await client.say(type="subscribe", topics=["metrics:**"], batch=True)
        await client.hear()
        for number in (1, 2):
            stack.publish_cycle(number, ["A", "B"])
            message = await client.hear()
            assert message.keys() == {"type", "items"}
            assert message["type"] == "updates"
            assert [(one["topic"], one["time_ns"], one["conflated"]) for one in message["items"]] == [
                (f"metrics:probe:SIM:{name}", START_NS + number * CYCLE_NS, 0) for name in "AB"
            ]
            assert message["items"][0]["data"]["ticks"] == number
        stack.publish_cycle(3, [str(number) for number in range(250)])
        assert [len((await client.hear())["items"]) for _ in range(3)] == [100, 100, 50]
        await client.say(type="subscribe", topics=["metrics:**"], batch=False, max_hz=None)
        assert (await client.hear())["type"] == "snapshot"
        stack.publish_cycle(4)
        assert {message["type"] for message in await client.until_pong()} == {"update"}


async def test_states_that_wait_are_dropped_with_their_subscription(stack: Stack) -> None:
    async with reader(stack) as client:
        await client.say(type="subscribe", topics=["metrics:probe:SIM:A", "metrics:probe:SIM:B"], max_hz=0.01)
        await client.hear()
        stack.publish_cycle(1, ["A", "B"])
        await client.until_pong()
        stack.publish_cycle(2, ["A", "B"])
        await client.say(type="unsubscribe", topics=["metrics:probe:SIM:A"])
        await client.say(type="subscribe", topics=["fills"], max_hz=None)
        updates = [message for message in await client.until_pong() if message["type"] == "update"]
        assert [message["topic"] for message in updates] == ["metrics:probe:SIM:B"]


async def test_system_stats_shows_each_client() -> None:
    limits = HubLimits(heartbeat_seconds=0.3, buffer_bytes=64 * 1024)
    names = [f"{number:03}-{'x' * 100}" for number in range(200)]
    async with (
        Stack(limits=limits).running() as stack,
        Caller(stack.api.url) as caller,
        reader(stack, MSGPACK) as client,
        slow_reader(stack, ["metrics:**"]),
    ):
        topics = [f"metrics:probe:SIM:{names[0]}", "quotes:A"]
        await client.say(type="subscribe", topics=topics, max_hz=0.001)
        await client.hear()
        cycle = 0
        while not any(one.slow for one in stack.clients()):
            cycle += 1
            stack.publish_cycle(cycle, names)
            await asyncio.sleep(0.001)
        stack.publish_cycle(cycle + 1, names)
        await stack.emit(quote(), quote())
        await wait_for(lambda: stack.clients()[0].round_trip_ns is not None, "a pong")
        answer = (await caller.get("system/stats")).body
        assert (answer["epoch"], answer["sequence"], answer["events_in_memory"]) == (0, 2, 2)
        limited, slow = answer["clients"]
        assert (limited["protocol"], limited["topics"]) == (MSGPACK, topics)
        assert (limited["max_hz"], limited["is_slow"], limited["lag_seconds"]) == (0.001, False, 0)
        assert (limited["queued_states"], limited["events"]) == (1, 2)
        assert limited["round_trip_seconds"] > 0
        assert slow["is_slow"]
        assert slow["lag_seconds"] > 0
        assert slow["buffered_bytes"] > 64 * 1024
        assert slow["conflated"] >= 0
        await wait_for(lambda: stack.counted("decahertz_api_websocket_slow_clients") == 1, "it is counted")
        assert stack.counted("decahertz_api_websocket_lag_seconds") > 0
        assert stack.counted("decahertz_api_websocket_queued", lane="state") >= 1
