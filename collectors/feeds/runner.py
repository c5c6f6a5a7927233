"""One feed as the host runs it: restarts, validation, and its sequence numbers as an emitter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from collectors.feeds.guard import INVALID, EventGuard
from collectors.host.plugins import describe
from decahertz.backoff import Backoff
from decahertz.clock import Clock
from decahertz.event import AnyEvent, EventBatch
from decahertz.event_times import BatchRefusedError
from decahertz.feed import Feed
from decahertz.health import FeedStatus, RunState
from decahertz.incident import Incident
from decahertz.ingest import Ingest

_LARGEST_BATCH = 2_000
"""Events of a batch: what storage keeps as one entry, with the bytes that validated it."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a failed feed is restarted, and when it has recovered."""

    backoff: Backoff
    stable_seconds: float
    """A feed that has run this long after a restart has recovered."""
    random: Callable[[], float]


class FeedRunner:
    """Runs one feed, restarts it after a failure, and emits its events under ``feed-{name}``."""

    def __init__(self, name: str, feed: Feed, ingest: Ingest, clock: Clock, policy: RestartPolicy) -> None:
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
        self._log = structlog.get_logger(part="feeds", feed=name)
        self._failure = Incident("feed", self._log)
        self._validation = Incident("feed_validation", self._log)

    async def run(self) -> None:
        """Runs the feed until it ends or this task is cancelled."""
        self._epoch = self._epoch or self._clock.time_ns()
        while True:
            self.state = RunState.RUNNING
            stable = asyncio.get_running_loop().call_later(self._restarts.stable_seconds, self._recovered)
            try:
                await self.feed.run(self._emit)
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if self.stopped or task is None or task.cancelling():
                    raise
                self._failed(error)  # raised inside the feed: not a cancellation of this task
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
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

    async def drained(self) -> None:
        """Returns when no batch of the feed is waiting for the storage queue."""
        async with self._order:
            return

    def status(self) -> FeedStatus:
        """Returns the status for the API."""
        is_running = self.state is RunState.RUNNING
        return FeedStatus(
            name=self.name,
            state=RunState.CONNECTING if is_running and not self.is_connected else self.state,
            events=self.events,
            restarts=self.restarts,
            last_error=self.connection_error if is_running and self.connection_error else self.last_error,
            last_event_ns=self.last_event_ns,
            counters={**self.counters(), "refused": self.refused},
        )

    @property
    def is_connected(self) -> bool:
        """Whether the feed is connected; a plugin that does not derive from ``BaseFeed`` may not say."""
        with suppress(Exception):
            return bool(getattr(self.feed, "is_connected", True))
        return True

    @property
    def connection_error(self) -> str | None:
        """Why the feed lost its connection, or could not make it, the last time."""
        with suppress(Exception):
            return getattr(self.feed, "last_error", None)
        return None

    def counters(self) -> dict[str, int]:
        """Returns the counters of the feed; none while reading them raises."""
        with suppress(Exception):
            return dict(self.feed.counters)
        return {}

    def _failed(self, error: BaseException) -> None:
        self.state = RunState.FAILED
        self.last_error = describe(error)
        self._failure.fail(self._clock.monotonic_ns(), error, reason=self.last_error)
        self._attempt += 1

    def _recovered(self) -> None:
        self._failure.recover(restarts=self.restarts)
        self._attempt = 0

    async def _emit(self, events: Sequence[AnyEvent], received_ns: int) -> None:
        # One batch at a time: a feed may emit from several tasks, whose sequence numbers must not interleave.
        async with self._order:
            for start in range(0, len(events), _LARGEST_BATCH):
                if self.stopped:
                    return
                refused = self.refused
                await self._take(tuple(events[start : start + _LARGEST_BATCH]), received_ns)
                if self.refused == refused:
                    self._validation.recover(refused=self.refused)

    async def _take(self, events: tuple[AnyEvent, ...], received_ns: int) -> None:
        while events:
            batch = EventBatch(
                source=f"feed-{self.name}",
                epoch=self._epoch,
                first_sequence=self._next_sequence,
                events=events,
                dropped={"refused": self.refused} if self.refused else {},
            )
            try:
                batch, encoded = self._guard.validate(batch)
            except INVALID:
                events, reasons = self._guard.split(events)
                if not reasons:
                    raise
                self._refuse(len(reasons), reasons[0])
                continue
            published = True
            try:
                await self._ingest.take(batch, received_ns, encoded)
            except BatchRefusedError as error:
                published = False
                invalid = {refusal.index for refusal in error.refusals} or set(range(len(events)))
                events = tuple(event for index, event in enumerate(events) if index not in invalid)
                self._refuse(len(batch.events) - len(events), str(error))
            except asyncio.CancelledError:
                self._log.warning(
                    "feed_events_dropped",
                    count=len(events),
                    reason="stopped in a full queue",
                )
                raise
            finally:
                if published:  # also when cancelled while waiting for the queue
                    self._next_sequence += len(batch.events)
                    self.events += len(batch.events)
                    self.last_event_ns = received_ns
            if published:
                return

    def _refuse(self, count: int, reason: str) -> None:
        self.refused += count
        self._validation.fail(self._clock.monotonic_ns(), count=count, reason=reason)
