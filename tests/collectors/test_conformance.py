"""Every collector that comes with Decahertz passes the conformance suite."""

from __future__ import annotations

import pytest

from collectors.host.plugins import builtin_classes
from decahertz.clock import Clock
from decahertz.collector import BaseCollector
from decahertz.testing import CHECKS, example_events

COLLECTORS = builtin_classes("collectors")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", COLLECTORS)
async def test_a_built_in_collector_keeps_its_promises(name: str, check: str) -> None:
    class_: type[BaseCollector] = COLLECTORS[name]  # type: ignore[type-arg] # each has its own options

    def make(clock: Clock) -> BaseCollector:  # type: ignore[type-arg] # see above
        return class_(clock, class_.options_type())

    await CHECKS[check](make, example_events())


def test_all_six_are_among_them() -> None:
    assert COLLECTORS.keys() >= {"market", "strategy", "portfolio", "execution", "risk", "system"}
