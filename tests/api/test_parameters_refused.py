"""Invalid parameters are refused, each by its name."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession
from yarl import URL

from decahertz.event import PositionSource
from tests.api.checked import Caller
from tests.api.helpers import Stack

CURRENT = [
    ("collector=nothing", "collector"),
    ("fields=nothing", "fields"),
    ("collector=desk&fields=mid", "fields"),
    ("desk=1", "desk"),
    ("collector=desk&venue=SIM", "venue"),
    ("collector=", "collector"),
    ("collector=desk&collector=nothing", "collector"),
    ("fields=mid&fields=nothing", "fields"),
    ("venue=a%00b", "venue"),
    ("fields=" + ",".join(f"f{n}" for n in range(300)), "fields"),
]
HISTORY = [
    ("", "collector"),
    ("collector=nothing", "collector"),
    ("collector=probe&fields=nothing", "fields"),
    ("collector=probe&strategy=s", "strategy"),
    ("collector=probe&start=2&end=1", "start"),
    ("collector=probe&start=never", "start"),
    ("collector=probe&collector=desk", "collector"),
    ("collector=probe&tier=10s", "tier"),
    ("collector=probe&tier=", "tier"),
    ("collector=probe&step=0s", "step"),
    ("collector=probe&step=-1s", "step"),
    ("collector=probe&step=1.5s", "step"),
    ("collector=probe&step=1y", "step"),
    ("collector=probe&step=50ms", "step"),
    ("collector=probe&step=150ms", "step"),
    ("collector=probe&step=367d", "step"),
    ("collector=probe&step=99999999999999999d", "step"),
    ("collector=probe&step=1s&tier=1m", "step"),
    ("collector=probe&max_points=1", "max_points"),
    ("collector=probe&max_points=50001", "max_points"),
    ("collector=probe&max_points=many", "max_points"),
]
BARS = [
    ("timeframe=0s", "timeframe"),
    ("timeframe=1y", "timeframe"),
    ("timeframe=", "timeframe"),
    ("timeframe=367d", "timeframe"),
    ("limit=0", "limit"),
    ("limit=5001", "limit"),
    ("venue=", "venue"),
    ("start=2&end=1", "start"),
    ("start=now", "start"),
    ("instrument=B", "instrument"),
    ("symbol=B", "symbol"),
]
EXPORT = [
    ("", "collector"),
    ("collector=probe&table=quotes", "collector"),
    ("collector=nothing", "collector"),
    ("table=nothing", "table"),
    ("table=orders", "table"),
    ("collector=probe&format=xlsx", "format"),
    ("collector=probe&format=", "format"),
    ("collector=probe&fields=nothing", "fields"),
    ("table=quotes&fields=nothing", "fields"),
    ("collector=probe&strategy=s", "strategy"),
    ("table=quotes&bid=1", "bid"),
    ("collector=probe&start=2&end=1", "start"),
    ("collector=probe&start=soon", "start"),
]
OTHERS = [
    ("fills?limit=0", "limit"),
    ("fills?limit=1001", "limit"),
    ("fills?limit=ten", "limit"),
    ("fills?limit=1&limit=2", "limit"),
    ("fills?start=yesterday", "start"),
    ("fills?start=2026-01-01T00:00:00", "start"),
    ("fills?start=-1", "start"),
    ("fills?start=99999999999999999999", "start"),
    ("fills?end=" + "9" * 5000, "end"),
    ("fills?strategy=", "strategy"),
    ("fills?strategy=a%00", "strategy"),
    ("fills?stratgy=a", "stratgy"),
    ("trades?order_id=1", "order_id"),
    ("instruments?limit=1", "limit"),
    (f"market/bars/{'x' * 129}", "instrument"),
    ("market/bars/a%00b", "instrument"),
    ("alerts?state=null", "state"),
    ("fills?start=null", "start"),
    ("positions?held_by=null", "held_by"),
    ("positions?held_by=desk", "held_by"),
    ("positions?flat=2", "flat"),
    ("fills?start=-1y", "start"),
    ("fills?times=text", "times"),
    ("fills?format=xml", "format"),
    ("export?table=fills&times=string", "times"),
    ("fills?format=null", "format"),
    ("ping?x=1", "x"),
    ("ping?limit=5", "limit"),
    ("ping?=", ""),
]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        *((f"metrics/current?{query}", field) for query, field in CURRENT),
        *((f"metrics/history?{query}", field) for query, field in HISTORY),
        *((f"market/bars/A?{query}", field) for query, field in BARS),
        *((f"export?{query}", field) for query, field in EXPORT),
        *OTHERS,
    ],
)
async def test_an_invalid_parameter_is_named(caller: Caller, path: str, field: str) -> None:
    answer = await caller.get(path)
    assert answer.status == 400
    (error,) = answer.problem("invalid-parameter")["errors"]
    assert error["field"] == field
    assert "Expected" not in error["reason"]  # the words of the decoder


async def test_the_values_of_an_enumeration_are_named(caller: Caller) -> None:
    answer = await caller.get("positions?held_by=desk")
    (error,) = answer.problem("invalid-parameter")["errors"]
    assert error["reason"] == f"'desk' is unknown; allowed: {', '.join(PositionSource)}"


@pytest.mark.parametrize(
    "path",
    [
        "/%ff",
        "/api/v1/fills%ff",
        "/api/v1/trades/%C3%28",
        "/api/v1/market/bars/%ff%fe",
        "/page/%80",
        "/ws%ff",
    ],
)
async def test_a_path_that_is_not_utf_8_is_told_so(stack: Stack, path: str) -> None:
    async with ClientSession() as session, session.get(URL(stack.api.url + path, encoded=True)) as response:
        problem = await response.json(content_type=None)
        assert (response.status, problem["type"]) == (400, "urn:decahertz:problem:bad-request")
        assert problem["detail"] == "the path is not UTF-8 after percent-decoding"


async def test_a_path_in_utf_8_is_looked_for(stack: Stack) -> None:
    async with ClientSession() as session:
        for path in ("/api/v1/trades/%E6%AF%94", "/nothing%20here"):
            async with session.get(URL(stack.api.url + path, encoded=True)) as response:
                assert response.status in (404, 503)


async def test_a_duration_without_a_unit_is_answered_with_those_that_there_are(caller: Caller) -> None:
    (error,) = (await caller.get("fills?start=-10")).problem("invalid-parameter")["errors"]
    assert error["reason"] == "'-10' has no unit: -10s for seconds before now, -10m for minutes, -10h"
