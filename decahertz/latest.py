"""Cache of the newest samples, for snapshots, the exposition and ``metrics/current``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decahertz.sample import SampleBatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decahertz.bus import Bus, Message


class LatestSamples:
    """Holds the newest batch of each collector. A key that is missing from the batch is retired."""

    def __init__(self, bus: Bus) -> None:
        self._batches: dict[str, SampleBatch] = {}
        bus.subscribe("samples:*", self._store)

    def _store(self, message: Message) -> None:
        if isinstance(message, SampleBatch):
            self._batches[message.schema.collector] = message

    def get(self, collector: str) -> SampleBatch | None:
        """The newest batch of a collector; ``None`` before its first."""
        return self._batches.get(collector)

    def __iter__(self) -> Iterator[SampleBatch]:
        return iter(tuple(self._batches.values()))
