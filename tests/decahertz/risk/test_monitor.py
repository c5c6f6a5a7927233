"""The recorder's own limits behind the real collectors: levels, events, and what speaks against trading."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from collectors.common.checkpoints import decode, encode
from collectors.execution.collector import ExecutionCollector, ExecutionOptions
from collectors.market.collector import MarketCollector, MarketOptions
from collectors.risk.collector import RiskCollector, RiskOptions
from collectors.risk.sample import RiskSample
from collectors.strategy.collector import StrategyCheckpoint, StrategyCollector, StrategyOptions
from decahertz.bus import EVENTS, LocalBus, Message, samples_topic
from decahertz.clock import CYCLE_NS, NS_PER_SECOND
from decahertz.collector import BaseCollector
from decahertz.event import AnyEvent, Arrival, Equity, Fill, Order, OrderState, Quote, Risk, Side
from decahertz.fakes import ManualClock
from decahertz.halts import TOPIC as HALTS
from decahertz.halts import HaltChange
from decahertz.health import ComponentStatus, Health
from decahertz.ingest import Ingest
from decahertz.latest import LatestSamples
from decahertz.risk.monitor import SOURCE, RiskMonitor
from decahertz.risk_limits import CAN_TRADE, Level, Limits, RiskSettings
from decahertz.sample import SampleBatch, schema_of
from decahertz.trading_state import TOPIC as TRADING
from decahertz.trading_state import Objection, TradingState
from tests.client_server import Sink

PLACE: dict[str, Any] = {"venue": "sim", "instrument": "A"}


class Rig:
    """Collectors that are sampled by hand, and the monitor."""

    def __init__(self, settings: RiskSettings, risk: RiskCollector | None = None) -> None:
        self.clock = ManualClock()
        self.bus = LocalBus()
        self.latest = LatestSamples(self.bus)
        self.market = MarketCollector(self.clock, MarketOptions())
        self.strategy = StrategyCollector(self.clock, StrategyOptions())
        self.execution = ExecutionCollector(self.clock, ExecutionOptions())
        self.risk = risk or RiskCollector(self.clock, RiskOptions())
        self.behind: set[str] = set()
        self.parts: list[ComponentStatus] = []
        self.emitted: list[Risk] = []
        self.bus.subscribe(EVENTS, self._deliver)
        ingest = Ingest(self.bus, Sink(), self.clock, max_future_ns=NS_PER_SECOND, timeout_seconds=1.0)
        self.monitor = RiskMonitor(
            self.bus,
            self.clock,
            ingest,
            settings,
            self.latest,
            strategies=lambda: self.strategy,
            risks=lambda: self.risk,
            behind=lambda: self.behind,
            components=lambda: self.parts,
        )
        self.mids: dict[str, float] = {}
        self.number = 0

    @property
    def collectors(self) -> tuple[BaseCollector[Any], ...]:
        return (self.market, self.strategy, self.execution, self.risk)

    def _deliver(self, message: Message) -> None:
        assert isinstance(message, Arrival)
        assert message.batch.source == SOURCE
        for event in message.batch.events:
            assert isinstance(event, Risk)
            self.emitted.append(event)
            self.risk.on_event(event, message.received_ns)

    def emit(self, *events: AnyEvent) -> None:
        """Gives events to the collectors that take them."""
        for event in events:
            for collector in self.collectors:
                if type(event) in collector.events:
                    collector.on_event(event, self.clock.time_ns())

    async def run(self, seconds: float = 0.1, *, is_quoted: bool = True) -> list[RiskSample]:
        """Runs cycles, a tenth of a second apart; returns the risk samples of the last one."""
        found: list[RiskSample] = []
        for number in range(round(seconds * NS_PER_SECOND) // CYCLE_NS):
            self.clock.advance(CYCLE_NS)
            if is_quoted and number % 10 == 9:
                for instrument, mid in list(self.mids.items()):
                    self.quote(mid, instrument)
            now_ns = self.clock.time_ns()
            for collector in self.collectors:
                samples = tuple(collector.sample(now_ns))
                schema = schema_of(collector.sample_type)
                self.bus.publish(samples_topic(schema.collector), SampleBatch(schema, now_ns, samples))
            found = [sample for sample in samples if isinstance(sample, RiskSample)]
            for _ in range(3):
                await asyncio.sleep(0)
        return found

    def quote(self, mid: float, instrument: str = "A") -> None:
        self.mids[instrument] = mid
        self.emit(
            Quote(
                time_ns=self.clock.time_ns(), venue="sim", instrument=instrument, bid=mid - 0.5, ask=mid + 0.5
            )
        )

    def fill(self, side: Side, quantity: float, price: float, strategy: str = "trend", **more: Any) -> None:  # noqa: ANN401 - any field
        self.number += 1
        place = {**PLACE, **more}
        self.emit(
            Fill(
                time_ns=self.clock.time_ns(),
                strategy=strategy,
                order_id=str(self.number),
                fill_id="1",
                side=side,
                price=price,
                quantity=quantity,
                **place,
            )
        )

    def reasons(self) -> list[str]:
        return [objection.reason for objection in self.monitor.objections()]

    def levels(self) -> dict[tuple[str, str], Level]:
        return {(s.strategy, s.limit.measure): s.level for s in self.monitor.standings}


async def test_without_limits_the_desk_is_sampled_and_nothing_emitted() -> None:
    rig = Rig(RiskSettings())
    await rig.monitor.start()
    rig.quote(100.0)
    rig.fill(Side.BUY, 1e6, 100.0)
    samples = await rig.run(20.0)
    assert {(s.strategy, s.risk): s.value for s in samples} == {
        ("desk", "recorder.can_trade"): 1.0,
        ("desk", "recorder.net_exposure.unknown"): 1e8,
    }
    assert {(s.limit_value, s.usage_ratio, s.breached, s.soft_breached) for s in samples} == {
        (None, None, False, False)
    }
    assert (rig.emitted, rig.monitor.standings, rig.reasons()) == ([], [], [])
    await rig.monitor.stop()


async def test_exposure_is_sampled_by_settlement_currency_and_opposite_positions_net_out() -> None:
    rig = Rig(RiskSettings())
    await rig.monitor.start()
    rig.quote(100.0)
    rig.quote(50.0, "B")
    usd: dict[str, Any] = {"currency": "USD", "rate": 1.0, "multiplier": 1.0}
    rig.fill(Side.BUY, 3.0, 100.0, **usd)
    rig.fill(Side.SELL, 1.0, 100.0, "other", **usd)
    rig.fill(Side.SELL, 2.0, 50.0, instrument="B")
    found = {s.risk: s.value for s in await rig.run(20.0)}
    assert found["recorder.net_exposure.USD"] == pytest.approx(200.0)
    assert found["recorder.net_exposure.unknown"] == pytest.approx(-100.0)
    await rig.monitor.stop()


async def test_a_level_rises_at_once_and_falls_after_five_seconds_below() -> None:
    rig = Rig(RiskSettings(gross_exposure=(800.0, 1_000.0)))
    await rig.monitor.start()
    rig.quote(100.0)
    rig.fill(Side.SELL, 7.0, 100.0)
    (sample,) = await rig.run()
    assert (sample.strategy, sample.risk, sample.value) == ("trend", "recorder.gross_exposure", 700.0)
    assert (sample.limit_value, sample.soft_limit_value, sample.usage_ratio) == (1_000.0, 800.0, 0.7)
    assert (sample.breached, sample.soft_breached, rig.emitted) == (False, False, [])
    rig.quote(120.0)
    (sample,) = await rig.run()
    assert (sample.value, sample.breached, sample.soft_breached) == (840.0, False, True)
    assert rig.reasons() == []
    rig.quote(150.0)
    (sample,) = await rig.run()
    assert (sample.value, sample.breached, sample.soft_breached) == (1_050.0, True, True)
    assert rig.reasons() == ["gross_exposure of trend is 1050, its hard limit 1000"]
    rig.quote(100.0)
    await rig.run(4.9)
    assert rig.levels() == {("trend", "gross_exposure"): Level.HARD}
    rig.quote(150.0)  # it swings about the limit: one breach
    await rig.run()
    rig.quote(100.0)
    await rig.run(5.1)
    assert rig.levels() == {("trend", "gross_exposure"): Level.OK}
    assert [
        (e.name, e.value, e.limit, e.soft_limit, e.breached) for e in rig.emitted if e.name != CAN_TRADE
    ] == [
        ("recorder.gross_exposure", 840.0, 1_000.0, 800.0, False),
        ("recorder.gross_exposure", 1_050.0, 1_000.0, 800.0, True),
        ("recorder.gross_exposure", 700.0, 1_000.0, 800.0, False),
    ]
    await rig.monitor.stop()


async def test_each_measure_is_compared_with_its_limit() -> None:
    low = (0.5,)
    rig = Rig(
        RiskSettings(
            gross_exposure=low,
            net_exposure=low,
            instrument_exposure=low,
            currency_exposure=low,
            daily_loss=low,
            weekly_loss=low,
            daily_loss_r=(0.05,),
            weekly_loss_r=(0.05,),
            open_orders=low,
            open_positions=low,
            drawdown=low,
            red_days=low,
        )
    )
    await rig.monitor.start()
    rig.quote(100.0)
    rig.fill(Side.BUY, 1.0, 100.0, risk=100.0)
    rig.fill(Side.SELL, 1.0, 90.0)
    rig.fill(Side.BUY, 2.0, 100.0)
    now_ns = rig.clock.time_ns()
    rig.emit(
        Order(
            time_ns=now_ns,
            strategy="trend",
            order_id="open",
            state=OrderState.ACCEPTED,
            side=Side.BUY,
            quantity=1.0,
            **PLACE,
        ),
        Equity(time_ns=now_ns, strategy="trend", equity=1_000.0),
        Equity(time_ns=now_ns + 1, strategy="trend", equity=980.0),
    )
    await rig.run(0.2)
    assert {s.limit.measure: s.value for s in rig.monitor.standings} == {
        "gross_exposure": 200.0,
        "net_exposure": 200.0,
        "instrument_exposure": 200.0,
        "currency_exposure": 200.0,
        "daily_loss": 10.0,
        "weekly_loss": 10.0,
        "daily_loss_r": 0.1,
        "weekly_loss_r": 0.1,
        "open_orders": 1.0,
        "open_positions": 1.0,
        "drawdown": 20.0,
        "red_days": 1.0,
    }
    assert set(rig.levels().values()) == {Level.HARD}
    await rig.monitor.stop()


async def test_the_desk_has_a_drawdown_and_red_days_of_its_own() -> None:
    limits = Limits(drawdown=(10.0, 20.0), red_days=(0.5,))
    rig = Rig(RiskSettings(desk=limits))
    await rig.monitor.start()
    rig.quote(100.0)

    async def earned(strategy: str, pnl: float) -> tuple[dict[str, float | None], set[Level]]:
        rig.fill(Side.BUY, 1.0, 100.0, strategy)
        rig.fill(Side.SELL, 1.0, 100.0 + pnl, strategy)
        await rig.run(0.1)
        return {s.limit.measure: s.value for s in rig.monitor.standings}, set(rig.levels().values())

    assert await earned("trend", 30.0) == ({"drawdown": 0.0, "red_days": 0.0}, {Level.OK})
    # That of a strategy alone is 15, that of the desk too; together they still have earned 15.
    assert await earned("mean", -15.0) == ({"drawdown": 15.0, "red_days": 0.0}, {Level.OK, Level.SOFT})
    at_restart = StrategyCollector(rig.clock, StrategyOptions())
    state, _ = decode(encode(rig.strategy.checkpoint()), StrategyCheckpoint)
    at_restart.resume(state)
    assert at_restart.desk(rig.clock.time_ns()) == rig.strategy.desk(rig.clock.time_ns())
    rig.strategy = at_restart
    assert await earned("trend", -20.0) == ({"drawdown": 35.0, "red_days": 1.0}, {Level.HARD})
    assert any("drawdown" in objection for objection in rig.reasons())
    assert [(e.name, e.strategy) for e in rig.emitted if e.breached] == [
        ("recorder.drawdown", None),
        ("recorder.red_days", None),
    ]
    # A first report of equity is where a strategy is, and earns nothing.
    rig.emit(Equity(time_ns=rig.clock.time_ns(), strategy="mean", equity=100_000.0))
    await rig.run(0.1)
    assert rig.strategy.desk(rig.clock.time_ns()).drawdown == 35.0
    rig.emit(Equity(time_ns=rig.clock.time_ns(), strategy="mean", equity=100_010.0))
    await rig.run(0.1)
    assert rig.strategy.desk(rig.clock.time_ns()).drawdown == 25.0
    await rig.monitor.stop()


async def test_the_desk_nets_what_its_strategies_hold() -> None:
    limits = Limits(gross_exposure=(250.0,), net_exposure=(250.0,), instrument_exposure=(250.0,))
    rig = Rig(RiskSettings(desk=limits))
    await rig.monitor.start()
    rig.quote(100.0)
    rig.quote(10.0, "B")
    rig.fill(Side.BUY, 2.0, 100.0, "trend")
    rig.fill(Side.SELL, 1.0, 100.0, "mean")
    rig.fill(Side.BUY, 3.0, 10.0, "mean", instrument="B")
    await rig.run()
    assert {s.limit.measure: (s.strategy, s.value) for s in rig.monitor.standings} == {
        "gross_exposure": ("desk", 330.0),
        "net_exposure": ("desk", 130.0),
        "instrument_exposure": ("desk", 100.0),
    }
    assert rig.reasons() == ["gross_exposure of desk is 330, its hard limit 250"]
    assert rig.emitted[0].strategy is None
    await rig.monitor.stop()


async def test_each_strategy_can_trade_until_something_speaks_against_it_or_the_desk() -> None:
    rig = Rig(RiskSettings(gross_exposure=(1_000.0,)))
    states: list[TradingState] = []

    def heard(message: Message) -> None:
        assert isinstance(message, TradingState)
        states.append(message)

    rig.bus.subscribe(TRADING, heard)
    await rig.monitor.start()

    def can(strategy: str, instrument: str | None = None) -> bool:
        return not any(o.covers(strategy, "sim", instrument) for o in states[-1].objections)

    rig.quote(100.0)
    rig.fill(Side.BUY, 10.0, 100.0)
    await rig.run()
    assert [state.can_trade for state in states] == [True]
    rig.fill(Side.BUY, 1.0, 100.0)
    await rig.run()
    assert (states[-1].can_trade, can("trend"), can("other")) == (False, False, True)
    halts = [Objection(reason="desk"), Objection(reason="one", venue="sim", instrument="A")]
    rig.monitor.halted = lambda: halts
    rig.bus.publish(HALTS, cast("HaltChange", None))
    assert (len(states), can("other")) == (3, False)
    del halts[0]
    rig.bus.publish(HALTS, cast("HaltChange", None))
    assert (can("other"), can("other", "A"), can("other", "B")) == (True, False, True)
    times = [state.time_ns for state in states]
    assert sorted(set(times)) == times
    await rig.monitor.stop()


async def test_an_exposure_that_is_not_known_speaks_against_trading() -> None:
    rig = Rig(RiskSettings(strategies={"trend": Limits(net_exposure=(1e9,))}))
    await rig.monitor.start()
    rig.fill(Side.BUY, 1.0, 100.0)
    rig.fill(Side.BUY, 1.0, 100.0, "other")
    assert await rig.run() == []
    (objection,) = rig.reasons()
    assert objection.startswith("net_exposure of trend is not known: an open position has no mark price")
    rig.quote(100.0)
    assert [sample.value for sample in await rig.run()] == [100.0]
    assert rig.reasons() == []
    await rig.monitor.stop()


async def test_a_restart_does_not_report_again_what_is_known() -> None:
    settings = RiskSettings(gross_exposure=(800.0, 1_000.0))
    rig = Rig(settings)
    await rig.monitor.start()
    rig.quote(110.0)
    rig.fill(Side.BUY, 10.0, 100.0)
    await rig.run()
    assert [event.breached for event in rig.emitted] == [True]
    await rig.monitor.stop()
    resumed = RiskCollector(rig.clock, RiskOptions())
    resumed.resume(rig.risk.checkpoint())
    other = Rig(settings, resumed)
    await other.monitor.start()
    other.quote(110.0)
    other.fill(Side.BUY, 10.0, 100.0)
    await other.run()
    assert other.emitted == []
    assert other.levels() == {("trend", "gross_exposure"): Level.HARD}
    await other.monitor.stop()


async def test_what_speaks_against_trading_is_an_event_when_it_changes() -> None:
    rig = Rig(RiskSettings())
    await rig.monitor.start()
    rig.quote(100.0)
    rig.fill(Side.BUY, 1.0, 100.0)
    await rig.run(12.0)
    assert rig.emitted == []
    rig.parts.append(ComponentStatus(name="sampler", health=Health.DEGRADED, detail="1 cycle missed"))
    await rig.run(1.1)
    assert rig.reasons() == []
    rig.parts.append(ComponentStatus(name="writer", health=Health.DEGRADED, detail="database lost"))
    await rig.run(1.1)
    assert rig.reasons() == ["writer is degraded: database lost"]
    assert {s.risk: s.value for s in await rig.run(2.0)}[CAN_TRADE] == 0.0
    rig.parts.clear()
    await rig.run(7.0)
    assert [(e.name, e.value, e.breached, e.strategy) for e in rig.emitted] == [
        (CAN_TRADE, 0.0, True, None),
        (CAN_TRADE, 1.0, False, None),
    ]
    await rig.monitor.stop()


async def test_an_open_position_without_a_market_speaks_against_trading() -> None:
    rig = Rig(RiskSettings())
    await rig.monitor.start()
    rig.quote(100.0)
    rig.fill(Side.BUY, 1.0, 100.0)
    await rig.run(60.0, is_quoted=False)  # no message of the venue, and no heartbeat
    rig.emit(Quote(time_ns=rig.clock.time_ns(), venue="other", instrument="B", bid=1.0, ask=1.5))
    await rig.run()
    assert rig.reasons() == ["open position in A at sim, its feed is stale"]
    rig.fill(Side.SELL, 1.0, 100.0)
    await rig.run()
    assert rig.reasons() == []
    await rig.monitor.stop()


async def test_nothing_is_compared_with_a_limit_while_a_part_of_the_past_is_missing() -> None:
    rig = Rig(RiskSettings(gross_exposure=(1_000.0,)))
    await rig.monitor.start()
    rig.behind = {"strategy"}
    rig.quote(100.0)
    rig.fill(Side.SELL, 20.0, 100.0)  # closes a position, of which only the database knows
    await rig.run(1.0)
    assert (rig.emitted, rig.levels()) == ([], {})
    assert rig.reasons() == ["limits are not evaluated: strategy still catching up"]
    assert rig.monitor.status().health is Health.DEGRADED
    rig.fill(Side.BUY, 20.0, 100.0)  # as restored
    rig.behind = set()
    await rig.run(0.2)
    assert (rig.emitted, rig.levels()) == ([], {("trend", "gross_exposure"): Level.OK})
    assert rig.reasons() == []
    rig.fill(Side.BUY, 20.0, 100.0)
    await rig.run()
    rig.behind = {"execution"}
    rig.fill(Side.SELL, 20.0, 100.0)
    await rig.run(6.0)
    assert rig.levels() == {("trend", "gross_exposure"): Level.HARD}
    await rig.monitor.stop()


async def test_limits_that_nobody_evaluates_are_no_limits() -> None:
    rig = Rig(RiskSettings(gross_exposure=(1_000.0,)))
    await rig.monitor.start()
    rig.quote(100.0)
    rig.fill(Side.BUY, 1.0, 100.0)
    await rig.run()
    assert rig.monitor.status().health is Health.OK
    rig.clock.advance(3 * NS_PER_SECOND)
    (objection,) = rig.reasons()
    assert objection == "limits were not evaluated for 3 s: the strategy collector has no samples"
    assert rig.monitor.status().health is Health.DEGRADED
    await rig.monitor.stop()


async def test_a_report_under_a_name_of_the_recorder_is_no_measure() -> None:
    rig = Rig(RiskSettings())
    await rig.monitor.start()
    rig.emit(Risk(time_ns=rig.clock.time_ns(), name="recorder.daily_loss", value=5.0, breached=True))
    assert await rig.run() == []
    assert rig.reasons() == []
    await rig.monitor.stop()


@pytest.mark.parametrize("breached", [True, False])
async def test_a_reported_breach_speaks_against_trading(breached: bool) -> None:  # noqa: FBT001 - a parameter
    rig = Rig(RiskSettings())
    await rig.monitor.start()
    rig.emit(Risk(time_ns=rig.clock.time_ns(), name="delta", value=5.0, limit=4.0, breached=breached))
    await rig.run()
    words = ["risk limit breached: delta of desk is 5, its limit 4"]
    assert rig.reasons() == (words if breached else [])
    assert rig.monitor.is_breached is breached
    await rig.monitor.stop()
