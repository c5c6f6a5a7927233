"""Self-metrics: families of a ``prometheus_client`` registry, written by that library itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from exporter.family import claimed_names
from exporter.negotiation import Format

_END = b"# EOF\n"
_WRITERS: dict[Format, Callable[[Collector], bytes]] = {
    Format.TEXT: generate_latest,
    Format.OPENMETRICS: openmetrics.generate_latest,
}


class _One(Collector):
    """A collector of a single family: the library writes whole registries only."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def family_texts(registry: CollectorRegistry, form: Format, taken: set[str]) -> Iterator[bytes]:
    """The lines of each family. Names are added to ``taken``; families of taken names are left out."""
    for family in registry.collect():
        names = claimed_names(family.name, family.type)
        if not taken.isdisjoint(names):
            continue
        taken |= names
        yield _WRITERS[form](_One(family)).removesuffix(_END)
