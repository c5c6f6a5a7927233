from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence

from prometheus_client import CollectorRegistry

from collectors.execution.collector import ExecutionCollector, ExecutionOptions
from collectors.host.plugins import LoadedCollector
from collectors.host.sampler import Sampler
from collectors.host.settings import SamplerSettings
from collectors.strategy.collector import StrategyCollector, StrategyOptions
from decahertz.bus import EVENTS, LocalBus
from decahertz.clock import NS_PER_SECOND
from decahertz.collector import Collector
from decahertz.event import AnyEvent, Arrival, Event, EventBatch, Fill, Order, OrderState, Origin, Side
from decahertz.latest import LatestSamples
from decahertz.sample import Sample, schema_of
from decahertz.testing import ManualClock, ManualTimer

START_NS = 1_767_225_600 * NS_PER_SECOND


class StoredEvents:
    """A history of events with their times of receipt; remembers what it was asked."""

    def __init__(self, events: Sequence[AnyEvent]) -> None:
        self.events = events
        self.asked: list[tuple[set[type[Event]], int]] = []

    async def __call__(
        self,
        event_types: Sequence[type[Event]],
        since_ns: int,
    ) -> AsyncGenerator[tuple[AnyEvent, int, Origin], None]:
        self.asked.append((set(event_types), since_ns))
        for event in self.events:
            if type(event) in event_types and event.time_ns >= since_ns:
                yield event, event.time_ns, ("test", 0, 1)


def fill(number: int, side: Side, price: float, time_ns: int) -> Fill:
    return Fill(
        time_ns=time_ns,
        strategy="momentum",
        venue="sim",
        instrument="BTC-USD",
        order_id=f"o{number}",
        fill_id=f"f{number}",
        side=side,
        price=price,
        quantity=1.0,
    )


def collectors(clock: ManualClock) -> list[LoadedCollector]:
    made: list[Collector] = [
        StrategyCollector(clock, StrategyOptions()),
        ExecutionCollector(clock, ExecutionOptions()),
    ]
    return [LoadedCollector(c.sample_type.collector, "decahertz", c, schema_of(c.sample_type)) for c in made]


async def sampled(history: StoredEvents, live: Sequence[AnyEvent]) -> dict[str, Sample]:
    """The newest sample of each collector after a start with a history, some live events and a cycle."""
    clock, bus = ManualClock(START_NS), LocalBus()
    timer = ManualTimer(clock)
    latest = LatestSamples(bus)
    loaded = collectors(clock)
    sampler = Sampler(bus, clock, timer, CollectorRegistry(), SamplerSettings(), loaded, history=history)
    await sampler.start()
    batch = EventBatch(source="test", epoch=1, first_sequence=1, events=tuple(live))
    bus.publish(EVENTS, Arrival(batch=batch, received_ns=START_NS))
    await timer.cycle()
    await sampler.stop()
    return {batch.schema.collector: sample for batch in latest for sample in batch.samples}


async def test_after_a_restart_the_figures_are_those_of_a_process_that_never_stopped() -> None:
    day_ns = 86_400 * NS_PER_SECOND
    before: list[AnyEvent] = [
        fill(1, Side.BUY, 100.0, START_NS - 40 * day_ns),
        fill(2, Side.SELL, 130.0, START_NS - 39 * day_ns),
        fill(3, Side.BUY, 50.0, START_NS - 3600 * NS_PER_SECOND),
    ]
    after = fill(4, Side.SELL, 45.0, START_NS)
    restarted = await sampled(StoredEvents(before), [after])
    unbroken = await sampled(StoredEvents([]), [*before, after])
    for name in ("realised_pnl", "trades", "fills", "open_positions"):
        assert getattr(restarted["strategy"], name) == getattr(unbroken["strategy"], name), name
    assert getattr(restarted["strategy"], "trades") == 2  # noqa: B009 - the type is not declared here


async def test_open_orders_are_known_again() -> None:
    order = Order(
        time_ns=START_NS - 60 * NS_PER_SECOND,
        strategy="momentum",
        venue="sim",
        instrument="BTC-USD",
        order_id="o1",
        state=OrderState.ACCEPTED,
        side=Side.BUY,
        quantity=1.0,
    )
    found = await sampled(StoredEvents([order]), [])
    assert getattr(found["execution"], "open_orders") == 1  # noqa: B009 - the type is not declared here


async def test_each_event_is_delivered_once_and_only_as_far_back_as_was_asked() -> None:
    history = StoredEvents([])
    await sampled(history, [])
    spans = {since: types for types, since in history.asked}
    assert Fill in spans[0]
    unlimited = {t for t, seconds in StrategyCollector.restored.items() if seconds == math.inf}
    assert set(spans[0]) <= unlimited
    assert StrategyCollector.restored[Fill] == math.inf


async def test_a_history_that_breaks_off_does_not_stop_the_start() -> None:
    class Broken(StoredEvents):
        async def __call__(
            self,
            event_types: Sequence[type[Event]],
            since_ns: int,
        ) -> AsyncGenerator[tuple[AnyEvent, int, Origin], None]:
            async for item in super().__call__(event_types, since_ns):
                yield item
                raise ConnectionResetError("the database went away")

    found = await sampled(Broken([fill(1, Side.BUY, 1.0, START_NS - 1)]), [])
    assert getattr(found["strategy"], "fills") == 1  # noqa: B009 - the type is not declared here
