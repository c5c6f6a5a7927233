"""Collectors: plugins that turn events, or what they poll, into samples.

The life of a collector
-----------------------
1. The host makes it with a clock and its options (the table ``[collectors.NAME]`` of the settings,
   already converted to ``options_type``). The constructor stores them and does no work.
2. ``start`` is awaited once. Here a collector opens what it needs and starts its own tasks. Where it
   raises, the collector is reported as failed and the others go on without it.
   A collector whose state must outlast the process (positions, open orders) names the event types that make
   it in ``restored``: what is stored of them is then delivered through ``on_event`` before anything new.
3. ``on_event`` is called for each event of the declared types as it arrives, ``sample`` on every
   ``every``-th tick of the 10 Hz grid. Both are synchronous, run in the event loop, and must return
   within a fraction of a millisecond: the host measures them. Work that is slower belongs into a
   task of the collector's own; ``sample`` then returns what that task last saw.
4. ``stop`` is awaited. It is safe without ``start`` and safe twice, and nothing is emitted afterwards.

A collector never sleeps to keep a schedule, never stamps its samples (the host knows the instant) and
never talks to storage, exporter or API: it returns samples, and that is all.

Errors: what ``on_event`` or ``sample`` raises is counted by the host and logged once until it recovers.
It never stops other collectors or the grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    from decahertz.clock import Clock
    from decahertz.event import Event
    from decahertz.sample import Sample

ENTRY_POINT_GROUP = "decahertz.collectors"


class NoOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of a plugin that has none."""


class Collector(Protocol):
    """What the host needs of a collector. :class:`BaseCollector` has the defaults."""

    sample_type: ClassVar[type[Sample]]
    """What it returns. Its ``collector`` attribute is the collector's name."""
    events: ClassVar[frozenset[type[Event]]]
    """The event types it takes."""
    restored: ClassVar[Mapping[type[Event], float]]
    """Those of them whose stored history it is given between ``start`` and the first tick, and the seconds
    that this goes back (``math.inf``: all of it). In order of receipt among types that go back as far."""
    every: ClassVar[int]
    """It is sampled on every ``every``-th tick; 1 is 10 Hz, 10 is once a second."""

    async def start(self) -> None:
        """Open what is needed. Called once."""
        ...

    async def stop(self) -> None:
        """Release it. Safe without ``start`` and twice."""
        ...

    def on_event(self, event: Event, received_ns: int) -> None:
        """Take one event; ``received_ns`` is when it reached this machine."""
        ...

    def sample(self, now_ns: int) -> Iterable[Sample]:
        """The state at the grid instant ``now_ns``: one sample per key."""
        ...


OptionsT = TypeVar("OptionsT", bound=msgspec.Struct)


class BaseCollector(ABC, Generic[OptionsT]):
    """Defaults for plugin authors: no events, every tick, nothing to start or stop."""

    sample_type: ClassVar[type[Sample]]
    events: ClassVar[frozenset[type[Event]]] = frozenset()
    restored: ClassVar[Mapping[type[Event], float]] = MappingProxyType({})
    every: ClassVar[int] = 1
    options_type: ClassVar[type[msgspec.Struct]] = NoOptions
    """The struct into which the collector's table of the settings is converted."""

    def __init__(self, clock: Clock, options: OptionsT) -> None:
        """Keep the clock and the options."""
        self.clock = clock
        self.options = options

    async def start(self) -> None:
        """Nothing to open."""

    async def stop(self) -> None:
        """Nothing to release."""

    def on_event(self, event: Event, received_ns: int) -> None:
        """Ignore the event."""

    @abstractmethod
    def sample(self, now_ns: int) -> Iterable[Sample]:
        """The state at the grid instant ``now_ns``: one sample per key."""
