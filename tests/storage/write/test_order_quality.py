"""What orders cost is stored with them once they have ended, and follows everything that arrives later."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from decahertz.clock import NS_PER_SECOND, to_datetime
from decahertz.event import AnyEvent, Direction, Fill, FillKind, Liquidity, Order, OrderState, Side, Signal
from decahertz.fakes import ManualClock
from storage.query.execution_quality import ExecutionSelection, execution_totals, order_quality
from storage.schema.executions import ORDER_KEY
from storage.schema.order_quality import NEVER_NS, QUALITY_COLUMNS
from storage.write.order_quality import OrderQualityWorker
from tests.docs.commands import ROOT
from tests.properties import examples
from tests.storage_examples import RECORDER, START_NS, Bench, arrival

MARKET = """
CREATE TABLE market_samples (
    time timestamptz, recorder text, venue text, instrument text, mid double precision
)
"""
DOCUMENTATION = ROOT / "docs" / "execution.md"
KEY = {"recorder": RECORDER, "strategy": "trend", "venue": "sim", "instrument": "X", "account": ""}
_epochs = itertools.count(1)


def at(seconds: float) -> int:
    return START_NS + round(seconds * NS_PER_SECOND)


def order(seconds: float, state: OrderState, order_id: str = "1", **more: Any) -> Order:  # noqa: ANN401 - any field
    values: dict[str, Any] = {
        "strategy": "trend", "venue": "sim", "instrument": "X", "side": Side.BUY, "quantity": 1000.0,
    }  # fmt: skip
    return Order(time_ns=at(seconds), order_id=order_id, state=state, **values | more)


def fill(seconds: float, price: float, quantity: float, order_id: str = "1", **more: Any) -> Fill:  # noqa: ANN401 - any field
    values: dict[str, Any] = {
        "strategy": "trend", "venue": "sim", "instrument": "X", "side": Side.BUY, "fill_id": str(seconds),
    }  # fmt: skip
    return Fill(time_ns=at(seconds), order_id=order_id, price=price, quantity=quantity, **values | more)


WORKED_EXAMPLE: list[AnyEvent] = [
    order(2, OrderState.SUBMITTED, decided_ns=at(1), decision_price=50.0, queue_seconds=0.25),
    order(2.5, OrderState.ACCEPTED),
    fill(3, 50.20, 600, fee=12, liquidity=Liquidity.TAKER),
    fill(4, 50.40, 200, fee=4, liquidity=Liquidity.MAKER),
    order(5, OrderState.CANCELLED),
]
MIDS = ((1.9, 50.10), (2.4, 50.15), (4.0, 50.30), (5.0, 50.50), (5.1, 70.0))
"""Second and mid: 50.10 at the submission, 50.50 at the end, 50.30 and 50.50 a second after the fills."""


WORKED = {
    column: float(value.replace(",", ""))
    for column, value in re.findall(
        r"^\| `(\w+)` \|[^|]*\| ([\d.,]+) \|$", DOCUMENTATION.read_text(), re.MULTILINE
    )
}
"""The table of the example, by column."""


class Desk:
    """A writer and the worker, with a market table and a clock that the test sets."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.clock = ManualClock(at(10))
        self.oldest_seconds = 0.0
        self.worker = self.another_worker()

    def another_worker(self) -> OrderQualityWorker:
        return OrderQualityWorker(self.bench.database, RECORDER, self.clock, lambda: self.oldest_seconds)

    async def take(self, *events: AnyEvent) -> None:
        await self.bench.append(arrival(1, list(events), epoch=next(_epochs)))

    async def mids(self, *mids: tuple[float, float]) -> None:
        async with self.bench.database.query() as connection:
            rows = [(to_datetime(at(seconds)), RECORDER, "sim", "X", mid) for seconds, mid in mids]
            await connection.executemany("INSERT INTO market_samples VALUES ($1, $2, $3, $4, $5)", rows)

    async def row(self, order_id: str = "1") -> dict[str, Any]:
        (row,) = await self.bench.rows("SELECT * FROM orders WHERE order_id = $1", order_id)
        return dict(row)

    async def asked(self, order_id: str = "1") -> dict[str, Any]:
        """What a query says, whether it is stored or not."""
        found = await order_quality(self.bench.database, KEY | {"order_id": order_id})
        assert found is not None
        return {name: found[name] for name in QUALITY_COLUMNS}

    async def stored(self, order_id: str = "1") -> dict[str, Any]:
        row = await self.row(order_id)
        return {name: row[name] for name in QUALITY_COLUMNS}


