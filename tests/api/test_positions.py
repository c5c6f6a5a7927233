"""Positions: live figures, compared with what plain arithmetic says of the same fills and quotes."""

from __future__ import annotations

from typing import Any

import pytest

from decahertz.event import Fill, Position, PositionSource, Quote, Side
from decahertz.health import CollectorStatus, RunState
from tests.api.checked import MSGPACK, Caller
from tests.api.helpers import START_NS, Stack

FILLS = (
    # strategy, instrument, side, quantity, price, fee, risk
    ("trend", "A", Side.BUY, 2.0, 100.0, 0.5, 40.0),
    ("trend", "A", Side.BUY, 1.0, 106.0, 0.25, None),
    ("trend", "A", Side.SELL, 1.0, 110.0, 0.25, None),
    ("trend", "B/C", Side.SELL, 4.0, 50.0, 1.0, None),
    ("mean", "A", Side.SELL, 5.0, 104.0, -0.5, None),
    ("mean", "D", Side.BUY, 3.0, 10.0, 0.0, None),
    ("mean", "D", Side.SELL, 3.0, 12.0, 0.0, None),
)
MIDS = {"A": 108.0, "B/C": 45.0, "D": 11.0}


def fills() -> list[Fill]:
    return [
        Fill(
            time_ns=START_NS + number,
            strategy=strategy,
            venue="SIM",
            instrument=instrument,
            order_id=f"o{number}",
            fill_id="1",
            side=side,
            quantity=quantity,
            price=price,
            fee=fee,
            risk=risk,
        )
        for number, (strategy, instrument, side, quantity, price, fee, risk) in enumerate(FILLS)
    ]


def quotes() -> list[Quote]:
    return [
        Quote(time_ns=START_NS, venue="SIM", instrument=name, bid=mid - 1, ask=mid + 1)
        for name, mid in MIDS.items()
    ]


def report(quantity: float, **more: Any) -> Position:  # noqa: ANN401 - any field
    values = {"time_ns": START_NS, "strategy": "hand", "venue": "SIM", "instrument": "D", **more}
    return Position(quantity=quantity, **values)


def by_name(items: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(item["strategy"], item["instrument"]): item for item in items}


async def test_a_position_is_that_of_its_fills_at_the_newest_mid(stack: Stack, caller: Caller) -> None:
    await stack.emit(*fills(), *quotes())
    answer = await caller.get("positions")
    found = by_name(answer.body["items"])
    assert list(found) == [("mean", "A"), ("trend", "A"), ("trend", "B/C")]
    long = found["trend", "A"]
    cost = (2 * 100 + 1 * 106) / 3
    assert (long["quantity"], long["fills"], long["basis"]) == (2.0, 3, "fills")
    assert long["average_price"] == pytest.approx(cost)
    assert (long["mark_price"], long["mark_source"], long["value"]) == (108.0, "quote", 216.0)
    assert long["unrealised_pnl"] == pytest.approx(2 * (108 - cost))
    assert long["realised_pnl"] == pytest.approx(110 - cost - 1.0)
    assert long["fees"] == pytest.approx(1.0)
    # Realised and unrealised P&L add up to the cash flows and the value of the position that is left.
    flows = -2 * 100 - 106 + 110 - 1.0
    assert long["unrealised_pnl"] + long["realised_pnl"] == pytest.approx(flows + 216)
    assert (long["risk"], long["opened_ns"], long["updated_ns"]) == (40.0, START_NS, START_NS + 2)
    assert long["current_r"] == pytest.approx((flows + 216) / 40)
    not_valued = dict.fromkeys(("mae", "mfe"), "no cycle has valued it since it opened")
    assert long["reasons"] == not_valued
    short = found["trend", "B/C"]
    assert (short["quantity"], short["value"], short["unrealised_pnl"]) == (-4.0, -180.0, 20.0)
    assert short["reasons"] == not_valued | {
        "risk": "no fill names the initial risk",
        "current_r": "no fill names the initial risk",
    }


async def test_a_flat_position_is_listed_on_request_with_what_it_earned(stack: Stack, caller: Caller) -> None:
    await stack.emit(*fills(), *quotes())
    (flat,) = (await caller.get("positions?flat=true&instrument=D", headers={"Accept": MSGPACK})).body[
        "items"
    ]
    assert (flat["quantity"], flat["value"], flat["unrealised_pnl"], flat["realised_pnl"]) == (0, 0, 0, 6.0)
    assert flat["reasons"]["average_price"] == "there is no open position"
    assert (await caller.get("positions?instrument=D")).body["items"] == []


