"""Real parts for the tests of feeds: an ingest on a bus, with a sink that keeps arrivals in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry

from collectors.feeds.host import FeedHost
from collectors.host.plugins import LoadedFeed
from decahertz.backoff import Backoff
from decahertz.bus import EVENTS, LocalBus, Message
from decahertz.clock import NS_PER_SECOND, Clock, SystemClock
from decahertz.event import AnyEvent, Arrival, ConnectionState, Event, Heartbeat
from decahertz.feed import Feed
from decahertz.health import RunState
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

    @asynccontextmanager
    async def running(self, *feeds: Feed, stable_seconds: float = 30.0) -> AsyncIterator[FeedHost]:
        """A started host of these feeds; stopped at the end."""
        host = self.host(*feeds, stable_seconds=stable_seconds)
        await host.start()
        try:
            yield host
        finally:
            await host.stop()

    async def play(self, *feeds: Feed) -> FeedHost:
        """Runs these feeds until they have finished."""
        async with self.running(*feeds) as host:
            await asyncio.wait_for(host.wait_finished(), 50)
        assert {feed.state for feed in host.feeds()} == {RunState.FINISHED}
        return host

    @property
    def events(self) -> list[AnyEvent]:
        """Everything published, in order."""
        return [event for arrival in self.published for event in arrival.batch.events]

    def of(self, type_: type[EventT]) -> list[EventT]:
        """The published events of one type."""
        return [event for event in self.events if isinstance(event, type_)]

    @property
    def connections(self) -> list[ConnectionState]:
        """The connection states of the heartbeats, without repetitions."""
        return [state for state, _ in groupby(heartbeat.connection for heartbeat in self.of(Heartbeat))]


def only(type_: type[EventT], events: Sequence[AnyEvent]) -> EventT:
    """The one event, which is of this type."""
    (event,) = events
    assert isinstance(event, type_)
    return event


def messages(capture: Path) -> Iterator[tuple[int, str]]:
    """The messages of a recorded connection, with their times of receipt."""
    for line in capture.read_text().splitlines():
        received, separator, text = line.partition(": ")
        if separator and not line.startswith("wss:"):
            yield int(received.replace(".", "").ljust(19, "0")), text


async def texts_of(capture: Path) -> list[str]:
    """The messages alone, read beside the event loop."""
    return await asyncio.to_thread(lambda: [text for _, text in messages(capture)])


async def until(condition: Callable[[], object], limit_seconds: float = 15.0) -> None:
    """Waits for the condition."""
    async with asyncio.timeout(limit_seconds):
        while not condition():  # noqa: ASYNC110 - the condition has no event
            await asyncio.sleep(0.002)
