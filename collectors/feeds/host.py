"""The host of the feeds: runs them, restarts them, and hands their events over.

Each feed is an emitter of its own, ``feed-NAME``, whose epoch is when it was started. What a feed
raises is counted, logged once until it recovers, and answered by a restart after a jittered wait that
doubles; it never stops another feed. A bad event is refused and counted, the good ones beside it pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from random import Random
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.feeds.runner import FeedRunner, Intake, RestartPolicy
from decahertz.backoff import Backoff
from decahertz.clock import Clock
from decahertz.feed import Feed
from decahertz.health import ComponentStatus, FeedStatus, Health, RunState


class NamedFeed(Protocol):
    """A feed and the name under which it is set up."""

    @property
    def name(self) -> str:
        """The entry-point name."""
        ...

    @property
    def feed(self) -> Feed:
        """The feed."""
        ...


class FeedHost:
    """Runs all feeds of the process."""

    def __init__(
        self,
        ingest: Intake,
        clock: Clock,
        registry: CollectorRegistry,
        feeds: Sequence[NamedFeed],
        *,
        backoff: Backoff | None = None,
        stable_seconds: float = 30.0,
    ) -> None:
        """``stable_seconds``: a feed that ran so long after a restart has recovered."""
        random = Random().random  # noqa: S311 - jitter, no secret
        policy = RestartPolicy(backoff or Backoff(), stable_seconds, random)
        self._runners = [FeedRunner(entry.name, entry.feed, ingest, clock, policy) for entry in feeds]
        self._tasks: list[asyncio.Task[None]] = []
        self._log = structlog.get_logger(part="feeds")
        registry.register(FeedMetrics(self._runners))

    async def start(self) -> None:
        """Start all feeds; returns at once. May be called once."""
        if self._tasks:
            raise RuntimeError("the feeds were started before")
        self._tasks = [
            asyncio.create_task(runner.run(), name=f"feed {runner.name}") for runner in self._runners
        ]

    async def stop(self, timeout_seconds: float = 2.0) -> None:
        """Cancel the feeds and wait for their end. Safe without ``start`` and twice.

        What is shown but still waits for the storage queue gets ``timeout_seconds`` to be queued, and so
        much again the feeds to end.
        """
        for runner in self._runners:
            runner.stopped = True
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                for runner in self._runners:
                    await runner.handed_over()
        running = [task for task in self._tasks if not task.done()]
        for task in running:
            task.cancel()
        if not running:
            return
        _, deaf = await asyncio.wait(running, timeout=timeout_seconds)
        for task in deaf:
            self._log.error("feed_does_not_stop", task=task.get_name(), waited_seconds=timeout_seconds)

    async def wait_finished(self, name: str | None = None) -> None:
        """Return when the feed (without a name: every feed) has come to its end.

        Raises ``KeyError`` for a feed that is not there.
        """
        if name is not None and all(runner.name != name for runner in self._runners):
            raise KeyError(name)
        for runner in self._runners:
            if name in (None, runner.name):
                await runner.finished.wait()

    def feeds(self) -> list[FeedStatus]:
        """Each feed as it is now, in the order of the settings."""
        return [runner.status() for runner in self._runners]

    def status(self) -> ComponentStatus:
        """Degraded while a feed waits for its restart, failed when all do."""
        down = [runner for runner in self._runners if runner.state is RunState.FAILED]
        if not down:
            return ComponentStatus(name="feeds", health=Health.OK)
        return ComponentStatus(
            name="feeds",
            health=Health.FAILED if len(down) == len(self._runners) else Health.DEGRADED,
            detail="; ".join(f"{runner.name}: {runner.last_error}" for runner in down),
        )


class FeedMetrics(Collector):
    """The feeds' own metrics, read when they are asked for."""

    def __init__(self, runners: Iterable[FeedRunner]) -> None:
        """Keep the runners."""
        self._runners = list(runners)

    def describe(self) -> Iterator[Metric]:
        """The families, without their values."""
        yield from _families()

    def collect(self) -> Iterator[Metric]:
        """The families with their values."""
        events, restarts, refused, counts, up = _families()
        for runner in self._runners:
            labels = [runner.name]
            events.add_metric(labels, runner.events)
            restarts.add_metric(labels, runner.restarts)
            refused.add_metric(labels, runner.refused)
            up.add_metric(labels, runner.state is RunState.RUNNING)
            for what, count in runner.counters().items():
                counts.add_metric([runner.name, what], count)
        yield from (events, restarts, refused, counts, up)


def _families() -> tuple[
    CounterMetricFamily,
    CounterMetricFamily,
    CounterMetricFamily,
    CounterMetricFamily,
    GaugeMetricFamily,
]:
    return (
        CounterMetricFamily("decahertz_feed_events", "Events published by the feed.", labels=["feed"]),
        CounterMetricFamily(
            "decahertz_feed_restarts", "Restarts of the feed after a failure.", labels=["feed"]
        ),
        CounterMetricFamily(
            "decahertz_feed_refused_events", "Events refused by validation.", labels=["feed"]
        ),
        CounterMetricFamily(
            "decahertz_feed_occurrences", "Occurrences counted by the feed itself.", labels=["feed", "kind"]
        ),
        GaugeMetricFamily(
            "decahertz_feed_running",
            "1 while the feed runs, 0 while it waits for a restart or after it ended.",
            labels=["feed"],
        ),
    )
