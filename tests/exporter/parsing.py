"""Expositions read by the parsers of ``prometheus_client``, the reference."""

from __future__ import annotations

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from exporter.negotiation import Format
from tests.exporter.samples import Series


def families_in(body: bytes, form: Format) -> list[Metric]:
    """The families, in order. Raises ``ValueError`` for what is not of that format."""
    text = body.decode()
    if form is Format.TEXT:
        return list(read_text(text))
    families: list[Metric] = list(read_openmetrics(text))
    return families


def series_in(body: bytes, form: Format) -> Series:
    """Value by name and labels; a series that comes twice fails."""
    series: Series = {}
    for family in families_in(body, form):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in series, f"{sample} comes twice"
            series[key] = sample.value
    return series
