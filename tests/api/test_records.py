"""Lists and histories from the database, as the API answers them."""

from __future__ import annotations

from typing import Any

import pytest

from decahertz.clock import CYCLE_NS, format_time
from decahertz.fakes import example_events
from tests.api.checked import MSGPACK, Caller
from tests.api.helpers import START_NS, Stack
from tests.storage_examples import RECORDER


def fill(number: int, side: str, *, strategy: str = "momentum", instrument: str = "A") -> dict[str, Any]:
    return {
        "type": "fill",
        "time_ns": START_NS + number * 1_000,
        "strategy": strategy,
        "venue": "SIM",
        "instrument": instrument,
        "order_id": f"o{number}",
        "fill_id": f"f{number}",
        "side": side,
        "price": 100.0 + number,
        "quantity": 2.0,
    }


async def send_fills(caller: Caller, *fills: dict[str, Any]) -> None:
    sent = {"source": "bot", "epoch": 7, "first_sequence": 1, "events": fills}
    assert (await caller.send(sent)).status == 200


async def test_the_story_of_a_strategy_is_told_by_fills_and_trades(
    stored: Stack, stored_caller: Caller
) -> None:
    await stored.emit(*example_events(START_NS))
    await stored.all_stored()
    fills = (await stored_caller.get("fills")).body
    assert [item["fill_id"] for item in fills["items"]] == ["f2", "f1"]
    assert fills["items"][1]["risk"] == 0.5
    assert fills["next_cursor"] is None
    (trade,) = (await stored_caller.get("trades", headers={"Accept": MSGPACK})).body["items"]
    assert (trade["side"], trade["fills"], trade["strategy"]) == ("buy", 2, "momentum")
    assert trade["pnl"] == pytest.approx(2 * (1.1009 - 1.1001) - 0.02)
    instruments = (await stored_caller.get("instruments")).body["items"]
    assert [(item["venue"], item["instrument"]) for item in instruments] == [("SIM", "EUR/USD")]


async def test_a_cursor_leads_through_the_whole_list_once(stored_caller: Caller) -> None:
    await send_fills(stored_caller, *(fill(n, "buy" if n % 2 else "sell") for n in range(1, 26)))
    for path, name, sizes in (("fills", "fill_id", [4] * 6 + [1]), ("trades", "trade_id", [4] * 3)):
        pages = await stored_caller.pages(f"{path}?limit=4")
        assert [len(page) for page in pages] == sizes
        found = [item[name] for page in pages for item in page]
        assert len(set(found)) == len(found)
        assert path == "trades" or found == [f"f{n}" for n in range(25, 0, -1)]


NARROWED = {
    "strategy=mean": ["f3"],
    "instrument=B": ["f4"],
    "venue=SIM": ["f4", "f3", "f2", "f1"],
    "venue=sim": [],
    "order_id=o2": ["f2"],
    f"start={START_NS + 2_000}": ["f4", "f3", "f2"],
    f"end={START_NS + 2_000}": ["f1"],
    f"start={format_time(START_NS + 2_000)}&end={format_time(START_NS + 4_000)}": ["f3", "f2"],
    "limit=1": ["f4"],
}


async def test_fills_can_be_narrowed(stored_caller: Caller) -> None:
    await send_fills(
        stored_caller,
        fill(1, "buy"),
        fill(2, "sell"),
        fill(3, "buy", strategy="mean"),
        fill(4, "buy", instrument="B"),
    )
    for query, found in NARROWED.items():
        answer = await stored_caller.get(f"fills?{query}")
        assert [item["fill_id"] for item in answer.body["items"]] == found, query


async def test_accounts_of_a_strategy_are_told_apart(stored: Stack, stored_caller: Caller) -> None:
    await send_fills(
        stored_caller,
        {**fill(1, "buy"), "account": "one"},
        {**fill(2, "buy"), "account": "two"},
        {**fill(3, "sell"), "account": "two"},
        fill(4, "buy"),
    )
    await stored.all_stored()
    for account, fills, trades in (("one", ["f1"], 0), ("two", ["f3", "f2"], 1), ("", ["f4"], 0)):
        query = f"strategy=momentum&account={account}"
        found = (await stored_caller.get(f"fills?{query}")).body["items"]
        assert [item["fill_id"] for item in found] == fills
        assert len((await stored_caller.get(f"trades?{query}")).body["items"]) == trades
        assert (await stored_caller.get(f"trades/stats?{query}")).body["trades"] == trades
        held = (await stored_caller.get(f"positions?{query}&flat=true")).body["items"]
        assert [(item["account"], item["quantity"] == 0) for item in held] == [(account, account == "two")]
        summary = (await stored_caller.get(f"positions/summary?{query}")).body
        assert summary["count"] == 1 - trades
    assert (await stored_caller.get("fills?strategy=momentum&account=three")).body["items"] == []


