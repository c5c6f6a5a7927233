"""Calculations that reduce a field to one value, for figures and legends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from grafana.reader.frame import QueryError

_KNOWN: Mapping[str, Callable[[list[Any]], Any]] = {
    "lastNotNull": lambda known: known[-1],
    "firstNotNull": lambda known: known[0],
    "last": lambda known: known[-1],
    "mean": fmean,
    "min": min,
    "max": max,
    "sum": sum,
    "count": len,
    "range": lambda known: max(known) - min(known),
}
TITLES = {"lastNotNull": "Last", "firstNotNull": "First", "last": "Last", "sum": "Total"}
"""Headings that are clearer than the name of the calculation."""


def reduce_values(values: Sequence[Any], how: str) -> Any:  # noqa: ANN401 - a value of the field
    """Reduces values by a Grafana calculation; ``None`` without values. Raises :class:`QueryError`."""
    if how not in _KNOWN:
        raise QueryError(f"the calculation {how} is not supported")
    known = [value for value in values if value is not None]
    return _KNOWN[how](known) if known else None
