from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

import pytest

from collectors.feeds.synthetic.feed import SyntheticFeed, SyntheticOptions
from decahertz.clock import NS_PER_SECOND
from decahertz.event import AnyEvent, ConnectionState, Heartbeat, MarketEvent, Quote, Tick
from decahertz.settings import Source, Sources
from decahertz.testing import ManualClock
from tests.collectors.feeds.parts import Pipeline, until


class Stepped:
    """Runs a feed on a clock that goes on by 20 ms with every sleep, for some seconds."""

    def __init__(self, options: SyntheticOptions, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = ManualClock()
        self.feed = SyntheticFeed(self.clock, options)
        self.events: list[tuple[float, AnyEvent]] = []
        self.start_ns = self.clock.time_ns()
        self._left = int(seconds / 0.02)
        self._sleep = asyncio.sleep
        monkeypatch.setattr("collectors.feeds.synthetic.feed.asyncio.sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        if not self._left:
            raise asyncio.CancelledError
        self._left -= 1
        self.clock.advance(20_000_000 if seconds else 0)
        await self._sleep(0)

    async def emit(self, events: Sequence[AnyEvent], received_ns: int) -> None:
        self.events += [((received_ns - self.start_ns) / NS_PER_SECOND, event) for event in events]

    async def run(self) -> Stepped:
        with pytest.raises(asyncio.CancelledError):
            await self.feed.run(self.emit)
        return self

    def heartbeats(self) -> list[tuple[float, ConnectionState]]:
        return [(at, event.connection) for at, event in self.events if isinstance(event, Heartbeat)]


async def test_the_same_seed_and_clock_give_the_same_events(monkeypatch: pytest.MonkeyPatch) -> None:
    options = SyntheticOptions(gap_probability=0.05, burst_interval_seconds=1, burst_seconds=0.5)
    first = await Stepped(options, 2.0, monkeypatch).run()
    monkeypatch.undo()
    second = await Stepped(options, 2.0, monkeypatch).run()
    assert first.events == second.events
    assert len(first.events) > 100


async def test_an_event_is_as_old_as_its_way_and_the_batch_took(monkeypatch: pytest.MonkeyPatch) -> None:
    stepped = await Stepped(SyntheticOptions(instruments=100), 2.0, monkeypatch).run()
    ages = [
        at - (event.time_ns - stepped.start_ns) / NS_PER_SECOND
        for at, event in stepped.events
        if isinstance(event, MarketEvent)
    ]
    assert min(ages) > 0
    assert max(ages) < 0.1


async def test_each_venue_has_a_heartbeat_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    options = SyntheticOptions(venues=("one", "two"), instruments=2)
    stepped = await Stepped(options, 2.5, monkeypatch).run()
    assert stepped.heartbeats() == [(float(second), ConnectionState.OPEN) for second in (0, 0, 1, 1, 2, 2)]
    venues = {event.venue for _, event in stepped.events if isinstance(event, Heartbeat)}
    assert venues == {"one", "two"}


@pytest.mark.parametrize(
    ("kind", "opened", "closed"),
    [
        ("quiet", [0, 1, 2, 3, 4, 5, 6, 7], []),
        ("silent", [0, 1, 2, 5], []),
        ("closed", [0, 1, 2, 5], [3, 6]),
    ],
)
async def test_a_pause_is_quiet_silent_or_closed(
    kind: Literal["quiet", "silent", "closed"],
    opened: list[int],
    closed: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = SyntheticOptions(pause_interval_seconds=3, pause_seconds=2.0, pause_kind=kind)
    stepped = await Stepped(options, 7.5, monkeypatch).run()
    heartbeats = stepped.heartbeats()
    assert [at for at, connection in heartbeats if connection is ConnectionState.OPEN] == opened
    assert [at for at, connection in heartbeats if connection is ConnectionState.CLOSED] == closed
    # What happened just before the pause may still arrive in it.
    seconds = {int(at) for at, event in stepped.events if isinstance(event, Quote) and at % 1 > 0.1}
    assert seconds == {0, 1, 2, 5}


async def test_a_process_that_slept_is_not_flooded(monkeypatch: pytest.MonkeyPatch) -> None:
    stepped = Stepped(SyntheticOptions(instruments=5), 2.0, monkeypatch)
    slept = False

    async def sleep(seconds: float) -> None:
        nonlocal slept
        if stepped.clock.monotonic_ns() >= NS_PER_SECOND and not slept:
            slept = True
            stepped.clock.advance(3_600 * NS_PER_SECOND)
        await stepped.sleep(seconds)

    monkeypatch.setattr("collectors.feeds.synthetic.feed.asyncio.sleep", sleep)
    await stepped.run()
    assert stepped.feed.counters == {"stalls": 1}
    assert len(stepped.events) < 200
    assert max(at for at, event in stepped.events if isinstance(event, Tick | Quote)) > 3_600


async def test_it_runs_through_the_pipeline(pipeline: Pipeline) -> None:
    feed = SyntheticFeed(pipeline.clock, SyntheticOptions(instruments=1_000, ticks_per_second=10.0))
    async with pipeline.running(feed) as host:
        await until(lambda: len(pipeline.of(Tick)) > 1_000 and len(pipeline.of(Quote)) > 500)
    (status,) = host.feeds()
    assert status.restarts == 0
    assert status.counters["refused"] == 0
    assert status.events == len(pipeline.events)


def test_its_options_come_from_the_settings() -> None:
    values = {"feeds.synthetic.instruments": "3", "feeds.synthetic.venues": "one, two"}
    sources = Sources((Source("the command line", values),))
    options = sources.plugin_options("feeds", "synthetic", SyntheticOptions)
    assert (options.instruments, options.venues, options.seed) == (3, ("one", "two"), 1)
