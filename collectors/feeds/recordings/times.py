"""Times in CSV files: RFC 3339, epoch numbers of any unit, and HistData's.

The magnitude of an epoch number tells its unit: seconds, milliseconds, microseconds and nanoseconds since
1973 differ in their number of digits for the next 3,000 years. Smaller numbers are refused.
"""

from __future__ import annotations

import re
from datetime import timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from collectors.feeds.recordings.errors import RowError
from decahertz.clock import NS_PER_SECOND, TimeFormatError, parse_local_time, parse_time

HISTDATA = re.compile(r"(\d{4})(\d{2})(\d{2}) (\d{2})(\d{2})(\d{2})(\d{3})")
"""``YYYYMMDD HHMMSSmmm``."""
HISTDATA_ZONE = timezone(timedelta(hours=-5))
"""HistData's times are in Eastern Standard Time all year, without daylight saving time."""

_EPOCH = re.compile(r"(\d{1,19})(?:\.(\d{1,9}))?")
_ZONE = re.compile(r"(?:[Zz]|[+-]\d{2}(?::?\d{2})?)$")
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")
_LATEST_NS = 2**63 - 1
_EARLIEST = 10**8
_UNITS = ((10**11, NS_PER_SECOND), (10**14, 10**6), (10**17, 10**3), (_LATEST_NS, 1))
"""Numbers below the limit are in units of this many nanoseconds."""


def zone_of(text: str) -> tzinfo:
    """Returns the zone of a name (``Europe/Berlin``, ``UTC``) or an offset (``-05:00``).

    Raises ``ValueError``.
    """
    offset = _OFFSET.fullmatch(text)
    if offset:
        sign, hours, minutes = offset.groups()
        delta = timedelta(hours=int(hours), minutes=int(minutes))
        return timezone(-delta if sign == "-" else delta)
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"{text[:64]!r} is neither a time zone of this machine, such as Europe/Berlin, nor an offset"
            " such as -05:00"
        ) from error


def time_of(text: str, zone: tzinfo | None) -> int:
    """Returns the time of a cell, in nanoseconds.

    ``zone`` is for times without one; by default UTC, for HistData's form :data:`HISTDATA_ZONE`. Raises
    :class:`~collectors.feeds.recordings.errors.RowError`.
    """
    number = _EPOCH.fullmatch(text)
    try:
        if number:
            time_ns = _from_epoch(text, *number.groups(default=""))
        elif found := HISTDATA.fullmatch(text):
            year, month, day, hour, minute, second, milli = found.groups()
            local = f"{year}-{month}-{day}T{hour}:{minute}:{second}.{milli}"
            time_ns = parse_local_time(local, zone or HISTDATA_ZONE)
        elif _ZONE.search(text[10:]):
            time_ns = parse_time(text)
        elif zone is None:
            time_ns = parse_time(text + "Z")
        else:
            time_ns = parse_local_time(text, zone)
    except TimeFormatError as error:
        raise RowError(_wrong(text, error)) from error
    if not 0 < time_ns <= _LATEST_NS:
        raise RowError(f"time {text[:64]!r} is not between 1970 and 2262")
    return time_ns


def _from_epoch(text: str, whole: str, fraction: str) -> int:
    number = int(whole)
    if number < _EARLIEST:
        raise RowError(f"time {text!r} is not an epoch time: the unit of so small a number cannot be told")
    for limit, unit_ns in _UNITS:
        if number < limit:
            digits = fraction.ljust(9, "0")
            return number * unit_ns + int(digits) * unit_ns // NS_PER_SECOND
    raise RowError(f"time {text!r} is too large")


def _wrong(text: str, error: TimeFormatError) -> str:
    reason = str(error)
    if "is neither" in reason:
        return f"time {text[:64]!r} is not RFC 3339 (2024-07-02T17:00:00Z), an epoch number or HistData's"
    return f"time {reason}"