@pytest_asyncio.fixture
async def desk(bench: Bench) -> AsyncIterator[Desk]:
    """One with an empty market."""
    async with bench.database.query() as connection:
        await connection.execute(MARKET)
    yield Desk(bench)


async def test_the_worked_example_of_the_documentation(desk: Desk) -> None:
    await desk.mids(*MIDS)
    await desk.take(*WORKED_EXAMPLE)
    assert await desk.worker.run_once() == 1
    row = await desk.row()
    for column, expected in WORKED.items():
        assert row[column] == pytest.approx(expected, rel=1e-5), column
    assert row["shortfall_reason"] is None
    assert (row["maker_value"], row["taker_value"], row["fees"]) == pytest.approx((10_080, 30_120, 16))
    assert (row["markout_1s_fills"], row["markout_5m_bps"], row["markout_5m_fills"]) == (2, None, 0)
    assert (row["decision_ns"], row["decision_mid"], row["arrival_mid"], row["end_mid"]) == (
        at(1), 50.0, 50.10, 50.50,
    )  # fmt: skip
    assert (row["first_fill_price"], row["last_fill_price"], row["mean_rate"]) == (50.20, 50.40, 1.0)


async def test_the_figures_are_computed_at_the_end_and_once_more_when_the_markouts_are_complete(
    desk: Desk,
) -> None:
    await desk.mids(*MIDS)
    await desk.take(*WORKED_EXAMPLE[:-1])
    assert (await desk.row())["quality_due_ns"] == NEVER_NS
    assert await desk.worker.run_once() == 0
    await desk.take(WORKED_EXAMPLE[-1])
    assert (await desk.row())["quality_due_ns"] == 0
    assert await desk.worker.run_once() == 1
    assert (await desk.row())["markout_5m_fills"] == 0
    assert await desk.worker.run_once() == 0
    await desk.mids((303, 51.0), (304, 52.0))
    desk.clock.advance(600 * NS_PER_SECOND)
    desk.oldest_seconds = 500.0  # the samples of five minutes later are still on their way
    assert await desk.worker.run_once() == 0
    desk.oldest_seconds = 0.0
    assert await desk.worker.run_once() == 1
    row = await desk.row()
    assert (row["quality_due_ns"], row["markout_5m_fills"]) == (None, 2)
    expected = (600 * (51 - 50.2) + 200 * (52 - 50.4)) / 40_200 * 1e4
    assert row["markout_5m_bps"] == pytest.approx(expected)


async def test_a_late_fill_a_bust_and_a_late_signal_have_the_figures_computed_again(desk: Desk) -> None:
    desk.clock.advance(3600 * NS_PER_SECOND)
    await desk.mids(*MIDS)
    await desk.take(*WORKED_EXAMPLE)
    await desk.worker.run_once()
    assert (await desk.row())["quality_due_ns"] is None
    late = fill(7, 50.50, 200, fee=4)
    await desk.take(late)
    asked = await desk.asked()
    assert await desk.worker.run_once() == 1
    assert await desk.stored() == asked
    row = await desk.row()
    assert (row["state"], row["quality_due_ns"]) == ("filled", None)
    assert (row["shortfall_opportunity"], row["shortfall_trading"]) == pytest.approx((0, 200))
    await desk.take(fill(8, 50.50, 200, fill_id=late.fill_id, kind=FillKind.BUST))
    assert await desk.worker.run_once() == 1
    assert (await desk.row())["shortfall"] == pytest.approx(316)
    await desk.take(order(20, OrderState.FILLED, "2", quantity=1.0, signal_id="s", arrival_price=10.0))
    await desk.take(fill(19, 10.5, 1, "2"))
    await desk.worker.run_once()
    reason = "neither a signal nor the order states a price at the decision"
    assert (await desk.row("2"))["shortfall_reason"] == reason
    signal = Signal(
        time_ns=at(18), strategy="trend", venue="sim", instrument="X", signal_id="s",
        direction=Direction.BUY, price=9.0,
    )  # fmt: skip
    await desk.take(signal)
    assert await desk.worker.run_once() == 1
    row = await desk.row("2")
    assert (row["shortfall"], row["shortfall_delay"], row["decision_ns"]) == (1.5, 1.0, at(18))


