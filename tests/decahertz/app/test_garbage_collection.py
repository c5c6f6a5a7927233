"""Full collections run between cycles, free cyclic garbage, and skip frozen and untracked objects."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from collectors.common.mark_prices import MarkPrice, MarkPrices
from collectors.execution.order import FillRecord, Leg, OrderRecord
from collectors.execution.signals import SignalRecord, Signals
from collectors.execution.state import ExecutionState, Limits
from decahertz.app.garbage_collection import INTERVAL_NS, LONG_NS, GarbageCollector, collecting
from decahertz.clock import CYCLE_NS, NS_PER_SECOND, SystemClock
from decahertz.event import Direction, Fill, Order, OrderState, Quote, Side, Signal
from decahertz.fakes import START_NS, ManualClock
from decahertz.histogram import Observations
from decahertz.key_budget import KeyBudget

MS = 1_000_000


class Ring:
    """An object that only a collection can free."""

    def __init__(self) -> None:
        self.itself = self


@dataclass
class Machine:
    """A clock that a sleep moves on, and a collection that takes as long as told."""

    clock: ManualClock
    late: Callable[[int], int]
    """How much longer the sleep with this number takes than asked for."""
    takes: Iterable[int]
    """How long each collection takes, in nanoseconds; it ends the run when there is no more."""
    begun: list[int] = field(default_factory=list)
    """When each collection began: nanoseconds since the start."""
    frozen: list[int] = field(default_factory=list)
    """After how many collections things were frozen."""
    sleeps: int = 0

    async def sleep(self, seconds: float) -> None:
        self.clock.advance(round(seconds * NS_PER_SECOND) + self.late(self.sleeps))
        self.sleeps += 1
        assert self.sleeps < 10_000

    async def run(self) -> None:
        lengths = iter(self.takes)

        def collect() -> None:
            length = next(lengths, None)
            if length is None:
                raise asyncio.CancelledError
            self.begun.append(self.clock.time_ns() - START_NS)
            self.clock.advance(length)

        collector = GarbageCollector(
            self.clock,
            collect=collect,
            freeze=lambda: self.frozen.append(len(self.begun)),
            sleep=self.sleep,
        )
        with suppress(asyncio.CancelledError):
            await collector.run()


def on_time(_: int) -> int:
    return 0


@pytest.mark.parametrize("start_ns", [0, 1, 49 * MS, 50 * MS, 51 * MS, 99 * MS + 999_999])
async def test_collections_begin_midway_between_two_cycles(start_ns: int) -> None:
    machine = Machine(ManualClock(START_NS + start_ns), on_time, [0] * 20)
    await machine.run()
    assert len(machine.begun) == 20
    assert {began % CYCLE_NS for began in machine.begun[1:]} == {CYCLE_NS // 2}
    between = [after - before for before, after in zip(machine.begun[1:-1], machine.begun[2:], strict=True)]
    assert all(INTERVAL_NS <= distance <= INTERVAL_NS + CYCLE_NS for distance in between)


async def test_a_collection_that_would_begin_late_waits_for_another_cycle() -> None:
    clock = ManualClock(START_NS)
    late = {1: 40 * MS, 2: 30 * MS, 3: 20 * MS}  # 0 is the ten seconds
    machine = Machine(clock, lambda number: late.get(number, 0), [0, 0])
    await machine.run()
    assert machine.begun == [0, INTERVAL_NS + 2 * CYCLE_NS + CYCLE_NS // 2 + 20 * MS]


async def test_a_process_that_is_never_on_time_is_collected_all_the_same() -> None:
    machine = Machine(ManualClock(START_NS), lambda _: 40 * MS, [0] * 5)
    await machine.run()
    assert len(machine.begun) == 5


async def test_objects_that_survive_a_long_collection_are_frozen() -> None:
    lengths = [0, LONG_NS, LONG_NS + 1, 0, 0, 2 * LONG_NS]
    machine = Machine(ManualClock(START_NS), on_time, lengths)
    await machine.run()
    assert len(machine.begun) == len(lengths)
    assert machine.frozen == [1, 3, 6]  # what is there at the start, and after each long one


@asynccontextmanager
async def thawed() -> AsyncIterator[None]:
    """Unfreeze the objects that a test froze."""
    try:
        yield
    finally:
        gc.unfreeze()


async def test_python_makes_no_full_collection_of_its_own() -> None:
    before = gc.get_threshold()
    full: list[object] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            full.append(asyncio.current_task().get_name() if asyncio.current_task() else None)  # type: ignore[union-attr]

    gc.callbacks.append(note)
    try:
        async with thawed(), collecting(SystemClock()):
            await asyncio.sleep(0)
            assert full == ["garbage"]
            kept = [
                [number] for number in range(2_000_000)
            ]  # Python alone would collect it all several times
            assert full == ["garbage"]
            del kept
    finally:
        gc.callbacks.remove(note)
    assert gc.get_threshold() == before


async def test_a_ring_that_is_given_up_is_freed() -> None:
    clock = ManualClock(START_NS)
    rings: list[Ring] = []
    seen: list[weakref.ref[Ring]] = []

    async def sleep(seconds: float) -> None:
        clock.advance(round(seconds * NS_PER_SECOND))
        if not seen:
            rings.append(Ring())
            seen.append(weakref.ref(rings[0]))
        elif rings:
            rings.clear()
            assert seen[0]() is not None
        elif clock.time_ns() > START_NS + 3 * INTERVAL_NS:
            raise asyncio.CancelledError

    async with thawed():
        with suppress(asyncio.CancelledError):
            await GarbageCollector(clock, long_ns=10 * NS_PER_SECOND, sleep=sleep).run()
    assert seen[0]() is None


def test_the_most_numerous_objects_are_not_tracked() -> None:
    memory = Limits(
        window_ns=NS_PER_SECOND, window_size=10, finished_ns=NS_PER_SECOND, max_orders=10, live_ns=0
    )
    histograms = {leg: Observations((), 0) for leg in Leg}
    execution, signals = ExecutionState("s", "v", memory, histograms), Signals(10)
    mark_prices = MarkPrices(KeyBudget("x", 10, 10))
    signals.add(
        Signal(
            strategy="s",
            venue="v",
            instrument="i",
            signal_id="1",
            direction=Direction.BUY,
            time_ns=START_NS,
            price=1.0,
        ),
        START_NS,
        NS_PER_SECOND,
    )
    mark_prices.take(Quote(venue="v", instrument="i", time_ns=START_NS, bid=1.0, ask=2.0), START_NS)
    for state in (OrderState.SUBMITTED, OrderState.FILLED):
        order = Order(
            strategy="s", venue="v", instrument="i", order_id="1", side=Side.BUY, state=state,
            quantity=1.0, time_ns=START_NS, arrival_price=1.0,
        )  # fmt: skip
        execution.take_order(order, START_NS, signals.get("s", "1", 0), 1.0)
    fill = Fill(
        strategy="s", venue="v", instrument="i", order_id="1", fill_id="1", side=Side.BUY,
        price=1.0, quantity=1.0, time_ns=START_NS,
    )  # fmt: skip
    execution.take_fill(fill, START_NS)
    gc.collect()
    wanted = {OrderRecord, FillRecord, SignalRecord, MarkPrice}
    assert {type(found) for found in gc.get_objects() if type(found) in wanted} == set()
    assert execution.fills == 1
    assert mark_prices.get("v", "i") is not None
    assert signals.get("s", "1", 0) is not None
