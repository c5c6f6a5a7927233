"""Feeds: plugins that receive market events.

The host constructs a feed with a clock and its options, awaits ``run`` and cancels it to stop. ``run``
returns only when its source is exhausted (a recording). When it raises, the host counts the error, logs it
once and restarts the feed with backoff. A feed reports its connection with
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
    """Publishes the events of a feed."""

    async def __call__(self, events: Sequence[AnyEvent], received_ns: int) -> None:
        """Publishes the events at once and queue them for storage.

        Waits only while the storage queue is full. That slows down a recording replayed at full speed and
        applies backpressure to a live socket.
        """
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a feed that ends, in a unit of its choice."""

    done: float
    total: float


class Feed(Protocol):
    """The interface of a feed. :class:`BaseFeed` provides defaults."""

    name: ClassVar[str]

    async def run(self, emit: Emit) -> None:
        """Emits events until cancelled or until the source ends."""
        ...

    @property
    def progress(self) -> Progress | None:
        """Progress; ``None`` for a feed without an end."""
        ...

    @property
    def counters(self) -> dict[str, int]:
        """Counts since the start: messages, reconnects, malformed messages, duplicates, gaps."""
        ...


OptionsT = TypeVar("OptionsT", bound=msgspec.Struct)


class BaseFeed(ABC, Generic[OptionsT]):
    """Defaults for plugin authors."""

    name: ClassVar[str]
    options_type: ClassVar[type[msgspec.Struct]] = NoOptions

    def __init__(self, clock: Clock, options: OptionsT) -> None:
        self.clock = clock
        self.options = options
        self._counters: dict[str, int] = {}

    @abstractmethod
    async def run(self, emit: Emit) -> None:
        """Emits events until cancelled or until the source ends."""

    @property
    def progress(self) -> Progress | None:
        """``None``: without an end."""
        return None

    @property
    def is_connected(self) -> bool:
        """Whether the feed is connected to its source; always, unless a feed says otherwise."""
        return True

    @property
    def last_error(self) -> str | None:
        """Why the connection could not be made or was lost the last time; ``None``: never."""
        return None

    @property
    def counters(self) -> dict[str, int]:
        """A copy of the counters."""
        return dict(self._counters)

    def count(self, what: str, by: int = 1) -> None:
        """Adds to a counter."""
        self._counters[what] = self._counters.get(what, 0) + by
