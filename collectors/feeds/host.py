"""The host of the feeds: runs them, restarts them, and hands their events over.

Each feed is an emitter of its own, ``feed-NAME``, whose epoch is the start of the host. What a feed
raises is counted, logged once until it recovers, and answered by a restart after a jittered wait that
doubles; it never stops another feed. A bad event is refused and counted, the good ones beside it pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from random import Random
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.feeds.backoff import Backoff
from collectors.feeds.guard import EventGuard
from decahertz.clock import Clock
from decahertz.event import AnyEvent, EventBatch
from decahertz.feed import Feed
from decahertz.health import ComponentStatus, FeedStatus, Health, RunState
from decahertz.ingest import BatchRefusedError

_LARGEST_BATCH = 10_000


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


class Intake(Protocol):
    """What the host needs of :class:`~decahertz.ingest.Ingest`."""

    async def take(self, batch: EventBatch, received_ns: int) -> None:
        """Publish and store a batch. Raises ``BatchRefusedError``."""
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

    async def stop(self, timeout_seconds: float = 3.0) -> None:
        """Cancel the feeds and wait for their end, at most so long. Safe without ``start`` and twice."""
        for runner in self._runners:
            runner.stopped = True
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


class RestartPolicy:
    """How restarts are paced."""

    def __init__(self, backoff: Backoff, stable_seconds: float, random: Callable[[], float]) -> None:
        """Keep them."""
        self.backoff = backoff
        self.stable_seconds = stable_seconds
        self.random = random


class FeedRunner:
    """One feed, its restarts and its place among the emitters."""

    def __init__(self, name: str, feed: Feed, ingest: Intake, clock: Clock, policy: RestartPolicy) -> None:
        """Nothing runs before :meth:`run`."""
        self.name = name
        self.feed = feed
        self.state = RunState.RUNNING
        self.events = 0
        self.restarts = 0
        self.refused = 0
        self.last_error: str | None = None
        self.last_event_ns: int | None = None
        self.finished = asyncio.Event()
        self.stopped = False
        self._ingest = ingest
        self._clock = clock
        self._restarts = policy
        self._guard = EventGuard()
        self._order = asyncio.Lock()
        self._epoch = 0
        self._next_sequence = 1
        self._attempt = 0
        self._refusing = False
        self._log = structlog.get_logger(part="feeds", feed=name)

    async def run(self) -> None:
        """Run the feed until it ends or this task is cancelled."""
        self._epoch = self._clock.time_ns()
        while True:
            self.state = RunState.RUNNING
            stable = asyncio.get_running_loop().call_later(self._restarts.stable_seconds, self._recovered)
            try:
                await self.feed.run(self._emit)
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if self.stopped or task is None or task.cancelling():
                    raise
                self._failed(error)  # the feed's own: something inside it was cancelled
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises
                self._failed(error)
            else:
                self.state = RunState.FINISHED
                self._log.info("feed_finished", events=self.events)
                self.finished.set()
                return
            finally:
                stable.cancel()
            await asyncio.sleep(self._restarts.backoff.seconds(self._attempt - 1, self._restarts.random))
            self.restarts += 1

    def status(self) -> FeedStatus:
        """As the API shows it."""
        return FeedStatus(
            name=self.name,
            state=self.state,
            events=self.events,
            restarts=self.restarts,
            last_error=self.last_error,
            last_event_ns=self.last_event_ns,
            counters={**self.counters(), "refused": self.refused},
        )

    def counters(self) -> dict[str, int]:
        """What the feed counts; nothing while its own code for that raises."""
        with suppress(Exception):
            return dict(self.feed.counters)
        return {}

    def _failed(self, error: BaseException) -> None:
        self.state = RunState.FAILED
        self.last_error = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if not self._attempt:
            self._log.error("feed_failed", error=self.last_error, exc_info=error)
        self._attempt += 1

    def _recovered(self) -> None:
        if self._attempt:
            self._log.info("feed_recovered", restarts=self.restarts)
        self._attempt = 0

    async def _emit(self, events: Sequence[AnyEvent], received_ns: int) -> None:
        # One batch at a time: a feed may emit from several tasks, and its numbers must not mix.
        async with self._order:
            for start in range(0, len(events), _LARGEST_BATCH):
                if self.stopped:
                    return
                refused = self.refused
                good, bad = self._guard.sift(events[start : start + _LARGEST_BATCH])
                if bad:
                    self._refuse(len(bad), bad[0])
                await self._take(good, received_ns)
                if self._refusing and self.refused == refused:
                    self._refusing = False
                    self._log.info("events_accepted_again", refused=self.refused)

    async def _take(self, events: tuple[AnyEvent, ...], received_ns: int) -> None:
        while events:
            batch = EventBatch(
                source=f"feed-{self.name}",
                epoch=self._epoch,
                first_sequence=self._next_sequence,
                events=events,
                dropped={"refused": self.refused} if self.refused else {},
            )
            published = True
            try:
                await self._ingest.take(batch, received_ns)
            except BatchRefusedError as error:
                published = False
                at_fault = {refusal.index for refusal in error.refusals} or set(range(len(events)))
                events = tuple(event for index, event in enumerate(events) if index not in at_fault)
                self._refuse(len(batch.events) - len(events), str(error))
            finally:
                if published:  # also when it was cancelled while it waited for the queue
                    self._next_sequence += len(batch.events)
                    self.events += len(batch.events)
                    self.last_event_ns = received_ns
            if published:
                return

    def _refuse(self, count: int, reason: str) -> None:
        self.refused += count
        if not self._refusing:
            self._refusing = True
            self._log.warning("events_refused", count=count, reason=reason)


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
        CounterMetricFamily("decahertz_feed_events", "Events handed over by the feed.", labels=["feed"]),
        CounterMetricFamily("decahertz_feed_restarts", "Restarts after a failure.", labels=["feed"]),
        CounterMetricFamily("decahertz_feed_refused", "Events refused as bad.", labels=["feed"]),
        CounterMetricFamily(
            "decahertz_feed_counter", "What the feed itself counts.", labels=["feed", "what"]
        ),
        GaugeMetricFamily("decahertz_feed_running", "1 while the feed runs.", labels=["feed"]),
    )
