"""Wall time, monotonic time and the 10 Hz grid.

Code that needs the time receives a :class:`Clock` and never reads the system clock itself. Times are integer
nanoseconds since the Unix epoch, UTC. Only this module creates datetimes, for libraries that need them:
aware, in UTC, rounded down to the microsecond.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

NS_PER_SECOND = 1_000_000_000
NS_PER_MICROSECOND = 1_000
CYCLE_NS = 100_000_000
"""Length of a cycle: 0.1 s, one period of 10 Hz."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_MICROSECOND = timedelta(microseconds=1)
_OTHER_UNITS = (
    (10**8, "seconds", 10**9),
    (10**11, "milliseconds", 10**6),
    (10**14, "microseconds", 10**3),
)
"""The least time of each unit that can be told: March 1973."""
_NANOSECONDS = re.compile(r"-?[0-9]{1,19}")
_LOCAL = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?")
_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)",
)


class Clock(Protocol):
    """Source of time."""

    def time_ns(self) -> int:
        """Wall time, nanoseconds since the Unix epoch, UTC; it may step."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since an unspecified start; it never steps."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def time_ns(self) -> int:
        """Wall time, nanoseconds since the Unix epoch, UTC."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Monotonic time in nanoseconds."""
        return time.monotonic_ns()


@dataclass(frozen=True, slots=True)
class Grid:
    """The times of the cycles: multiples of ``interval_ns``, which divides a second, since 1970."""

    interval_ns: int = CYCLE_NS

    def __post_init__(self) -> None:
        if self.interval_ns <= 0 or NS_PER_SECOND % self.interval_ns:
            raise ValueError(f"a grid interval must divide a second: {self.interval_ns} ns does not")

    def floor(self, time_ns: int) -> int:
        """Returns the last cycle time at or before ``time_ns``."""
        return time_ns - time_ns % self.interval_ns

    def after(self, time_ns: int) -> int:
        """Returns the first cycle time after ``time_ns``."""
        return self.floor(time_ns) + self.interval_ns

    def index(self, time_ns: int) -> int:
        """Returns the number of the cycle since 1970; for intervals of several cycles."""
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
        """Waits for the next cycle. Cycles in the past are skipped and counted in ``missed``."""
        ...


class TimeFormatError(ValueError):
    """Raised for a text that is neither integer nanoseconds nor an RFC 3339 time."""


def to_datetime(time_ns: int) -> datetime:
    """Converts to an aware datetime in UTC, rounded down to the microsecond."""
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


def from_datetime(value: datetime) -> int:
    """Converts an aware datetime to nanoseconds, exactly. Raises ``ValueError`` for a naive one."""
    if value.tzinfo is None:
        raise ValueError("the datetime has no time zone")
    return (value - _EPOCH) // _ONE_MICROSECOND * 1000


class TimeUnitError(TimeFormatError):
    """Raised for an integer time that is in another unit than nanoseconds."""


def other_unit(value: int) -> tuple[str, int] | None:
    """The unit of an integer time that is not in nanoseconds, and the same time in nanoseconds.

    The magnitude tells the unit of every time from March 1973 to the year 5138. ``None``: the time is in
    nanoseconds, or too close to 1970 to tell.
    """
    for least, unit, factor in _OTHER_UNITS:
        if least <= value < 1000 * least:
            return unit, value * factor
    return None


def parse_time(text: str) -> int:
    """Parses integer nanoseconds or RFC 3339 (``2026-01-02T03:04:05.678901234Z``) to nanoseconds.

    Keeps all nine digits of the fraction. The colon or the minutes of the zone may be missing. Raises only
    :class:`TimeFormatError`.
    """
    text = text.strip()
    if _NANOSECONDS.fullmatch(text):
        time_ns = int(text)
        other = other_unit(time_ns)
        if other is not None:
            unit, meant_ns = other
            raise TimeUnitError(f"{text} is a time in {unit}; write nanoseconds: {meant_ns}")
        return time_ns
    parts = _RFC_3339.fullmatch(text)
    if parts is None:
        raise TimeFormatError(f"{text[:64]!r} is neither nanoseconds nor an RFC 3339 time with its zone")
    seconds, fraction, zone = parts.groups(default="")
    try:
        parsed = datetime.fromisoformat(seconds + zone.upper())
    except ValueError as error:
        raise TimeFormatError(f"{text!r} is not a valid time: {error}") from error
    return from_datetime(parsed) + int(fraction.ljust(9, "0"))


def parse_local_time(text: str, zone: tzinfo) -> int:
    """Parses a time without a zone (``2026-01-02T03:04:05.678``), which is in ``zone``, to nanoseconds.

    Raises :class:`TimeFormatError`, also for a time that the change to or from daylight saving time skips or
    repeats.
    """
    parts = _LOCAL.fullmatch(text)
    if parts is None:
        raise TimeFormatError(f"{text[:64]!r} is neither nanoseconds nor an RFC 3339 time without a zone")
    seconds, fraction = parts.groups(default="")
    try:
        parsed = datetime.fromisoformat(seconds).replace(tzinfo=zone)
        if parsed.utcoffset() != parsed.replace(fold=1).utcoffset():
            raise TimeFormatError(f"{text!r} does not exist or occurs twice in the zone {zone}")
        return from_datetime(parsed) + int(fraction.ljust(9, "0"))
    except (ValueError, OverflowError) as error:
        if isinstance(error, TimeFormatError):
            raise
        raise TimeFormatError(f"{text!r} is not a valid time: {error}") from error


def format_time(time_ns: int) -> str:
    """Format as RFC 3339 in UTC with nine digits of fraction."""
    seconds, fraction = divmod(time_ns, NS_PER_SECOND)
    whole = (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None)
    return f"{whole.isoformat()}.{fraction:09d}Z"
