"""Key budgets of the built-in collectors in the sampler: room, counts, health, and a restart."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from collectors.execution.collector import ExecutionCollector, ExecutionOptions
from collectors.host.plugins import LoadedCollector
from collectors.host.restore import History, no_history
from collectors.host.sampler import Sampler
from collectors.host.settings import SamplerSettings
from collectors.market.collector import MarketCollector, MarketOptions
from collectors.risk.collector import RiskCollector, RiskOptions
from collectors.strategy.collector import StrategyCollector, StrategyOptions
from decahertz.bus import EVENTS, LocalBus
from decahertz.clock import NS_PER_SECOND
from decahertz.collector import BaseCollector, Collector
from decahertz.event import (
    AnyEvent,
    Arrival,
    Equity,
    Event,
    EventBatch,
    Fill,
    Heartbeat,
    Origin,
    Position,
    Quote,
    Risk,
    Side,
)
from decahertz.health import Health
from decahertz.latest import LatestSamples
from decahertz.sample import Sample, schema_of
from decahertz.testing import ManualClock, ManualTimer

LIMIT, EMITTER_LIMIT = 10, 6
FLOOD = 3000
DAY_NS = 86_400 * NS_PER_SECOND


class Desk:
    """The built-in collectors with small budgets, in a sampler that is stepped by hand."""

    def __init__(self, history: History = no_history) -> None:
        self.clock = ManualClock()
        self.bus = LocalBus()
        self.timer = ManualTimer(self.clock)
        self.latest = LatestSamples(self.bus)
        self.registry = CollectorRegistry()
        few: dict[str, Any] = {"max_keys": LIMIT, "max_keys_per_emitter": EMITTER_LIMIT}
        instruments = {"max_instruments": 2 * LIMIT}
        self.market = MarketCollector(self.clock, MarketOptions(**few))
        self.strategy = StrategyCollector(
            self.clock, StrategyOptions(**few, **instruments, max_positions=2 * LIMIT)
        )
        self.execution = ExecutionCollector(self.clock, ExecutionOptions(**few, **instruments))
        self.risk = RiskCollector(self.clock, RiskOptions(**few))
        made: list[Collector] = [self.market, self.strategy, self.execution, self.risk]
        loaded = [LoadedCollector(c.sample_type.collector, "x", c, schema_of(c.sample_type)) for c in made]
        self.sampler = Sampler(
            self.bus, self.clock, self.timer, self.registry, SamplerSettings(), loaded, history=history
        )

    def send(self, emitter: str, events: Sequence[AnyEvent]) -> None:
        batch = EventBatch(source=emitter, epoch=1, first_sequence=1, events=tuple(events))
        self.bus.publish(EVENTS, Arrival(batch=batch, received_ns=self.clock.time_ns()))

    async def cycles(self, count: int = 1) -> None:
        for _ in range(count):
            await self.timer.cycle()

    async def delivered(self) -> None:
        """Runs cycles until every event has been delivered."""
        await self.cycles()
        while self.sampler.pending_events:
            await self.cycles()

    def samples(self, collector: str) -> tuple[Sample, ...]:
        batch = self.latest.get(collector)
        return () if batch is None else batch.samples

    def keys(self, collector: str) -> set[str]:
        return {getattr(sample, "strategy", None) or sample.instrument for sample in self.samples(collector)}  # type: ignore[attr-defined]

    def count(self, name: str, collector: str) -> float | None:
        return self.registry.get_sample_value(f"decahertz_sampler_{name}", {"collector": collector})


def equity(clock: ManualClock, name: str) -> Equity:
    return Equity(time_ns=clock.time_ns(), strategy=name, equity=1000.0)


def quote(clock: ManualClock, name: str) -> Quote:
    return Quote(time_ns=clock.time_ns(), venue="sim", instrument=name, bid=1.0, ask=2.0)


def fill(clock: ManualClock, name: str, instrument: str = "BTC-USD") -> Fill:
    return Fill(
        time_ns=clock.time_ns(),
        strategy=name,
        venue="sim",
        instrument=instrument,
        order_id=f"o-{name}",
        fill_id=f"f-{name}-{instrument}",
        side=Side.BUY,
        price=100.0,
        quantity=1.0,
    )


def risk(clock: ManualClock, name: str) -> Risk:
    return Risk(time_ns=clock.time_ns(), strategy=name, name="exposure", value=1.0)


Made = Callable[[ManualClock, str], AnyEvent]


@pytest.mark.parametrize(
    ("collector", "event"),
    [("strategy", equity), ("market", quote), ("execution", fill), ("risk", risk)],
)
async def test_a_runaway_client_does_not_take_the_room_of_others(collector: str, event: Made) -> None:
    desk = Desk()
    await desk.sampler.start()
    desk.send("runaway", [event(desk.clock, f"junk-{number}") for number in range(FLOOD)])
    desk.send("calm", [event(desk.clock, f"good-{number}") for number in range(4)])
    await desk.delivered()
    good = {f"good-{number}" for number in range(4)}
    assert desk.keys(collector) == {f"junk-{number}" for number in range(EMITTER_LIMIT)} | good
    refused = FLOOD - EMITTER_LIMIT
    assert desk.count("refused_events_total", collector) == refused
    assert desk.count("keys_over_budget", collector) == refused
    assert desk.sampler.keys_over_budget()[collector] == refused
    status = desk.sampler.status()
    assert status.health is Health.DEGRADED
    assert (
        f"2,994 keys over collectors.{collector}.max_keys (10, 6 by emitter) are stored as events but not"
        " sampled; runaway sends 2,994 of them" in status.detail
    )
    (figures,) = [one for one in desk.sampler.collectors() if one.name == collector]
    assert (figures.keys_over_budget, figures.refused_events) == (refused, refused)
    desk.clock.advance(61 * NS_PER_SECOND)
    for _ in range(100):  # a collector that took too long is not sampled for some cycles
        await desk.cycles()
        if not desk.sampler.keys_over_budget():
            break
    assert desk.sampler.status().health is not Health.FAILED
    assert desk.sampler.keys_over_budget() == {}
    assert "keys over" not in desk.sampler.status().detail
    await desk.sampler.stop()


async def test_positions_and_mids_have_budgets_of_their_own() -> None:
    desk = Desk()
    await desk.sampler.start()
    desk.send("runaway", [fill(desk.clock, "one", f"i-{number}") for number in range(FLOOD)])
    desk.send("runaway", [quote(desk.clock, f"i-{number}") for number in range(FLOOD)])
    desk.send("calm", [fill(desk.clock, "two", "BTC-USD"), quote(desk.clock, "BTC-USD")])
    await desk.delivered()
    held = desk.strategy.positions(desk.clock.time_ns())
    assert [p.instrument for p in held if p.strategy == "one"] == [f"i-{n}" for n in range(LIMIT)]
    (two,) = [p for p in held if p.strategy == "two"]
    assert two.mark_price == 1.5
    problems = desk.sampler.status().detail
    assert "2,990 keys over collectors.strategy.max_positions (20, 10 by emitter)" in problems
    assert "2,990 keys over collectors.strategy.max_instruments (20, 10 by emitter)" in problems
    assert "2,990 keys over collectors.execution.max_instruments (20, 10 by emitter)" in problems
    await desk.sampler.stop()


async def test_venues_known_by_heartbeats_alone_are_limited_and_retired() -> None:
    desk = Desk()
    await desk.sampler.start()

    def heartbeats(count: int) -> Iterator[Heartbeat]:
        for number in range(count):
            yield Heartbeat(time_ns=desk.clock.time_ns(), component="f", venue=f"v{number}")

    desk.send("runaway", list(heartbeats(FLOOD)))
    await desk.delivered()
    assert desk.count("keys_over_budget", "market") == FLOOD - EMITTER_LIMIT
    desk.clock.advance(3601 * NS_PER_SECOND)
    await desk.cycles()
    desk.send("runaway", list(heartbeats(EMITTER_LIMIT)))
    await desk.cycles()
    refused = FLOOD - EMITTER_LIMIT
    assert desk.count("refused_events_total", "market") == refused
    await desk.sampler.stop()


async def test_a_retired_strategy_gives_back_its_room_and_that_of_its_positions() -> None:
    desk = Desk()
    await desk.sampler.start()
    reports = [
        Position(time_ns=desk.clock.time_ns(), strategy=f"s{n}", venue="sim", instrument="X", quantity=0.0)
        for n in range(EMITTER_LIMIT)
    ]
    desk.send("bot", reports)
    await desk.cycles()
    desk.clock.advance(9 * DAY_NS)
    await desk.cycles()
    assert desk.samples("strategy") == ()
    assert [len(budget) for budget in desk.strategy.budgets] == [0, 0, 0, 0]
    await desk.sampler.stop()


def stored(events: Sequence[tuple[AnyEvent, int, str]]) -> History:
    async def history(
        event_types: Sequence[type[Event]], since_ns: int
    ) -> AsyncGenerator[tuple[AnyEvent, int, Origin], None]:
        for number, (event, received_ns, emitter) in enumerate(events, 1):
            if type(event) in event_types and received_ns >= since_ns:
                yield event, received_ns, (emitter, 1, number)

    return history


async def test_a_restart_keeps_the_budgets() -> None:
    clock = ManualClock()
    now_ns = clock.time_ns()
    events: list[tuple[AnyEvent, int, str]] = [
        *((fill(clock, f"junk-{n}"), now_ns, "runaway") for n in range(FLOOD)),
        *((fill(clock, f"good-{n}"), now_ns, "calm") for n in range(4)),
    ]
    desk = Desk(stored(events))
    await desk.sampler.start()
    await desk.cycles()
    names = {f"junk-{n}" for n in range(EMITTER_LIMIT)} | {f"good-{n}" for n in range(4)}
    assert desk.keys("strategy") == desk.keys("execution") == names
    assert desk.count("refused_events_total", "strategy") == 0
    assert desk.sampler.keys_over_budget() == {}
    await desk.sampler.stop()


@pytest.mark.parametrize("is_late", [False, True])
async def test_strategies_of_long_ago_do_not_take_the_room_of_the_newest_in_a_restart(
    *, is_late: bool
) -> None:
    """Also if a late sale closed the position: live, a cycle folds late fills; a restore has no cycles."""
    clock = ManualClock()
    now_ns = clock.time_ns()
    events: list[tuple[AnyEvent, int, str]] = []
    for n in range(50):
        at_ns = now_ns - (1000 - 10 * n) * DAY_NS
        bought = msgspec.structs.replace(fill(clock, f"old-{n}"), time_ns=at_ns)
        events.append((bought, at_ns, "bot"))
        sold = msgspec.structs.replace(
            bought, time_ns=at_ns - 1 if is_late else at_ns + 1, fill_id="x", side=Side.SELL, price=101.0
        )
        events.append((sold, at_ns, "bot"))
    events += [(fill(clock, f"new-{n}"), now_ns - DAY_NS // 2, "bot") for n in range(EMITTER_LIMIT)]
    desk = Desk(stored(events))
    await desk.sampler.start()
    await desk.cycles()
    assert desk.keys("strategy") == {f"new-{n}" for n in range(EMITTER_LIMIT)}
    await desk.sampler.stop()


class Careless(RiskCollector):
    """A plugin that ignores its budget."""

    def sample(self, now_ns: int) -> list[Sample]:
        (one,) = super().sample(now_ns)
        assert isinstance(self, BaseCollector)
        return [type(one)(**{**_fields(one), "risk": f"r{n}"}) for n in range(LIMIT + 5)]


def _fields(sample: Sample) -> dict[str, Any]:
    return {name: getattr(sample, name) for name in sample.__struct_fields__}


async def test_a_collector_that_ignores_its_budget_is_cut() -> None:
    clock, bus = ManualClock(), LocalBus()
    timer, latest = ManualTimer(clock), LatestSamples(bus)
    careless = Careless(clock, RiskOptions(max_keys=LIMIT))
    loaded = LoadedCollector("risk", "x", careless, schema_of(careless.sample_type))
    registry = CollectorRegistry()
    sampler = Sampler(bus, clock, timer, registry, SamplerSettings(), [loaded])
    await sampler.start()
    batch = EventBatch(source="x", epoch=1, first_sequence=1, events=(risk(clock, "s"),))
    bus.publish(EVENTS, Arrival(batch=batch, received_ns=clock.time_ns()))
    await timer.cycle()
    newest = latest.get("risk")
    assert newest is not None
    assert len(newest.samples) == LIMIT
    labels = {"collector": "risk", "reason": "over_budget"}
    assert registry.get_sample_value("decahertz_sampler_dropped_samples_total", labels) == 5
    assert "15 samples, more than the key budget of 10" in (sampler.collectors()[0].last_error or "")
    await sampler.stop()
