"""A list read page by page while rows arrive: every row that was there is found once."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decahertz.event import AnyEvent, Direction, Fill, Log, LogLevel, Order, OrderState, Side, Signal, Tick
from storage.query.pagination import RowPage
from storage.query.queries import FillFilter, Queries
from storage.query.stored_events import ORDERS, SIGNALS, TICKS
from tests.storage_examples import START_NS, Bench, arrival

_epochs = itertools.count(1)
# Few nanoseconds, so that many rows share one, or share a microsecond.
times = st.sampled_from([0, 1, 2, 999, 1000, 1001, 5_000_000_000, 90_000_000_000]).map(START_NS.__add__)
arrivals = st.lists(times, min_size=1, max_size=6)


def event(kind: str, name: str, number: int, time_ns: int) -> AnyEvent:
    """``name`` is that of this example; the number is in the event."""
    key: dict[str, Any] = {"time_ns": time_ns, "venue": "sim", "instrument": name}
    if kind == "signals":
        return Signal(**key, strategy="s", signal_id=str(number), direction=Direction.BUY)
    if kind == "orders":
        state = OrderState.SUBMITTED if number % 2 else OrderState.FILLED
        return Order(**key, strategy="s", order_id=str(number // 2), state=state, side=Side.BUY, quantity=1.0)
    if kind == "fills":
        values: dict[str, Any] = {"order_id": "o", "side": Side.BUY, "price": 1.0, "quantity": 1.0}
        return Fill(**key, strategy="s", fill_id=str(number), **values)
    if kind == "ticks":
        return Tick(**key, price=1.0, size=1.0, trade_id=str(number))
    return Log(time_ns=time_ns, component=name, level=LogLevel.INFO, message=str(number))


async def page_of(queries: Queries, kind: str, name: str, limit: int, cursor: str | None) -> RowPage:
    if kind == "signals":
        return await queries.newest(SIGNALS, {"instrument": name}, limit=limit, cursor=cursor)
    if kind == "orders":
        return await queries.newest(ORDERS, {"instrument": name}, limit=limit, cursor=cursor)
    if kind == "fills":
        return await queries.fills(FillFilter(instrument=name), limit=limit, cursor=cursor)
    now_ns = START_NS + 10**11
    if kind == "ticks":
        which: dict[str, Any] = {"instrument": name, "venue": None}
        return await queries.market(TICKS, which, limit=limit, cursor=cursor, now_ns=now_ns)
    return await queries.logs({"component": name}, limit=limit, cursor=cursor, now_ns=now_ns)


FIELDS = {
    "fills": "fill_id",
    "signals": "signal_id",
    "orders": "order_id",
    "ticks": "trade_id",
    "logs": "message",
}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(FIELDS)),
    before=st.lists(times, min_size=1, max_size=12),
    between=st.lists(arrivals, max_size=6),
    limit=st.integers(1, 4),
)
async def test_rows_that_arrive_between_pages_neither_hide_nor_repeat_others(
    bench: Bench, kind: str, before: list[int], between: list[list[int]], limit: int
) -> None:
    queries = Queries(bench.database)
    epoch = next(_epochs)
    name = f"{kind}-{epoch}"
    sent = 0

    async def store(at: list[int]) -> None:
        nonlocal sent
        if not at:
            return
        events = [event(kind, name, sent + number, time_ns) for number, time_ns in enumerate(at)]
        await bench.append(arrival(sent + 1, events, "loop", epoch))
        sent += len(at)

    await store(before)
    there = {str(number // 2 if kind == "orders" else number) for number in range(len(before))}
    found: list[str] = []
    cursor: str | None = None
    more = iter(between)
    while True:
        page = await page_of(queries, kind, name, limit, cursor)
        found += [item[FIELDS[kind]] for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
        await store(next(more, []))
    assert len(found) == len(set(found))
    assert there <= set(found)
