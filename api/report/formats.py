"""Numbers of a report as text."""

from __future__ import annotations

import math

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
_THOUSAND = 1000


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """Returns a number with thousands apart; a dash for none."""
    if value is None:
        return NONE
    text = f"{abs(value):,.{digits}f}"
    is_zero = not text.strip("0.,")
    if is_zero:
        return text
    return (MINUS if value < 0 else "+" if sign else "") + text


def percent(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """Returns a ratio in per cent."""
    return NONE if value is None else f"{number(value * 100, digits, sign=sign)} %"


def money(value: float | None) -> str:
    """Returns an amount with its sign."""
    return number(value, 2, sign=True)


def multiple(value: float | None) -> str:
    """Returns an R multiple with its sign."""
    return NONE if value is None else f"{number(value, 2, sign=True)} R"


def duration(seconds: float | None) -> str:
    """Returns a time span in its two largest units."""
    if seconds is None:
        return NONE
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    for at, (unit, width) in enumerate(units):
        if seconds >= width or unit == "s":
            whole = int(seconds // width)
            if unit == "s":
                return f"{seconds:.1f} s"
            rest = int(seconds % width // units[at + 1][1])
            return f"{whole} {unit} {rest} {units[at + 1][0]}" if rest else f"{whole} {unit}"
    return NONE


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Returns round numbers that cover a range."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [at * step for at in range(first, last + 1)]


def short(value: float) -> str:
    """Returns a number for an axis: ``12k``."""
    size = abs(value)
    for limit, suffix in ((1e9, "bn"), (1e6, "m"), (1e4, "k")):
        if size >= limit:
            divisor = _THOUSAND if suffix == "k" else limit
            return f"{MINUS if value < 0 else ''}{size / divisor:g}{suffix}"
    return f"{MINUS if value < 0 else ''}{size:,g}"
