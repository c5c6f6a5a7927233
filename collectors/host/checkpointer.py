"""Saves checkpoints of the collectors, and continues from the last one after a restart."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from collectors.host.plugins import describe
from collectors.host.restore import Delivery
from decahertz.clock import NS_PER_SECOND, Clock, Grid

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from collectors.host.hosted import HostedCollector
    from decahertz.checkpoint import Checkpointed, CheckpointStore, SavedCheckpoint
    from decahertz.event import Arrival

_SHARE = 200
"""Taking a checkpoint takes at most this part of the time: one that takes longer is taken less often."""


class NoCheckpoints:
    """The checkpoints of a process without storage."""

    def save(self, time_ns: int, states: Mapping[str, bytes]) -> None:
        """Saves nothing."""

    async def load(self) -> SavedCheckpoint | None:
        """There is none."""
        return None

    async def replay(self, position: int) -> AsyncGenerator[Arrival, None]:  # noqa: ARG002 - as the protocol
        """There are no events."""
        no_events: tuple[Arrival, ...] = ()
        for arrival in no_events:
            yield arrival


class Checkpointer:
    """Saves checkpoints of collectors and other parts. :meth:`resume` once, then :meth:`after_cycle`."""

    def __init__(
        self,
        store: CheckpointStore,
        clock: Clock,
        grid: Grid,
        interval_seconds: float,
        others: Sequence[Checkpointed] = (),
    ) -> None:
        """``others`` are the parts other than collectors."""
        self._store = store
        self._clock = clock
        self._grid = grid
        self._interval_ns = round(interval_seconds * NS_PER_SECOND)
        self._collectors: Sequence[HostedCollector] = ()
        self._others = others
        self._due_ns = 0
        self._log = structlog.get_logger(part="sampler")

    async def resume(
        self, collectors: Sequence[HostedCollector]
    ) -> tuple[list[HostedCollector], list[HostedCollector]]:
        """Continues from the last checkpoint.

        Returns the collectors that have none, and those whose events since then could not all be read.
        """
        try:
            saved = await self._store.load()
        except OSError as error:
            self._log.error("checkpoint_read_failed", reason=describe(error))
            saved = None
        if saved is None:
            return list(collectors), []
        resumed = [
            part
            for part in (*self._others, *collectors)
            if (state := saved.states.get(part.checkpoint_name)) is not None and part.resume(state)
        ]
        if not resumed:
            return list(collectors), []
        cut_off: list[HostedCollector] = []
        try:
            events = await self._repeat(saved, resumed)
        except OSError as error:
            self._log.error("checkpoint_replay_failed", reason=describe(error))
            cut_off = [collector for collector in collectors if collector in resumed]
        else:
            self._log.info("checkpoint_resumed", parts=len(resumed), events=events)
        return [collector for collector in collectors if collector not in resumed], cut_off

    def take_part(
        self, collectors: Iterable[HostedCollector], without: Sequence[HostedCollector] = ()
    ) -> None:
        """Saves the state of these collectors too, but not that of those that lack a part of their past."""
        self._collectors = [
            collector
            for collector in (*self._collectors, *collectors)
            if collector.checkpoint_name and collector not in without
        ]

    def after_cycle(self, time_ns: int, pending_events: int) -> None:
        """Saves a checkpoint if one is due. It would not include events that are not delivered yet."""
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._due_ns and not pending_events:
            self.save(time_ns)
            taken_ns = self._clock.monotonic_ns() - now_ns
            self._due_ns = now_ns + max(self._interval_ns, _SHARE * taken_ns)

    def save(self, time_ns: int) -> None:
        """Saves a checkpoint of the state after the cycle ``time_ns``; all events are delivered."""
        states = {}
        for part in (*self._others, *self._collectors):
            state = part.checkpoint()
            if state is not None:
                states[part.checkpoint_name] = state
        if states:
            self._store.save(time_ns, states)

    async def _repeat(self, saved: SavedCheckpoint, collectors: Sequence[Checkpointed]) -> int:
        """Repeats the events and cycles since a checkpoint, in their order; returns the number of events."""
        events = 0
        delivery = Delivery(collectors)
        cycles = deque(saved.cycles)
        async for arrival in self._store.replay(saved.position):
            while cycles and cycles[0][1] <= arrival.number:
                self._repeat_cycle(collectors, cycles.popleft()[0])
            batch = arrival.batch
            events += len(batch.events)
            for sequence, event in enumerate(batch.events, batch.first_sequence):
                takers = [collector for collector in collectors if type(event) in collector.events_taken]
                origin = (batch.source, batch.epoch, sequence)
                delivery.deliver(takers, event, arrival.received_ns, origin)
        for time_ns, _ in cycles:
            self._repeat_cycle(collectors, time_ns)
        delivery.end()
        return events

    def _repeat_cycle(self, collectors: Sequence[Checkpointed], time_ns: int) -> None:
        index = self._grid.index(time_ns)
        for collector in collectors:
            collector.repeat_cycle(time_ns, index)
