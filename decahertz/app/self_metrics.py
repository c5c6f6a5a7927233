"""Self-metrics of the whole program: build, health of its parts, and the feeds that should run."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence

from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from decahertz import __version__
from decahertz.health import ComponentStatus, FeedStatus, Health, RunState

_HEALTH = {Health.OK: 1.0, Health.DEGRADED: 0.5, Health.FAILED: 0.0}


class ProgramMetrics(Collector):
    """The families ``decahertz_build_info``, ``decahertz_component_health`` and ``decahertz_feed_up``."""

    def __init__(
        self,
        components: Callable[[], Sequence[ComponentStatus]],
        feeds: Callable[[], Sequence[FeedStatus]],
    ) -> None:
        """Both functions are called at each scrape."""
        self._components = components
        self._feeds = feeds

    def describe(self) -> Iterator[Metric]:
        """Yields the families without values."""
        yield from _families()

    def collect(self) -> Iterator[Metric]:
        """Yields the families with their values."""
        build, health, up = _families()
        build.add_metric([], {"version": __version__, "python": platform.python_version()})
        for component in self._components():
            health.add_metric([component.name], _HEALTH[component.health])
        for feed in self._feeds():
            up.add_metric([feed.name], feed.state is RunState.RUNNING)
        yield from (build, health, up)


def _families() -> tuple[InfoMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    return (
        InfoMetricFamily("decahertz_build", "Version of the recorder, and of Python."),
        GaugeMetricFamily(
            "decahertz_component_health",
            "Health of each part of the recorder: 1 ok, 0.5 degraded, 0 failed.",
            labels=["component"],
        ),
        GaugeMetricFamily(
            "decahertz_feed_up",
            "1 while the feed runs and is connected; 0 while it is connecting, waits for a restart, has"
            " ended, or cannot be loaded.",
            labels=["feed"],
        ),
    )
