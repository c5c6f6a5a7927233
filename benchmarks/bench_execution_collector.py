"""The processor time that the execution collector takes: of an order event, a fill, and a cycle.

Five strategies with 100 open orders between them send 20 orders a second in 20 instruments, each with three
reports and three fills, for five minutes: as many fills wait for their markouts as in a busy session.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from benchmarks.harness import Measure
from collectors.execution.collector import ExecutionCollector, ExecutionOptions
from decahertz.clock import CYCLE_NS
from decahertz.event import Event, Fill, Liquidity, Order, OrderState, Quote, Side
from decahertz.fakes import START_NS, ManualClock

ORDERS = 6_000
OPEN_ORDERS = 100
_STEP_NS = CYCLE_NS // 2
_CONTRACT: dict[str, Any] = {"multiplier": 1.0, "inverse": False, "currency": "USD", "rate": 1.0}


def _key(number: int) -> dict[str, Any]:
    side = Side.BUY if number % 2 else Side.SELL
    return {"strategy": f"S{number % 5}", "venue": "sim", "instrument": f"I{number % 20}", "side": side}


def _events() -> Iterator[tuple[int, Event]]:
    for number in range(ORDERS):
        at_ns = START_NS + number * _STEP_NS
        key = _key(number) | {"order_id": str(number)}
        bid = 99.5 + number % 7
        yield at_ns, Quote(time_ns=at_ns, venue="sim", instrument=key["instrument"], bid=bid, ask=bid + 1)
        yield (
            at_ns,
            Order(
                time_ns=at_ns,
                state=OrderState.SUBMITTED,
                quantity=3.0,
                decision_price=100.0,
                decided_ns=at_ns,
                **key,
            ),
        )
        yield at_ns, Order(time_ns=at_ns + 1, state=OrderState.ACCEPTED, quantity=3.0, **key)
        for part in (2, 3, 4):
            yield at_ns, Fill(
                time_ns=at_ns + part, fill_id=str(part), price=100.1, quantity=1.0, fee=0.01,
                liquidity=Liquidity.MAKER, **key, **_CONTRACT,
            )  # fmt: skip
        yield at_ns, Order(time_ns=at_ns + 5, state=OrderState.FILLED, quantity=3.0, **key, **_CONTRACT)


def run() -> list[Measure]:
    """Runs the benchmark; times are those of the processor."""
    clock = ManualClock(START_NS)
    collector = ExecutionCollector(clock, ExecutionOptions())
    for number in range(OPEN_ORDERS):
        opened = Order(
            time_ns=START_NS,
            state=OrderState.ACCEPTED,
            quantity=1.0,
            order_id=f"open-{number}",
            **_key(number),
        )
        collector.on_event(opened, START_NS)
    spent = dict.fromkeys(("order event", "fill", "cycle"), 0)
    counts = dict.fromkeys(spent, 0)
    next_ns = START_NS
    for at_ns, event in list(_events()):
        if at_ns >= next_ns:
            begin = time.process_time_ns()
            collector.sample(next_ns)
            spent["cycle"] += time.process_time_ns() - begin
            counts["cycle"] += 1
            next_ns += CYCLE_NS
            clock.advance(CYCLE_NS)
        kind = "fill" if isinstance(event, Fill) else "order event"
        begin = time.process_time_ns()
        collector.on_event(event, at_ns)
        if not isinstance(event, Quote):
            spent[kind] += time.process_time_ns() - begin
            counts[kind] += 1
    goals = {"order event": "ours <= 30", "fill": "ours <= 50", "cycle": "ours <= 500"}
    return [
        Measure(
            name=f"execution collector, {kind}", ours=spent[kind] / counts[kind] / 1e3, unit="µs", goal=goal
        )
        for kind, goal in goals.items()
    ]
