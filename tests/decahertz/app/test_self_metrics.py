from __future__ import annotations

import platform

from prometheus_client import CollectorRegistry

from decahertz import __version__
from decahertz.app.self_metrics import ProgramMetrics
from decahertz.health import ComponentStatus, FeedStatus, Health, RunState


def test_build_health_and_feeds_are_read_at_each_scrape() -> None:
    health = {"spool": Health.OK, "storage": Health.DEGRADED, "api": Health.FAILED}
    states = {f"feed-{state}": state for state in RunState}
    registry = CollectorRegistry()
    registry.register(
        ProgramMetrics(
            lambda: [ComponentStatus(name=name, health=one) for name, one in health.items()],
            lambda: [FeedStatus(name=name, state=state) for name, state in states.items()],
        )
    )

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("decahertz_build_info", version=__version__, python=platform.python_version()) == 1
    assert {name: value("decahertz_component_health", component=name) for name in health} == {
        "spool": 1,
        "storage": 0.5,
        "api": 0,
    }
    assert [name for name in states if value("decahertz_feed_up", feed=name)] == ["feed-running"]
    health["api"] = Health.OK
    assert value("decahertz_component_health", component="api") == 1
