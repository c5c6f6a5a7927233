"""Looks up what panels show in the declarations: metrics, their units and families, and thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from collectors.host.plugins import builtin_classes
from decahertz.conditions import CONDITION_BY_ALERT, CONDITIONS
from decahertz.metric import Kind, Unit, family_name
from decahertz.sample import SampleSchema, schema_of
from grafana.builder.style import Display, display_of


class UndeclaredError(LookupError):
    """Raised for a panel whose metric or alert is not declared."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A metric of a collector."""

    collector: str
    name: str
    help: str
    unit: Unit
    kind: Kind

    @property
    def family(self) -> str:
        """The Prometheus family; the series of a counter end with ``_total``."""
        family = family_name(self.collector, self.name, self.unit)
        return f"{family}_total" if self.kind is Kind.COUNTER else family

    @property
    def display(self) -> Display:
        """How Grafana shows it."""
        return display_of(self.unit)


@cache
def _schemas() -> dict[str, SampleSchema]:
    return {name: schema_of(plugin.sample_type) for name, plugin in builtin_classes("collectors").items()}


def metric(collector: str, name: str) -> Declared:
    """The declared metric; raises :class:`UndeclaredError`."""
    schema = _schemas().get(collector)
    for field in schema.metrics if schema else ():
        if field.name == name:
            return Declared(collector, name, field.metric.help, field.metric.unit, field.metric.kind)
    raise UndeclaredError(f"{collector}.{name} is not a declared metric")


def alert(name: str) -> str:
    """The name, if it is that of an alert; raises :class:`UndeclaredError`."""
    if name not in CONDITION_BY_ALERT:
        raise UndeclaredError(f"{name} is not an alert")
    return name


def threshold(alert: str) -> float:
    """The default threshold of an alert; raises :class:`UndeclaredError`."""
    for condition in CONDITIONS:
        if condition.alert == alert and condition.key:
            return condition.default
    raise UndeclaredError(f"{alert} is not an alert with a threshold")
