"""The state of an order does not depend on how its changes arrive."""

from __future__ import annotations

import itertools

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decahertz.event import FINAL_ORDER_STATES, Order, OrderState, Side
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
        (change.state in FINAL_ORDER_STATES, change.time_ns, number) for number, change in enumerate(changes)
    ]
    newest = changes[max(ranked)[2]]
    known = [change.arrival_price for change in changes if change.arrival_price is not None]
    expected = (newest.state, newest.time_ns - START_NS, newest.price, known[0] if known else None, None)
    assert found == expected
