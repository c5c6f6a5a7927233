"""Halts: the desk, a strategy or an instrument does not trade until a person resumes it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

from decahertz.decode_errors import explained
from decahertz.event import Name, TimeNs

TOPIC: Final = "halts"
"""Topic of the bus; its messages are :class:`HaltChange`."""
_REASON: Final = explained(
    r"^[^\x00]*[^\s\x00][^\x00]*$", "a reason is more than blanks, without NUL characters"
)
Reason: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1024, pattern=_REASON)]


class HaltScope(StrEnum):
    """Kinds of things that are halted."""

    DESK = "desk"
    """Everything."""
    STRATEGY = "strategy"
    INSTRUMENT = "instrument"


class HaltOrigin(StrEnum):
    """Causes of halts."""

    PERSON = "person"
    LIMIT = "limit"
    """A hard limit of the section `[risk]` is exceeded."""
    ALERT = "alert"
    """An alert of `control.halt_on_alerts` fires."""


class Halt(Struct, frozen=True, kw_only=True):
    """A halt, from its begin until a person resumes."""

    halt_id: str
    recorder: str
    scope: HaltScope
    strategy: Name | None = None
    """The strategy, if one is halted."""
    venue: Name | None = None
    """The venue of the instrument; null: the instrument at every venue."""
    instrument: Name | None = None
    """The instrument, if one is halted."""
    origin: HaltOrigin
    actor: str
    """Name of the key, `local` without one, or `recorder`."""
    reason: str
    since_ns: TimeNs
    resumed_ns: TimeNs | None = None
    """When a person resumed; null: it is halted."""
    resumed_by: str | None = None
    resume_reason: str | None = None

    @property
    def place(self) -> tuple[HaltScope, str | None, str | None, str | None]:
        """The thing that is halted: one halt of it is enough."""
        return self.scope, self.strategy, self.venue, self.instrument

    def covers(self, strategy: str | None, venue: str | None, instrument: str | None) -> bool:
        """Whether it speaks against an order of a strategy in an instrument; ``None`` matches no name."""
        if self.scope is HaltScope.DESK:
            return True
        if self.scope is HaltScope.STRATEGY:
            return self.strategy == strategy
        return self.instrument == instrument and self.venue in (None, venue)

    def __str__(self) -> str:
        """For people."""
        if self.scope is HaltScope.DESK:
            name = "the desk"
        elif self.scope is HaltScope.STRATEGY:
            name = f"strategy {self.strategy}"
        else:
            name = f"{self.instrument}" + (f" at {self.venue}" if self.venue else "")
        return f"{name} is halted: {self.reason}"


class HaltChangeType(StrEnum):
    """Kinds of changes, as the topic `risk` names them."""

    HALTED = "trading_halted"
    RESUMED = "trading_resumed"


class HaltChange(Struct, frozen=True, kw_only=True, gc=False):
    """A halt that began or ended, as the topic `risk` has it."""

    type: HaltChangeType
    time_ns: TimeNs
    halt: Halt


def covering(
    halts: Iterable[Halt], strategy: str | None, venue: str | None, instrument: str | None
) -> Halt | None:
    """The first halt that speaks against an order; ``None``: none does."""
    return next((halt for halt in halts if halt.covers(strategy, venue, instrument)), None)
