"""Real parts for the tests of feeds: an ingest on a bus, with a sink that keeps arrivals in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from prometheus_client import CollectorRegistry

from collectors.feeds.host import FeedHost
from collectors.host.plugins import LoadedFeed
from decahertz.backoff import Backoff
from decahertz.bus import EVENTS, LocalBus, Message
from decahertz.clock import NS_PER_SECOND, Clock, SystemClock
from decahertz.event import AnyEvent, Arrival, Event
from decahertz.feed import Feed
from decahertz.ingest import Ingest, Receipt

EventT = TypeVar("EventT", bound=Event)


class KeepingSink:
    """Storage that keeps arrivals in memory; it can be made to wait, as a full queue does."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.encoded: list[bytes] = []
        self.has_room = asyncio.Event()
        self.has_room.set()

    async def append(self, arrival: Arrival, timeout_seconds: float) -> Receipt:
        raise AssertionError(f"feeds do not wait {timeout_seconds} s for {arrival!r}")

    async def enqueue(self, arrival: Arrival) -> None:
        await self.has_room.wait()
        self.arrivals.append(Arrival(batch=arrival.batch, received_ns=arrival.received_ns))
        self.encoded.append(arrival.encoded)


class Pipeline:
    """An ingest, what it published and what it stored."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.registry = CollectorRegistry()
        self.sink = KeepingSink()
        self.published: list[Arrival] = []
        bus = LocalBus()
        bus.subscribe(EVENTS, self._keep)
        self.ingest = Ingest(
            bus,
            self.sink,
            self.clock,
            max_future_ns=60 * NS_PER_SECOND,
            timeout_seconds=5.0,
        )

    def _keep(self, message: Message) -> None:
        assert isinstance(message, Arrival)
        self.published.append(message)

    def host(self, *feeds: Feed, stable_seconds: float = 30.0) -> FeedHost:
        """A host of these feeds that does not wait long before a restart."""
        return FeedHost(
            self.ingest,
            self.clock,
            self.registry,
            [LoadedFeed(feed.name, "test", feed) for feed in feeds],
            backoff=Backoff(first_seconds=0.001, most_seconds=0.01),
            stable_seconds=stable_seconds,
        )

    @property
    def events(self) -> list[AnyEvent]:
        """Everything published, in order."""
        return [event for arrival in self.published for event in arrival.batch.events]

    def of(self, type_: type[EventT]) -> list[EventT]:
        """The published events of one type."""
        return [event for event in self.events if isinstance(event, type_)]


async def until(condition: Callable[[], object], limit_seconds: float = 15.0) -> None:
    """Waits for the condition."""
    async with asyncio.timeout(limit_seconds):
        while not condition():  # noqa: ASYNC110 - the condition has no event
            await asyncio.sleep(0.002)
