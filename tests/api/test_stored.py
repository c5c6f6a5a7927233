"""Lists of stored events and orders, as the API answers them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from collectors.market.collector import MarketCollector, MarketOptions
from decahertz.clock import NS_PER_SECOND
from decahertz.event import (
    Cash,
    CashKind,
    Direction,
    Fill,
    FillKind,
    Gap,
    Log,
    LogLevel,
    News,
    Order,
    OrderState,
    Quote,
    Regime,
    Side,
    Signal,
    Tick,
)
from decahertz.fakes import example_events
from tests.api.checked import Caller
from tests.api.helpers import START_NS, Stack
from tests.storage_examples import RECORDER

DAY_NS = 86_400 * NS_PER_SECOND


@pytest_asyncio.fixture
async def asked(stored: Stack, stored_caller: Caller) -> AsyncIterator[Caller]:
    """The API of a database with an event of every type."""
    await stored.emit(*example_events(START_NS))
    await stored.all_stored()
    yield stored_caller


def order(number: int, state: OrderState, **more: Any) -> Order:  # noqa: ANN401 - any field
    values: dict[str, Any] = {
        "time_ns": START_NS + number * NS_PER_SECOND,
        "strategy": "trend",
        "venue": "SIM",
        "instrument": "A",
        "order_id": f"o{number}",
        "state": state,
        "side": Side.BUY,
        "quantity": 2.0,
    }
    return Order(**values | more)


LISTS: dict[str, dict[str, Any]] = {
    "signals": {"signal_id": "s1", "strategy": "momentum", "direction": "buy", "price": 1.1, "risk": 0.5},
    "cash": {"cash_id": "c1", "kind": "funding", "amount": -0.01, "currency": "USD"},
    "risk/events": {"name": "exposure", "value": 2.2, "limit_value": 10.0, "breached": False},
    "regime": {"regime": "trend", "strategy": "momentum", "confidence": 0.7},
    "sentiment/news": {"headline": "Rates unchanged", "instruments": ["EUR/USD"], "sentiment": 0.1},
    "system/logs": {"component": "momentum", "level": "warning", "message": "slow"},
    "market/gaps": {"numbering": "quotes", "from_sequence": 3, "to_sequence": 4, "missing": 2},
    "market/ticks/EUR/USD": {"venue": "SIM", "price": 1.1, "size": 0.5, "side": "buy", "venue_sequence": 2},
}


async def test_each_list_has_its_events_with_their_identity(asked: Caller) -> None:
    for path, expected in LISTS.items():
        (item,) = (await asked.get(path)).body["items"]
        assert item.items() >= expected.items(), path
        assert (item["recorder"], item["source"], item["epoch"]) == (RECORDER, "test", 1)
        assert item["received_ns"] > START_NS
    quotes = (await asked.get("market/quotes/EUR%2FUSD")).body["items"]
    assert [(item["bid"], item["ask"]) for item in quotes] == [
        (None, 1.1012),
        (1.1009, 1.1011),
        (1.0999, 1.1001),
    ]


SELECTED = {
    "fills?source=test&recorder=nobody": 0,
    "fills?source=elsewhere": 0,
    "fills?source=test": 2,
    "trades?source=test": 1,
    "trades?source=elsewhere": 0,
    "signals?source=test": 1,
    "orders?source=elsewhere": 0,
    "instruments?venue=SIM&instrument=EUR/USD": 1,
    "instruments?venue=OTHER": 0,
    "signals?direction=buy&strategy=momentum&venue=SIM&instrument=EUR/USD&signal_id=s1": 1,
    "signals?direction=sell": 0,
    f"signals?start={START_NS + DAY_NS}": 0,
    f"signals?end={START_NS + 6_000_000}": 0,
    f"signals?start={START_NS + 6_000_000}&end={START_NS + 6_000_001}": 1,
    "signals?recorder=elsewhere": 0,
    "cash?strategy=momentum&kind=funding&instrument=EUR/USD&cash_id=c1": 1,
    "cash?kind=transfer": 0,
    "cash?account=second": 0,
    "risk/events?name=exposure&breached=false&strategy=momentum": 1,
    "risk/events?breached=true": 0,
    "regime?regime=trend": 1,
    "regime?regime=range": 0,
    "sentiment/news?instrument=EUR/USD": 1,
    "sentiment/news?publisher=nobody": 0,
    "system/logs?component=momentum&level=warning": 1,
    "system/logs?level=error": 0,
    "system/logs?start=-1m": 0,
    "market/ticks/EUR/USD?venue=SIM&side=buy": 1,
    "market/ticks/EUR/USD?side=sell": 0,
    "market/ticks/EUR/USD?venue=OTHER": 0,
    "market/gaps?venue=SIM&instrument=EUR/USD&numbering=quotes&recovered=false": 1,
    "market/gaps?recovered=true": 0,
    f"market/quotes/EUR/USD?start={START_NS + 13_000_000}&limit=1": 1,
    "market/quotes/EUR/USD?start=-1s": 0,
    "cash/totals?strategy=momentum": 2,
    "cash/totals?recorder=elsewhere": 0,
    f"cash/totals?start={START_NS + DAY_NS}": 0,
    "orders?state=filled": 2,
    "orders?is_final=false": 0,
    "orders?side=sell&order_id=o2": 1,
    "orders?signal_id=s1": 1,
    f"orders?start={START_NS + 8_000_000}": 2,
    "orders?strategy=momentum&venue=SIM&instrument=EUR/USD": 3,
}


async def test_lists_are_filtered_by_key_columns_and_time(asked: Caller) -> None:
    for path, count in SELECTED.items():
        assert len((await asked.get(path)).body["items"]) == count, path


UNKNOWN = {
    "signals?instrument=EURUSD": "instrument",
    "market/ticks/EUR-USD": "instrument",
    "market/gaps?instrument=EUR-USD": "instrument",
    "market/quotes/eur/usd": "instrument",
    "market/bars/EUR-USD": "instrument",
    "trades/stats?strategy=momentun": "strategy",
    "cash/totals?strategy=momentun": "strategy",
    "performance?instrument=EURUSD": "instrument",
    "orders?strategy=momentun": "strategy",
    "orders/active/count?strategy=momentun": "strategy",
    "fills?instrument=EUR-USD&start=-1m": "instrument",
    "trades?strategy=Momentum": "strategy",
    "regime?strategy=momentun": "strategy",
    "metrics/current?collector=probe&instrument=EURUSD": "instrument",
    "sentiment/series/EURUSD": "instrument",
    "market/feeds?instrument=EURUSD": "instrument",
    "positions?strategy=momentun": "strategy",
    "positions?instrument=EURUSD": "instrument",
    "positions/summary?strategy=momentun": "strategy",
    "pnl?strategy=momentun": "strategy",
    "execution/quality?strategy=momentun": "strategy",
    f"execution/quality?strategy=momentun&start={START_NS}": "strategy",
}


async def test_an_unknown_name_is_told_from_an_empty_range_and_similar_ones_are_named(
    stored: Stack, asked: Caller
) -> None:
    stored.market = MarketCollector(stored.clock, MarketOptions())
    for path, name in UNKNOWN.items():
        answer = await asked.get(path)
        assert answer.status == 404, path
        (error,) = answer.problem("unknown-name")["errors"]
        assert error["field"] == name
        assert ("EUR/USD" if name == "instrument" else "momentum") in error["reason"]
    for path in ("signals?instrument=EUR/USD&start=-1m", "fills?strategy=momentum&start=-1m"):
        assert (await asked.get(path)).body["items"] == []
    assert (await asked.get("market/bars/EUR/USD?start=-1m")).body["items"] == []
    assert (await asked.get("trades/stats?strategy=momentum&start=-1m")).body["trades"] == 0


async def test_a_name_of_headlines_gaps_flows_or_requests_alone_is_known(
    stored: Stack, stored_caller: Caller
) -> None:
    news = News(time_ns=START_NS, headline="H", publisher="P", instruments=("NEWS",), sentiment=None)
    gap = Gap(time_ns=START_NS, venue="SIM", instrument="GAP", numbering="quotes", missing=2)
    flow = Cash(
        time_ns=START_NS, strategy="holder", cash_id="c", kind=CashKind.TRANSFER, amount=1.0, currency="USD"
    )
    await stored.emit(news, gap, flow)
    await stored.all_stored()
    later = f"start={START_NS + DAY_NS}"
    for path in (f"sentiment/news?instrument=NEWS&{later}", f"market/gaps?instrument=GAP&{later}"):
        assert (await stored_caller.get(path)).body["items"] == [], path
    series = (await stored_caller.get(f"sentiment/series/NEWS?{later}&end={START_NS + 3 * DAY_NS}")).body
    assert {item["n"] for item in series["items"]} == {0}
    for path in (f"cash?strategy=holder&{later}", "fills?strategy=holder", "positions?strategy=holder"):
        assert (await stored_caller.get(path)).body["items"] == [], path
    assert (await stored_caller.get("pnl?strategy=holder")).status == 200


async def test_a_name_that_is_only_live_is_known(stored: Stack, asked: Caller) -> None:
    stored.publish_cycle(1, ["LIVE"])
    assert (await asked.get("signals?instrument=LIVE")).body["items"] == []


async def test_an_order_is_shown_with_its_changes_and_fills(asked: Caller) -> None:
    detail = (await asked.get("orders/o1")).body
    assert detail["order"]["state"] == "filled"
    assert (detail["order"]["is_final"], detail["order"]["created_ns"]) == (True, START_NS + 7_000_000)
    assert [change["state"] for change in detail["changes"]] == ["submitted", "accepted", "filled"]
    assert [fill["fill_id"] for fill in detail["fills"]] == ["f1"]
    (await asked.get("orders/nothing")).problem("not-found")
    (await asked.get("orders/o1?strategy=other")).problem("not-found")


async def test_an_id_of_several_orders_needs_the_key(stored: Stack, stored_caller: Caller) -> None:
    await stored.emit(
        order(1, OrderState.ACCEPTED, order_id="17"),
        order(2, OrderState.ACCEPTED, order_id="17", instrument="B"),
    )
    await stored.all_stored()
    assert (await stored_caller.get("orders/17")).problem("ambiguous-name")["status"] == 409
    assert (await stored_caller.get("orders/17?instrument=B")).body["order"]["instrument"] == "B"


async def test_open_orders_are_counted(stored: Stack, stored_caller: Caller) -> None:
    states = [OrderState.SUBMITTED, OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED, OrderState.CANCELLED]
    await stored.emit(*(order(number, state) for number, state in enumerate(states)))
    await stored.all_stored()
    assert (await stored_caller.get("orders/active/count")).body == {"count": 3}
    assert (await stored_caller.get("orders/active/count?strategy=trend&instrument=A")).body == {"count": 3}
    assert (await stored_caller.get("orders/active/count?venue=OTHER")).body == {"count": 0}


async def test_round_trips_are_filtered_by_the_regime_at_their_opening(
    stored: Stack, stored_caller: Caller
) -> None:
    def regime(second: int, name: str, strategy: str | None) -> Regime:
        return Regime(time_ns=START_NS + second * NS_PER_SECOND, regime=name, strategy=strategy)

    def fill(second: int, strategy: str, side: Side) -> Fill:
        number = f"{strategy}{second}"
        return Fill(
            time_ns=START_NS + second * NS_PER_SECOND,
            strategy=strategy,
            venue="SIM",
            instrument="A",
            order_id=number,
            fill_id=number,
            side=side,
            price=1.0,
            quantity=1.0,
        )

    await stored.emit(
        regime(0, "calm", None),
        regime(1, "trend", "a"),
        *(fill(2 + second, "a", side) for second, side in enumerate((Side.BUY, Side.SELL))),
        *(fill(2 + second, "b", side) for second, side in enumerate((Side.BUY, Side.SELL))),
        regime(4, "range", "a"),
        *(fill(5 + second, "a", side) for second, side in enumerate((Side.SELL, Side.BUY))),
    )
    await stored.all_stored()

    async def found(name: str) -> list[tuple[str, str]]:
        items = (await stored_caller.get(f"trades?regime={name}")).body["items"]
        return [(item["strategy"], item["side"]) for item in items]

    assert await found("trend") == [("a", "buy")]
    assert await found("range") == [("a", "sell")]
    assert await found("calm") == [("b", "buy")]
    assert await found("unknown") == []


async def test_an_order_keeps_its_place_in_the_list_while_its_state_changes(
    stored: Stack, stored_caller: Caller
) -> None:
    await stored.emit(*(order(number, OrderState.SUBMITTED) for number in range(6)))
    await stored.all_stored()
    first = (await stored_caller.get("orders?limit=2")).body
    await stored.emit(
        order(50, OrderState.FILLED, order_id="o2"),
        order(51, OrderState.FILLED, order_id="o5"),
        order(52, OrderState.SUBMITTED),
    )
    await stored.all_stored()
    found, cursor = [item["order_id"] for item in first["items"]], first["next_cursor"]
    while cursor is not None:
        page = (await stored_caller.get(f"orders?limit=2&cursor={cursor}")).body
        found += [item["order_id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert found == ["o5", "o4", "o3", "o2", "o1", "o0"]


async def test_round_trips_are_shown_by_id_and_newest_first(asked: Caller) -> None:
    (trade,) = (await asked.get("trades")).body["items"]
    detail = (await asked.get(f"trades/{trade['trade_id']}")).body
    reasons = detail["excursion_reason"], trade["excursion_reason"]  # one is computed now
    assert {name: detail[name] for name in trade} == trade | {"excursion_reason": reasons[0]}
    assert detail["mae"] is detail["mfe"] is None
    assert all(reasons)
    assert (await asked.get("trades/recent?limit=5")).body["items"] == [trade]
    (await asked.get("trades/none")).problem("not-found")


async def test_fees_and_flows_add_up_by_currency_and_count_once(stored: Stack, stored_caller: Caller) -> None:
    def fill(number: int, **more: Any) -> Fill:  # noqa: ANN401 - any field
        values: dict[str, Any] = {
            "time_ns": START_NS + number, "strategy": "s", "venue": "SIM", "instrument": "A", "order_id": "o",
            "fill_id": str(number), "side": Side.BUY, "price": 10.0, "quantity": 1.0,
        }  # fmt: skip
        return Fill(**values | more)

    def flow(cash_id: str, amount: float, **more: Any) -> Cash:  # noqa: ANN401 - any field
        values: dict[str, Any] = {"time_ns": START_NS, "strategy": "s", "kind": CashKind.FUNDING}
        return Cash(cash_id=cash_id, amount=amount, **values | more)

    await stored.emit(
        fill(1, fee=2.0),
        fill(2, fee=1.5, fee_currency="BNB", fee_rate=600.0),
        fill(3, fee=-0.5, fee_currency="BNB", fee_rate=610.0),
        fill(4, fee=9.0, fill_id="5"),
        fill(5, fee=4.0, kind=FillKind.CORRECTION),
        fill(6, fee=8.0),
        fill(7, fee=8.0, fill_id="6", kind=FillKind.BUST),
        fill(8, fee=1.0, kind=FillKind.SETTLEMENT),
        fill(9),
        flow("1", -0.001, currency="BTC", rate=60_000.0),
        flow("1", -0.001, currency="BTC", rate=60_000.0),
        flow("2", 0.002, currency="BTC", rate=61_000.0),
        flow("3", 5.0, currency="CHF", account="x"),
    )
    await stored.all_stored()
    items = (await stored_caller.get("cash/totals?strategy=s")).body["items"]
    names = ("account", "kind", "currency", "n", "amount", "converted", "without_rate")
    found = [tuple(item[name] for name in names) for item in items]
    assert found == [
        ("", "fee", "BNB", 2, -1.0, -900.0 + 305.0, 0),
        ("", "fee", None, 3, -7.0, -7.0, 0),
        ("", "funding", "BTC", 2, 0.001, 62.0, 0),
        ("x", "funding", "CHF", 1, 5.0, None, 1),
    ]
    assert items[3]["reasons"] == {"converted": "1 of 1 have no rate to the account currency"}


async def test_a_page_of_bulk_events_reaches_back_over_a_quiet_time(
    stored: Stack, stored_caller: Caller
) -> None:
    gaps = (0, 1, 2, 70, 4000, 50_000, 90 * 86_400)
    times = [START_NS - seconds * NS_PER_SECOND for seconds in gaps]
    for time_ns in times:
        await stored.emit(
            Tick(time_ns=time_ns, venue="SIM", instrument="A", price=1.0, size=1.0),
            Quote(time_ns=time_ns, venue="OTHER", instrument="A", bid=1.0, ask=2.0),
            Log(time_ns=time_ns, component="c", level=LogLevel.INFO, message="m"),
        )
    await stored.all_stored()
    for path in ("market/ticks/A", "market/quotes/A", "system/logs"):
        pages = await stored_caller.pages(f"{path}?limit=2")
        assert [item["time_ns"] for page in pages for item in page] == times, path
        assert [len(page) for page in pages] == [2, 2, 2, 1]
        whole = (await stored_caller.get(f"{path}?start={times[4]}&end={times[1]}")).body["items"]
        assert [item["time_ns"] for item in whole] == times[2:5], path


async def test_the_range_of_a_list_stays_that_of_its_first_page(stored: Stack, stored_caller: Caller) -> None:
    now_ns = stored.clock.time_ns()
    headlines = [
        News(time_ns=now_ns - seconds * NS_PER_SECOND, headline=str(seconds)) for seconds in (30, 59)
    ]
    await stored.emit(*headlines)
    await stored.all_stored()
    first = (await stored_caller.get("sentiment/news?start=-1m&limit=1")).body
    cursor = first["next_cursor"]
    rest = (await stored_caller.get(f"sentiment/news?start=-40s&limit=1&cursor={cursor}")).body
    assert [item["headline"] for item in first["items"] + rest["items"]] == ["30", "59"]


async def test_a_signal_of_the_same_nanosecond_is_neither_skipped_nor_repeated(
    stored: Stack, stored_caller: Caller
) -> None:
    signals = [
        Signal(
            time_ns=START_NS,
            strategy="s",
            venue="V",
            instrument="A",
            signal_id=str(number),
            direction=Direction.BUY,
        )
        for number in range(7)
    ]
    await stored.emit(*signals)
    await stored.all_stored()
    pages = await stored_caller.pages("signals?limit=3")
    assert [item["signal_id"] for page in pages for item in page] == [
        str(number) for number in range(6, -1, -1)
    ]
