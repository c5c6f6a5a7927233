"""Whether trading may go on: asked over HTTP, told over the WebSocket, and kept by the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from control.actor import Actor
from decahertz.halts import Halt, HaltOrigin, HaltScope
from decahertz.health import Health
from decahertz_client import Client, TradingPermission
from tests.api.checked import Caller
from tests.api.helpers import Stack, reader, wait_for
from tests.proxy import ApiProxy

PERSON = Actor(name="ada")


@pytest.fixture
async def desk(stored: Stack) -> AsyncIterator[Stack]:
    """A recorder that evaluates what speaks against trading."""
    await stored.risk.start()
    yield stored
    await stored.risk.stop()


async def halt(desk: Stack, scope: HaltScope, **names: str) -> Halt:
    made = desk.halts.new(scope, HaltOrigin.PERSON, "ada", "news", **names)
    return (await desk.halts.halt(made, PERSON))[0]


async def resume(desk: Stack, halted: Halt) -> None:
    await desk.halts.resume(halted.halt_id, "looked at it", PERSON)


async def test_the_answer_is_by_strategy_and_instrument(desk: Stack, stored_caller: Caller) -> None:
    async def can(query: str = "") -> bool:
        answer = (await stored_caller.get(f"risk/can-trade{query}")).body
        assert answer["can_trade"] is not bool(answer["objections"])
        return bool(answer["can_trade"])

    assert await can()
    await halt(desk, HaltScope.STRATEGY, strategy="momentum")
    await halt(desk, HaltScope.INSTRUMENT, instrument="BTC-USD", venue="kraken")
    assert not await can()
    assert not await can("?strategy=momentum")
    assert await can("?strategy=other")
    assert await can("?strategy=other&instrument=BTC-USD&venue=coinbase")
    assert not await can("?strategy=other&instrument=BTC-USD&venue=kraken")
    desk.fail("writer", Health.FAILED)
    assert not await can("?strategy=other")
    report = (await stored_caller.get("risk/can-trade?strategy=other")).body
    assert [one["reason"] for one in report["objections"]] == ["writer has failed: for a test"]


async def test_the_answer_waits_for_another_state(desk: Stack, stored_caller: Caller) -> None:
    known_ns = (await stored_caller.get("risk/can-trade")).body["time_ns"]
    at_once = await stored_caller.get(f"risk/can-trade?known_ns={known_ns + 1}&wait_seconds=5")
    assert at_once.body["time_ns"] == known_ns
    unchanged = await stored_caller.get(f"risk/can-trade?known_ns={known_ns}&wait_seconds=0.01")
    assert unchanged.body["time_ns"] == known_ns
    asked = asyncio.create_task(stored_caller.get(f"risk/can-trade?known_ns={known_ns}&wait_seconds=5"))
    while not asked.done():
        await resume(desk, await halt(desk, HaltScope.DESK))
        await asyncio.sleep(0.01)
    assert (await asked).body["time_ns"] > known_ns


async def test_readers_get_the_state_at_once_and_each_change(desk: Stack) -> None:
    async with reader(desk) as live:
        (item,) = await live.subscribe("risk")
        assert (item["data"]["type"], item["data"]["can_trade"]) == ("can_trade", True)
        halted = await halt(desk, HaltScope.STRATEGY, strategy="momentum")
        heard = [(await live.hear())["data"] for _ in range(2)]
        await resume(desk, halted)
        heard += [(await live.hear())["data"] for _ in range(2)]
    states = [one for one in heard if one["type"] == "can_trade"]
    assert [state["can_trade"] for state in states] == [False, True]
    assert states[0]["objections"] == [
        {
            "reason": "strategy momentum is halted: news",
            "strategy": "momentum",
            "venue": None,
            "instrument": None,
        }
    ]
    assert {one["type"] for one in heard} == {"can_trade", "trading_halted", "trading_resumed"}


async def test_the_client_hears_of_a_halt_and_of_its_end(desk: Stack) -> None:
    with Client(desk.api.url, source="trader") as client:
        assert not client.can_trade("momentum")  # nobody has said so yet
        assert await asyncio.to_thread(client.wait_can_trade, 15)
        assert client.can_trade("momentum")
        halted = await halt(desk, HaltScope.STRATEGY, strategy="momentum")
        await wait_for(lambda: not client.can_trade("momentum"), "the client knows of the halt")
        assert client.can_trade("other", "kraken", "BTC-USD")
        permission = client.trading_permission("momentum")
        assert permission.reasons == ("strategy momentum is halted: news",)
        assert not permission.is_default
        assert permission.age_seconds is not None
        await resume(desk, halted)
        await wait_for(lambda: client.can_trade("momentum"), "the client knows that it is over")
        await halt(desk, HaltScope.INSTRUMENT, instrument="BTC-USD")
        await wait_for(lambda: not client.can_trade("momentum", None, "BTC-USD"), "of the instrument too")
        assert client.can_trade("momentum")
        assert client.can_trade("momentum", "kraken", "ETH-USD")
        await asyncio.to_thread(client.close)
        assert client.trading_permission("momentum").reasons == ("the client is closed",)


@pytest.mark.parametrize("default", [False, True])
async def test_without_a_fresh_word_the_default_counts(desk: Stack, default: bool) -> None:  # noqa: FBT001 - drawn
    options: dict[str, Any] = {"can_trade_default": default, "can_trade_max_age_seconds": 2.0}
    async with ApiProxy(desk.api.port).running() as proxy:
        client = Client(f"http://127.0.0.1:{proxy.port}", source="trader", **options)

        def permission() -> TradingPermission:
            return client.trading_permission("momentum")

        assert permission()[:3] == (default, None, True)
        assert await asyncio.to_thread(client.wait_can_trade, 15)
        await proxy.cut()
        # What the recorder says meanwhile does not arrive; what it said before counts for a while.
        await halt(desk, HaltScope.DESK)
        await wait_for(lambda: permission().is_default, "its word is too old")
        assert client.can_trade("momentum") is default
        (reason,) = permission().reasons
        assert "s old" in reason
        proxy.is_cut = False
        await wait_for(lambda: not permission().is_default, "it answers again")
        assert permission().reasons == ("the desk is halted: news",)
        await asyncio.to_thread(client.close)
