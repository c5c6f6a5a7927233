"""A reader that resumes gets what it missed, once and in order, and then what is new."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote as quote_path

import msgspec
import pytest

from api.live.limits import HubLimits
from api.live.replay import wanted_events
from decahertz.clock import CYCLE_NS
from decahertz.event import EVENT_TYPES, Fill, Log, News, Quote, Risk, Tick, event_topic
from decahertz.fakes import example_events
from decahertz.topic import Pattern, segment
from tests.api.checked import Caller
from tests.api.helpers import START_NS, Reader, Stack, quote, reader

MSGPACK = "decahertz.v1.msgpack"
FOREVER = 1e10


@pytest.fixture
def limits() -> HubLimits:
    """So few events in memory that readers resume from the database."""
    return HubLimits(ring_events=20, resume_seconds=FOREVER)


async def resume(client: Reader, epoch: int, sequence: int, *topics: str) -> list[dict[str, Any]]:
    """Resumes; the events up to the snapshot, and the snapshot."""
    await client.say(type="resume", topics=topics, epoch=epoch, sequence=sequence)
    heard = [await client.hear()]
    while heard[-1]["type"] == "event":
        heard.append(await client.hear())
    return heard


def now(stack: Stack, instrument: str, number: int) -> Quote:
    """A quote of this moment, which the database reads back."""
    return msgspec.structs.replace(quote(instrument, bid=float(number)), time_ns=stack.clock.time_ns())


def bids(messages: list[dict[str, Any]]) -> list[float]:
    return [message["data"]["bid"] for message in messages if message["type"] == "event"]


@pytest.mark.parametrize("protocol", [None, MSGPACK])
async def test_missed_events_come_first_then_a_snapshot_then_new_ones(protocol: str | None) -> None:
    async with Stack(limits=HubLimits(resume_seconds=FOREVER)).running() as stack:
        async with reader(stack) as client:
            await client.subscribe("quotes:A", "metrics:**")
            await stack.emit(*(quote("A", bid=float(n)) for n in range(3)))
            (*_, last) = await client.until_pong()
        await stack.emit(*(quote(name, bid=float(n)) for n in range(3, 1500) for name in "AB"))
        cycle_ns = stack.publish_cycle(1)
        async with reader(stack, protocol) as client:
            *missed, snapshot = await resume(client, 0, last["sequence"], "quotes:A", "metrics:**")
            assert bids(missed) == [float(n) for n in range(3, 1500)]
            assert {message["topic"] for message in missed} == {"quotes:A"}
            assert (snapshot["type"], snapshot["complete"]) == ("snapshot", True)
            assert snapshot["sequence"] >= missed[-1]["sequence"]
            assert [item["time_ns"] for item in snapshot["items"]] == [cycle_ns]
            await stack.emit(quote("A", bid=2000.0))
            assert bids(await client.until_pong()) == [2000.0]
            assert stack.publish_cycle(2) == START_NS + 2 * CYCLE_NS
            assert [message["type"] for message in await client.until_pong()] == ["update"]
        assert stack.counted("decahertz_api_websocket_resumed_total", source="ring") == 1


async def test_nothing_is_missed_or_doubled_while_events_keep_coming() -> None:
    async with Stack(limits=HubLimits(resume_seconds=FOREVER)).running() as stack:
        await stack.emit(*(quote("A", bid=float(n)) for n in range(5_000)))
        async with reader(stack) as client:
            resumed = asyncio.create_task(resume(client, 0, 0, "quotes:*"))
            for number in range(5_000, 6_000):
                await stack.emit(quote("A", bid=float(number)))
                await asyncio.sleep(0)
            heard = [*await resumed, *await client.until_pong()]
        assert bids(heard) == [float(n) for n in range(6_000)]
        sequences = [message["sequence"] for message in heard if message["type"] == "event"]
        assert sequences == sorted(set(sequences))


async def test_the_database_has_what_the_memory_no_longer_has(stored: Stack) -> None:
    epoch = stored.api.hub.epoch
    now_ns = stored.clock.time_ns()
    events = [msgspec.structs.replace(event, time_ns=now_ns) for event in example_events()]
    for event in events:
        await stored.emit(event)
    await stored.emit(*(now(stored, "B", n) for n in range(2_500)))
    async with reader(stored, MSGPACK) as client:
        *missed, _ = await resume(client, epoch, epoch, "**")
        assert [message["topic"] for message in missed] == [
            *map(event_topic, events),
            *["quotes:B"] * 2_500,
        ]
        assert bids(missed[-2_500:]) == [float(n) for n in range(2_500)]
        assert [message["time_ns"] for message in missed[: len(events)]] == [e.time_ns for e in events]
        sequences = [message["sequence"] for message in missed]
        assert sequences == sorted(set(sequences))
        await stored.emit(now(stored, "A", 7))
        assert bids(await client.until_pong()) == [7.0]
    async with reader(stored) as client:
        *missed, _ = await resume(client, epoch, sequences[-3], "quotes:A", "quotes:B", "fills")
        assert bids(missed) == [2498.0, 2499.0, 7.0]
    assert stored.counted("decahertz_api_websocket_resumed_total", source="database") == 2


NAMES = ("1000PEPE/USDT:USDT", "a*b", "50%", "ES=F", "^GSPC", "BRK.B", "贵州茅台")


async def test_any_name_of_an_instrument_is_stored_sent_and_resumed(
    stored: Stack, stored_caller: Caller
) -> None:
    epoch = stored.api.hub.epoch
    topics = [f"quotes:{segment(name)}" for name in NAMES]
    async with reader(stored) as client:
        await client.subscribe(*topics)
        await stored.emit(*(now(stored, name, n) for n, name in enumerate(NAMES)))
        assert [one["topic"] for one in await client.until_pong()] == topics
    await stored.emit(*(now(stored, "B", n) for n in range(100)))  # more than the memory holds
    await stored.all_stored()
    async with reader(stored) as client:
        *missed, _ = await resume(client, epoch, epoch, *topics)
        assert [message["data"]["instrument"] for message in missed] == list(NAMES)
    for n, name in enumerate(NAMES):
        (item,) = (await stored_caller.get(f"market/quotes/{quote_path(name)}")).body["items"]
        assert (item["instrument"], item["bid"]) == (name, float(n))


async def test_events_that_only_the_spool_has_come_too(stored: Stack) -> None:
    epoch = stored.api.hub.epoch
    sink: Any = stored.sink
    await stored.emit(*(now(stored, "A", n) for n in range(30)))
    await stored.all_stored()
    await sink.writer.stop()
    await stored.emit(*(now(stored, "A", n) for n in range(30, 60)))
    async with reader(stored) as client:
        *missed, _ = await resume(client, epoch, epoch, "quotes:A")
    assert bids(missed) == [float(n) for n in range(60)]


async def test_a_position_that_is_not_one_is_refused() -> None:
    async with Stack().running() as stack, reader(stack) as client:
        await stack.emit(quote(), quote())
        for epoch, sequence in [(0, 3), (1, 1), (0, 1)]:
            await client.say(type="resume", topics=["quotes:A"], epoch=epoch, sequence=sequence)
            refusal = await client.hear()
            assert (refusal["type"], refusal["code"]) == ("error", "cannot_resume")
        assert "24 hours" in refusal["text"]
        await client.say(type="resume", topics=["quo*"], epoch=0, sequence=1)
        assert (await client.hear())["code"] == "bad_topic"
        await client.say(type="resume", topics=["quotes:A"])
        assert (await client.hear())["code"] == "invalid"
        await stack.emit(quote())
        assert await client.until_pong() == []


async def test_what_is_subscribed_cannot_be_resumed() -> None:
    async with Stack(limits=HubLimits(resume_seconds=FOREVER)).running() as stack, reader(stack) as client:
        await client.subscribe("quotes:A")
        await client.say(type="resume", topics=["quotes:A"], epoch=0, sequence=0)
        assert (await client.hear())["code"] == "cannot_resume"


async def test_without_a_database_the_reader_is_told_and_may_try_again(limits: HubLimits) -> None:
    async with Stack(limits=limits).running() as stack, reader(stack) as client:
        for _ in range(10):
            await stack.emit(*(quote() for _ in range(10)))
        await client.say(type="resume", topics=["quotes:A"], epoch=0, sequence=0)
        assert (await client.hear())["code"] == "unavailable"
        *missed, _ = await resume(client, 0, 95, "quotes:A")
        assert [message["sequence"] for message in missed] == [96, 97, 98, 99, 100]


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        (["fills"], {Fill: None}),
        (["quotes:A", "quotes:B"], {Quote: ["A", "B"]}),
        (["quotes:A", "quotes:*"], {Quote: None}),
        (["*:A"], {Quote: ["A"], Tick: ["A"], News: None}),
        (["ticks:**", "risk", "logs"], {Tick: None, Risk: None, Log: None}),
        (["metrics:**", "alerts", "quotes", "fills:x", "fills:**"], {}),
        (["**"], dict.fromkeys(EVENT_TYPES)),
    ],
)
def test_only_tables_that_can_match_are_read(
    patterns: list[str], wanted: dict[type, list[str] | None]
) -> None:
    assert wanted_events([Pattern(text) for text in patterns]) == wanted
