"""Self-metrics of news: headlines, their scores, and when the newest arrived."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from decahertz.bus import EVENTS, Bus, Message
from decahertz.clock import NS_PER_SECOND
from decahertz.event import Arrival, News

if TYPE_CHECKING:
    from decahertz.clock import Clock
    from decahertz.news_scorer import NewsScores


class NewsMetrics(Collector):
    """The families ``decahertz_news_…``. Counts the headlines that are published; a resent one is none."""

    def __init__(self, bus: Bus, scores: NewsScores, clock: Clock) -> None:
        """Count from now on."""
        self._scores = scores
        self._started = clock.time_ns() / NS_PER_SECOND
        self._headlines = 0
        self._newest_ns: int | None = None
        bus.subscribe(EVENTS, self._take)

    def _take(self, message: Message) -> None:
        assert isinstance(message, Arrival)  # noqa: S101 - all of this topic are
        headlines = sum(type(event) is News for event in message.batch.events)
        if headlines:
            self._headlines += headlines
            self._newest_ns = message.received_ns

    def describe(self) -> Iterator[Metric]:
        """Yields the families without values."""
        yield from _families()

    def collect(self) -> Iterator[Metric]:
        """Yields the families with their values."""
        headlines, scored, failures, newest = _families()
        headlines.add_metric([], self._headlines, self._started)
        scored.add_metric([], self._scores.scored, self._started)
        failures.add_metric([], self._scores.failures, self._started)
        if self._newest_ns is not None:
            newest.add_metric([], self._newest_ns / NS_PER_SECOND)
        yield from (headlines, scored, failures, newest)


def _families() -> tuple[CounterMetricFamily, CounterMetricFamily, CounterMetricFamily, GaugeMetricFamily]:
    return (
        CounterMetricFamily("decahertz_news_headlines", "Headlines received, without repetitions."),
        CounterMetricFamily("decahertz_news_scored", "Headlines that the scorer gave a sentiment."),
        CounterMetricFamily("decahertz_news_scorer_failures", "Headlines on which the scorer failed."),
        GaugeMetricFamily(
            "decahertz_news_newest_timestamp_seconds",
            "When the newest headline was received; absent before the first since the start.",
        ),
    )
