"""The risk collector: newest report by measure, use of the limit, late and idle reports."""

from __future__ import annotations

from typing import Any

import pytest

from collectors.risk.collector import RiskCollector, RiskOptions
from collectors.risk.sample import RiskSample
from decahertz.clock import NS_PER_SECOND, SystemClock
from decahertz.event import Risk

T0 = 1_767_225_600 * NS_PER_SECOND


def ns(at: float) -> int:
    return T0 + round(at * NS_PER_SECOND)


class Desk:
    """A risk collector, and a time in seconds after the start."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - any option
        self.collector = RiskCollector(SystemClock(), RiskOptions(**options))

    def report(self, at: float, value: float, **more: Any) -> None:  # noqa: ANN401 - any field
        received = more.pop("received", at)
        more.setdefault("name", "exposure")
        more.setdefault("strategy", "trend")
        self.collector.on_event(Risk(time_ns=ns(at), value=value, **more), ns(received))

    def samples(self, at: float) -> dict[tuple[str, str], RiskSample]:
        found = self.collector.sample(ns(at))
        return {(s.strategy, s.risk): s for s in found if isinstance(s, RiskSample)}


def test_a_measure_has_its_newest_value_and_limit() -> None:
    desk = Desk()
    desk.report(0.0, 100.0, limit=400.0)
    desk.report(1.0, -500.0, limit=400.0, soft_limit=300.0, breached=True)
    desk.report(0.5, 7.0, limit=1.0, received=2.0)  # late
    sample = desk.samples(4.0)["trend", "exposure"]
    assert sample == RiskSample(
        strategy="trend",
        risk="exposure",
        value=-500.0,
        limit_value=400.0,
        soft_limit_value=300.0,
        usage_ratio=1.25,
        breached=True,
        soft_breached=True,
        age_seconds=3.0,
        reports=3,
    )


def test_a_measure_without_a_strategy_belongs_to_the_desk() -> None:
    desk = Desk()
    desk.report(0.0, 1.0)
    desk.report(0.0, 2.0, strategy=None)
    assert {key: s.value for key, s in desk.samples(0.1).items()} == {
        ("trend", "exposure"): 1.0,
        ("desk", "exposure"): 2.0,
    }


@pytest.mark.parametrize("limit", [None, 0.0, -5.0])
def test_without_a_positive_limit_nothing_is_used_of_it(limit: float | None) -> None:
    desk = Desk()
    desk.report(0.0, 1.0, limit=limit)
    assert desk.samples(0.1)["trend", "exposure"].usage_ratio is None


def test_a_quotient_that_overflows_is_no_number() -> None:
    desk = Desk()
    desk.report(0.0, 1e299, limit=1e-299)
    assert desk.samples(0.1)["trend", "exposure"].usage_ratio is None


def test_an_idle_measure_is_retired() -> None:
    desk = Desk(idle_seconds=10.0)
    desk.report(0.0, 1.0)
    desk.report(5.0, 1.0, name="delta")
    assert desk.samples(10.0).keys() == {("trend", "exposure"), ("trend", "delta")}
    assert desk.samples(10.1).keys() == {("trend", "delta")}
