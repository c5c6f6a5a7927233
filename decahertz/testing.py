"""Test support for plugin authors: fakes and the conformance suite.

The suite is one call in a test:

    async def test_conformance():
        await check_collector(lambda clock: ImbalanceCollector(clock, NoOptions()))

A violation of :mod:`decahertz.collector` raises an ``AssertionError`` that names it. :data:`CHECKS` holds the
individual checks by name, for suites with one test per check. No test framework is needed.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import msgspec

from decahertz.checks import SampleCheck
from decahertz.clock import CYCLE_NS, Clock
from decahertz.collector import BaseCollector, Collector
from decahertz.event import EVENT_TYPES, AnyEvent
from decahertz.fakes import (
    LIMIT_SECONDS,
    START_NS,
    ManualClock,
    ManualTimer,
    MessageLog,
    example_events,
)
from decahertz.metric import Kind
from decahertz.sample import Sample, SampleSchema, schema_of

__all__ = [
    "CHECKS",
    "START_NS",
    "ManualClock",
    "ManualTimer",
    "MessageLog",
    "check_collector",
    "example_events",
]

CollectorFactory = Callable[[Clock], Collector | BaseCollector[Any]]
Check = Callable[[CollectorFactory, Sequence[AnyEvent]], Awaitable[None]]


async def check_collector(factory: CollectorFactory, events: Iterable[AnyEvent] = ()) -> None:
    """Runs every check on new collectors created by ``factory``. Raises ``AssertionError``.

    ``events`` are delivered in this order; by default :func:`example_events`.
    """
    for check in CHECKS.values():
        await check(factory, tuple(events) or example_events())


async def check_declaration(factory: CollectorFactory, _events: Sequence[AnyEvent]) -> None:
    """The declaration is valid, and ``on_event`` and ``sample`` are synchronous."""
    collector = factory(ManualClock())
    schema = schema_of(collector.sample_type)
    _require(
        type(collector.every) is int and collector.every >= 1, f"every is {collector.every!r}, not 1 or more"
    )
    unknown = [str(event_type) for event_type in collector.events if event_type not in EVENT_TYPES]
    _require(not unknown, f"events contains types that are not event types: {', '.join(unknown)}")
    undeclared = [
        event_type.__name__ for event_type in collector.restored if event_type not in collector.events
    ]
    _require(not undeclared, f"restored contains types that events does not: {', '.join(undeclared)}")
    for name in ("on_event", "sample"):
        kind = getattr(collector, name)
        is_async = inspect.iscoroutinefunction(kind) or inspect.isasyncgenfunction(kind)
        _require(not is_async, f"{name} is asynchronous")
    for metric in schema.metrics:
        text = metric.metric.help
        _require(text.endswith("."), f"the help of {metric.name} does not end with a full stop: {text!r}")
    for histogram in getattr(collector, "histograms", ()):
        text = histogram.help
        _require(text.endswith("."), f"the help of {histogram.name} does not end with a full stop: {text!r}")


async def check_stop_without_start(factory: CollectorFactory, _events: Sequence[AnyEvent]) -> None:
    """``stop`` is safe without ``start``, and twice."""
    collector = factory(ManualClock())
    await _within_limit("stop without start", collector.stop())
    await _within_limit("stop a second time", collector.stop())


async def check_nothing_is_left_after_stop(factory: CollectorFactory, events: Sequence[AnyEvent]) -> None:
    """``stop`` is safe twice after ``start``, and ends the tasks and threads that ``start`` created."""
    before = asyncio.all_tasks()
    threads = set(threading.enumerate())
    async with _Run(factory) as run:
        run.feed(events)
        run.sample()
    await _within_limit("stop a second time", run.collector.stop())
    await asyncio.sleep(0)
    left = {task.get_name() for task in asyncio.all_tasks() - before if not task.done()}
    _require(not left, f"after stop, tasks are still running: {', '.join(sorted(left))}")
    # Threads named asyncio_… belong to the event loop, which reuses them.
    own = [thread for thread in set(threading.enumerate()) - threads if not thread.daemon]
    alive = {thread.name for thread in own if not thread.name.startswith("asyncio_")}
    _require(not alive, f"after stop, threads are still running: {', '.join(sorted(alive))}")


async def check_sample_before_any_event(factory: CollectorFactory, _events: Sequence[AnyEvent]) -> None:
    """``sample`` works before the first event."""
    async with _Run(factory) as run:
        run.sample()


async def check_every_declared_event_is_taken(factory: CollectorFactory, events: Sequence[AnyEvent]) -> None:
    """``on_event`` handles every declared type, also out of order and repeated."""
    async with _Run(factory) as run:
        missing = run.collector.events - {type(event) for event in events}
        names = ", ".join(sorted(event_type.__name__ for event_type in missing))
        _require(not missing, f"the given events lack the declared types {names}")
        run.feed(events)
        run.feed(tuple(reversed(events)))
        run.sample()


async def check_samples_are_sound(factory: CollectorFactory, events: Sequence[AnyEvent]) -> None:
    """Samples have the declared type, unique keys and storable values."""
    async with _Run(factory) as run:
        for event in events:
            run.feed([event])
            run.sample()


async def check_same_state_same_samples(factory: CollectorFactory, events: Sequence[AnyEvent]) -> None:
    """``sample`` changes nothing: twice in the same state and cycle, it returns the same samples."""
    async with _Run(factory) as run:
        run.feed(events)
        first, second = run.sample(advance=True), run.sample(advance=False)
        _require(first == second, f"sampled twice in one cycle, it returned {first} and then {second}")


async def check_counters_never_decrease(factory: CollectorFactory, events: Sequence[AnyEvent]) -> None:
    """Counters of a key never decrease."""
    async with _Run(factory) as run:
        counters = [m.name for m in run.schema.metrics if m.metric.kind is Kind.COUNTER]
        before: dict[tuple[str, ...], Sample] = {}
        for event in (*events, *events):
            run.feed([event])
            now = run.sample()
            for key in before.keys() & now.keys():
                for name in counters:
                    old, new = getattr(before[key], name), getattr(now[key], name)
                    _require(new >= old, f"the counter {name} of {key} fell from {old} to {new}")
            before = now


async def check_round_trip(factory: CollectorFactory, events: Sequence[AnyEvent]) -> None:
    """Samples survive JSON and MessagePack unchanged."""
    async with _Run(factory) as run:
        run.feed(events)
        for sample in run.sample().values():
            for codec in (msgspec.json, msgspec.msgpack):
                again = codec.decode(codec.encode(sample), type=type(sample))
                _require(again == sample, f"{codec.__name__} turned {sample} into {again}")


CHECKS: Mapping[str, Check] = {
    check.__name__.removeprefix("check_"): check
    for check in (
        check_declaration,
        check_stop_without_start,
        check_nothing_is_left_after_stop,
        check_sample_before_any_event,
        check_every_declared_event_is_taken,
        check_samples_are_sound,
        check_same_state_same_samples,
        check_counters_never_decrease,
        check_round_trip,
    )
}
"""Every check by name; each is called with a factory and the events."""


class _Run:
    """A started collector and its clock."""

    def __init__(self, factory: CollectorFactory) -> None:
        self.clock = ManualClock()
        self.collector = factory(self.clock)
        self.schema: SampleSchema = schema_of(self.collector.sample_type)
        self._check = SampleCheck(self.schema)

    async def __aenter__(self) -> Self:
        await _within_limit("start", self.collector.start())
        return self

    async def __aexit__(self, *_: object) -> None:
        await _within_limit("stop", self.collector.stop())

    def feed(self, events: Iterable[AnyEvent]) -> None:
        """Delivers the events of declared types, received now."""
        for event in events:
            if type(event) in self.collector.events:
                self.clock.advance(1_000_000)
                try:
                    self.collector.on_event(event, self.clock.time_ns())
                except Exception as error:
                    raise AssertionError(f"on_event raised {error!r} for {event}") from error

    def sample(self, *, advance: bool = True) -> dict[tuple[str, ...], Sample]:
        """Samples the next cycle, or this one again; returns the samples by key."""
        if advance:
            self.clock.advance(CYCLE_NS - self.clock.time_ns() % CYCLE_NS)
        try:
            returned = self.collector.sample(self.clock.time_ns())
            _require(not inspect.isawaitable(returned), "sample returned an awaitable")
            checked = self._check(returned)
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"sample raised {error!r}") from error
        _require(not checked.problem, f"sample returned a sample that cannot be stored: {checked.problem}")
        return {self.schema.key_of(sample): sample for sample in checked.samples}


def _require(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - as assert
    if not condition:
        raise AssertionError(otherwise)


async def _within_limit(what: str, work: Awaitable[None]) -> None:
    try:
        await asyncio.wait_for(work, LIMIT_SECONDS)
    except TimeoutError as error:
        raise AssertionError(f"{what} took longer than {LIMIT_SECONDS:g} s") from error
    except Exception as error:
        raise AssertionError(f"{what} raised {error!r}") from error
