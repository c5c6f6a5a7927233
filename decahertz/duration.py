"""Durations as people write them: ``250ms``, ``5s``, ``1h``."""

from __future__ import annotations

import re
from typing import Final

from decahertz.clock import NS_PER_SECOND

UNITS: Final = {
    "": 1,
    "ms": 1_000_000,
    "s": NS_PER_SECOND,
    "m": 60 * NS_PER_SECOND,
    "h": 3600 * NS_PER_SECOND,
    "d": 86_400 * NS_PER_SECOND,
    "w": 7 * 86_400 * NS_PER_SECOND,
}
"""Nanoseconds of each unit."""
_DIGITS: Final = {"": 18, "ms": 12, "s": 9, "m": 8, "h": 6, "d": 5, "w": 4}
"""Most digits of a number of each unit: any such duration fits into 64 bits of nanoseconds."""
_NUMBERS: Final = "|".join(f"[1-9][0-9]{{0,{digits - 1}}}{unit}" for unit, digits in _DIGITS.items())
DURATION_PATTERN: Final = rf"^({_NUMBERS})$(?!\n)"
"""Accepted by :func:`parse_duration`: a whole number and a unit; without a unit nanoseconds."""
RELATIVE_TIME_PATTERN: Final = r"^-[1-9][0-9]{0,9}(ms|s|m|h|d|w)$(?!\n)"
"""Accepted by :func:`parse_relative_time`."""
_DURATION: Final = re.compile(DURATION_PATTERN)
_RELATIVE_TIME: Final = re.compile(RELATIVE_TIME_PATTERN)


def parse_duration(text: str) -> int:
    """Nanoseconds of ``100ms``, ``5s``, ``1m``, ``1h``, ``1d``, ``1w``. Raises ``ValueError``."""
    if _DURATION.fullmatch(text) is None:
        raise ValueError(f"{text[:32]!r} is not a duration like 100ms, 5s, 1m, 1h, 1d or 1w")
    return _nanoseconds(text)


def is_relative_time(text: str) -> bool:
    """Whether it is a duration before now: ``-10m``."""
    return _RELATIVE_TIME.fullmatch(text) is not None


def parse_relative_time(text: str, now_ns: int) -> int:
    """Nanoseconds since the epoch of a time like ``-10m``, 0 if it is before. Raises ``ValueError``."""
    if not is_relative_time(text):
        raise ValueError(f"{text[:32]!r} is not a duration before now like -10m")
    return max(0, now_ns - _nanoseconds(text[1:]))


def _nanoseconds(text: str) -> int:
    number = text.rstrip("mshdw")
    return int(number) * UNITS[text.removeprefix(number)]
