"""Signal generators: plugins that decide by the bars of an instrument.

A generator is a class behind an entry point of the group ``decahertz.signals``. The host constructs it for
one request or schedule, with its parameters, the width of the bars and the trading days, and calls
``decide`` with the newest bars whose time is over, the oldest first. ``decide`` computes and does nothing
else: the same bars give the same decision, and every start of the recorder agrees with the one before. Its
decision is stored as a :class:`~decahertz.event.Signal`; it never becomes an order on its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import msgspec

from decahertz.bar import Bar
from decahertz.collector import NoOptions
from decahertz.event import Direction

if TYPE_CHECKING:
    from decahertz.trading_days import TradingDays

ENTRY_POINT_GROUP = "decahertz.signals"
SOURCE = "recorder-signals"
"""Emitter of generated signals."""
MOST_BARS = 5000
"""Most bars that a generator may look at."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The decision of a generator at the end of a bar."""

    direction: Direction | None = None
    """Direction that the signal asks for; ``None``: no signal."""
    reason: str
    """Why, in one sentence; also why there is no signal."""
    strength: float | None = None
    """How sure the generator is, on a scale of its own."""
    values: Mapping[str, float] = {}
    """The figures that it compared, by name."""


ParametersT = TypeVar("ParametersT", bound=msgspec.Struct)


class SignalGenerator(ABC, Generic[ParametersT]):
    """Base of generators. Its docstring is what the API says about it.

    A constructor of a subclass raises :class:`ValueError` for parameters that contradict each other or the
    width of the bars.
    """

    parameters_type: ClassVar[type[msgspec.Struct]] = NoOptions
    """Struct of its parameters: their types, limits and defaults."""

    def __init__(self, parameters: ParametersT, timeframe_ns: int, days: TradingDays) -> None:
        """``timeframe_ns`` is the width of the bars; ``days`` know when the trading days start."""
        self.parameters = parameters
        self.timeframe_ns = timeframe_ns
        self.days = days

    @property
    @abstractmethod
    def bars(self) -> int:
        """Number of bars that it looks at, at most :data:`MOST_BARS`."""

    @abstractmethod
    def decide(self, bars: Sequence[Bar]) -> Decision:
        """Decide at the end of the last of these bars.

        There are at least one and at most :attr:`bars` of them, fewer where no more are recorded. A
        timeframe without a tick has no bar.
        """
