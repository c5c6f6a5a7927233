"""The sampler with collectors that behave, and with such that do not, on a grid stepped by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from collectors.host.dispatch import SLICE
from collectors.host.plugins import LoadedCollector, PluginFailure
from collectors.host.sampler import Sampler
from collectors.host.settings import SamplerSettings
from collectors.host.timer import GridTimer
from decahertz.bus import EVENTS, LocalBus
from decahertz.clock import CYCLE_NS, NS_PER_SECOND, Cycle, SystemClock
from decahertz.collector import BaseCollector, NoOptions
from decahertz.event import AnyEvent, Arrival, Event, EventBatch, Heartbeat, Quote, Tick
from decahertz.health import Health, RunState
from decahertz.metric import Kind, Metric
from decahertz.sample import Sample, schema_of
from decahertz.supervision import SUPERVISION, Supervision
from decahertz.testing import START_NS, ManualClock, ManualTimer, MessageLog

MS = 1_000_000


class OneSample(Sample, frozen=True, kw_only=True):
    collector: ClassVar[str] = "one"
    key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    value: Annotated[float | None, Metric("A value.")]
    events: Annotated[int, Metric("Events.", kind=Kind.COUNTER)]


class TwoSample(OneSample, frozen=True, kw_only=True):
    collector: ClassVar[str] = "two"


class One(BaseCollector[NoOptions]):
    """Returns a sample for each of its names; what else it does is for the test to say."""

    sample_type: ClassVar[type[Sample]] = OneSample
    events: ClassVar[frozenset[type[Event]]] = frozenset({Quote})

    def __init__(self, clock: ManualClock | SystemClock) -> None:
        super().__init__(clock, NoOptions())
        self.names = ["a"]
        self.value: float | None = 1.5
        self.sampled: list[int] = []
        self.taken: list[tuple[Event, int]] = []
        self.life: list[str] = []
        self.during_start: Callable[[], Any] | None = None
        self.during_stop: Callable[[], Any] | None = None
        self.during_sample: Callable[[], object] | None = None
        self.during_event: Callable[[], object] | None = None

    async def start(self) -> None:
        self.life.append("start")
        if self.during_start is not None:
            await self.during_start()

    async def stop(self) -> None:
        self.life.append("stop")
        if self.during_stop is not None:
            await self.during_stop()

    def on_event(self, event: Event, received_ns: int) -> None:
        self.taken.append((event, received_ns))
        if self.during_event is not None:
            self.during_event()

    def sample(self, now_ns: int) -> Iterable[Sample]:
        self.sampled.append(now_ns)
        if self.during_sample is not None:
            self.during_sample()
        for name in self.names:
            yield self.sample_type(name=name, value=self.value, events=len(self.taken))


class Two(One):
    sample_type: ClassVar[type[Sample]] = TwoSample
    events: ClassVar[frozenset[type[Event]]] = frozenset({Quote, Tick})


class Tenth(Two):
    every = 10


def loaded(collector: One) -> LoadedCollector:
    schema = schema_of(collector.sample_type)
    return LoadedCollector(schema.collector, "tests", collector, schema)


@dataclass
class Rig:
    clock: ManualClock
    bus: LocalBus
    timer: ManualTimer
    registry: CollectorRegistry
    recorder: MessageLog
    sampler: Sampler
    one: One
    two: Two

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"decahertz_sampler_{name}", labels)

    def publish(self, *events: AnyEvent) -> None:
        batch = EventBatch(source="test", epoch=1, first_sequence=1, events=events)
        self.bus.publish(EVENTS, Arrival(batch=batch, received_ns=self.clock.time_ns()))

    def take_time(self, duration_ns: int) -> Callable[[], None]:
        return lambda: self.clock.advance(duration_ns)


def rig_of(two: type[Two] = Two, failures: tuple[PluginFailure, ...] = (), limit: float = 5.0) -> Rig:
    clock, bus, registry = ManualClock(), LocalBus(), CollectorRegistry()
    timer = ManualTimer(clock)
    recorder = MessageLog(bus, "samples:*")
    collectors = One(clock), two(clock)
    hosted = [loaded(collector) for collector in collectors]
    budget = SamplerSettings(budget_seconds=0.02)
    sampler = Sampler(bus, clock, timer, registry, budget, hosted, failures=failures, limit_seconds=limit)
    return Rig(clock, bus, timer, registry, recorder, sampler, *collectors)


@asynccontextmanager
async def running(two: type[Two] = Two) -> AsyncIterator[Rig]:
    rig = rig_of(two)
    await rig.sampler.start()
    try:
        yield rig
    finally:
        await rig.sampler.stop()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A running sampler with two collectors."""
    async with running() as started:
        yield started