async def test_an_order_that_a_bust_opens_again_is_none_of_the_finished_ones(desk: Desk) -> None:
    desk.clock.advance(3600 * NS_PER_SECOND)
    await desk.take(order(1, OrderState.ACCEPTED, decision_price=1.0, arrival_price=1.0), fill(2, 1.0, 1000))
    await desk.worker.run_once()
    assert (await desk.row())["shortfall"] == 0.0
    await desk.take(fill(3, 1.0, 1000, fill_id="2", kind=FillKind.BUST))
    row = await desk.row()
    assert (row["is_final"], row["quality_due_ns"]) == (False, NEVER_NS)
    assert (await desk.asked())["shortfall_reason"] == "the order has not ended"
    assert await desk.worker.run_once() == 0
    (totals,) = await execution_totals(desk.bench.database, ExecutionSelection())
    assert (totals.shortfall_n, totals.commissions) == (0, 0.0)


async def test_two_workers_do_every_order_once_and_change_nothing_else(desk: Desk) -> None:
    desk.clock.advance(3600 * NS_PER_SECOND)
    for number in range(0, 900, 300):
        ids = [str(one) for one in range(number, number + 300)]
        await desk.take(*(order(5, OrderState.CANCELLED, one, decision_price=1.0) for one in ids))
    other = desk.another_worker()
    done = [await desk.worker.run_once(), await other.run_once()]
    assert sum(done) == 900
    assert await desk.bench.value("SELECT count(*) FROM orders WHERE quality_due_ns IS NULL") == 900
    assert await desk.bench.value("SELECT count(*) FROM orders") == 900


PRICES = st.sampled_from([-1.0, 0.0, 1e-300, 5e-9, 0.5, 10.0, 11.0, 1e60, 1e100])


@st.composite
def lives(draw: st.DrawFn) -> list[Order | Fill]:
    """The events of one order in any order of arrival, with contracts, odd prices and missing reports."""
    contract: dict[str, Any] = draw(
        st.sampled_from(
            [
                {},
                {"multiplier": 50.0, "inverse": False, "currency": "EUR", "rate": 1.25},
                {"multiplier": 100.0, "inverse": True, "currency": "BTC", "rate": 50_000.0},
                {"multiplier": 1e300, "inverse": False, "currency": "EUR", "rate": 1e-300},
                {"currency": "JPY"},
            ]
        )
    )
    side = draw(st.sampled_from(Side))
    common: dict[str, Any] = {"side": side, "quantity": draw(st.sampled_from([0.0, 4.0, 1e-60, 1e90]))}
    prices: dict[str, Any] = {"decision_price": draw(PRICES), "arrival_price": draw(PRICES)}
    events: list[Order | Fill] = [order(1, OrderState.SUBMITTED, **common | prices)]
    events += [order(5, draw(st.sampled_from(OrderState)), **common | contract)]
    for number in range(draw(st.integers(0, 3))):
        events.append(
            fill(
                2 + number,
                draw(PRICES),
                draw(st.sampled_from([1.0, 4.0, 1e-60, 1e90])),
                side=side,
                fee=draw(st.sampled_from([0.0, 1.5, -0.5])),
                **contract,
            )
        )
    return draw(st.permutations(events))[draw(st.integers(0, 1)) :]


