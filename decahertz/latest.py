"""The newest samples: what a snapshot, the exposition and ``metrics/current`` show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decahertz.sample import SampleBatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decahertz.bus import Bus, Message


class LatestSamples:
    """Keeps the newest batch of each collector. A key that is not in it has been retired."""

    def __init__(self, bus: Bus) -> None:
        """Listen to all collectors."""
        self._batches: dict[str, SampleBatch] = {}
        self._subscription = bus.subscribe("samples:*", self._take)

    def _take(self, message: Message) -> None:
        if isinstance(message, SampleBatch):
            self._batches[message.schema.collector] = message

    def get(self, collector: str) -> SampleBatch | None:
        """The newest batch of a collector, if it has returned one."""
        return self._batches.get(collector)

    def __iter__(self) -> Iterator[SampleBatch]:
        """The newest batch of every collector."""
        return iter(tuple(self._batches.values()))

    def close(self) -> None:
        """Stop listening."""
        self._subscription.cancel()
