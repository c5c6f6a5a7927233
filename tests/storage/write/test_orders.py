"""The state of an order does not depend on how its changes arrive."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decahertz.event import AnyEvent, Fill, FillKind, Order, OrderState, Side
from decahertz.order_states import rank
from tests.storage_examples import START_NS, Bench, arrival

_epochs = itertools.count(1)


def order(number: int, state: OrderState, **more: object) -> Order:
    values: dict[str, object] = {
        "time_ns": START_NS + number,
        "strategy": "trend",
        "venue": "sim",
        "instrument": "EUR/USD",
        "order_id": "o1",
        "state": state,
        "side": Side.BUY,
        "quantity": 2.0,
    }
    return Order(**values | more)  # type: ignore[arg-type]


async def state_of(bench: Bench, order_id: str = "o1") -> tuple[object, ...]:
    (row,) = await bench.rows(
        "SELECT state, time_ns - $1, price, arrival_price, signal_id FROM orders WHERE order_id = $2",
        START_NS,
        order_id,
    )
    return tuple(row)


async def test_the_newest_change_counts(bench: Bench) -> None:
    changes = [order(1, OrderState.SUBMITTED, price=1.0), order(2, OrderState.ACCEPTED, price=1.5)]
    await bench.append(arrival(1, changes))
    assert await state_of(bench) == ("accepted", 2, 1.5, None, None)
    await bench.append(arrival(3, [order(3, OrderState.FILLED)]))
    assert await state_of(bench) == ("filled", 3, None, None, None)
    assert await bench.value("SELECT count(*) FROM order_events") == 3


async def test_a_change_that_comes_late_does_not_undo_a_newer_one(bench: Bench) -> None:
    await bench.append(arrival(2, [order(2, OrderState.ACCEPTED)]))
    await bench.append(arrival(1, [order(1, OrderState.SUBMITTED, arrival_price=9.5)]))
    assert await state_of(bench) == ("accepted", 2, None, 9.5, None)


async def test_a_final_state_stays_though_the_clock_stepped_back(bench: Bench) -> None:
    await bench.append(arrival(1, [order(9, OrderState.ACCEPTED)]))
    await bench.append(arrival(2, [order(5, OrderState.FILLED)]))
    assert (await state_of(bench))[:2] == ("filled", 5)
    await bench.append(arrival(3, [order(10, OrderState.ACCEPTED)]))
    assert (await state_of(bench))[:2] == ("filled", 5)


async def test_what_is_known_from_an_earlier_change_is_kept(bench: Bench) -> None:
    first = order(1, OrderState.SUBMITTED, arrival_price=9.5, signal_id="s1")
    await bench.append(arrival(1, [first, order(2, OrderState.ACCEPTED)]))
    await bench.append(arrival(3, [order(3, OrderState.CANCELLED)]))
    assert await state_of(bench) == ("cancelled", 3, None, 9.5, "s1")


@st.composite
def lives(draw: st.DrawFn) -> tuple[list[Order], list[int], list[int]]:
    """Changes of one order, the order in which they arrive, and where the batches are cut."""
    order_id = f"o{next(_epochs)}"
    count = draw(st.integers(2, 6))
    changes = [
        order(
            draw(st.integers(1, 4)),
            draw(st.sampled_from(OrderState)),
            order_id=order_id,
            price=float(number),
            arrival_price=draw(st.sampled_from([None, 9.5])),
        )
        for number in range(count)
    ]
    return (
        changes,
        draw(st.permutations(range(count))),
        sorted(draw(st.lists(st.integers(0, count), max_size=3))),
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(life=lives())
async def test_every_order_of_arrival_ends_in_the_same_state(
    bench: Bench, life: tuple[list[Order], list[int], list[int]]
) -> None:
    changes, arriving, cuts = life
    epoch = next(_epochs)
    for start, end in itertools.pairwise([0, *cuts, len(changes)]):
        for number in arriving[start:end]:
            await bench.spool.enqueue(arrival(number + 1, [changes[number]], "loop", epoch))
        await bench.drained()
    found = await state_of(bench, changes[0].order_id)
    ranked = [
        (rank(change.state, change.time_ns, change.quantity), number) for number, change in enumerate(changes)
    ]
    newest = changes[max(ranked)[1]]
    known = [change.arrival_price for change in changes if change.arrival_price is not None]
    expected = (newest.state, newest.time_ns - START_NS, newest.price, known[0] if known else None, None)
    assert found == expected


def execution(number: int, quantity: float = 1.0, **more: object) -> Fill:
    values: dict[str, object] = {
        "time_ns": START_NS + number,
        "strategy": "trend",
        "venue": "sim",
        "instrument": "EUR/USD",
        "order_id": "o1",
        "fill_id": f"f{number}",
        "side": Side.BUY,
        "price": 10.0,
        "quantity": quantity,
    }
    return Fill(**values | more)  # type: ignore[arg-type]


EXECUTED = (
    "SELECT state, is_final, reported_state, fills, executed_quantity, average_price, contradictions"
    " FROM orders"
)


async def test_a_late_fill_after_the_cancellation_fills_the_order(bench: Bench) -> None:
    """C7: submitted, cancelled, fill, filled."""
    await bench.append(arrival(1, [order(1, OrderState.SUBMITTED), order(2, OrderState.CANCELLED)]))
    assert [tuple(row) for row in await bench.rows(EXECUTED)] == [
        ("cancelled", True, "cancelled", 0, 0.0, None, 0)
    ]
    await bench.append(arrival(3, [execution(3, 2.0)]))
    assert [tuple(row) for row in await bench.rows(EXECUTED)] == [
        ("filled", True, "cancelled", 1, 2.0, 10.0, 1)
    ]
    await bench.append(arrival(4, [order(4, OrderState.FILLED), execution(3, 2.0)]))
    assert [tuple(row) for row in await bench.rows(EXECUTED)] == [("filled", True, "filled", 1, 2.0, 10.0, 1)]


async def test_equal_ids_in_two_instruments_and_accounts_are_orders_of_their_own(bench: Bench) -> None:
    """C6, and fills that arrive before their order."""
    await bench.append(
        arrival(
            1,
            [
                execution(1, instrument="A", order_id="17"),
                order(2, OrderState.SUBMITTED, instrument="A", order_id="17"),
                order(3, OrderState.SUBMITTED, instrument="B", order_id="17"),
                order(4, OrderState.SUBMITTED, instrument="B", order_id="17", account="other"),
                execution(5, 2.0, instrument="B", order_id="17", account="other"),
            ],
        )
    )
    rows = await bench.rows("SELECT instrument, account, state, executed_quantity FROM orders ORDER BY 1, 2")
    assert [tuple(row) for row in rows] == [
        ("A", "", "partially_filled", 1.0),
        ("B", "", "submitted", 0.0),
        ("B", "other", "filled", 2.0),
    ]


async def test_a_bust_and_a_correction_change_what_was_executed(bench: Bench) -> None:
    await bench.append(arrival(1, [order(1, OrderState.ACCEPTED), execution(2), execution(3)]))
    query = (
        "SELECT state, executed_quantity, average_price, first_fill_ns - $1, last_fill_ns - $1 FROM orders"
    )
    assert [tuple(row) for row in await bench.rows(query, START_NS)] == [("filled", 2.0, 10.0, 2, 3)]
    bust = execution(4, fill_id="f2", kind=FillKind.BUST)
    await bench.append(
        arrival(4, [bust, execution(5, 0.5, fill_id="f3", price=12.0, kind=FillKind.CORRECTION)])
    )
    assert [tuple(row) for row in await bench.rows(query, START_NS)] == [
        ("partially_filled", 0.5, 12.0, 5, 5)
    ]


async def test_all_orders_of_arrival_of_reports_and_fills_make_one_row(bench: Bench) -> None:
    """All permutations of the events of one order, one by one: the row is the same, but for its place."""
    rows = set()
    for number, events in enumerate(itertools.permutations(range(5))):
        key: dict[str, Any] = {"order_id": f"p{number}"}
        life: list[AnyEvent] = [
            order(1, OrderState.SUBMITTED, **key),
            order(2, OrderState.ACCEPTED, **key),
            order(4, OrderState.CANCELLED, **key),
            execution(3, **key),
            execution(5, **key),
        ]
        for index in events:
            await bench.spool.enqueue(arrival(next(_epochs), [life[index]], "loop", 1000 + number))
    await bench.drained()
    for row in await bench.rows(
        "SELECT state, is_final, reported_state, reported_states, contradictions, submitted_ns, accepted_ns,"
        " fills, executed_quantity, average_price, first_fill_ns, last_fill_ns, time_ns FROM orders"
        " WHERE order_id LIKE 'p%'"
    ):
        rows.add(tuple(str(value) for value in row))
    assert len(rows) == 1, rows
    assert rows.pop()[:2] == ("filled", "True")
