"""Self-metrics of the control side: order requests, schedules of templates, generated signals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import prometheus_client
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from control.checks import RULES
from decahertz.clock import NS_PER_SECOND
from decahertz.order_requests import ChangeType, RequestState
from decahertz.order_templates import RunOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from control.queue import RequestQueue
    from control.templates import Templates
    from decahertz.clock import Clock

_OPEN: Final = (
    RequestState.QUEUED,
    RequestState.TAKEN,
    RequestState.WORKING,
    RequestState.UNRESOLVED,
    RequestState.DEAD,
)
"""States in which somebody has to deal with a request."""
_NEVER: Final = "none"
_LATENESS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class ControlMetrics(Collector):
    """The families ``decahertz_order_request…`` and ``decahertz_schedule_…``, read at each scrape."""

    def __init__(self, queue: RequestQueue, templates: Templates, clock: Clock) -> None:
        self._queue = queue
        self._templates = templates
        self._clock = clock
        self._started = clock.time_ns() / NS_PER_SECOND

    def describe(self) -> Iterator[Metric]:
        """Yields the families without values."""
        yield from _families()

    def collect(self) -> Iterator[Metric]:
        """Yields the families with their values."""
        requests, age, changes, refused, times, templates, next_time = _families()
        counts, now_ns = self._queue.counts, self._clock.time_ns()
        for state in _OPEN:
            count = counts.get(state)
            requests.add_metric([state.value], count.requests if count else 0)
            age.add_metric([state.value], (now_ns - count.oldest_ns) / NS_PER_SECOND if count else 0.0)
        for change in ChangeType:
            changes.add_metric([change.value], self._queue.changes[change], self._started)
        for rule in RULES:
            refused.add_metric([rule], self._queue.refusals[rule], self._started)
        for outcome in RunOutcome:
            times.add_metric([outcome.value], self._templates.times[outcome], self._started)
        scheduled = self._templates.scheduled
        last = Counter(_NEVER if one.last_run is None else one.last_run.outcome.value for one in scheduled)
        for name in (*RunOutcome, _NEVER):
            templates.add_metric([name], last[name])
        if scheduled:
            next_time.add_metric([], min(one.next_ns or now_ns for one in scheduled) / NS_PER_SECOND)
        yield from (requests, age, changes, refused, times, templates, next_time)


def _families() -> tuple[
    GaugeMetricFamily,
    GaugeMetricFamily,
    CounterMetricFamily,
    CounterMetricFamily,
    CounterMetricFamily,
    GaugeMetricFamily,
    GaugeMetricFamily,
]:
    return (
        GaugeMetricFamily(
            "decahertz_order_requests", "Order requests that somebody has to deal with.", labels=["state"]
        ),
        GaugeMetricFamily(
            "decahertz_order_request_age_seconds",
            "Time since the oldest of these requests was submitted; 0 without any.",
            labels=["state"],
        ),
        CounterMetricFamily(
            "decahertz_order_request_changes", "Changes of order requests.", labels=["change"]
        ),
        CounterMetricFamily(
            "decahertz_order_requests_refused",
            "Order requests that a pre-trade check or a halt refused, by rule; one may break several.",
            labels=["rule"],
        ),
        CounterMetricFamily(
            "decahertz_schedule_times",
            "Times of template schedules that have come: submitted, refused by a check, or missed.",
            labels=["outcome"],
        ),
        GaugeMetricFamily(
            "decahertz_schedule_templates",
            "Templates with a schedule, by the outcome of their newest time; none: no time has come yet.",
            labels=["outcome"],
        ),
        GaugeMetricFamily(
            "decahertz_schedule_next_timestamp_seconds",
            "The next time of any schedule; in the past while it waits for the database or for keys.",
        ),
    )


class EvaluationOutcome(StrEnum):
    """Outcomes of an evaluation of a signal generator."""

    SIGNAL = "signal"
    """A new signal was stored."""
    KNOWN = "known"
    """The signal was stored before, or the evaluation was of a time in the past."""
    NONE = "none"
    """The generator decided against a signal."""
    FAILED = "failed"


class SignalMetrics:
    """The families ``decahertz_signal_…``."""

    def __init__(self, registry: CollectorRegistry, generators: Iterable[str]) -> None:
        """Registers the families. The counters of ``generators`` begin at zero."""
        self._evaluations = prometheus_client.Counter(
            "decahertz_signal_evaluations",
            "Evaluations of signal generators: signal, known before, none, failed.",
            ["generator", "outcome"],
            registry=registry,
        )
        self._lateness = Histogram(
            "decahertz_signal_lateness_seconds",
            "Time from the end of the bar until its signal was durable.",
            ["generator"],
            buckets=_LATENESS,
            registry=registry,
        )
        for generator in generators:
            self._lateness.labels(generator)
            for outcome in EvaluationOutcome:
                self._evaluations.labels(generator, outcome.value)

    def count(self, generator: str, outcome: EvaluationOutcome) -> None:
        """Counts an evaluation."""
        self._evaluations.labels(generator, outcome.value).inc()

    def stored(self, generator: str, seconds: float) -> None:
        """Counts a new signal that became durable ``seconds`` after the end of its bar."""
        self.count(generator, EvaluationOutcome.SIGNAL)
        self._lateness.labels(generator).observe(seconds)
