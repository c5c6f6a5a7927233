"""Wall and monotonic time, and the grid.

Everything that needs the time gets a :class:`Clock`; nothing reads the system's clock on its own.
Times are integer nanoseconds since the Unix epoch, UTC. Datetimes are made here and only here,
for libraries that want them; they are aware, in UTC, and hold whole microseconds (rounded down).
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

NS_PER_SECOND = 1_000_000_000
CYCLE_NS = 100_000_000
"""One decahertz: the spacing of the grid."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_MICROSECOND = timedelta(microseconds=1)
_NANOSECONDS = re.compile(r"-?[0-9]{1,19}")
_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)",
)


class Clock(Protocol):
    """Where time comes from."""

    def time_ns(self) -> int:
        """Wall time, nanoseconds since the Unix epoch, UTC. It can step."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since some unknown start. It never steps."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def time_ns(self) -> int:
        """Wall time, nanoseconds since the Unix epoch, UTC."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Monotonic time in nanoseconds."""
        return time.monotonic_ns()


@dataclass(frozen=True, slots=True)
class Grid:
    """The times of the cycles: multiples of ``interval_ns`` since 1970."""

    interval_ns: int = CYCLE_NS

    def __post_init__(self) -> None:
        """Refuse an interval that does not divide a second."""
        if self.interval_ns <= 0 or NS_PER_SECOND % self.interval_ns:
            raise ValueError(f"a grid of {self.interval_ns} ns does not divide a second")

    def floor(self, time_ns: int) -> int:
        """Return the last cycle time at or before ``time_ns``."""
        return time_ns - time_ns % self.interval_ns

    def after(self, time_ns: int) -> int:
        """Return the first cycle time after ``time_ns``."""
        return self.floor(time_ns) + self.interval_ns

    def index(self, time_ns: int) -> int:
        """Return the number of the cycle since 1970; for intervals of several cycles."""
        return time_ns // self.interval_ns


@dataclass(frozen=True, slots=True)
class Cycle:
    """One cycle of the grid, as the timer delivered it."""

    time_ns: int
    """Grid time of the cycle (wall clock): the time of its samples."""
    lateness_ns: int
    """Time from ``time_ns`` to the delivery of the cycle, by the monotonic clock; never negative."""
    missed: int = 0
    """Cycles missed between the previous cycle and this one."""
    stepped_ns: int = 0
    """Step of the wall clock against the monotonic clock since the previous cycle; 0: none."""


class CycleTimer(Protocol):
    """Delivers the cycles of a grid in order, without overlap."""

    async def next(self) -> Cycle:
        """Wait for the next cycle. Cycles in the past are skipped and counted in ``missed``."""
        ...


class TimeFormatError(ValueError):
    """A text is neither integer nanoseconds nor an RFC 3339 time."""


def to_datetime(time_ns: int) -> datetime:
    """An aware datetime in UTC, rounded down to the microsecond."""
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


def from_datetime(moment: datetime) -> int:
    """Nanoseconds of an aware datetime; exact. Raises ``ValueError`` for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("a datetime without a time zone does not say which moment it is")
    return (moment - _EPOCH) // _ONE_MICROSECOND * 1000


def parse_time(text: str) -> int:
    """Nanoseconds from integer nanoseconds or RFC 3339 (``2026-01-02T03:04:05.678901234Z``).

    Fractions keep all their nine digits; the zone's colon, or its minutes, may be missing. Raises
    :class:`TimeFormatError`, and nothing else whatever the text.
    """
    text = text.strip()
    if _NANOSECONDS.fullmatch(text):
        return int(text)
    parts = _RFC_3339.fullmatch(text)
    if parts is None:
        raise TimeFormatError(f"{text[:64]!r} is neither nanoseconds nor an RFC 3339 time with its zone")
    seconds, fraction, zone = parts.groups(default="")
    try:
        moment = datetime.fromisoformat(seconds + zone.upper())
    except ValueError as error:
        raise TimeFormatError(f"{text!r} names a moment that does not exist: {error}") from error
    return from_datetime(moment) + int(fraction.ljust(9, "0"))


def format_time(time_ns: int) -> str:
    """RFC 3339 in UTC with nine digits of fraction."""
    seconds, fraction = divmod(time_ns, NS_PER_SECOND)
    moment = (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None)
    return f"{moment.isoformat()}.{fraction:09d}Z"
