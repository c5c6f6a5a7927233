"""Renders self-metrics: the families of a ``prometheus_client`` registry, labelled with the recorder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from exporter.family import RECORDER_LABEL, claimed_names, label_pairs
from exporter.negotiation import Format

_END = b"# EOF\n"
_ENCODERS: dict[Format, Callable[[Collector], bytes]] = {
    Format.TEXT: generate_latest,
    Format.OPENMETRICS: openmetrics.generate_latest,
}
_UNITS = ("seconds", "bytes", "ratio")
_SERIES = re.compile(rb"^([A-Za-z_:][\w:]*)(?:(\{)| )", re.MULTILINE)
"""Start of a sample line: name, and brace or blank. Comment lines start with ``#``."""


class _SingleFamily(Collector):
    """A collector of one family: the library encodes only whole registries."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def _as_written(family: Metric, form: Format) -> Metric:
    """The family with its unit in OpenMetrics, and without the times of creation in the text format.

    In the text format these are families of their own, a second series for each counter.
    """
    unit = next((unit for unit in _UNITS if family.name.endswith(f"_{unit}")), "")
    copy = Metric(family.name, family.documentation, family.type, family.unit or unit)
    copy.samples = family.samples
    if form is Format.TEXT:
        copy.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
    return copy


class RegistryRenderer:
    """Renders registries, with a constant label for the recorder in every series."""

    def __init__(self, recorder: str) -> None:
        label = label_pairs((RECORDER_LABEL,), (recorder,))
        self._before_labels = b"{" + label + b","
        self._only_label = b"{" + label + b"} "

    def render(self, registry: CollectorRegistry, form: Format, taken: set[str]) -> Iterator[bytes]:
        """Yields the lines of each family. Adds its names to ``taken``; omits families of taken names."""
        for family in registry.collect():
            names = claimed_names(family.name, family.type)
            if not taken.isdisjoint(names):
                continue
            taken |= names
            encoded = _ENCODERS[form](_SingleFamily(_as_written(family, form)))
            yield _SERIES.sub(self._add_label, encoded.removesuffix(_END))

    def _add_label(self, series: re.Match[bytes]) -> bytes:
        return series[1] + (self._before_labels if series[2] else self._only_label)
