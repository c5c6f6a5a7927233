"""Bars, as the API answers them."""

from __future__ import annotations

from urllib.parse import quote

from decahertz.event import Tick
from tests.api.checked import Caller
from tests.api.helpers import START_NS, Stack

SECOND_NS = 10**9


def tick(second: int, price: float, instrument: str = "A", venue: str = "SIM") -> Tick:
    return Tick(
        time_ns=START_NS + second * SECOND_NS, venue=venue, instrument=instrument, price=price, size=2.0
    )


async def send(stack: Stack, *ticks: Tick) -> None:
    await stack.emit(*ticks)
    await stack.all_stored()


async def test_bars_are_answered_newest_first(stored: Stack, stored_caller: Caller) -> None:
    await send(stored, tick(0, 1.0), tick(1, 3.0), tick(2, 2.0), tick(70, 5.0), tick(71, 7.0, venue="OTHER"))
    answer = await stored_caller.get("market/bars/A?timeframe=1m&venue=SIM")
    first = {"open": 1.0, "high": 3.0, "low": 1.0, "close": 2.0, "volume": 6.0, "trades": 3, "vwap": 2.0}
    second = {"open": 5.0, "high": 5.0, "low": 5.0, "close": 5.0, "volume": 2.0, "trades": 1, "vwap": 5.0}
    assert answer.body == {
        "items": [{"time_ns": START_NS + 60 * SECOND_NS, **second}, {"time_ns": START_NS, **first}],
        "next_cursor": None,
    }
    assert (await stored_caller.get("market/bars/A")).body["items"][0]["close"] == 7.0


async def test_an_instrument_may_have_any_name(stored: Stack, stored_caller: Caller) -> None:
    names = ["EUR", "EUR/USD", "A.B-C", "B,C", "a b", "\u20bf", "%"]
    await send(stored, *(tick(0, price, name) for price, name in enumerate(names)))
    for price, name in enumerate(names):
        for path in {name.replace("%", "%25"), quote(name, safe="")}:
            (bar,) = (await stored_caller.get(f"market/bars/{path}")).body["items"]
            assert bar["close"] == price


async def test_a_cursor_leads_through_all_bars_once(stored: Stack, stored_caller: Caller) -> None:
    await send(stored, *(tick(7 * n, float(n)) for n in range(20)))
    pages = await stored_caller.pages("market/bars/A?timeframe=1s&limit=6")
    assert [bar["open"] for page in pages for bar in page] == [float(n) for n in range(19, -1, -1)]
    cursor = (await stored_caller.get("market/bars/A?timeframe=1s&limit=6")).body["next_cursor"]
    other = await stored_caller.get(f"market/bars/A?timeframe=1m&cursor={cursor}")
    other.problem("invalid-cursor")


async def test_an_invalid_duration_is_explained(caller: Caller) -> None:
    answer = await caller.get("market/bars/A?timeframe=1y")
    (error,) = answer.problem("invalid-parameter")["errors"]
    assert "whole number with ms, s, m, h, d or w" in error["reason"]


async def test_without_an_instrument_there_is_nothing(caller: Caller) -> None:
    (await caller.get("market/bars/")).problem("not-found")