def quote(bid: float = 1.0) -> Quote:
    return Quote(time_ns=START_NS, venue="SIM", instrument="EUR/USD", bid=bid)


def tick() -> Tick:
    return Tick(time_ns=START_NS, venue="SIM", instrument="EUR/USD", price=1.0, size=1.0)


def fail() -> None:
    raise ValueError("no luck")


# The grid


async def test_each_collector_is_asked_in_each_cycle_and_its_samples_are_published(rig: Rig) -> None:
    await rig.timer.cycle(3)
    expected = [START_NS + n * CYCLE_NS for n in (1, 2, 3)]
    assert rig.one.sampled == rig.two.sampled == expected
    assert [batch.time_ns for batch in rig.recorder.batches("one")] == expected
    assert rig.recorder.batches("two")[0].samples == (TwoSample(name="a", value=1.5, events=0),)


async def test_a_slower_cadence_falls_on_its_multiples_even_if_cycles_are_missed() -> None:
    async with running(Tenth) as rig:
        await rig.timer.cycle(7)
        await rig.timer.cycle(missed=4)
        await rig.timer.cycle(18)
        seconds = [time_ns / NS_PER_SECOND for time_ns in rig.two.sampled]
        assert seconds == [START_NS / NS_PER_SECOND + n for n in (2, 3)]
        [status] = [status for status in rig.sampler.collectors() if status.name == "two"]
        assert status.skipped == 1


async def test_lateness_missed_cycles_and_clock_steps_are_counted(rig: Rig) -> None:
    await rig.timer.cycle(lateness_ns=3 * MS)
    await rig.timer.cycle(missed=4, lateness_ns=7 * MS)
    last = await rig.timer.cycle(stepped_ns=5 * NS_PER_SECOND)
    sampler = rig.sampler
    assert (sampler.cycles, sampler.missed_cycles, sampler.clock_steps) == (3, 4, 1)
    assert rig.recorder.batches("one")[-1].time_ns == last
    assert sampler.lateness_seconds(0.5) == 0.003
    assert sampler.lateness_seconds(0.99) == 0.007
    assert rig.metric("cycles_total") == 3
    assert rig.metric("missed_cycles_total") == 4
    assert rig.metric("clock_steps_total") == 1
    assert rig.metric("lateness_seconds_count") == 3
    assert rig.metric("lateness_seconds_bucket", le="0.005") == 2
    assert rig.metric("skipped_cycles_total", collector="one", reason="missed") == 4


async def test_a_stepped_clock_is_logged_and_said_for_a_minute(rig: Rig) -> None:
    with capture_logs() as logs:
        await rig.timer.cycle(stepped_ns=-2 * NS_PER_SECOND)
    assert [log["event"] for log in logs] == ["clock_stepped"]
    assert rig.sampler.status().health is Health.DEGRADED
    await rig.timer.cycle(601)
    assert rig.sampler.status().health is Health.OK


async def test_silence_of_the_grid_is_said(rig: Rig) -> None:
    assert rig.sampler.lateness_seconds(0.99) is None
    await rig.timer.cycle()
    rig.clock.advance(3 * NS_PER_SECOND)
    status = rig.sampler.status()
    assert status.health is Health.DEGRADED
    assert "no cycle for 3 s" in status.detail


async def test_a_grid_that_breaks_is_told_and_the_cycles_go_on() -> None:
    clock = ManualClock()

    class Broken:
        calls = 0

        async def next(self) -> Cycle:
            self.calls += 1
            if self.calls == 1:
                raise OSError("no clock")
            if self.calls > 2:
                await asyncio.Event().wait()
            return Cycle(clock.time_ns(), 0, 0, 0)

    supervision = Supervision(clock)
    SUPERVISION.set(supervision)
    sampler = Sampler(LocalBus(), clock, Broken(), CollectorRegistry(), SamplerSettings(), [])
    with capture_logs():
        await sampler.start()
        async with asyncio.timeout(20):
            while not sampler.cycles:  # noqa: ASYNC110 - nothing tells of a cycle
                await asyncio.sleep(0.01)
    assert supervision.status().detail == "sampler failed: OSError: no clock"
    assert sampler.status().health is Health.OK
    await sampler.stop()
    assert sampler.status().health is Health.FAILED


