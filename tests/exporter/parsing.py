"""Expositions read by the parsers of ``prometheus_client``, the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from exporter.negotiation import Format
from tests.exporter.samples import Series

_PARSERS: dict[Format, Callable[[str], Iterable[Metric]]] = {
    Format.TEXT: text_string_to_metric_families,
    Format.OPENMETRICS: openmetrics.text_string_to_metric_families,
}


def families_in(body: bytes, form: Format) -> list[Metric]:
    """The families, in order. Raises ``ValueError`` for what is not of that format."""
    return list(_PARSERS[form](body.decode()))


def series_in(body: bytes, form: Format) -> Series:
    """Value by name and labels; a series that comes twice fails."""
    series: Series = {}
    for family in families_in(body, form):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in series, f"{sample} comes twice"
            series[key] = sample.value
    return series
