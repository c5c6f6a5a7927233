"""Bars as a topic: forming, closed, and changed by late ticks."""

from __future__ import annotations

from typing import Any

import pytest

from decahertz.clock import NS_PER_SECOND
from decahertz.event import Tick
from tests.api.helpers import Reader, Stack, reader, wait_for

HOUR_NS = 3600 * NS_PER_SECOND


def tick(stack: Stack, price: float, *, instrument: str = "A", size: float = 1.0, age_ns: int = 0) -> Tick:
    time_ns = stack.clock.time_ns() - age_ns
    return Tick(time_ns=time_ns, venue="SIM", instrument=instrument, price=price, size=size)


async def hear(client: Reader, kind: str, **expected: object) -> dict[str, Any]:
    """The next message of this type whose bar says that."""
    while True:
        message = await client.hear()
        if message["type"] == kind and expected.items() <= message["data"].items():
            return message


async def test_a_bar_forms_and_closes(stack: Stack) -> None:
    async with reader(stack) as client:
        assert await client.subscribe("bars:A:1s") == []
        await stack.emit(tick(stack, 10.0), tick(stack, 12.0, size=3.0), tick(stack, 99.0, instrument="B"))
        first = await client.hear()
        assert first["topic"] == "bars:A:1s"
        bar = first["data"]
        assert bar["time_ns"] % NS_PER_SECOND == 0
        assert (bar["open"], bar["high"], bar["low"], bar["close"]) == (10.0, 12.0, 10.0, 12.0) or bar[
            "closed"
        ]
        assert (bar["instrument"], bar["timeframe"]) == ("A", "1s")
        closed = first if bar["closed"] else await hear(client, "event", closed=True)
        assert closed["topic"] == "bars:A:1s"
        assert closed["data"]["closed"] is True


async def test_a_late_tick_sends_the_closed_bar_again(stack: Stack) -> None:
    async with reader(stack) as client:
        await client.subscribe("bars:*:1s")
        await stack.emit(tick(stack, 10.0, age_ns=2 * NS_PER_SECOND))
        first = await hear(client, "event", trades=1)
        start_ns = first["data"]["time_ns"]
        late = Tick(time_ns=start_ns, venue="SIM", instrument="A", price=5.0, size=2.0)
        await stack.emit(late)
        second = await hear(client, "event", trades=2)
        assert second["data"] == {
            **first["data"],
            "open": 5.0 if start_ns < stack.clock.time_ns() else 0,
            "low": 5.0,
            "volume": 3.0,
            "trades": 2,
            "vwap": pytest.approx(20.0 / 3.0),
        }


async def test_a_snapshot_has_the_bar_so_far(stored: Stack) -> None:
    now_ns = stored.clock.time_ns()
    if now_ns % HOUR_NS > HOUR_NS - 60 * NS_PER_SECOND:
        now_ns -= now_ns % HOUR_NS  # close to the end of the hour there is a new bar at any moment
    await stored.emit(*(tick(stored, 10.0 + n) for n in range(50)))
    await stored.all_stored()
    await stored.emit(*(tick(stored, 100.0 + n) for n in range(20)))
    async with reader(stored) as client, reader(stored) as other:
        (item,) = await client.subscribe("bars:A:1h")
        assert item["topic"] == "bars:A:1h"
        data = item["data"]
        assert (data["open"], data["high"], data["low"], data["close"]) == (10.0, 119.0, 10.0, 119.0)
        assert (data["trades"], data["volume"], data["closed"]) == (70, 70.0, False)
        assert [one["data"]["trades"] for one in await other.subscribe("bars:*:1h")] == [70]
        await stored.emit(tick(stored, 1.0))
        update = await hear(client, "update", trades=71)
        assert update["data"]["low"] == 1.0


@pytest.mark.parametrize(
    "topic", ["bars:A", "bars:A:x", "bars:A:2h", "bars:A:100ms", "bars:**", "bars:A:1m:x"]
)
async def test_a_pattern_names_a_timeframe(stack: Stack, topic: str) -> None:
    async with reader(stack) as client:
        await client.say(type="subscribe", topics=[topic])
        assert (await client.hear())["code"] == "bad_topic"


async def test_bars_without_readers_are_dropped(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.live.bars._KEPT_SECONDS", 0.0)
    async with reader(stack) as client:
        await client.subscribe("bars:A:1s")
        assert stack.api.hub._bars.is_active
    await wait_for(lambda: not stack.api.hub._bars.is_active, "the bars are dropped")