async def test_the_summary_adds_up_the_open_positions(stack: Stack, caller: Caller) -> None:
    await stack.emit(*fills(), *quotes())
    listed = (await caller.get("positions")).body["items"]
    summary = (await caller.get("positions/summary")).body
    assert (summary["count"], summary["long"], summary["short"], summary["unmarked"]) == (3, 1, 2, 0)
    assert (summary["instruments"], summary["strategies"]) == (2, 2)
    assert summary["gross_value"] == pytest.approx(2 * 108 + 4 * 45 + 5 * 108)
    assert summary["net_value"] == pytest.approx(2 * 108 - 4 * 45 - 5 * 108)
    assert summary["unrealised_pnl"] == pytest.approx(sum(item["unrealised_pnl"] for item in listed))
    assert 0 <= summary["oldest_mark_seconds"] < 15
    one = (await caller.get("positions/summary?strategy=mean")).body
    assert (one["count"], one["gross_value"], one["unrealised_pnl"]) == (1, 540.0, -20.0)


async def test_without_a_mark_price_sums_are_null_and_say_why(stack: Stack, caller: Caller) -> None:
    await stack.emit(*fills())
    summary = (await caller.get("positions/summary")).body
    assert (summary["count"], summary["unmarked"], summary["gross_value"]) == (3, 3, None)
    assert summary["reasons"]["gross_value"] == "mean, A: no quote and no reported mark price"
    assert summary["reasons"]["oldest_mark_seconds"] == "no position has a mark price"
    empty = (await caller.get("positions/summary?venue=elsewhere")).body
    assert (empty["count"], empty["gross_value"], empty["unrealised_pnl"]) == (0, 0.0, 0.0)


async def test_an_instrument_has_the_positions_of_all_strategies(stack: Stack, caller: Caller) -> None:
    await stack.emit(*fills(), *quotes())
    answer = (await caller.get("positions/A")).body
    assert [item["strategy"] for item in answer["items"]] == ["mean", "trend"]
    assert (answer["quantity"], answer["value"]) == (-3.0, -3 * 108.0)
    assert answer["fees"] == pytest.approx(0.5)
    assert (await caller.get("positions/B/C")).body["quantity"] == -4.0
    assert (await caller.get("positions/D")).body["realised_pnl"] == 6.0
    assert (await caller.get("positions/A?strategy=trend")).body["quantity"] == 2.0
    problem = (await caller.get("positions/XYZ")).problem("not-found")
    assert "'XYZ'" in problem["detail"]


async def test_a_position_without_fills_is_the_reported_one(stack: Stack, caller: Caller) -> None:
    await stack.emit(
        report(6.0, average_price=10.0, mark_price=12.0, held_by=PositionSource.MANUAL),
        report(-2.0, average_price=11.0, held_by=PositionSource.AUTONOMOUS),
    )
    (item,) = (await caller.get("positions")).body["items"]
    assert (item["basis"], item["quantity"], item["held_by"]) == ("reports", 4.0, ["manual", "autonomous"])
    assert item["average_price"] == pytest.approx((60 - 22) / 4)
    assert (item["mark_price"], item["mark_source"], item["value"]) == (12.0, "report", 48.0)
    assert item["unrealised_pnl"] == pytest.approx(6 * (12 - 10) - 2 * (12 - 11))
    assert item["realised_pnl"] is item["fees"] is None
    assert "no fill is known" in item["reasons"]["realised_pnl"]
    assert len((await caller.get("positions?held_by=manual")).body["items"]) == 1
    assert (await caller.get("positions?held_by=bot")).body["items"] == []
    (await caller.get("positions?held_by=me")).problem("invalid-parameter")


async def test_a_report_that_contradicts_the_fills_is_shown(stack: Stack, caller: Caller) -> None:
    await stack.emit(*fills(), report(7.0, strategy="mean", instrument="A", time_ns=START_NS + 9))
    assert stack.strategy is not None
    before = (await caller.get("positions?strategy=mean")).body["items"][0]
    now_ns = stack.clock.time_ns()
    stack.strategy.sample(now_ns - 2_000_000_000)  # the cycle that finds the difference
    after = (await caller.get("positions?strategy=mean")).body["items"][0]
    assert (before["differs"], after["differs"]) == (False, True)
    assert (after["quantity"], after["reported"][0]["quantity"]) == (-5.0, 7.0)


async def test_a_collector_that_does_not_run_is_no_empty_list(caller: Caller, stack: Stack) -> None:
    stack.failed_collectors.append(
        CollectorStatus(name="strategy", state=RunState.FAILED, last_error="start raised OSError")
    )
    for path in ("positions", "positions/summary", "positions/A", "pnl", "system/status"):
        assert "start raised OSError" in (await caller.get(path)).problem("not-enabled")["detail"]


async def test_without_the_strategy_collector_the_answer_names_the_setting() -> None:
    async with Stack(has_strategies=False).running() as stack, Caller(stack.api.url) as caller:
        problem = (await caller.get("positions")).problem("not-enabled")
        assert (problem["status"], "collectors.enabled" in problem["detail"]) == (501, True)
