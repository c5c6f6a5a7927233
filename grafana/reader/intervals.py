"""Time ranges, and the steps that Grafana chooses for them."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

_MS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
    "M": 2_592_000_000,
    "y": 31_536_000_000,
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|[Mwdhmsy])?")
# A step below the limit becomes the step next to it: Grafana's own table.
_ROUNDED = (
    (10, 1),
    (15, 10),
    (35, 20),
    (75, 50),
    (150, 100),
    (350, 200),
    (750, 500),
    (1_500, 1_000),
    (3_500, 2_000),
    (7_500, 5_000),
    (12_500, 10_000),
    (17_500, 15_000),
    (25_000, 20_000),
    (45_000, 30_000),
    (90_000, 60_000),
    (210_000, 120_000),
    (450_000, 300_000),
    (750_000, 600_000),
    (1_050_000, 900_000),
    (1_500_000, 1_200_000),
    (2_700_000, 1_800_000),
    (5_400_000, 3_600_000),
    (9_000_000, 7_200_000),
    (16_200_000, 10_800_000),
    (32_400_000, 21_600_000),
    (86_400_000, 43_200_000),
    (604_800_000, 86_400_000),
    (1_814_400_000, 604_800_000),
    (3_628_800_000, 2_592_000_000),
)
_LONGEST_MS = 31_536_000_000
_LIMITS = [limit for limit, _ in _ROUNDED]


@dataclass(frozen=True)
class TimeRange:
    """From and to, in milliseconds since the Unix epoch."""

    from_ms: int
    to_ms: int

    @property
    def ms(self) -> int:
        """Length of the range."""
        return self.to_ms - self.from_ms


def parse_interval(text: str) -> int:
    """Milliseconds of ``15s`` or ``100ms``; a number without a unit is in seconds."""
    match = _DURATION.fullmatch(text.strip().removeprefix(">"))
    if match is None:
        raise ValueError(f"{text!r} is not an interval")
    return round(float(match[1]) * _MS[match[2] or "s"])


def format_interval(ms: int) -> str:
    """``1m`` for 60,000 and 90,000: the largest unit that fits, without the rest."""
    for unit in ("y", "d", "h", "m", "s"):
        if ms >= _MS[unit]:
            return f"{ms // _MS[unit]}{unit}"
    return f"{max(ms, 1)}ms"


def rounded(ms: float) -> int:
    """The step that Grafana uses for a computed one."""
    place = bisect_right(_LIMITS, ms)
    return _ROUNDED[place][1] if place < len(_ROUNDED) else _LONGEST_MS


def step_of(time_range: TimeRange, points: int, min_interval: str) -> int:
    """The step in milliseconds that yields about so many points, and is no finer than the minimum."""
    return max(rounded(time_range.ms / points), parse_interval(min_interval))


def resolve(text: str, now_ms: int) -> int:
    """Milliseconds since the Unix epoch of ``now``, ``now-15m`` or ``now/d``."""
    match = re.fullmatch(r"now(?:-(\d+(?:ms|[Mwdhmsy])))?(?:/([dhm]))?", text)
    if match is None:
        raise ValueError(f"{text!r} is not a relative time")
    at = now_ms - (parse_interval(match[1]) if match[1] else 0)
    return at - at % _MS[match[2]] if match[2] else at
