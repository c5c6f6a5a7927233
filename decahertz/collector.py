"""Collectors: plugins that turn events, or polled values, into samples.

Life cycle of a collector
-------------------------
1. The host constructs it with a clock and its options (the section ``[collectors.NAME]`` of the settings,
   converted to ``options_type``), and with the section ``[accounting]`` if it has a parameter ``accounting``.
   The constructor stores them and does no work.
2. The host awaits ``start`` once. A collector opens its resources and starts its own tasks here. If it
   raises, the host reports the collector as failed and goes on with the others.
   A collector whose state must survive a restart (positions, open orders) names the type of this state in
   ``checkpoint_type``: the host saves ``checkpoint()`` every few seconds and at the stop, and passes the last
   one to ``resume`` before any event. Then it repeats the events and cycles since that checkpoint.
   Without a checkpoint (the first start, a new ``checkpoint_version``, a damaged file) the host delivers the
   stored history of the event types in ``restored`` to ``on_event`` instead.
3. The host calls ``on_event`` for each arriving event of the declared types, and ``sample`` on every
   ``every``-th cycle of the 10 Hz grid. Both are synchronous, run in the event loop and must return within
   a fraction of a millisecond; the host measures them. Slower work belongs in a task of the collector, and
   ``sample`` returns the newest result of that task.
4. The host awaits ``stop``. It is safe without ``start`` and safe twice; afterwards nothing is emitted.

A collector that keeps state by key asks its key budget (``self.keys.admit``) before it keeps a new one, and
gives the room back (``self.keys.release``) when it retires the key. An event of a key without room changes
nothing; the host reports it.

A collector never sleeps to keep a schedule, never sets the time of its samples (the host does) and never
talks to storage, exporter or API: it only returns samples.

The host counts the errors of ``on_event`` and ``sample``, and logs them once until they stop. They affect
neither other collectors nor the grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import msgspec

from decahertz.key_budget import DEFAULT_MAX_KEYS, DEFAULT_MAX_KEYS_PER_EMITTER, CollectorOptions, KeyBudget

if TYPE_CHECKING:
    from decahertz.clock import Clock
    from decahertz.event import Event
    from decahertz.histogram import Histogram
    from decahertz.sample import Sample

ENTRY_POINT_GROUP = "decahertz.collectors"


class NoOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of a plugin without options."""


class Collector(Protocol):
    """The interface of a collector. :class:`BaseCollector` provides defaults."""

    sample_type: ClassVar[type[Sample]]
    """The type of its samples. Their ``collector`` attribute is the collector's name."""
    events: ClassVar[frozenset[type[Event]]]
    """Event types that it handles."""
    restored: ClassVar[Mapping[type[Event], float]]
    """Event types whose stored history is delivered between ``start`` and the first cycle, and how many
    seconds of it (``math.inf``: all). Types with the same number come in one order of receipt."""
    checkpoint_type: ClassVar[type[msgspec.Struct] | None]
    """Type of the state that survives a restart, with everything that samples depend on; ``None``: nothing
    survives but what ``restored`` builds."""
    checkpoint_version: ClassVar[int]
    """A checkpoint with another version is not used: change it with the meaning of the state."""
    takes_origin: ClassVar[bool]
    """Whether ``on_event`` takes the origin of the event as a third argument."""
    every: ClassVar[int]
    """Sampled on every ``every``-th cycle: 1 is 10 Hz, 10 is once a second."""
    histograms: Sequence[Histogram]
    """Distributions that it keeps next to its samples, for Prometheus."""
    budgets: Sequence[KeyBudget]
    """Its key budgets; the first one limits its samples."""

    async def start(self) -> None:
        """Opens resources. Called once."""
        ...

    async def stop(self) -> None:
        """Releases them. Safe without ``start`` and twice."""
        ...

    def on_event(self, event: Event, received_ns: int) -> None:
        """Handles one event; ``received_ns`` is the time of receipt by this machine's clock."""
        ...

    def sample(self, now_ns: int) -> Iterable[Sample]:
        """Returns the state at the cycle ``now_ns``: one sample per key."""
        ...

    def checkpoint(self) -> msgspec.Struct:
        """Returns the state, of ``checkpoint_type``. The host encodes it at once: no need to copy."""
        ...

    def resume(self, checkpoint: Any) -> None:  # noqa: ANN401 - of checkpoint_type
        """Continues from a state, which belongs to the collector from now on."""
        ...


OptionsT = TypeVar("OptionsT", bound=msgspec.Struct)


class BaseCollector(ABC, Generic[OptionsT]):
    """Defaults for plugin authors: no events, every cycle, nothing to start or stop."""

    sample_type: ClassVar[type[Sample]]
    events: ClassVar[frozenset[type[Event]]] = frozenset()
    restored: ClassVar[Mapping[type[Event], float]] = MappingProxyType({})
    checkpoint_type: ClassVar[type[msgspec.Struct] | None] = None
    checkpoint_version: ClassVar[int] = 1
    takes_origin: ClassVar[bool] = False
    every: ClassVar[int] = 1
    histograms: Sequence[Histogram] = ()
    budgets: Sequence[KeyBudget] = ()
    options_type: ClassVar[type[msgspec.Struct]] = CollectorOptions
    """Struct that the collector's section of the settings is converted to."""

    def __init__(self, clock: Clock, options: OptionsT) -> None:
        self.clock = clock
        self.options = options
        self.keys = self.key_budget(
            "max_keys",
            getattr(options, "max_keys", DEFAULT_MAX_KEYS),
            getattr(options, "max_keys_per_emitter", DEFAULT_MAX_KEYS_PER_EMITTER),
        )
        self.budgets = (self.keys,)

    def key_budget(self, option: str, limit: int, emitter_limit: int | None = None) -> KeyBudget:
        """Returns a budget that the option sets; one emitter may take half of it by default."""
        setting = f"collectors.{self.sample_type.collector}.{option}"
        return KeyBudget(setting, limit, -(-limit // 2) if emitter_limit is None else emitter_limit)

    async def start(self) -> None:
        """Nothing to open."""

    async def stop(self) -> None:
        """Nothing to release."""

    def on_event(self, event: Event, received_ns: int) -> None:
        """Ignore the event."""

    def checkpoint(self) -> msgspec.Struct:
        """Needed with a ``checkpoint_type`` only."""
        raise NotImplementedError

    def resume(self, checkpoint: Any) -> None:  # noqa: ANN401 - of checkpoint_type
        """Needed with a ``checkpoint_type`` only."""
        raise NotImplementedError

    @abstractmethod
    def sample(self, now_ns: int) -> Iterable[Sample]:
        """Returns the state at the cycle ``now_ns``: one sample per key."""
