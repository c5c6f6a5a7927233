"""Prometheus families: their names, their headers, and which names they claim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from decahertz.metric import Kind, family_name
from decahertz.sample import MetricField, SampleSchema
from exporter.negotiation import Format

# A family claims its name with each of these suffixes: OpenMetrics forbids another family there.
_SUFFIXES = {
    "counter": ("_total", "_created"),
    "summary": ("_count", "_sum", "_created"),
    "histogram": ("_count", "_sum", "_bucket", "_created"),
    "gaugehistogram": ("_gcount", "_gsum", "_bucket"),
    "info": ("_info",),
}


@dataclass(frozen=True, slots=True)
class Family:
    """One metric as both formats show it."""

    field: MetricField
    name: str
    """The family's name; a counter's series carry ``_total`` after it."""
    series: bytes
    """The name in front of each series."""
    headers: dict[Format, bytes]
    """The ``HELP``, ``TYPE`` and ``UNIT`` lines, without the last line break."""
    names: frozenset[str]
    """The names that no other family may use."""


def families_of(schema: SampleSchema) -> tuple[Family, ...]:
    """The families of a sample type, in declaration order."""
    return tuple(_family(schema.collector, field) for field in schema.metrics)


def claimed_names(name: str, type_: str) -> frozenset[str]:
    """The names that a family of this name and OpenMetrics type keeps for itself."""
    return frozenset((name, *(name + suffix for suffix in _SUFFIXES.get(type_, ()))))


def colliding(families: Iterable[Family]) -> list[Family]:
    """Those families that use a name which an earlier one claims."""
    taken: set[str] = set()
    late = []
    for family in families:
        if taken.isdisjoint(family.names):
            taken |= family.names
        else:
            late.append(family)
    return late


def label_pairs(names: Sequence[str], values: Sequence[Any]) -> bytes:
    """``name="value"`` pairs joined by commas, escaped as both formats demand.

    A lone surrogate, which UTF-8 cannot carry, becomes a question mark.
    """
    pairs = (f'{name}="{_escape(str(value))}"' for name, value in zip(names, values, strict=True))
    return ",".join(pairs).encode("utf-8", "replace")


def _escape(value: str) -> str:
    if value.isalnum():
        return value
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _family(collector: str, field: MetricField) -> Family:
    metric = field.metric
    name = family_name(collector, field.name, metric.unit)
    type_ = {Kind.GAUGE: "gauge", Kind.COUNTER: "counter", Kind.STATE: "stateset"}[metric.kind]
    series = name
    if metric.kind is Kind.COUNTER:
        name = name.removesuffix("_total")
        series = name + "_total"
    text_help = metric.help.replace("\\", r"\\").replace("\n", r"\n")
    text_type = "gauge" if metric.kind is Kind.STATE else type_
    openmetrics = [f"# HELP {name} " + text_help.replace('"', r"\""), f"# TYPE {name} {type_}"]
    # A state is a word, and the unit has to be the end of the name.
    if metric.unit and metric.kind is not Kind.STATE and name.endswith(f"_{metric.unit.value}"):
        openmetrics.append(f"# UNIT {name} {metric.unit.value}")
    return Family(
        field=field,
        name=name,
        series=series.encode(),
        headers={
            Format.TEXT: f"# HELP {series} {text_help}\n# TYPE {series} {text_type}".encode(),
            Format.OPENMETRICS: "\n".join(openmetrics).encode(),
        },
        names=claimed_names(name, type_),
    )
