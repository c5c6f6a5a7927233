"""Self-metrics of the gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from decahertz.clock import NS_PER_SECOND
from providers.breaker import BreakerState
from providers.scheduler import CallPriority

if TYPE_CHECKING:
    from providers.cached import CachedProvider

_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def call_seconds(registry: CollectorRegistry) -> Histogram:
    """The histogram of the duration of calls, by provider."""
    return Histogram(
        "decahertz_provider_call_seconds",
        "Duration of calls to providers, whether they succeed or not.",
        ("provider",),
        buckets=_BOUNDS,
        registry=registry,
    )


class GatewayMetrics(Collector):
    """The figures of all providers, read when they are asked for."""

    def __init__(self, providers: Callable[[], Sequence[CachedProvider]], started_ns: int) -> None:
        """``started_ns``: when the counts began, nanoseconds UTC."""
        self._providers = providers
        self._started_ns = started_ns

    def collect(self) -> Iterable[Metric]:
        """Returns the families."""
        answers = _counter("answers", "Answers of providers, by how they came about.", "found")
        failed = _counter("answers_failed", "Requests for data of a provider that got no answer.")
        calls = _counter(
            "calls", "Calls to providers by outcome, and refusals before a call by reason.", "outcome"
        )
        retries = _counter("retries", "Calls that repeat a failed one.")
        opened = _counter("breaker_opened", "Times that the circuit breaker of a provider opened.")
        waited = _counter("token_wait_seconds", "Time that calls have waited for the rate limit.")
        breaker = _gauge("breaker", "1 for the state of the circuit breaker, 0 for the others.", "state")
        queued = _gauge("queued", "Calls that wait for room, by priority.", "priority")
        under_way = _gauge("calls_under_way", "Calls under way.")
        entries = _gauge("cache_entries", "Answers in memory.")
        spent = _gauge("budget_spent", "Costs of this day (UTC) at the newest charge, in the budget's unit.")
        limit = _gauge("budget_limit", "Costs that a day may have, in the same unit.")
        since = self._started_ns / NS_PER_SECOND
        for one in self._providers():
            label, upstream = [one.name], one.upstream
            for found, count in one.found.items():
                answers.add_metric([*label, found], count, since)
            for outcome, count in upstream.outcomes.items():
                calls.add_metric([*label, outcome], count, since)
            failed.add_metric(label, one.failed, since)
            retries.add_metric(label, upstream.retries, since)
            opened.add_metric(label, upstream.breaker.opened, since)
            waited.add_metric(label, upstream.token_wait_seconds, since)
            for state in BreakerState:
                breaker.add_metric([*label, state.value], float(upstream.breaker.state is state))
            for priority in CallPriority:
                queued.add_metric([*label, priority.value], upstream.scheduler.waiting(priority))
            under_way.add_metric(label, upstream.scheduler.calls)
            entries.add_metric(label, one.entries)
            budget = upstream.budget
            if budget.limit and budget.spent is not None:
                spent.add_metric(label, budget.spent)
                limit.add_metric(label, budget.limit)
        return [
            *(answers, failed, calls, retries, opened, waited),
            *(breaker, queued, under_way, entries, spent, limit),
        ]

    def describe(self) -> Iterable[Metric]:
        """Returns the families without figures, which a registry checks names with."""
        return GatewayMetrics(list, 0).collect()


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"decahertz_provider_{name}", text, labels=["provider", *labels])


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"decahertz_provider_{name}", text, labels=["provider", *labels])
