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
DURATION_PATTERN: Final = r"^[1-9][0-9]{0,18}(ms|s|m|h|d|w)?$(?!\n)"
"""Accepted by :func:`parse_duration`: a whole number and a unit; without a unit nanoseconds."""
_DURATION: Final = re.compile(DURATION_PATTERN)


def parse_duration(text: str) -> int:
    """Nanoseconds of ``100ms``, ``5s``, ``1m``, ``1h``, ``1d``, ``1w``. Raises ``ValueError``."""
    parts = _DURATION.fullmatch(text)
    if parts is None:
        raise ValueError(f"{text[:32]!r} is not a duration like 100ms, 5s, 1m, 1h, 1d or 1w")
    unit = parts[1] or ""
    return int(text.removesuffix(unit)) * UNITS[unit]
