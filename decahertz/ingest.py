"""Admits events from the API and from feeds.

Checks a batch as a whole, completes its fills and cash flows (:mod:`decahertz.contracts`), scores its
headlines, publishes it on the bus, then passes it to storage. Events seen before (same source, epoch and
sequence) are neither published nor stored again, so an emitter without a response simply resends. The live
path never waits for the database: publishing comes first. A batch that does not become durable in time is
refused after it was published, and is not published again when it is resent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Protocol

from msgspec import Meta, Struct

from decahertz.bus import EVENTS, Bus
from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.contracts import Contracts
from decahertz.event import AnyEvent, Arrival, EventBatch
from decahertz.event_times import BatchRefusedError, EventTimes
from decahertz.health import ComponentStatus
from decahertz.news_scorer import NewsScores
from decahertz.sequences import SequenceSet
from decahertz.settings import Seconds

MAX_RANGES = 4096
"""Maximum number of sequence ranges per emitter; a batch that would open another gap is refused."""
FORGET_NS = 7 * 24 * 3600 * NS_PER_SECOND
"""Emitters silent for this long are evicted from memory; PostgreSQL still rejects their duplicates."""
_EVICTION_INTERVAL_NS = 3600 * NS_PER_SECOND


class IngestSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Admission of events: the section ``[ingest]``."""

    max_future_seconds: Annotated[
        Seconds,
        Meta(description="How far an event's time may be ahead of this machine's clock."),
    ] = 60.0
    timeout_seconds: Annotated[
        Seconds,
        Meta(description="How long a batch may wait to become durable; then it is refused with 503."),
    ] = 10.0


class Receipt(Struct, frozen=True, kw_only=True):
    """Response to a batch. A resent batch counts as ``duplicates`` instead of ``accepted``."""

    source: str
    epoch: int
    durable_sequence: int
    """Highest durable sequence of this source and epoch."""
    accepted: int
    """Events stored from this batch."""
    duplicates: int
    """Events of this batch that were stored before."""


class NotDurableError(RuntimeError):
    """Raised when a batch does not become durable in time; the emitter should resend it."""


class EventSink(Protocol):
    """The interface of storage for :class:`Ingest`."""

    async def append(self, arrival: Arrival, timeout_seconds: float) -> Receipt:
        """Stores the events that are not stored yet, and returns when they are durable.

        Raises :class:`NotDurableError` when that takes longer than ``timeout_seconds``.
        """
        ...

    async def enqueue(self, arrival: Arrival) -> None:
        """Queue the events for storage. Waits only while the queue is full."""
        ...


EmitterId = tuple[str, int]


