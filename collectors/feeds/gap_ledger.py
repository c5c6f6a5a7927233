"""Reports the gaps that quotes and ticks carry in ``missed``, for emitters that do not report them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from decahertz.bus import EVENTS, Bus, Message, Subscription
from decahertz.clock import Clock
from decahertz.event import AnyEvent, Arrival, EventBatch, Gap, Quote, Tick
from decahertz.ingest import Ingest
from decahertz.supervision import supervise

SOURCE = "recorder-gaps"
"""The emitter of these events."""
_NUMBERED = (Quote, Tick)
_MOST_WAITING = 10_000
"""Limit of gaps waiting for storage; beyond it the newest are counted by the collector and not stored."""
_LARGEST_BATCH = 1_000


class GapLedger:
    """Turns ``missed`` of quotes and ticks into :class:`Gap` events of the recorder.

    Instruments whose gaps arrive in the same batch as their messages are skipped: their emitter, such as a
    built-in feed, reports them. A crash between a message and its gap loses the row in ``gaps``, but not the
    count.
    """

    def __init__(self, bus: Bus, ingest: Ingest, clock: Clock) -> None:
        self._bus = bus
        self._ingest = ingest
        self._clock = clock
        self._epoch = 0
        self._next_sequence = 1
        self._waiting: list[Gap] = []
        self._has_gaps = asyncio.Event()
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts watching arriving events."""
        self._epoch = self._clock.time_ns()
        self._subscription = self._bus.subscribe(EVENTS, self._watch)
        self._task = supervise(self._run, "gap ledger")

    async def stop(self) -> None:
        """Stops. Safe without ``start``, and twice."""
        if self._subscription is not None:
            self._subscription.cancel()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def _watch(self, message: Message) -> None:
        if not isinstance(message, Arrival):
            return
        missed = [event for event in message.batch.events if isinstance(event, _NUMBERED) and event.missed]
        if missed and len(self._waiting) < _MOST_WAITING:
            self._waiting += gaps_of(missed, message.batch.events)
            self._has_gaps.set()

    async def _run(self) -> None:
        while True:
            await self._has_gaps.wait()
            events, self._waiting = tuple(self._waiting[:_LARGEST_BATCH]), self._waiting[_LARGEST_BATCH:]
            if not self._waiting:
                self._has_gaps.clear()
            if events:
                batch = EventBatch(
                    source=SOURCE, epoch=self._epoch, first_sequence=self._next_sequence, events=events
                )
                self._next_sequence += len(events)
                await self._ingest.take(batch, self._clock.time_ns())


def gaps_of(missed: Sequence[Quote | Tick], events: Sequence[AnyEvent]) -> list[Gap]:
    """Returns the gaps of messages with ``missed`` that are not reported among the events of their batch.

    The missing numbers are those before the ``sequence`` of the message, if it has one.
    """
    reported = {(event.venue, event.instrument) for event in events if isinstance(event, Gap)}
    return [
        Gap(
            time_ns=event.time_ns,
            venue=event.venue,
            instrument=event.instrument,
            numbering=event.table,
            from_sequence=None if event.sequence is None else max(event.sequence - event.missed, -(2**63)),
            to_sequence=None if event.sequence is None else max(event.sequence - 1, -(2**63)),
            to_ns=event.time_ns,
            missing=event.missed,
        )
        for event in missed
        if (event.venue, event.instrument) not in reported
    ]
