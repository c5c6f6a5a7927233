"""The conformance suite: a sound collector passes, and each broken promise is named."""
# ruff: noqa: ARG002 - collectors take what the protocol gives them

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

import pytest

from decahertz.bus import EVENTS, LocalBus, samples_topic
from decahertz.clock import CYCLE_NS, Clock
from decahertz.collector import BaseCollector, NoOptions
from decahertz.event import EVENT_TYPES, Arrival, Event, EventBatch, Order, Quote, Tick
from decahertz.metric import Kind, Metric
from decahertz.sample import Sample, SampleBatch, schema_of
from decahertz.testing import (
    START_NS,
    ManualClock,
    ManualTimer,
    MessageLog,
    check_collector,
    example_events,
)
from tests.event_examples import type_name


class CountSample(Sample, frozen=True, kw_only=True):
    collector: ClassVar[str] = "count"
    key: ClassVar[tuple[str, ...]] = ("instrument",)
    instrument: str
    last: Annotated[float | None, Metric("Last price.")]
    quotes: Annotated[int, Metric("Quotes seen.", kind=Kind.COUNTER)]


class Sound(BaseCollector[NoOptions]):
    """Counts quotes, and keeps a task while it runs."""

    sample_type: ClassVar[type[Sample]] = CountSample
    events = frozenset({Quote, Tick})

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, NoOptions())
        self.seen: dict[str, tuple[float | None, int]] = {}
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.task = asyncio.create_task(asyncio.sleep(3600))

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def on_event(self, event: Event, received_ns: int) -> None:
        if isinstance(event, Quote):
            self.seen[event.instrument] = (event.bid, self.seen.get(event.instrument, (None, 0))[1] + 1)

    def sample(self, now_ns: int) -> Iterable[Sample]:
        for instrument, (last, quotes) in self.seen.items():
            yield CountSample(instrument=instrument, last=last, quotes=quotes)


async def test_a_sound_collector_passes() -> None:
    await check_collector(Sound)


class StopsOnlyOnce(Sound):
    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()


class LeavesItsTask(Sound):
    async def stop(self) -> None:
        pass


class LeavesAThread(Sound):
    async def start(self) -> None:
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.ended.wait, args=(2,), name="poller")
        self.thread.start()

    async def stop(self) -> None:
        pass


class NeedsAnEvent(Sound):
    def sample(self, now_ns: int) -> Iterable[Sample]:
        return [CountSample(instrument=min(self.seen), last=None, quotes=1)]


class TakesNoTicks(Sound):
    def on_event(self, event: Event, received_ns: int) -> None:
        ["quote"].index(type_name(type(event)))


class ReturnsNotANumber(Sound):
    def sample(self, now_ns: int) -> Iterable[Sample]:
        return [CountSample(instrument=name, last=float("nan"), quotes=1) for name in self.seen]


class ReturnsAKeyTwice(Sound):
    def sample(self, now_ns: int) -> Iterable[Sample]:
        return [*super().sample(now_ns), *super().sample(now_ns)]


class CountsItsSamples(Sound):
    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.numbers = itertools.count()

    def sample(self, now_ns: int) -> Iterable[Sample]:
        return [CountSample(instrument=name, last=None, quotes=next(self.numbers)) for name in self.seen]


class ForgetsItsCount(Sound):
    def on_event(self, event: Event, received_ns: int) -> None:
        super().on_event(event, received_ns)
        if isinstance(event, Tick):
            self.seen = {name: (last, 0) for name, (last, _) in self.seen.items()}


class NeverUnderway(Sound):
    every = 0


class WantsBackWhatItNeverTook(Sound):
    restored: ClassVar[Mapping[type[Event], float]] = {Order: 60.0}