@pytest.mark.parametrize("cursor", ["x", "%20", "AAAA", "é", "%F0%9F%92%A9", "a" * 1000])
@pytest.mark.parametrize("path", ["fills", "trades"])
async def test_a_made_up_cursor_is_refused(caller: Caller, path: str, cursor: str) -> None:
    answer = await caller.get(f"{path}?cursor={cursor}")
    assert answer.problem("invalid-cursor")["status"] == 400


async def test_a_cursor_of_another_list_is_refused(stored_caller: Caller) -> None:
    await send_fills(stored_caller, *(fill(n, "buy" if n % 2 else "sell") for n in range(1, 5)))
    cursor = (await stored_caller.get("fills?limit=1")).body["next_cursor"]
    (await stored_caller.get(f"trades?cursor={cursor}")).problem("invalid-cursor")


async def test_lists_bars_and_histories_name_the_recorder_and_filter_by_it(
    stored: Stack, stored_caller: Caller
) -> None:
    await stored.emit(*example_events(START_NS))
    stored.publish_cycle(0, ["A"])
    await stored.all_stored(1)
    history = f"metrics/history?collector=probe&start={START_NS}&end={START_NS + CYCLE_NS}"
    for path in ("fills?", "trades?", "export?format=csv&table=ticks&", f"{history}&"):
        every = (await stored_caller.get(path.rstrip("?&"))).body
        own = (await stored_caller.get(f"{path}recorder={RECORDER}")).body
        others = (await stored_caller.get(f"{path}recorder=elsewhere")).body
        assert own == every != others
        assert RECORDER in str(own)
        assert RECORDER not in str(others)
    body = {"collector": "probe", "start": START_NS, "end": START_NS + CYCLE_NS, "recorder": ["elsewhere"]}
    assert (await stored_caller.post("metrics/history", json=body)).body["series"] == []
    bars = "market/bars/EUR%2FUSD?timeframe=1d&recorder="
    assert len((await stored_caller.get(f"{bars}{RECORDER}")).body["items"]) == 1
    assert (await stored_caller.get(f"{bars}elsewhere")).body["items"] == []


async def test_a_history_is_in_columns_by_key(stored: Stack, stored_caller: Caller) -> None:
    for number in range(5):
        stored.publish_cycle(number, ["A", "B"])
    await stored.all_stored(10)
    span = f"start={START_NS + CYCLE_NS}&end={START_NS + 4 * CYCLE_NS}"
    answer = await stored_caller.get(f"metrics/history?collector=probe&instrument=B&fields=ticks,mid&{span}")
    assert answer.body == {
        "tier": "raw",
        "step_ns": None,
        "series": [
            {
                "key": {"recorder": RECORDER, "venue": "SIM", "instrument": "B"},
                "time_ns": [START_NS + number * CYCLE_NS for number in (1, 2, 3)],
                "fields": {"ticks": [1, 2, 3], "mid": [1.5, 1.5, 1.5]},
            }
        ],
        "next_start_ns": None,
    }
    both = await stored_caller.get(f"metrics/history?collector=probe&{span}", headers={"Accept": MSGPACK})
    assert [series["key"]["instrument"] for series in both.body["series"]] == ["A", "B"]
    assert all(set(series["fields"]) == {"mid", "ticks"} for series in both.body["series"])


async def test_a_history_without_times_is_that_of_the_last_five_minutes(
    stored: Stack, stored_caller: Caller
) -> None:
    now = (stored.clock.time_ns() - START_NS) // CYCLE_NS
    for number in (now - 3001, now - 2900, now):
        stored.publish_cycle(number)
    await stored.all_stored(3)
    answer = await stored_caller.get("metrics/history?collector=probe")
    assert answer.body["series"][0]["fields"]["ticks"] == [now - 2900, now]
