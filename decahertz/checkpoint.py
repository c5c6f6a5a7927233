"""Checkpoints: the saved states of collectors, from which they continue after a restart.

A checkpoint is saved in the same queue as the events, and its position is the number of the first event that
it does not include. So the state of a collector at any time is a checkpoint, plus the events from its
position on and the cycles in between, in their order.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from decahertz.event import Arrival


class SavedCheckpoint(Struct, frozen=True, kw_only=True):
    """The states of all collectors after one cycle."""

    time_ns: int
    """The cycle."""
    position: int
    """Number of the first event that the states do not include."""
    states: Mapping[str, bytes]
    """By collector."""
    cycles: Sequence[tuple[int, int]] = ()
    """Time of each cycle since then, and the number of the first event behind it."""


class CheckpointStore(Protocol):
    """Stores the newest checkpoint, and all events since its position."""

    def save(self, time_ns: int, states: Mapping[str, bytes]) -> None:
        """Queue a checkpoint, which replaces the one before; it includes all events that were queued before.

        It is skipped while the disk fails.
        """
        ...

    async def load(self) -> SavedCheckpoint | None:
        """Return the newest checkpoint. Raises ``OSError`` if it cannot be read."""
        ...

    def replay(self, position: int) -> AsyncGenerator[Arrival, None]:
        """Yield the events from a checkpoint's position on, in the order of their numbers.

        Raises ``OSError`` if one cannot be read.
        """
        ...
