"""What waits in memory to be stored, bounded by rows.

Samples are replaceable: where there is no place the oldest of them go, and are counted. Events are not: they
wait for place, or the caller is told that they are not taken.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from decahertz.event import Arrival
from decahertz.ingest import Receipt
from decahertz.sample import SampleBatch


@dataclass(slots=True, eq=False)
class EventItem:
    """One arrived batch of events on its way into the database."""

    arrival: Arrival
    done: asyncio.Future[Receipt] | None = None
    """Where the emitter waits for the receipt; without it nobody does."""

    @property
    def rows(self) -> int:
        """Events in it."""
        return len(self.arrival.batch.events)

    def resolve(self, receipt: Receipt) -> None:
        """Answer the emitter, if it still waits."""
        if self.done is not None and not self.done.done():
            self.done.set_result(receipt)

    def fail(self, error: Exception) -> None:
        """Refuse the emitter, if it still waits."""
        if self.done is not None and not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True, eq=False)
class Parcel:
    """What is stored in one transaction."""

    samples: list[SampleBatch] = field(default_factory=list)
    events: list[EventItem] = field(default_factory=list)
    batch_id: uuid.UUID = field(default_factory=uuid.uuid4)
    """Recorded in the same transaction, so that a second attempt sees that the first succeeded."""

    @property
    def sample_rows(self) -> int:
        """Samples in it."""
        return sum(len(batch.samples) for batch in self.samples)

    @property
    def event_rows(self) -> int:
        """Events in it."""
        return sum(item.rows for item in self.events)

    @property
    def rows(self) -> int:
        """Samples and events in it."""
        return self.sample_rows + self.event_rows

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it, not even a batch without events."""
        return not self.samples and not self.events

    def parts(self) -> list[Parcel]:
        """Each sample batch and each event batch as a parcel of its own."""
        return [
            *(Parcel(samples=[batch]) for batch in self.samples),
            *(Parcel(events=[i]) for i in self.events),
        ]

    def remove_first(self) -> None:
        """Take out the first of its :meth:`parts`."""
        (self.samples or self.events).pop(0)


class WriteQueue:
    """The queue between the live path and the writer. Belongs to one event loop."""

    def __init__(self, max_rows: int, full_rows: int, on_dropped: Callable[[SampleBatch], None]) -> None:
        """``full_rows`` make a transaction worth its while; ``on_dropped`` is told of samples that go."""
        self._max_rows = max_rows
        self._full_rows = full_rows
        self._on_dropped = on_dropped
        self._samples: deque[SampleBatch] = deque()
        self._events: deque[EventItem] = deque()
        self._something = asyncio.Event()
        self._urgent = asyncio.Event()
        self._place = asyncio.Event()
        self._hurrying = False
        self._awaited = 0
        self.sample_rows = 0
        self.event_rows = 0

    @property
    def rows(self) -> int:
        """Samples and events that wait."""
        return self.sample_rows + self.event_rows

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, not even a batch without events."""
        return not self._samples and not self._events

    def put_samples(self, batch: SampleBatch) -> None:
        """Take samples; the oldest go where there is no place."""
        if batch.samples:
            self._samples.append(batch)
            self.sample_rows += len(batch.samples)
            self._shed()
            self._announce()

    async def put_events(self, item: EventItem) -> None:
        """Take events; waits only while events alone fill the queue. A larger batch gets in alone."""
        while self._events and self.event_rows + item.rows > self._max_rows:
            self._place.clear()
            await self._place.wait()
        self._events.append(item)
        self._count(item, 1)
        self._shed()
        self._announce()

    def remove(self, item: EventItem) -> None:
        """Take events back that nobody waits for any more; nothing happens when they are on their way."""
        if item in self._events:
            self._events.remove(item)
            self._count(item, -1)
            self._place.set()
            self._announce()

    def take(self) -> Parcel:
        """The oldest samples and events, of each about as much as makes a transaction worth its while."""
        parcel = Parcel()
        rows = 0
        while self._events and rows < self._full_rows:
            item = self._events.popleft()
            rows += item.rows
            self._count(item, -1)
            parcel.events.append(item)
        rows = 0
        while self._samples and rows < self._full_rows:
            batch = self._samples.popleft()
            rows += len(batch.samples)
            parcel.samples.append(batch)
        self.sample_rows -= rows
        self._place.set()
        self._announce()
        return parcel

    async def wait_due(self, patience_seconds: float) -> None:
        """Wait for something to store; then for more to share its transaction with, unless it is urgent.

        Urgent: somebody waits for the answer, or there is enough already.
        """
        await self._something.wait()
        if self._urgent.is_set():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds):
                await self._urgent.wait()

    def hurry(self) -> None:
        """End every :meth:`wait_due`, now and from now on."""
        self._hurrying = True
        self._announce()

    def _count(self, item: EventItem, sign: int) -> None:
        self.event_rows += sign * item.rows
        self._awaited += sign * (item.done is not None)

    def _shed(self) -> None:
        while self._samples and self.rows > self._max_rows:
            oldest = self._samples.popleft()
            self.sample_rows -= len(oldest.samples)
            self._on_dropped(oldest)

    def _announce(self) -> None:
        _switch(self._urgent, on=self._hurrying or self._awaited > 0 or self.rows >= self._full_rows)
        _switch(self._something, on=self._hurrying or not self.is_empty)


def _switch(event: asyncio.Event, *, on: bool) -> None:
    if on:
        event.set()
    else:
        event.clear()