class HelpWithoutFullStop(Sound):
    class Unfinished(Sample, frozen=True, kw_only=True):
        collector: ClassVar[str] = "unfinished"
        count: Annotated[int, Metric("Count")]

    sample_type = Unfinished

    def sample(self, now_ns: int) -> Iterable[Sample]:
        return [self.Unfinished(count=1)]


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (StopsOnlyOnce, "stop without start raised AssertionError"),
        (LeavesItsTask, "after stop, tasks are still running"),
        (LeavesAThread, "after stop, threads are still running: poller"),
        (NeedsAnEvent, "sample raised ValueError"),
        (TakesNoTicks, "on_event raised ValueError.*Tick"),
        (ReturnsNotANumber, "cannot be stored: .*last"),
        (ReturnsAKeyTwice, "cannot be stored: two samples have the key 'EUR/USD'"),
        (CountsItsSamples, "sampled twice in one cycle, it returned"),
        (ForgetsItsCount, "the counter quotes of .*EUR/USD.* fell from 1 to 0"),
        (NeverUnderway, "every is 0"),
        (WantsBackWhatItNeverTook, "restored contains types that events does not: Order"),
        (HelpWithoutFullStop, "the help of count does not end with a full stop"),
    ],
)
async def test_a_broken_promise_is_named(broken: type[Sound], sentence: str) -> None:
    try:
        with pytest.raises(AssertionError, match=sentence):
            await check_collector(broken)
    finally:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


async def test_events_that_leave_out_a_declared_type_are_no_proof() -> None:
    quotes = [event for event in example_events() if isinstance(event, Quote)]
    with pytest.raises(AssertionError, match="lack the declared types Tick"):
        await check_collector(Sound, quotes)


def test_the_example_events_have_every_type_and_happen_one_after_the_other_from_the_given_time_on() -> None:
    assert {type(event) for event in example_events()} == set(EVENT_TYPES)
    times = [event.time_ns for event in example_events(START_NS)]
    assert times == sorted(set(times))
    assert START_NS < times[0] < times[-1] < START_NS + CYCLE_NS


async def test_a_manual_timer_waits_until_the_host_has_handled_the_cycle() -> None:
    clock = ManualClock(START_NS + 1)
    timer = ManualTimer(clock)
    seen = []

    async def host() -> None:
        while True:
            seen.append(await timer.next())

    task = asyncio.create_task(host())
    last = await timer.cycle(3)
    assert [cycle.time_ns for cycle in seen] == [START_NS + n * CYCLE_NS for n in (1, 2, 3)]
    assert last == clock.time_ns() == START_NS + 3 * CYCLE_NS
    await timer.cycle(lateness_ns=5, missed=2)
    assert (seen[-1].time_ns, seen[-1].missed) == (START_NS + 6 * CYCLE_NS, 2)
    assert clock.time_ns() == START_NS + 6 * CYCLE_NS + 5
    task.cancel()


async def test_a_manual_timer_steps_the_wall_clock_alone() -> None:
    clock = ManualClock()
    timer = ManualTimer(clock)
    task = asyncio.create_task(timer.next())
    before = clock.monotonic_ns()
    giving = asyncio.create_task(timer.cycle(stepped_ns=3 * CYCLE_NS))
    cycle = await task
    giving.cancel()
    assert (cycle.time_ns, cycle.stepped_ns) == (START_NS + 4 * CYCLE_NS, 3 * CYCLE_NS)
    assert clock.monotonic_ns() == before + CYCLE_NS


def test_a_manual_clock_refuses_to_run_backward() -> None:
    with pytest.raises(ValueError, match="step"):
        ManualClock().advance(-1)


def test_a_recorder_tells_samples_from_events() -> None:
    bus = LocalBus()
    recorder = MessageLog(bus)
    batch = SampleBatch(schema_of(CountSample), START_NS, ())
    bus.publish(samples_topic("count"), batch)
    events = example_events()
    bus.publish(
        EVENTS, Arrival(batch=EventBatch(source="x", epoch=1, first_sequence=1, events=events), received_ns=1)
    )
    recorder.close()
    bus.publish(samples_topic("count"), batch)
    assert recorder.batches("count") == [batch]
    assert recorder.batches("other") == []
    assert recorder.events() == list(events)