# Events


async def test_events_reach_the_collectors_that_declared_them_in_order(rig: Rig) -> None:
    first, trade, second = quote(1), tick(), quote(2)
    rig.publish(first, Heartbeat(time_ns=1, component="x"), trade, second)
    now_ns = rig.clock.time_ns()
    assert rig.one.taken == [(first, now_ns), (second, now_ns)]
    assert rig.two.taken == [(first, now_ns), (trade, now_ns), (second, now_ns)]


async def test_time_that_a_collector_needs_for_events_is_measured(rig: Rig) -> None:
    rig.one.during_event = rig.take_time(2 * MS)
    rig.publish(*[quote()] * 5)
    assert rig.metric("event_seconds_total", collector="one") == pytest.approx(0.01)
    assert rig.metric("event_seconds_total", collector="two") == 0


async def test_an_event_that_raises_stops_neither_its_batch_nor_others_and_is_logged_once(
    rig: Rig,
) -> None:
    rig.one.during_event = fail
    with capture_logs() as logs:
        for _ in range(3):
            rig.publish(quote(), quote())
    assert len(rig.one.taken) == len(rig.two.taken) == 6
    assert [(log["event"], log["collector"]) for log in logs] == [("collector_event_failed", "one")]
    one, _ = rig.sampler.collectors()
    assert (one.events, one.errors, one.last_error) == (6, 6, "on_event raised ValueError: no luck")
    assert rig.metric("errors_total", collector="one") == 6
    assert rig.metric("errors_total", collector="two") == 0


async def test_recovery_is_logged_after_a_quiet_time(rig: Rig) -> None:
    rig.one.during_event = fail
    rig.publish(quote())
    rig.one.during_event = None
    with capture_logs() as logs:
        await rig.timer.cycle(99)
        assert logs == []
        assert rig.sampler.status().health is Health.DEGRADED
        await rig.timer.cycle(2)
    assert [log["event"] for log in logs] == ["collector_event_recovered"]
    assert rig.sampler.status().health is Health.OK


