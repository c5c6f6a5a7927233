"""Times: conversion to integer nanoseconds since the Unix epoch, UTC."""

from __future__ import annotations

import datetime as dt
from typing import Optional

FIRST_NS = 10**17
"""March 1973. A smaller number is a time in another unit, or an error."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_OTHER_UNITS = (
    (10**8, "seconds", 10**9),
    (10**11, "milliseconds", 10**6),
    (10**14, "microseconds", 10**3),
)


def datetime_ns(value: dt.datetime) -> int:
    """Nanoseconds of a ``datetime``, those of a ``pandas.Timestamp`` included. Raises ``ValueError``."""
    if value.tzinfo is None:
        raise ValueError(f"the time {value} has no zone: 10:00 of which place? Use datetime(…, tzinfo=…)")
    since = value - _EPOCH
    exact = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
    return exact + int(getattr(value, "nanosecond", 0))


def other_unit(value: float) -> Optional[tuple[str, int]]:  # noqa: UP045 - Python 3.9
    """The unit of a time that is not in nanoseconds, told by its magnitude, and the time in nanoseconds."""
    for least, unit, factor in _OTHER_UNITS:
        if least <= value < 1000 * least:
            # A float has no more digits than microseconds need.
            exact = value * factor if isinstance(value, int) else round(value * (factor // 1000)) * 1000
            return unit, exact
    return None
