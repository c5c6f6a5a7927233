"""A metric is declared once, beside the field that carries it.

From that declaration come the database column, the Prometheus family, the JSON Schema, the
catalogue, the table in the collector's README and the dashboard panel.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How the values of a metric relate over time."""

    GAUGE = "gauge"
    """A value that goes up and down; a roll-up keeps last, min, max and average."""

    COUNTER = "counter"
    """A total that only grows while the process lives; a roll-up keeps the last value."""

    STATE = "state"
    """One of the values of a closed string enumeration; a roll-up keeps the last value."""


class Unit(StrEnum):
    """The closed vocabulary of units: base units, and the trader's own."""

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
    """What a field of a :class:`~decahertz.sample.Sample` means.

    ``help`` is one sentence that ends with a full stop and stands in ``# HELP`` lines, the
    catalogue and the generated tables.
    """

    help: str
    kind: Kind = Kind.GAUGE
    unit: Unit = Unit.NONE


def family_name(collector: str, metric: str, unit: Unit) -> str:
    """The Prometheus family of a metric: ``decahertz_{collector}_{metric}[_{unit}]``.

    The unit is left out where the metric's own name already ends with it, and where it is one of the
    trader's words that the name says already (``price``, ``quantity``, ``money``, ``r``) it is
    appended all the same, so that a name alone tells what is plotted. Counters carry no ``_total``
    here; the exposition adds it to the series as the formats demand.
    """
    name = f"decahertz_{collector}_{metric}"
    if unit is Unit.NONE or metric == unit.value or metric.endswith(f"_{unit.value}"):
        return name
    return f"{name}_{unit.value}"
