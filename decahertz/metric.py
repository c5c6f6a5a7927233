"""Declaration of a metric, next to the field that carries it.

The database column, the Prometheus family, the JSON Schema, the catalogue, the table in the collector's
README and the dashboard panel derive from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Behaviour of a metric over time."""

    GAUGE = "gauge"
    """A value that goes up and down; a roll-up keeps last, min, max and average."""

    COUNTER = "counter"
    """A total that only grows until the process restarts; a roll-up keeps the last value."""

    STATE = "state"
    """One of the values of a closed string enumeration; a roll-up keeps the last value."""


class Unit(StrEnum):
    """The closed set of units: base units and trading units."""

    NONE = ""
    SECONDS = "seconds"
    BYTES = "bytes"
    RATIO = "ratio"
    PER_SECOND = "per_second"
    BASIS_POINTS = "bps"
    PRICE = "price"
    QUANTITY = "quantity"
    MONEY = "money"
    R = "r"
    """Multiples of the initial risk of a trade."""


@dataclass(frozen=True, slots=True)
class Metric:
    """Declares a field of a :class:`~decahertz.sample.Sample` as a metric.

    ``help`` is one sentence with a full stop; ``# HELP`` lines, the catalogue and the generated tables show
    it. With ``extremes``, Prometheus also gets the least and the greatest value of a gauge over a trailing
    window (families ``…_min`` and ``…_max``), so that it sees what happens between two scrapes.
    """

    help: str
    kind: Kind = Kind.GAUGE
    unit: Unit = Unit.NONE
    extremes: bool = False


def family_name(collector: str, metric: str, unit: Unit) -> str:
    """The Prometheus family of a metric: ``decahertz_{collector}_{metric}[_{unit}]``.

    The unit is omitted when the name of the metric already ends with it. Counters have no ``_total`` here;
    the exposition adds it to the series as the formats require.
    """
    name = f"decahertz_{collector}_{metric}"
    if unit is Unit.NONE or metric == unit.value or metric.endswith(f"_{unit.value}"):
        return name
    return f"{name}_{unit.value}"
