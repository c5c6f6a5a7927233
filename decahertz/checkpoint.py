"""Checkpoints: the saved states of collectors and other parts, from which they continue after a restart.

A checkpoint is saved in the same queue as the events, and its position is the number of the first event that
it does not include. So the state of a collector at any time is a checkpoint, plus the events from its
position on and the cycles in between, in their order.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from msgspec import Struct

from decahertz.event import Arrival, Event
from decahertz.key_budget import KeyBudget


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


class Checkpointed(Protocol):
    """A part whose state is in the checkpoints: a collector, or what completes events."""

    @property
    def checkpoint_name(self) -> str:
        """Name of its state in a checkpoint; empty if it has none."""
        ...

    @property
    def events_taken(self) -> AbstractSet[type[Event]]:
        """Event types that change its state."""
        ...

    @property
    def budgets(self) -> Sequence[KeyBudget]:
        """Its key budgets."""
        ...

    def checkpoint(self) -> bytes | None:
        """Returns the encoded state; ``None`` if that fails."""
        ...

    def resume(self, state: bytes) -> bool:
        """Continues from an encoded state; returns whether it takes it."""
        ...

    def on_event(self, event: Event, received_ns: int) -> None:
        """Takes an event since the checkpoint again."""
        ...

    def event_failed(self, error: Exception) -> None:
        """Records that ``on_event`` raised."""
        ...

    def repeat_cycle(self, time_ns: int, index: int) -> None:
        """Runs a cycle since the checkpoint again, without publishing anything."""
        ...


class CheckpointStore(Protocol):
    """Stores the newest checkpoint, and all events since its position."""

    def save(self, time_ns: int, states: Mapping[str, bytes]) -> None:
        """Queue a checkpoint, which replaces the one before; it includes all events that were queued before.

        It is skipped while the disk fails.
        """
        ...

    async def load(self) -> SavedCheckpoint | None:
        """Returns the newest checkpoint. Raises ``OSError`` if it cannot be read."""
        ...

    def replay(self, position: int) -> AsyncGenerator[Arrival, None]:
        """Yields the events from a checkpoint's position on, in the order of their numbers.

        Raises ``OSError`` if one cannot be read.
        """
        ...
