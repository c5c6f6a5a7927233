"""Numbers and times as texts, by Grafana's units."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

_SECONDS = (
    (1e-9, "ns"),
    (1e-6, "µs"),
    (1e-3, "ms"),
    (1.0, "s"),
    (60.0, "mins"),
    (3600.0, "hours"),
    (86400.0, "days"),
)
_SHORT = (" ", " K", " Mil", " Bil", " Tri")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB")


def shown(value: object, unit: str | None, decimals: int | None = None) -> str:
    """A value of a field as a cell or figure shows it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    number = _number(value, unit)
    return str(value) if number is None else _formatted(number, unit or "none", decimals)


def _formatted(value: float, unit: str, decimals: int | None) -> str:
    kind, _, affix = unit.partition(":")
    if kind.startswith("dateTime"):
        return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    if kind in _BYTES:
        return _bytes(value, decimals, kind)
    if kind in ("suffix", "prefix"):
        text = _plain(value, decimals)
        return text + affix if kind == "suffix" else affix + text
    return _FORMATS.get(kind, _plain)(value, decimals)


def _number(value: object, unit: str | None) -> float | None:
    """The number that Grafana formats: also a text that looks like one, unless its unit is ``string``."""
    if unit == "string" or (isinstance(value, str) and not unit):
        return None
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def decimals_of(value: float) -> int:
    """The decimals that Grafana chooses for a value."""
    if value == 0 or value == int(value):
        return 0
    return max(0, 2 - math.floor(math.log10(abs(value))))


def _plain(value: float, decimals: int | None) -> str:
    return f"{value:.{decimals_of(value) if decimals is None else decimals}f}"


def _locale(value: float, decimals: int | None) -> str:
    return f"{value:,.{decimals_of(value) if decimals is None else decimals}f}"


def _percent(value: float, decimals: int | None) -> str:
    return _plain(value * 100, decimals) + "%"


def _seconds(value: float, decimals: int | None) -> str:
    size, name = _SECONDS[3]
    for limit, unit in _SECONDS:
        if abs(value) >= limit:
            size, name = limit, unit
    if value == 0:
        size, name = _SECONDS[3]
    return f"{_plain(value / size, decimals)} {name}"


def _short(value: float, decimals: int | None) -> str:
    power = 0
    while abs(value) >= 1000 and power < len(_SHORT) - 1:  # noqa: PLR2004 - thousands
        value, power = value / 1000, power + 1
    return (_plain(value, decimals) + _SHORT[power]).strip()


def _bytes(value: float, decimals: int | None, unit: str) -> str:
    is_binary = unit in ("bytes", "binBps")
    names, base = (_BINARY, 1024) if is_binary else (_DECIMAL, 1000)
    power = 0
    while abs(value) >= base and power < len(names) - 1:
        value, power = value / base, power + 1
    return f"{_plain(value, decimals)} {names[power]}" + ("/s" if unit.endswith("ps") else "")


_BYTES = frozenset({"bytes", "decbytes", "Bps", "binBps"})
_FORMATS: Mapping[str, Callable[[float, int | None], str]] = {
    "s": _seconds,
    "short": _short,
    "locale": _locale,
    "percentunit": _percent,
}