class Ingest:
    """Checks, publishes and stores arriving events."""

    def __init__(
        self,
        bus: Bus,
        sink: EventSink,
        clock: Clock,
        *,
        max_future_ns: int,
        timeout_seconds: float,
        known: Mapping[EmitterId, SequenceSet] | None = None,
        contracts: Contracts | None = None,
        scores: NewsScores | None = None,
    ) -> None:
        """``known`` holds the sequences already in storage, to recognise a resend after a restart.

        ``contracts`` complete fills and cash flows; without them they are published as they arrive.
        ``scores`` add sentiments to headlines.
        """
        self._bus = bus
        self._sink = sink
        self._clock = clock
        self._times = EventTimes(clock, max_future_ns)
        self._contracts = contracts
        self._scores = scores
        self._timeout_seconds = timeout_seconds
        self._seen = {emitter: ranges.copy() for emitter, ranges in (known or {}).items()}
        self._evicted_ns = clock.monotonic_ns()
        self._last_seen_ns = dict.fromkeys(self._seen, self._evicted_ns)
        self.events = 0
        """Events published, without duplicates."""

    def adopt(self, known: Mapping[EmitterId, SequenceSet]) -> None:
        """Learn which events are in storage, if it was opened after the start: a resend is recognised."""
        for emitter, ranges in known.items():
            seen = self._seen.setdefault(emitter, SequenceSet())
            self._last_seen_ns.setdefault(emitter, self._clock.monotonic_ns())
            for low, high in ranges:
                seen.add(low, high)

    async def submit(self, batch: EventBatch, encoded: bytes = b"") -> Receipt:
        """Admit a batch of a client, and return when it is durable.

        ``encoded`` is the MessagePack that the batch was decoded from; storage keeps these bytes instead of
        encoding the batch again.

        Raises :class:`BatchRefusedError` for an invalid batch, :class:`NotDurableError` for one to resend.
        """
        now_ns = self._clock.time_ns()
        checked = await self._scored(self._check(batch, now_ns))
        arrival = Arrival(batch=checked, received_ns=now_ns, encoded=encoded if checked is batch else b"")
        self._publish(arrival)
        return await self._sink.append(arrival, self._timeout_seconds)

    async def take(self, batch: EventBatch, received_ns: int, encoded: bytes = b"") -> None:
        """Admit a batch of a feed of this process. Waits only while the storage queue is full.

        ``encoded`` as in :meth:`submit`.
        """
        checked = await self._scored(self._check(batch, received_ns))
        arrival = Arrival(
            batch=checked, received_ns=received_ns, encoded=encoded if checked is batch else b""
        )
        self._publish(arrival)
        await self._sink.enqueue(arrival)

    async def _scored(self, batch: EventBatch) -> EventBatch:
        return batch if self._scores is None else await self._scores.completed(batch)

    def status(self) -> ComponentStatus:
        """Names the emitter whose orders and fills had impossible times lately."""
        return self._times.status()

    def _check(self, batch: EventBatch, received_ns: int) -> EventBatch:
        """Returns the batch, with possible times and completed. Raises :class:`BatchRefusedError`."""
        checked = self._times.checked(batch, received_ns)
        self._check_ranges(batch)
        if self._contracts is None:
            return checked
        seen = self._seen.get((batch.source, batch.epoch))
        whole = [(batch.first_sequence, batch.last_sequence)]
        new = whole if seen is None else list(seen.missing(*whole[0]))
        return self._contracts.completed(checked, None if new == whole else new)

    def _check_ranges(self, batch: EventBatch) -> None:
        seen = self._seen.get((batch.source, batch.epoch))
        if seen is None or seen.range_count < MAX_RANGES:
            return
        if batch.events and not seen.touches(batch.first_sequence, batch.last_sequence):
            raise BatchRefusedError(f"the sequence of this emitter has more than {MAX_RANGES} gaps")

    def _publish(self, arrival: Arrival) -> None:
        batch = arrival.batch
        if not batch.events:
            return
        emitter = (batch.source, batch.epoch)
        self._last_seen_ns[emitter] = now_ns = self._clock.monotonic_ns()
        if now_ns - self._evicted_ns >= _EVICTION_INTERVAL_NS:
            self._evict(now_ns)
        seen = self._seen.setdefault(emitter, SequenceSet())
        for low, high in seen.missing(batch.first_sequence, batch.last_sequence):
            self.events += high - low + 1
            part = batch if high - low + 1 == len(batch.events) else part_of(batch, low, high)
            self._bus.publish(EVENTS, Arrival(batch=part, received_ns=arrival.received_ns))
        seen.add(batch.first_sequence, batch.last_sequence)

    def _evict(self, now_ns: int) -> None:
        """Evicts silent emitters: each start of a client is another one."""
        self._evicted_ns = now_ns
        silent = [emitter for emitter, seen_ns in self._last_seen_ns.items() if now_ns - seen_ns >= FORGET_NS]
        for emitter in silent:
            del self._last_seen_ns[emitter], self._seen[emitter]


def part_of(batch: EventBatch, low: int, high: int) -> EventBatch:
    """Returns the events of a batch with sequences ``low`` to ``high``, as a batch."""
    start = low - batch.first_sequence
    events: tuple[AnyEvent, ...] = batch.events[start : start + high - low + 1]
    return EventBatch(
        source=batch.source,
        epoch=batch.epoch,
        first_sequence=low,
        events=events,
        dropped=batch.dropped,
    )