async def test_a_huge_batch_leaves_room_for_the_grid_and_keeps_the_order(rig: Rig) -> None:
    events = [quote(float(n)) for n in range(10 * SLICE)]
    rig.publish(*events)
    rig.publish(last := quote(-1.0))
    assert rig.sampler.pending_events == len(events) + 1
    await rig.timer.cycle()
    assert 0 < len(rig.one.taken) < len(events)
    for _ in range(2 * len(events) // SLICE):
        await asyncio.sleep(0)
    assert [event for event, _ in rig.one.taken] == [*events, last]


async def test_publishing_too_many_events_waits_for_the_collectors(rig: Rig) -> None:
    events = [quote()] * 50_000
    for _ in range(3):
        rig.publish(*events)
    assert rig.sampler.pending_events <= 100_000
    assert len(rig.one.taken) + rig.sampler.pending_events == 150_000


# Collectors that fail


async def test_a_sample_that_raises_is_counted_logged_once_and_the_others_go_on(rig: Rig) -> None:
    rig.one.during_sample = fail
    with capture_logs() as logs:
        await rig.timer.cycle(5)
    assert [log["event"] for log in logs] == ["collector_sample_failed"]
    assert rig.recorder.batches("one") == []
    assert len(rig.recorder.batches("two")) == 5
    one, two = rig.sampler.collectors()
    assert (one.errors, one.skipped, one.state) == (5, 5, RunState.RUNNING)
    assert two.errors == 0
    assert rig.metric("skipped_cycles_total", collector="one", reason="error") == 5


async def test_a_bad_sample_is_dropped_and_counted_and_the_others_are_published(rig: Rig) -> None:
    rig.one.names = ["a", "b\nb", "c", "a"]
    with capture_logs() as logs:
        await rig.timer.cycle(3)
    samples = rig.recorder.batches("one")[0].samples
    assert [s.name for s in samples if isinstance(s, OneSample)] == ["a", "c"]
    assert [log["event"] for log in logs] == ["collector_validation_failed"]
    assert rig.metric("dropped_samples_total", collector="one", reason="key") == 3
    assert rig.metric("dropped_samples_total", collector="one", reason="duplicate") == 3
    assert rig.metric("samples_total", collector="one") == 6
    rig.one.names, rig.one.value = ["a"], float("nan")
    await rig.timer.cycle()
    assert rig.metric("dropped_samples_total", collector="one", reason="value") == 1


async def test_an_empty_batch_says_that_the_keys_are_gone_and_says_it_once(rig: Rig) -> None:
    await rig.timer.cycle()
    rig.one.names = []
    last = await rig.timer.cycle()
    await rig.timer.cycle(3)
    batches = rig.recorder.batches("one")
    assert [len(batch.samples) for batch in batches] == [1, 0]
    assert batches[-1].time_ns == last


async def test_without_keys_and_events_a_collector_is_asked_once_a_second(rig: Rig) -> None:
    rig.one.names = []
    await rig.timer.cycle(21)
    assert len(rig.one.sampled) == 3
    rig.publish(quote())
    rig.one.names = ["a"]
    await rig.timer.cycle(2)
    assert len(rig.one.sampled) == 5
    assert len(rig.two.sampled) == 23
    assert rig.metric("samples_total", collector="one") == 2


async def test_one_call_over_budget_is_counted_and_forgiven_however_long_it_took(rig: Rig) -> None:
    rig.one.during_sample = rig.take_time(3_000 * MS)
    with capture_logs() as logs:
        await rig.timer.cycle()
        rig.one.during_sample = None
        await rig.timer.cycle(5)
    assert len(rig.one.sampled) == 6
    assert rig.metric("over_budget_calls_total", collector="one") == 1
    assert logs == []


async def test_a_collector_that_keeps_exceeding_its_budget_is_left_out_for_what_it_overran(rig: Rig) -> None:
    rig.one.during_sample = rig.take_time(50 * MS)  # one and a half budgets of 20 ms too long
    with capture_logs() as logs:
        await rig.timer.cycle(20)
    start = START_NS // CYCLE_NS
    assert [time_ns // CYCLE_NS - start for time_ns in rig.one.sampled] == [1, 2, 3, 4, 11, 12, 13, 14]
    assert len(rig.two.sampled) == 20
    assert rig.metric("skipped_cycles_total", collector="one", reason="over_budget") == 12
    assert [log["event"] for log in logs] == ["collector_budget_failed"]
    assert rig.sampler.status().health is Health.DEGRADED
    assert rig.sampler.collectors()[0].duration_max_seconds == 0.05
    rig.one.during_sample = None
    await rig.timer.cycle(5)
    assert len(rig.one.sampled) == 13


async def test_a_very_slow_collector_is_left_out_after_its_second_call(rig: Rig) -> None:
    rig.one.during_sample = rig.take_time(90 * MS)
    await rig.timer.cycle(9)
    assert len(rig.one.sampled) == 2
    assert rig.metric("skipped_cycles_total", collector="one", reason="over_budget") == 7
    await rig.timer.cycle()
    assert len(rig.one.sampled) == 3


@pytest.mark.parametrize("kind", ["raises", "hangs", "ignores its cancellation"])
async def test_a_collector_that_does_not_start_has_failed_and_the_others_go_on(kind: str) -> None:
    rig = rig_of(limit=0.05)
    released = asyncio.Event()

    async def start() -> None:
        if kind == "raises":
            raise OSError("no such device")
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                if kind == "hangs":
                    raise

    rig.one.during_start = start
    try:
        with capture_logs() as logs:
            await rig.sampler.start()
        await rig.timer.cycle(2)
        rig.publish(quote())
        one, two = rig.sampler.collectors()
        assert (one.state, two.state) == (RunState.FAILED, RunState.RUNNING)
        assert one.last_error is not None
        assert ("no such device" if kind == "raises" else "longer than 0.05 s") in one.last_error
        assert (rig.one.sampled, rig.one.taken) == ([], [])
        assert len(rig.two.sampled) == 2
        assert [log["event"] for log in logs] == ["collector_start_failed"]
        assert rig.sampler.status().health is Health.DEGRADED
        assert "one" in rig.sampler.status().detail
        assert rig.metric("collector_running", collector="one") == 0
    finally:
        released.set()
        await rig.sampler.stop()


async def test_a_plugin_that_could_not_be_loaded_is_shown_as_failed() -> None:
    rig = rig_of(failures=(PluginFailure("depth", "depth-plugin", "cannot be imported"),))
    await rig.sampler.start()
    status = rig.sampler.collectors()[-1]
    assert (status.name, status.state, status.last_error) == ("depth", RunState.FAILED, "cannot be imported")
    assert rig.sampler.status().health is Health.DEGRADED
    await rig.sampler.stop()


# Life


async def test_stop_is_safe_without_start_and_start_is_not_repeated() -> None:
    rig = rig_of()
    await rig.sampler.stop()
    assert rig.one.life == []
    await rig.sampler.start()
    with pytest.raises(RuntimeError, match="already started"):
        await rig.sampler.start()
    await rig.sampler.stop()


async def test_collectors_are_stopped_once_and_in_reverse() -> None:
    rig = rig_of()
    order: list[str] = []
    for collector in (rig.one, rig.two):
        collector.life = order
    await rig.sampler.start()
    assert order == ["start", "start"]
    for number, collector in enumerate((rig.one, rig.two)):
        collector.during_stop = _appending(order, str(number))
    await rig.sampler.stop()
    await rig.sampler.stop()
    assert order[2:] == ["stop", "1", "stop", "0"]


def _appending(order: list[str], text: str) -> Callable[[], Any]:
    async def during_stop() -> None:
        order.append(text)

    return during_stop


async def test_a_collector_that_fails_to_stop_does_not_keep_the_others_from_it() -> None:
    rig = rig_of(limit=0.05)
    rig.two.during_stop = asyncio.Event().wait
    await rig.sampler.start()
    with capture_logs() as logs:
        await rig.sampler.stop()
    assert rig.one.life == ["start", "stop"]
    assert [log["event"] for log in logs] == ["collector_stop_failed"]


async def test_nothing_is_published_and_no_event_delivered_after_stop() -> None:
    rig = rig_of()
    await rig.sampler.start()
    await rig.timer.cycle()
    rig.publish(*[quote()] * (100 * SLICE))
    await rig.sampler.stop()
    taken, published = len(rig.one.taken), len(rig.recorder.messages)
    rig.publish(quote())
    for _ in range(5):
        await asyncio.sleep(0)
    assert (len(rig.one.taken), len(rig.recorder.messages)) == (taken, published)
    assert rig.sampler.status().health is Health.FAILED


async def test_a_start_that_is_cancelled_stops_what_it_started() -> None:
    rig = rig_of()
    hanging = asyncio.Event()

    async def hang() -> None:
        hanging.set()
        await asyncio.Event().wait()

    rig.two.during_start = hang
    task = asyncio.create_task(rig.sampler.start())
    await hanging.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rig.one.life == ["start", "stop"]
    assert rig.two.life == ["start", "stop"]


async def test_with_the_real_clock_every_cycle_is_sampled_or_counted() -> None:
    clock, bus = SystemClock(), LocalBus()
    recorder = MessageLog(bus, "samples:*")
    timer, collectors = GridTimer(clock), [loaded(One(clock))]
    sampler = Sampler(bus, clock, timer, CollectorRegistry(), SamplerSettings(), collectors)
    missed: list[int] = []  # so far, at each batch: on a busy machine some before the first one, too
    enough = asyncio.Event()

    def count(_: object) -> None:
        missed.append(sampler.missed_cycles)
        if len(missed) >= 5:
            enough.set()

    bus.subscribe("samples:one", count)
    await sampler.start()
    async with asyncio.timeout(30):
        await enough.wait()
    await sampler.stop()
    cycles = [batch.time_ns for batch in recorder.batches("one")]
    assert all(time_ns % CYCLE_NS == 0 for time_ns in cycles)
    assert (cycles[-1] - cycles[0]) // CYCLE_NS + 1 == len(cycles) + missed[-1] - missed[0]


# The account of cycles

cycles = st.lists(
    st.tuples(
        st.integers(0, 12),  # missed before the cycle
        st.sampled_from(["fine", "raises", "slow", "very slow"]),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=50)
@given(cycles=cycles, every=st.sampled_from([1, 2, 5, 10]))
def test_a_collector_is_sampled_or_skipped_on_every_cycle_on_which_it_is_due(
    cycles: list[tuple[int, str]], every: int
) -> None:
    async def run() -> None:
        async with running(type("Slower", (Two,), {"every": every})) as rig:
            acts: dict[str, Callable[[], object] | None] = {
                "fine": None,
                "raises": fail,
                "slow": rig.take_time(30 * MS),
                "very slow": rig.take_time(99 * MS),
            }
            last = START_NS // CYCLE_NS
            for missed, what in cycles:
                rig.two.during_sample = acts[what]
                last = await rig.timer.cycle(missed=missed) // CYCLE_NS
            due = last // every - (START_NS // CYCLE_NS) // every
            two = rig.sampler.collectors()[1]
            assert two.samples + two.skipped == due

    with capture_logs():  # drawing hundreds of tracebacks would take seconds
        asyncio.run(run())
