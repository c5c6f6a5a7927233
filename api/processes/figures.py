"""Figures of all API processes together: their metrics are summed, their clients listed."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from prometheus_client import Metric
from prometheus_client.registry import Collector

from api.http.self_metrics import DURATIONS, RouteFigures, route_figures
from api.live.statistics import LiveStatistics

if TYPE_CHECKING:
    from api.processes.feed import LiveFeed
    from api.processes.messages import Family, Report

_GAUGE: Final = "gauge"
_Labels: TypeAlias = tuple[tuple[str, str], ...]
_Total: TypeAlias = dict[tuple[str, _Labels], float]


class ProcessFigures(Collector):
    """Sums the families of the processes. Counters include those of processes that have ended.

    A gauge of time, such as the lag of the slowest client, is the highest value instead, and one that says
    whether something is up the lowest.
    """

    def __init__(self, feed: LiveFeed, reports: Callable[[], Iterable[Report]], *, max_clients: int) -> None:
        """``reports`` returns the newest one of each process; ``max_clients`` is the limit of all."""
        self._feed = feed
        self._reports = reports
        self._max_clients = max_clients
        self._ended: dict[str, tuple[Family, _Total]] = {}

    def retire(self, report: Report) -> None:
        """Keeps the counters of a process that has ended."""
        for family in report.families:
            if family.type != _GAUGE:
                _, total = self._ended.setdefault(family.name, (family, {}))
                _add(total, family)

    def collect(self) -> Iterator[Metric]:
        """The families, as the recorder exports them."""
        found = {name: (family, dict(total)) for name, (family, total) in self._ended.items()}
        for report in self._reports():
            for family in report.families:
                _, total = found.setdefault(family.name, (family, {}))
                _add(total, family)
        for family, total in found.values():
            metric = Metric(family.name, family.documentation, family.type)
            for (name, labels), value in total.items():
                metric.add_sample(name, dict(labels), value)
            yield metric

    def live(self) -> LiveStatistics:
        """Figures of the WebSocket clients of all processes."""
        feed = self._feed
        return LiveStatistics(
            epoch=feed.epoch,
            sequence=feed.sequence,
            events_in_memory=feed.events,
            max_clients=self._max_clients,
            clients=[client for report in self._reports() for client in report.clients],
        )

    def routes(self) -> list[RouteFigures]:
        """HTTP requests by route."""
        return route_figures(family for family in self.collect() if family.name == DURATIONS)


def _add(total: _Total, family: Family) -> None:
    combined = _combined(family)
    for series in family.series:
        key = series.name, tuple(series.labels.items())
        total[key] = combined(total[key], series.value) if key in total else series.value


def _combined(family: Family) -> Callable[[float, float], float]:
    if family.type == _GAUGE and family.name.endswith("_seconds"):
        return max
    if family.type == _GAUGE and family.name.endswith("_up"):
        return min
    return operator.add
