"""The host of the feeds: runs and restarts them, and publishes their events.

Each feed is an emitter of its own, ``feed-NAME``, with the time of its start as epoch. A feed that raises is
logged once until it recovers and restarted after a jittered, doubling wait; other feeds are not affected. An
invalid event is refused and counted; the valid events of its batch pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from random import Random

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.feeds.runner import FeedRunner, RestartPolicy
from collectors.host.plugins import LoadedFeed
from decahertz.backoff import Backoff
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.health import ComponentStatus, FeedStatus, Health, RunState
from decahertz.ingest import Ingest
from decahertz.supervision import supervise


class FeedHost:
    """Runs all feeds of the process."""

    def __init__(
        self,
        ingest: Ingest,
        clock: Clock,
        registry: CollectorRegistry,
        feeds: Sequence[LoadedFeed],
        *,
        backoff: Backoff | None = None,
        stable_seconds: float = 30.0,
    ) -> None:
        """``stable_seconds``: a feed that has run this long after a restart has recovered."""
        random = Random().random  # noqa: S311 - jitter, no secret
        policy = RestartPolicy(backoff or Backoff(), stable_seconds, random)
        self._runners = [FeedRunner(entry.name, entry.feed, ingest, clock, policy) for entry in feeds]
        self._tasks: list[asyncio.Task[None]] = []
        self._log = structlog.get_logger(part="feeds")
        registry.register(FeedMetrics(self._runners, clock.time_ns()))

    async def start(self) -> None:
        """Starts all feeds and returns at once. May be called once."""
        if self._tasks:
            raise RuntimeError("the feeds are already started")
        self._tasks = [supervise(runner.run, f"feed {runner.name}") for runner in self._runners]

    async def stop(self, timeout_seconds: float = 2.0) -> None:
        """Cancels the feeds and waits for them to end. Safe without ``start`` and twice.

        ``timeout_seconds`` bounds the wait for published events to enter the storage queue, and again the
        wait for the feeds to end.
        """
        for runner in self._runners:
            runner.stopped = True
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                for runner in self._runners:
                    await runner.drained()
        running = [task for task in self._tasks if not task.done()]
        for task in running:
            task.cancel()
        if not running:
            return
        _, stuck = await asyncio.wait(running, timeout=timeout_seconds)
        for task in stuck:
            self._log.error("feed_stop_failed", task=task.get_name(), waited_seconds=timeout_seconds)

    async def wait_finished(self, name: str | None = None) -> None:
        """Returns when the feed (without a name: every feed) has finished.

        Raises ``KeyError`` for an unknown feed.
        """
        if name is not None and all(runner.name != name for runner in self._runners):
            raise KeyError(name)
        for runner in self._runners:
            if name in (None, runner.name):
                await runner.finished.wait()

    def feeds(self) -> list[FeedStatus]:
        """Returns the status of each feed, in the order of the settings."""
        return [runner.status() for runner in self._runners]

    def status(self) -> ComponentStatus:
        """Returns degraded while a feed waits for its restart or cannot connect, failed if all wait."""
        feeds = self.feeds()
        down = [feed for feed in feeds if feed.state is RunState.FAILED]
        # A feed that has just been started is connecting, too; only an error makes that a limitation.
        connecting = [feed for feed in feeds if feed.state is RunState.CONNECTING and feed.last_error]
        details = [f"{feed.name}: {feed.last_error}" for feed in down]
        details += [f"{feed.name} is connecting: {feed.last_error}" for feed in connecting]
        health = Health.DEGRADED if details else Health.OK
        if down and len(down) == len(feeds):
            health = Health.FAILED
        return ComponentStatus(name="feeds", health=health, detail="; ".join(details))


class FeedMetrics(Collector):
    """The metrics of the feeds, collected at each scrape."""

    def __init__(self, runners: Iterable[FeedRunner], started_ns: int) -> None:
        """``started_ns``: when the counts began, nanoseconds UTC."""
        self._runners = list(runners)
        self._created = started_ns / NS_PER_SECOND

    def describe(self) -> Iterator[Metric]:
        """Returns the families: the registry refuses a second host."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """Yields the families with their values."""
        events = CounterMetricFamily(
            "decahertz_feed_events", "Events published by the feed.", labels=["feed"]
        )
        restarts = CounterMetricFamily(
            "decahertz_feed_restarts", "Restarts of the feed after a failure.", labels=["feed"]
        )
        refused = CounterMetricFamily(
            "decahertz_feed_refused_events", "Events refused by validation.", labels=["feed"]
        )
        counts = CounterMetricFamily(
            "decahertz_feed_counts",
            "Reconnects, malformed messages, gaps and other occurrences that the feed counts, by kind.",
            labels=["feed", "kind"],
        )
        for runner in self._runners:
            labels = [runner.name]
            events.add_metric(labels, runner.events, self._created)
            restarts.add_metric(labels, runner.restarts, self._created)
            refused.add_metric(labels, runner.refused, self._created)
            for kind, count in runner.counters().items():
                counts.add_metric([runner.name, kind], count, self._created)
        yield from (events, restarts, refused, counts)
