"""The sampler's own metrics: families ``decahertz_sampler_…``.

Counts that the sampler keeps anyway are read at each scrape, so that metrics add no work to an event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.host.hosted import HostedCollector
from decahertz.clock import NS_PER_SECOND
from decahertz.health import RunState

if TYPE_CHECKING:
    from collectors.host.sampler import Sampler

ReasonT = TypeVar("ReasonT", bound=StrEnum)
_LATENESS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1)
_DURATION = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)


class SamplerMetrics(Collector):
    """Registers the sampler's families in ``registry``."""

    def __init__(
        self,
        registry: CollectorRegistry,
        sampler: Sampler,
        hosted: Sequence[HostedCollector],
        started_ns: int,
    ) -> None:
        """``started_ns``: when the counts began, nanoseconds UTC."""
        self._created = started_ns / NS_PER_SECOND
        self._sampler = sampler
        self._hosted = hosted
        self._lateness = Histogram(
            "decahertz_sampler_lateness_seconds",
            "Cycle lateness: time from the scheduled start of a cycle to its actual start.",
            buckets=_LATENESS,
            registry=registry,
        )
        duration = Histogram(
            "decahertz_sampler_collector_duration_seconds",
            "Time taken by a collector to return its samples and by the sampler to validate them.",
            ["collector"],
            buckets=_DURATION,
            registry=registry,
        )
        for collector in hosted:
            collector.observe_duration = duration.labels(collector.name).observe
        registry.register(self)

    def observe_lateness(self, lateness_ns: int) -> None:
        """Records the lateness of a cycle."""
        self._lateness.observe(lateness_ns / NS_PER_SECOND)

    def describe(self) -> Iterator[Metric]:
        """Returns the families: the registry refuses a second sampler."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """Yields the families, read from the sampler and its collectors."""
        sampler = self._sampler
        yield self._total("cycles", "Cycles run.", sampler.cycles)
        yield self._total(
            "missed_cycles", "Cycles of the 100 ms grid that were missed.", sampler.missed_cycles
        )
        yield self._total("clock_steps", "Steps of the wall clock detected.", sampler.clock_steps)
        yield GaugeMetricFamily(
            "decahertz_sampler_pending_events",
            "Events queued for delivery to the collectors.",
            sampler.pending_events,
        )
        running = GaugeMetricFamily(
            "decahertz_sampler_collector_running",
            "1 while the collector is sampled, 0 after it failed to start or stopped.",
            labels=["collector"],
        )
        for c in self._hosted:
            running.add_metric([c.name], c.state is RunState.RUNNING)
        yield running
        behind = GaugeMetricFamily(
            "decahertz_sampler_collector_behind",
            "1 while the collector lacks a part of its past: its figures are not judged.",
            labels=["collector"],
        )
        for c in self._hosted:
            behind.add_metric([c.name], c.name in sampler.behind)
        yield behind
        yield self._by_collector("samples", "Samples returned by the collector.", lambda c: c.samples)
        yield self._by_collector("events", "Events delivered to the collector.", lambda c: c.events)
        yield self._by_collector(
            "event_seconds", "Time the collector spent handling events.", lambda c: c.event_ns / NS_PER_SECOND
        )
        yield self._by_collector("errors", "Exceptions raised by the collector.", lambda c: c.errors)
        yield self._by_collector(
            "over_budget_calls",
            "Calls of sample() that exceeded sampler.budget_seconds.",
            lambda c: c.over_budget,
        )
        yield self._by_collector(
            "refused_events",
            "Events that changed no sample because their key has no room in the key budget.",
            lambda c: c.refused_events,
        )
        over = GaugeMetricFamily(
            "decahertz_sampler_keys_over_budget",
            "Keys without room in the key budget: their events are stored, and they are not sampled.",
            labels=["collector"],
        )
        for c in self._hosted:
            over.add_metric([c.name], c.keys_over_budget)
        yield over
        yield self._by_reason(
            "skipped_cycles", "Cycles in which a due collector was not sampled.", lambda c: c.skipped
        )
        yield self._by_reason("dropped_samples", "Samples rejected by validation.", lambda c: c.dropped)

    def _total(self, name: str, text: str, value: float) -> CounterMetricFamily:
        return CounterMetricFamily(f"decahertz_sampler_{name}", text, value, created=self._created)

    def _by_collector(
        self, name: str, text: str, value: Callable[[HostedCollector], float]
    ) -> CounterMetricFamily:
        family = CounterMetricFamily(f"decahertz_sampler_{name}", text, labels=["collector"])
        for collector in self._hosted:
            family.add_metric([collector.name], value(collector), self._created)
        return family

    def _by_reason(
        self, name: str, text: str, values: Callable[[HostedCollector], Mapping[ReasonT, int]]
    ) -> CounterMetricFamily:
        family = CounterMetricFamily(f"decahertz_sampler_{name}", text, labels=["collector", "reason"])
        for collector in self._hosted:
            for reason, value in values(collector).items():
                family.add_metric([collector.name, reason.value], value, self._created)
        return family