@settings(
    max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(life=lives())
async def test_a_query_says_the_same_before_and_after_the_figures_are_stored(
    desk: Desk, life: list[Order | Fill]
) -> None:
    order_id = f"o{next(_epochs)}"
    desk.clock.advance(3600 * NS_PER_SECOND)
    await desk.mids((0.9, 10.0), (5.0, 10.5), (6.0, 11.0))
    await desk.take(*(replace(event, order_id=order_id) for event in life))
    if not await desk.bench.value("SELECT count(*) FROM orders WHERE order_id = $1", order_id):
        return  # fills only
    asked = await desk.asked(order_id)
    if asked["shortfall"] is not None:
        parts = [asked[f"shortfall_{name}"] for name in ("delay", "trading", "opportunity", "fees")]
        assert asked["shortfall"] == sum(parts)
    await execution_totals(desk.bench.database, ExecutionSelection())
    await desk.worker.run_once()
    if (await desk.row(order_id))["is_final"]:
        assert await desk.stored(order_id) == asked
        assert await desk.asked(order_id) == asked


async def test_the_key_of_an_order_is_all_that_finds_its_fills(desk: Desk) -> None:
    desk.clock.advance(3600 * NS_PER_SECOND)
    prices: dict[str, Any] = {"decision_price": 10.0, "arrival_price": 10.0}
    for account, price in (("", 10.5), ("second", 11.0)):
        await desk.take(
            order(1, OrderState.FILLED, quantity=1.0, account=account, **prices),
            fill(2, price, 1, account=account),
        )
    await desk.worker.run_once()
    rows = await desk.bench.rows("SELECT account, slippage_arrival FROM orders ORDER BY account")
    assert [tuple(row) for row in rows] == [("", 0.5), ("second", 1.0)]
    assert set(ORDER_KEY) == {*KEY, "order_id"}


TRIPS = "SELECT * FROM round_trip_quality ORDER BY time, trade_id"


async def test_a_round_trip_costs_what_its_orders_cost(desk: Desk) -> None:
    """Order 1 buys 1,000; 2 sells 1,500, of which 500 open a short position; 3 buys them back.

    The slippage of order 2 is 1,500 * 0.10 = 150: 100 belong to the first round trip, 50 to the second.
    """
    desk.clock.advance(3600 * NS_PER_SECOND)
    prices: dict[str, Any] = {"decision_price": 10.0, "arrival_price": 10.0}
    sell: dict[str, Any] = {"side": Side.SELL}
    await desk.take(
        order(1, OrderState.FILLED, "1", **prices),
        fill(1, 10.05, 600, "1", fee=6), fill(2, 10.05, 400, "1", fee=4),
        order(4, OrderState.FILLED, "2", quantity=1500.0, **prices, **sell),
        fill(3, 9.90, 300, "2", fee=3, **sell), fill(4, 9.90, 1200, "2", fee=12, **sell),
        order(6, OrderState.FILLED, "3", quantity=500.0, **prices),
        fill(5, 10.02, 500, "3", fee=5),
    )  # fmt: skip
    first, second = await desk.bench.rows(TRIPS)
    assert (first["orders"], first["shortfall_orders"], first["shortfall"]) == (2, 0, None)
    await desk.worker.run_once()
    first, second = await desk.bench.rows(TRIPS)
    assert (first["orders"], second["orders"]) == (2, 2)
    assert (first["slippage_arrival"], second["slippage_arrival"]) == pytest.approx((50 + 100, 50 + 10))
    assert (first["fees"], second["fees"]) == pytest.approx((10 + 10, 5 + 5))
    for trip in (first, second):
        assert trip["shortfall"] == pytest.approx(trip["shortfall_trading"] + trip["shortfall_fees"])
        assert trip["shortfall_orders"] == trip["orders"]
    assert first["slippage_arrival_bps"] == pytest.approx(150 / 20_000 * 1e4)


@settings(
    max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sizes=st.lists(st.integers(-4, 4).filter(bool), min_size=1, max_size=8),
    same_time=st.booleans(),
    repeated=st.booleans(),
)
async def test_round_trips_share_their_orders_out_to_the_last_fill(
    desk: Desk, sizes: list[int], *, same_time: bool, repeated: bool
) -> None:
    sizes = [*sizes, -sum(sizes)] if sum(sizes) else sizes
    desk.clock.advance(3600 * NS_PER_SECOND)
    instrument = f"i{next(_epochs)}"
    events: list[AnyEvent] = []
    for number, size in enumerate(sizes):
        common: dict[str, Any] = {"side": Side.BUY if size > 0 else Side.SELL, "instrument": instrument}
        order_id = f"{instrument}-{number // 2 if size * sizes[number - number % 2] > 0 else f'{number}x'}"
        seconds = 1 if same_time else number
        one = fill(seconds, 10.0 + number, abs(size), order_id, fee=abs(size), fill_id=str(number), **common)
        events += [one, one] if repeated else [one]
        events.append(order(99, OrderState.CANCELLED, order_id, **common))
    await desk.take(*events)
    await desk.worker.run_once()
    found = await desk.bench.value(
        "SELECT sum(fees) FROM round_trip_quality WHERE instrument = $1", instrument
    )
    assert found == pytest.approx(sum(map(abs, sizes)))
    found = await desk.bench.value(
        "SELECT sum(filled_value) FROM round_trip_quality WHERE instrument = $1", instrument
    )
    assert found == pytest.approx(sum(abs(size) * (10.0 + number) for number, size in enumerate(sizes)))
