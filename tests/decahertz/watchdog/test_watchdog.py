"""The watchdog behind the real collectors: each condition fires, is resolved, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from collectors.market.collector import MarketCollector, MarketOptions
from collectors.risk.collector import RiskCollector, RiskOptions
from collectors.strategy.collector import StrategyCollector, StrategyOptions
from collectors.system.sample import SystemSample
from decahertz.alert import TOPIC, Acknowledgement, Alert, AlertState
from decahertz.bus import LocalBus, Message, samples_topic
from decahertz.clock import CYCLE_NS, NS_PER_SECOND
from decahertz.collector import BaseCollector
from decahertz.conditions import CONDITIONS
from decahertz.event import (
    AnyEvent,
    Cash,
    CashKind,
    ConnectionState,
    Equity,
    Fill,
    Heartbeat,
    Position,
    Quote,
    Risk,
    Side,
)
from decahertz.fakes import ManualClock
from decahertz.health import Health
from decahertz.latest import LatestAlerts
from decahertz.ledger import Account, Changes, Ledger
from decahertz.sample import Sample, SampleBatch, schema_of
from decahertz.thresholds import AlertsSettings
from decahertz.watchdog.probes import CycleCounts
from decahertz.watchdog.readings import Figures, Readings
from decahertz.watchdog.watchdog import Watchdog
from tests.alert_examples import watchdog_alert

RECORDER = "desk-1"
_ZERO: dict[type, Any] = {int: 0, float: 0.0, bool: False}
_SYSTEM = schema_of(SystemSample)
_QUIET_SYSTEM = msgspec.convert(
    {"host": "h"} | {m.name: None if m.optional else _ZERO[m.type] for m in _SYSTEM.metrics}, SystemSample
)


class Rig:
    """Collectors, the watchdog behind them, and a clock that is moved by cycles."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - any threshold
        self.clock = ManualClock()
        self.bus = LocalBus()
        self.registry = CollectorRegistry()
        self.ledger = Ledger()
        self.alerts = LatestAlerts(self.bus)
        self.cycles = self.missed = 0
        self.lost_since_ns: int | None = None
        self.loop_lag = 0.0
        self.keys_over_budget: dict[str, int] = {}
        self.behind: set[str] = set()
        self.heard: list[tuple[float, Alert]] = []
        self.bus.subscribe(TOPIC, self._hear)
        self.collectors: list[BaseCollector[Any]] = [
            MarketCollector(self.clock, MarketOptions()),
            StrategyCollector(self.clock, StrategyOptions()),
            RiskCollector(self.clock, RiskOptions()),
        ]
        self.settings = AlertsSettings(**settings)
        self.start_ns = self.clock.time_ns()
        self.watchdog = self.another_watchdog(self.registry)

    def another_watchdog(self, registry: CollectorRegistry) -> Watchdog:
        """A watchdog, as of another process."""
        return Watchdog(
            self.bus,
            self.alerts,
            self.clock,
            registry,
            self.settings,
            self.figures,
            recorder=RECORDER,
        )

    @property
    def figures(self) -> Figures:
        """Figures of the parts that the rig stands for."""
        return Figures(
            cycles=lambda: CycleCounts(self.cycles, self.missed),
            unbalanced=self.ledger.unbalanced,
            database_lost_seconds=self._lost_seconds,
            keys_over_budget=lambda: self.keys_over_budget,
            behind=lambda: self.behind,
        )

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return (self.clock.time_ns() - self.start_ns) / NS_PER_SECOND

    def emit(self, event: AnyEvent) -> None:
        for collector in self.collectors:
            if type(event) in collector.events:
                collector.on_event(event, self.clock.time_ns())

    async def run(self, seconds: float, every: Callable[[], None] = lambda: None) -> None:
        """Runs cycles; ``every`` is called before each."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(CYCLE_NS)
            self.cycles += 1
            every()
            await self.cycle()

    async def cycle(self) -> None:
        now_ns = self.clock.time_ns()
        for collector in self.collectors:
            self.publish(collector.sample_type, tuple(collector.sample(now_ns)))
        system = msgspec.structs.replace(_QUIET_SYSTEM, loop_lag_max_seconds=self.loop_lag)
        self.publish(SystemSample, (system,))
        await asyncio.sleep(0)

    def publish(self, sample_type: type[Sample], samples: tuple[Sample, ...]) -> None:
        batch = SampleBatch(schema_of(sample_type), self.clock.time_ns(), samples)
        self.bus.publish(samples_topic(sample_type.collector), batch)

    def story(self) -> list[tuple[float, str, str]]:
        """When what changed: seconds, name and state."""
        return [(at, alert.name, alert.state.value) for at, alert in self.heard]

    def _hear(self, message: Message) -> None:
        assert isinstance(message, Alert)
        self.heard.append((round(self.now, 1), message))

    def _lost_seconds(self) -> float | None:
        if self.lost_since_ns is None:
            return None
        return (self.clock.time_ns() - self.lost_since_ns) / NS_PER_SECOND


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    await rig.watchdog.start()
    yield rig
    await rig.watchdog.stop()


def quote(rig: Rig, instrument: str = "EUR/USD") -> Quote:
    return Quote(time_ns=rig.clock.time_ns(), venue="SIM", instrument=instrument, bid=1.0, ask=1.1)


def heartbeat(rig: Rig, **more: Any) -> Heartbeat:  # noqa: ANN401 - any field
    return Heartbeat(time_ns=rig.clock.time_ns(), component="feed", venue="SIM", **more)


def equity(rig: Rig, amount: float) -> Equity:
    return Equity(time_ns=rig.clock.time_ns(), strategy="trend", equity=amount)


def fill(rig: Rig, side: Side, price: float, number: int) -> Fill:
    return Fill(
        time_ns=rig.clock.time_ns(),
        strategy="trend",
        venue="SIM",
        instrument="EUR/USD",
        order_id="o",
        fill_id=str(number),
        side=side,
        price=price,
        quantity=10.0,
    )


async def test_a_venue_that_falls_silent_is_stale_until_it_sends_again(rig: Rig) -> None:
    for instrument in ("EUR/USD", "GBP/USD"):
        rig.emit(quote(rig, instrument))
    await rig.run(20)
    await rig.run(5, lambda: rig.emit(quote(rig)))
    assert rig.story() == [(15.1, "FeedStale", "firing"), (22.1, "FeedStale", "resolved")]
    fired, resolved = (alert for _, alert in rig.heard)
    assert fired.summary == "SIM is stale: nothing received for 15 s"
    assert fired.labels == {
        "alertname": "FeedStale",
        "recorder": RECORDER,
        "severity": "page",
        "venue": "SIM",
    }
    assert fired.value == pytest.approx(15.1)
    assert fired.threshold == 15.0
    assert resolved == msgspec.structs.replace(
        fired, state=AlertState.RESOLVED, ends_ns=resolved.ends_ns, updated_ns=resolved.updated_ns
    )
    assert resolved.ends_ns == resolved.updated_ns == rig.start_ns + 22_100_000_000


async def test_a_feed_that_connects_and_delivers_nothing_is_mute(rig: Rig) -> None:
    def feed() -> None:
        rig.emit(heartbeat(rig, instrument="GBP/USD"))
        rig.emit(quote(rig))

    await rig.run(17, feed)
    assert [(at, alert.labels["instrument"]) for at, alert in rig.heard] == [(15.1, "GBP/USD")]
    assert rig.heard[0][1].value is None
    assert rig.heard[0][1].summary == "GBP/USD on SIM is mute: no message for as long as it is connected"


async def test_a_closed_venue_is_neither_stale_nor_mute(rig: Rig) -> None:
    rig.emit(quote(rig))
    rig.emit(heartbeat(rig, connection=ConnectionState.CLOSED))
    await rig.run(40)
    assert rig.story() == []


async def test_a_deep_drawdown_fires_until_a_tenth_of_it_is_made_up(rig: Rig) -> None:
    rig.emit(equity(rig, 1000.0))
    await rig.run(1)
    rig.emit(equity(rig, 899.0))
    await rig.run(2)
    rig.emit(equity(rig, 905.0))  # better than the threshold, not yet clear
    await rig.run(10)
    rig.emit(equity(rig, 911.0))
    await rig.run(6)
    assert rig.story() == [(1.6, "DrawdownDeep", "firing"), (18.1, "DrawdownDeep", "resolved")]
    assert rig.heard[0][1].summary == "trend is 10.1% below its highest equity"


async def test_a_loss_realised_today_counts_against_the_equity_before_it(rig: Rig) -> None:
    rig.emit(equity(rig, 1000.0))
    rig.emit(fill(rig, Side.BUY, 10.0, 1))
    rig.emit(fill(rig, Side.SELL, 4.9, 2))
    rig.emit(equity(rig, 949.0))
    await rig.run(1)
    assert rig.story() == [(0.1, "DailyLossLimit", "firing")]
    assert rig.heard[0][1].value == pytest.approx(0.051)


async def test_cash_that_nothing_explains_is_a_break_until_something_does(rig: Rig) -> None:
    def report(cash: float) -> None:
        rig.emit(Equity(time_ns=rig.clock.time_ns(), strategy="trend", equity=1000.0, cash=cash))

    report(1000.0)
    await rig.run(1)
    report(985.0)
    await rig.run(3)
    now_ns = rig.clock.time_ns()
    rig.emit(Cash(time_ns=now_ns, strategy="trend", cash_id="1", kind=CashKind.ADJUSTMENT, amount=-15.0))
    rig.clock.advance(1)
    report(985.0)
    await rig.run(4)
    assert [(name, state) for _, name, state in rig.story()] == [
        ("CashBreak", "firing"),
        ("CashBreak", "resolved"),
    ]
    assert rig.heard[0][1].summary == "trend reports 15 less cash than its fills and cash flows leave"


def risk(rig: Rig, name: str, value: float, limit: float | None, *, breached: bool = False) -> Risk:
    return Risk(
        time_ns=rig.clock.time_ns(), name=name, value=value, limit=limit, strategy="trend", breached=breached
    )


@pytest.mark.parametrize(
    ("name", "value", "limit", "breached", "summary"),
    [
        ("delta", -11.0, 10.0, False, "trend uses 110% of its limit of delta: 11 of 10"),
        ("delta", 10.0, 10.0, False, None),
        ("delta", 5.0, 10.0, True, "trend uses 50% of its limit of delta: 5 of 10"),
        ("delta", 5.0, None, True, "trend reports a breach of delta: 5"),
        ("gross-exposure", 5.0, 100.0, False, "trend uses 105% of its limit of gross-exposure: 105 of 100"),
        ("daily_loss", 0.0, 40.0, False, "trend uses 125% of its limit of daily_loss: 50 of 40"),
    ],
)
async def test_a_limit_is_breached_by_the_reported_figure_or_by_the_recorders_own(
    rig: Rig, name: str, value: float, limit: float | None, *, breached: bool, summary: str | None
) -> None:
    rig.emit(fill(rig, Side.BUY, 15.0, 1))
    rig.emit(fill(rig, Side.SELL, 10.0, 2))
    rig.emit(fill(rig, Side.BUY, 10.0, 3))
    rig.emit(Quote(time_ns=1, venue="SIM", instrument="EUR/USD", bid=10.5, ask=10.5))
    rig.emit(risk(rig, name, value, limit, breached=breached))
    await rig.run(1)
    assert [alert.summary for _, alert in rig.heard] == ([summary] if summary else [])
    rig.emit(risk(rig, name, value, 1000.0))
    await rig.run(6)
    assert all(not alert.is_firing for _, alert in rig.heard[1:])


async def test_a_reported_position_that_differs_from_the_fills_is_a_break(rig: Rig) -> None:
    def report(quantity: float) -> None:
        now_ns = rig.clock.time_ns()
        rig.emit(
            Position(time_ns=now_ns, strategy="trend", venue="SIM", instrument="EUR/USD", quantity=quantity)
        )

    rig.emit(fill(rig, Side.BUY, 10.0, 1))
    report(10.0)
    await rig.run(1)
    report(9.0)
    await rig.run(2)
    report(10.0)
    await rig.run(3)
    assert rig.story() == [(2.1, "PositionBreak", "firing"), (5.1, "PositionBreak", "resolved")]
    assert "differ from its fills in 1 instrument" in rig.heard[0][1].summary


async def test_a_strategy_whose_past_is_not_all_known_is_not_judged(rig: Rig) -> None:
    """Neither what it lacks fires, nor is what fired resolved; nor is the last batch of before judged."""
    others = rig.collectors
    full = StrategyCollector(rig.clock, StrategyOptions())
    partial = StrategyCollector(rig.clock, StrategyOptions())
    position = Position(
        time_ns=rig.clock.time_ns(), strategy="trend", venue="SIM", instrument="EUR/USD", quantity=10.0
    )
    full.on_event(fill(rig, Side.BUY, 10.0, 1), rig.clock.time_ns(), ("test", 1, 1))
    full.on_event(position, rig.clock.time_ns(), ("test", 1, 2))
    partial.on_event(position, rig.clock.time_ns(), ("test", 1, 2))  # the fill is in the database only
    rig.collectors = [others[0], partial, others[2]]
    rig.behind = {"strategy", "risk"}
    await rig.run(20)
    rig.behind = set()
    await asyncio.sleep(0)
    rig.watchdog.evaluate()  # of the newest batch, which was made before
    rig.collectors = [others[0], full, others[2]]
    await rig.run(2)
    assert rig.story() == []

    position = msgspec.structs.replace(position, time_ns=rig.clock.time_ns(), quantity=9.0)
    full.on_event(position, rig.clock.time_ns(), ("test", 1, 3))
    await rig.run(2)
    assert [name for _, name, _ in rig.story()] == ["PositionBreak"]
    rig.behind = {"strategy"}
    rig.collectors = [others[0], StrategyCollector(rig.clock, StrategyOptions()), others[2]]
    await rig.run(20)
    assert len(rig.story()) == 1
    rig.behind = set()
    await rig.run(3)
    assert [(name, state) for _, name, state in rig.story()[1:]] == [("PositionBreak", "resolved")]


async def test_a_breach_that_is_reported_fires_and_none_ends_while_collectors_catch_up(rig: Rig) -> None:
    def report(name: str, *, breached: bool) -> None:
        now_ns = rig.clock.time_ns()
        rig.emit(Risk(time_ns=now_ns, strategy="trend", name=name, value=1.0, breached=breached))

    report("var", breached=True)
    await rig.run(1)
    rig.behind = {"strategy", "risk"}
    rig.collectors[2] = RiskCollector(rig.clock, RiskOptions())
    await rig.run(20)
    report("delta", breached=True)
    await rig.run(1)
    assert [(alert.labels["risk"], alert.state.value) for _, alert in rig.heard] == [
        ("var", "firing"),
        ("delta", "firing"),
    ]
    rig.behind = set()
    await rig.run(6)
    assert [(alert.labels["risk"], alert.state.value) for _, alert in rig.heard[2:]] == [("var", "resolved")]


async def test_a_blocked_loop_and_missed_cycles_are_seen(rig: Rig) -> None:
    await rig.run(1)
    rig.loop_lag, rig.missed = 0.8, 8
    await rig.run(1)
    rig.loop_lag = 0.0
    await rig.run(62)
    assert rig.story() == [
        (1.1, "EventLoopLag", "firing"),
        (1.1, "CyclesMissed", "firing"),
        (17.1, "EventLoopLag", "resolved"),
        (61.1, "CyclesMissed", "resolved"),
    ]
    assert [alert.summary for _, alert in rig.heard[:2]] == [
        "the event loop of desk-1 was blocked for 0.80 s",
        "desk-1 missed 8 cycles within a minute",
    ]


async def test_keys_without_room_are_seen(rig: Rig) -> None:
    await rig.run(1)
    rig.keys_over_budget = {"strategy": 9500}
    await rig.run(1)
    rig.keys_over_budget = {}
    await rig.run(3)
    assert rig.story() == [(1.1, "KeysOverBudget", "firing"), (4.1, "KeysOverBudget", "resolved")]
    assert rig.heard[0][1].summary == "9,500 keys of strategy without room in its key budget, not sampled"


async def test_a_sampler_that_stands_still_is_seen_by_the_timer(rig: Rig) -> None:
    await rig.run(1)
    for _ in range(100):
        rig.clock.advance(CYCLE_NS)
        if rig.heard:
            break
        await asyncio.sleep(0.02)
    assert [alert.name for _, alert in rig.heard] == ["CyclesMissed"]


async def test_rows_that_are_unaccounted_for_are_seen(rig: Rig) -> None:
    wrong = Changes()
    wrong.accounts["samples:market"] = Account(emitted=3)
    rig.ledger.announce("samples:risk")
    await rig.run(1)
    rig.ledger.apply(wrong)
    await rig.run(2)
    assert rig.story() == [(2.1, "LedgerUnbalanced", "firing")]
    assert rig.heard[0][1].summary == "3 rows of samples:market unaccounted for"


async def test_a_lost_database_is_seen_after_some_seconds(rig: Rig) -> None:
    await rig.run(1)
    rig.lost_since_ns = rig.clock.time_ns()
    await rig.run(5)
    rig.lost_since_ns = None
    await rig.run(3)
    assert rig.story() == [(4.1, "DatabaseLost", "firing"), (8.1, "DatabaseLost", "resolved")]


async def test_an_acknowledgement_stays_with_the_alert(rig: Rig) -> None:
    rig.lost_since_ns = rig.clock.time_ns()
    await rig.run(4)
    acknowledgement = Acknowledgement(who="ada", comment="on it", time_ns=1, until_ns=2)
    rig.bus.publish(TOPIC, msgspec.structs.replace(rig.heard[0][1], acknowledgement=acknowledgement))
    rig.lost_since_ns = None
    await rig.run(3)
    assert rig.heard[-1][1].state is AlertState.RESOLVED
    assert rig.heard[-1][1].acknowledgement == acknowledgement


async def test_after_a_restart_an_alert_goes_on_or_is_resolved() -> None:
    rig = Rig()
    gone = watchdog_alert(0, venue="XETR")
    older = watchdog_alert(-60, venue="XETR")
    other = watchdog_alert(0, venue="XLON", recorder="desk-2")
    renamed = watchdog_alert(0, venue="XNYS", name="FeedQuiet")
    rig.lost_since_ns = rig.clock.time_ns()
    await rig.watchdog.start()
    await rig.run(4)
    await rig.watchdog.stop()
    ((_, goes_on),) = rig.heard
    rig.heard.clear()
    rig.alerts.load((gone, older, other, renamed))

    restarted = rig.another_watchdog(CollectorRegistry())
    await restarted.start()
    assert {(at, alert.id) for at, alert in rig.heard} == {(4.0, older.id), (4.0, renamed.id)}
    await rig.run(40)
    await restarted.stop()
    assert all(alert.state is AlertState.RESOLVED for _, alert in rig.heard)
    assert (24.0, gone.id) in {(at, alert.id) for at, alert in rig.heard}
    assert {alert.id for alert in rig.alerts} == {goes_on.id, other.id}


async def test_samples_that_are_too_old_neither_fire_nor_resolve(rig: Rig) -> None:
    rig.emit(equity(rig, 1000.0))
    rig.emit(equity(rig, 800.0))
    await rig.run(1)
    market, strategy, risks = rig.collectors
    rig.collectors = [market, risks]
    await rig.run(40)
    assert rig.story() == [(0.6, "DrawdownDeep", "firing")]
    rig.collectors = [strategy]
    rig.emit(equity(rig, 1001.0))
    await rig.run(6)
    assert rig.story()[1:] == [(46.1, "DrawdownDeep", "resolved")]


async def test_a_condition_that_cannot_be_evaluated_hides_no_other(rig: Rig) -> None:
    def fail() -> dict[str, int]:
        raise RuntimeError("no ledger")

    rig.ledger.unbalanced = fail  # type: ignore[method-assign] # as a bug would
    rig.watchdog = rig.another_watchdog(CollectorRegistry())
    await rig.watchdog.start()
    rig.lost_since_ns = rig.clock.time_ns()
    await rig.run(4)
    assert rig.story() == [(3.1, "DatabaseLost", "firing")] * 2  # the rig's own watchdog sees it too
    status = rig.watchdog.status()
    assert (status.health, status.detail) == (
        Health.DEGRADED,
        "a condition cannot be evaluated: no ledger",
    )
    await rig.watchdog.stop()
    assert rig.watchdog.status().health is Health.FAILED


async def test_a_crowd_of_alerts_is_cut_and_told(rig: Rig) -> None:
    names = [f"I{number}" for number in range(103)]

    def feed() -> None:
        for name in names:
            rig.emit(heartbeat(rig, instrument=name))

    await rig.run(16, feed)
    assert len(rig.heard) == 100
    assert rig.watchdog.status().health is Health.DEGRADED
    assert "more than 100 alerts, the others are not shown: FeedMute" in rig.watchdog.status().detail
    labels = {"alert": "FeedMute"}
    assert rig.registry.get_sample_value("decahertz_watchdog_firing", labels) == 100
    assert rig.registry.get_sample_value("decahertz_watchdog_suppressed", labels) == 3
    assert rig.registry.get_sample_value("decahertz_watchdog_fired_total", labels) == 100


def test_every_condition_that_is_declared_as_watched_is_read() -> None:
    watched = {condition.alert for condition in CONDITIONS if condition.is_watched}
    assert Readings(Rig().figures, 0).by_alert.keys() == watched


async def test_a_disabled_alert_is_not_evaluated() -> None:
    rig = Rig(disabled=("DatabaseLost",))
    await rig.watchdog.start()
    rig.lost_since_ns = rig.clock.time_ns()
    await rig.run(5)
    await rig.watchdog.stop()
    assert rig.story() == []


def test_a_database_whose_answer_waits_unread_after_a_stall_is_not_lost(rig: Rig) -> None:
    second = NS_PER_SECOND
    readings = Readings(rig.figures, 0)
    read = readings.by_alert["DatabaseLost"]
    assert read(second // 10) == {}
    rig.lost_since_ns = rig.clock.time_ns() - 5 * second  # the process was stopped for five seconds
    assert read(second * 5) is None
    rig.lost_since_ns = None
    assert read(second * 5 + second // 2) is None
    assert read(second * 6) == {}
    rig.lost_since_ns = rig.clock.time_ns() - 5 * second
    assert read(second * 6 + second // 10)
