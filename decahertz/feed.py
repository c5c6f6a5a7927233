"""Feeds: plugins that bring market events in.

The host makes a feed with a clock and its options, awaits ``run`` and cancels it to stop. ``run`` ends
by itself only when its source is exhausted (a recording); when it raises, the host counts it, logs it
once and starts it again with jittered backoff. A feed that reconnects by itself says so with
:class:`~decahertz.event.Heartbeat` events: a connected socket is not a live feed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

import msgspec

from decahertz.collector import NoOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from decahertz.clock import Clock
    from decahertz.event import AnyEvent

ENTRY_POINT_GROUP = "decahertz.feeds"


class Emit(Protocol):
    """How a feed hands its events over."""

    async def __call__(self, events: Sequence[AnyEvent], received_ns: int) -> None:
        """Publish the events at once and queue them for storage.

        It waits only while the storage queue is full, which slows down a recording that is replayed
        as fast as it goes and lets a live socket push back.
        """
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a feed with an end has come; both in the unit that the feed finds natural."""

    done: float
    total: float


class Feed(Protocol):
    """What the host needs of a feed. :class:`BaseFeed` has the defaults."""

    name: ClassVar[str]

    async def run(self, emit: Emit) -> None:
        """Bring events until cancelled or until the source ends."""
        ...

    @property
    def progress(self) -> Progress | None:
        """How far it has come; ``None`` for a feed without an end."""
        ...

    @property
    def counters(self) -> dict[str, int]:
        """What happened so far: messages, reconnects, malformed messages, duplicates, gaps."""
        ...


OptionsT = TypeVar("OptionsT", bound=msgspec.Struct)


class BaseFeed(ABC, Generic[OptionsT]):
    """Defaults for plugin authors."""

    name: ClassVar[str]
    options_type: ClassVar[type[msgspec.Struct]] = NoOptions

    def __init__(self, clock: Clock, options: OptionsT) -> None:
        """Keep the clock and the options."""
        self.clock = clock
        self.options = options
        self._counters: dict[str, int] = {}

    @abstractmethod
    async def run(self, emit: Emit) -> None:
        """Bring events until cancelled or until the source ends."""

    @property
    def progress(self) -> Progress | None:
        """No end in sight."""
        return None

    @property
    def counters(self) -> dict[str, int]:
        """A copy of the counters."""
        return dict(self._counters)

    def count(self, what: str, by: int = 1) -> None:
        """Add to a counter."""
        self._counters[what] = self._counters.get(what, 0) + by
