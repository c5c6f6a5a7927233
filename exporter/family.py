"""Prometheus families of samples: names, headers, labels, and the names that each family claims."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from decahertz.histogram import Histogram
from decahertz.metric import Kind, Unit, family_name
from decahertz.sample import MetricField, SampleSchema
from exporter.extremes import Extreme
from exporter.negotiation import Format

RECORDER_LABEL = "recorder"
"""Constant label of every series: the name of this recorder."""

# A family also claims its name with these suffixes: OpenMetrics forbids other families of those names.
_SUFFIXES = {
    "counter": ("_total", "_created"),
    "summary": ("_count", "_sum", "_created"),
    "histogram": ("_count", "_sum", "_bucket", "_created"),
    "gaugehistogram": ("_gcount", "_gsum", "_bucket"),
    "info": ("_info",),
}


@dataclass(frozen=True, slots=True)
class Family:
    """One metric in both formats."""

    field: MetricField
    extreme: Extreme | None
    """The extreme that the family shows; ``None`` for the value itself."""
    name: str
    """Name of the family; the series of a counter have the suffix ``_total``."""
    series: bytes
    """Name of each series."""
    headers: dict[Format, bytes]
    """``HELP``, ``TYPE`` and ``UNIT`` lines, without the final line break."""
    names: frozenset[str]
    """Names that no other family may use."""


@dataclass(frozen=True, slots=True)
class HistogramFamily:
    """One histogram in both formats."""

    histogram: Histogram
    name: str
    headers: dict[Format, bytes]
    names: frozenset[str]


AnyFamily: TypeAlias = Family | HistogramFamily

_EXTREME_HELP = {
    Extreme.MIN: "Least value over exporter.window_seconds",
    Extreme.MAX: "Greatest value over exporter.window_seconds",
}


def families_of(schema: SampleSchema) -> tuple[Family, ...]:
    """Derives the families of a sample type, in order of declaration."""
    return tuple(
        _family(schema.collector, field, extreme)
        for field in schema.metrics
        if field.metric.exported
        for extreme in ((None, *Extreme) if field.metric.extremes else (None,))
    )


def histogram_families(collector: str, histograms: Iterable[Histogram]) -> tuple[HistogramFamily, ...]:
    """Derives the families of a collector's histograms."""
    return tuple(_histogram_family(collector, histogram) for histogram in histograms)


def claimed_names(name: str, type_: str) -> frozenset[str]:
    """Returns the names that a family of this name and OpenMetrics type claims."""
    return frozenset((name, *(name + suffix for suffix in _SUFFIXES.get(type_, ()))))


def colliding(families: Iterable[AnyFamily]) -> list[AnyFamily]:
    """Returns the families that use a name claimed by an earlier family."""
    taken: set[str] = set()
    colliding_families = []
    for family in families:
        if taken.isdisjoint(family.names):
            taken |= family.names
        else:
            colliding_families.append(family)
    return colliding_families


def label_pairs(names: Sequence[str], values: Sequence[Any]) -> bytes:
    """Renders ``name="value"`` pairs joined by commas, escaped as both formats require.

    A lone surrogate, which UTF-8 cannot encode, becomes a question mark.
    """
    pairs = (f'{name}="{_escape(str(value))}"' for name, value in zip(names, values, strict=True))
    return ",".join(pairs).encode("utf-8", "replace")


def _escape(value: str) -> str:
    if value.isalnum():
        return value
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _family(collector: str, field: MetricField, extreme: Extreme | None) -> Family:
    metric = field.metric
    name = family_name(collector, field.name, metric.unit)
    text_help = metric.help
    if extreme is not None:
        name += f"_{extreme.name.lower()}"
        text_help = f"{_EXTREME_HELP[extreme]}: {text_help}"
    type_ = {Kind.GAUGE: "gauge", Kind.COUNTER: "counter", Kind.STATE: "stateset"}[metric.kind]
    series = name
    if metric.kind is Kind.COUNTER:
        name = name.removesuffix("_total")
        series = name + "_total"
    return Family(
        field=field,
        extreme=extreme,
        name=name,
        series=series.encode(),
        headers=_headers(name, series, type_, text_help, metric.unit),
        names=claimed_names(name, type_),
    )


def _histogram_family(collector: str, histogram: Histogram) -> HistogramFamily:
    name = family_name(collector, histogram.name, histogram.unit)
    return HistogramFamily(
        histogram=histogram,
        name=name,
        headers=_headers(name, name, "histogram", histogram.help, histogram.unit),
        names=claimed_names(name, "histogram"),
    )


def _headers(name: str, series: str, type_: str, text: str, unit: Unit) -> dict[Format, bytes]:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    text_type = "gauge" if type_ == "stateset" else type_
    openmetrics = [f"# HELP {name} " + text.replace('"', r"\""), f"# TYPE {name} {type_}"]
    # States have no unit, and a unit must be the suffix of the name.
    if unit and type_ != "stateset" and name.endswith(f"_{unit.value}"):
        openmetrics.append(f"# UNIT {name} {unit.value}")
    return {
        Format.TEXT: f"# HELP {series} {text}\n# TYPE {series} {text_type}".encode(),
        Format.OPENMETRICS: "\n".join(openmetrics).encode(),
    }
