"""``risk``: exposure, P&L and limits as they are now, next to arithmetic by hand."""

from __future__ import annotations

from typing import Any

import pytest

from collectors.risk.collector import RiskCollector, RiskOptions
from collectors.strategy.sample import StrategySample
from decahertz.bus import samples_topic
from decahertz.event import Fill, Quote, Risk, Side
from decahertz.risk_limits import Limits, RiskSettings
from decahertz.sample import SampleBatch, schema_of
from tests.api.checked import Caller
from tests.api.helpers import START_NS, Stack

LIMITS = RiskSettings(daily_loss=(5.0, 8.0), desk=Limits(gross_exposure=(1_000.0,)))


def fill(strategy: str, side: Side, quantity: float, price: float, **more: Any) -> Fill:  # noqa: ANN401 - any field
    return Fill(
        time_ns=more.pop("time_ns"),
        strategy=strategy,
        venue="SIM",
        instrument=more.pop("instrument", "A"),
        order_id=f"{strategy}-{side}-{quantity}-{price}",
        fill_id="1",
        side=side,
        price=price,
        quantity=quantity,
        **more,
    )


async def test_risk_is_exposure_results_and_limits() -> None:
    async with Stack(risk_settings=LIMITS).running() as stack, Caller(stack.api.url) as caller:
        await stack.risk.start()
        now_ns = stack.clock.time_ns()
        await stack.emit(
            Quote(time_ns=START_NS, venue="SIM", instrument="A", bid=99.0, ask=101.0),
            Quote(time_ns=START_NS, venue="SIM", instrument="B", bid=9.0, ask=11.0),
            fill("trend", Side.BUY, 3.0, 90.0, time_ns=now_ns),
            fill("mean", Side.SELL, 1.0, 100.0, time_ns=now_ns + 1, risk=4.0),
            fill("mean", Side.BUY, 1.0, 106.0, time_ns=now_ns + 2),
            fill("mean", Side.SELL, 5.0, 11.0, instrument="B", time_ns=now_ns + 3),
            fill("mean", Side.BUY, 1.0, 100.0, time_ns=now_ns + 4),
        )
        assert stack.strategy is not None
        now_ns = stack.clock.time_ns()
        batch = SampleBatch(schema_of(StrategySample), now_ns, tuple(stack.strategy.sample(now_ns)))
        stack.bus.publish(samples_topic("strategy"), batch)
        answer = (await caller.get("risk")).body
        assert (answer["gross_exposure"], answer["net_exposure"]) == (450.0, 350.0)
        assert answer["instruments"] == [
            {"venue": "SIM", "instrument": "A", "net": 400.0},
            {"venue": "SIM", "instrument": "B", "net": -50.0},
        ]
        assert (answer["daily_pnl"], answer["weekly_pnl"]) == (-6.0, -6.0)
        assert (answer["daily_r"], answer["open_positions"]) == (-1.5, 3)
        assert {(s["strategy"], s["gross_exposure"], s["daily_pnl"]) for s in answer["strategies"]} == {
            ("trend", 300.0, 0.0),
            ("mean", 150.0, -6.0),
        }
        names = ("strategy", "measure", "value", "soft_limit", "hard_limit", "level")
        assert sorted(tuple(limit[name] for name in names) for limit in answer["limits"]) == [
            ("desk", "gross_exposure", 450.0, None, 1_000.0, "ok"),
            ("mean", "daily_loss", 6.0, 5.0, 8.0, "soft"),
            ("trend", "daily_loss", 0.0, 5.0, 8.0, "ok"),
        ]
        assert (answer["can_trade"], answer["objections"]) == (True, [])
        await stack.risk.stop()


@pytest.mark.parametrize(("value", "level"), [(70.0, "ok"), (-90.0, "soft"), (101.0, "hard")])
async def test_a_reported_limit_is_next_to_those_of_the_settings(
    stack: Stack, caller: Caller, value: float, level: str
) -> None:
    collector = RiskCollector(stack.clock, RiskOptions())
    report = Risk(time_ns=START_NS, name="delta", value=value, limit=100.0, soft_limit=80.0)
    now_ns = stack.clock.time_ns()
    collector.on_event(report, now_ns)
    schema = schema_of(collector.sample_type)
    stack.bus.publish(samples_topic("risk"), SampleBatch(schema, now_ns, tuple(collector.sample(now_ns))))
    (limit,) = (await caller.get("risk")).body["limits"]
    assert (limit["strategy"], limit["measure"], limit["basis"], limit["level"]) == (
        "desk",
        "delta",
        "reports",
        level,
    )


async def test_without_the_strategy_collector_there_is_no_risk() -> None:
    async with Stack(has_strategies=False).running() as stack, Caller(stack.api.url) as caller:
        (await caller.get("risk")).problem("not-enabled")
