"""Invalid parameters are refused, each by its name."""

from __future__ import annotations

import pytest

from decahertz.event import PositionSource
from tests.api.checked import Caller

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
    ("collector=probe&step=1w", "step"),
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
    ("timeframe=1w", "timeframe"),
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
    ("fills?start=-1w", "start"),
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
    assert [error["field"] for error in answer.problem("invalid-parameter")["errors"]] == [field]


async def test_the_values_of_an_enumeration_are_named(caller: Caller) -> None:
    answer = await caller.get("positions?held_by=desk")
    (error,) = answer.problem("invalid-parameter")["errors"]
    assert error["reason"] == f"Invalid enum value 'desk'; allowed: {', '.join(PositionSource)}"
