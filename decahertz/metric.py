"""Declaration of a metric, next to the field that carries it.

The database column, the Prometheus family, the JSON Schema, the catalogue, the table in the collector's
README and the dashboard panel derive from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """Behaviour of a metric over time."""

    GAUGE = "gauge"
    """A value that goes up and down; a roll-up keeps the aggregates that the metric declares."""

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


class Aggregate(StrEnum):
    """A number for all values of a metric in a bucket of a tier. Nulls do not take part."""

    LAST = "last"
    """The newest value; every metric has it."""
    MIN = "min"
    MAX = "max"
    AVG = "avg"


NEWEST: Final = (Aggregate.LAST,)
"""For a statistic of a trailing window, and for a count: the newest value says all."""
HIGHEST: Final = (Aggregate.LAST, Aggregate.MAX)
"""For a wait, an age, a load: nobody asks for low values."""
LOWEST: Final = (Aggregate.LAST, Aggregate.MIN)
"""For what runs out."""
RANGE: Final = (Aggregate.LAST, Aggregate.MIN, Aggregate.MAX)
"""For a price that orders are filled at, and for a difference with two signs."""
MEAN: Final = (Aggregate.LAST, Aggregate.AVG)
"""For what jumps with every quote: its extremes mean little."""


@dataclass(frozen=True, slots=True)
class Metric:
    """Declares a field of a :class:`~decahertz.sample.Sample` as a metric.

    ``help`` is one sentence with a full stop; ``# HELP`` lines, the catalogue and the generated tables show
    it. A derived number has its ``formula``, in terms of other fields where it can, and the ``source`` that
    defines it, a publication; the catalogue and the tables show them too. With ``extremes``, Prometheus also
    gets the least and the greatest value of a gauge over a trailing window (families ``…_min`` and
    ``…_max``), so that it sees what happens between two scrapes. A metric that is not ``exported`` has no
    family there: it is for the page, the API and the database. ``aggregates`` says what tiers keep of a
    numeric gauge, by default all; of any other metric they keep the last value.
    """

    help: str
    kind: Kind = Kind.GAUGE
    unit: Unit = Unit.NONE
    extremes: bool = False
    exported: bool = True
    aggregates: tuple[Aggregate, ...] = tuple(Aggregate)
    formula: str = ""
    source: str = ""

    @property
    def meaning(self) -> str:
        """Help, formula and source as Markdown, in one line."""
        formula = f" Formula: `{self.formula}`." if self.formula else ""
        source = f" Source: {self.source}." if self.source else ""
        return f"{self.help}{formula}{source}"


def family_name(collector: str, metric: str, unit: Unit) -> str:
    """The Prometheus family of a metric: ``decahertz_{collector}_{metric}[_{unit}]``.

    The unit is omitted when the name of the metric already ends with it. Counters have no ``_total`` here;
    the exposition adds it to the series as the formats require.
    """
    name = f"decahertz_{collector}_{metric}"
    if unit is Unit.NONE or metric == unit.value or metric.endswith(f"_{unit.value}"):
        return name
    return f"{name}_{unit.value}"
