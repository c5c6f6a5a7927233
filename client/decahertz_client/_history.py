"""Histories of samples, assembled from as many answers as they take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from decahertz_client._frames import arrow_table, pandas_frame
from decahertz_client._rest import Session, Values, time_value

_PATH = "/api/v1/metrics/history"


class Series(NamedTuple):
    """The samples of one recorder and key, in columns of the same length, sorted by time."""

    key: dict[str, str]
    """``recorder``, and the key of the samples: ``venue``, ``instrument``, ``strategy``, …"""
    time_ns: list[int]
    """Times of the cycles, or starts of the buckets."""
    columns: dict[str, list[Any]]
    """Raw samples: a column for each metric, ``mid``. Buckets: ``mid_last``, ``mid_min``, ``mid_max``,
    ``mid_avg``, as far as the metric declares them; of counters, states and booleans ``…_last`` alone."""


class History(NamedTuple):
    """A history of samples."""

    tier: str
    """The tier that was read: ``raw``, ``1s``, ``1m`` or ``1h``."""
    step_ns: int | None
    """Width of the buckets; ``None``: raw samples."""
    series: list[Series]

    def to_columns(self) -> dict[str, list[Any]]:
        """Returns all series in one table: ``time_ns``, the fields of the key, and the metrics."""
        names = list(dict.fromkeys(name for series in self.series for name in series.columns))
        keys = list(dict.fromkeys(name for series in self.series for name in series.key))
        columns: dict[str, list[Any]] = {name: [] for name in ("time_ns", *keys, *names)}
        for series in self.series:
            count = len(series.time_ns)
            columns["time_ns"] += series.time_ns
            for name in keys:
                columns[name] += [series.key.get(name)] * count
            for name in names:
                columns[name] += series.columns.get(name) or [None] * count
        return columns

    def to_pandas(self) -> Any:  # noqa: ANN401 - a pandas.DataFrame, where pandas is installed
        """Returns a ``pandas.DataFrame``: ``time`` (UTC), the fields of the key, and the metrics."""
        return pandas_frame(self.to_columns())

    def to_arrow(self) -> Any:  # noqa: ANN401 - a pyarrow.Table, where pyarrow is installed
        """Returns a ``pyarrow.Table``: ``time`` (UTC), the fields of the key, and the metrics."""
        return arrow_table(self.to_columns())


def read_history(session: Session, query: Mapping[str, object], keys: Mapping[str, Values]) -> History:
    """Reads a history to its end, however many answers the server cuts it into."""
    asked = {name: time_value(value) for name, value in query.items()}
    found: dict[tuple[tuple[str, str], ...], Series] = {}
    while True:
        answer = session.ask(_PATH, asked, keys)
        for part in answer["series"]:
            _add(found, part)
        start_ns, step_ns = answer["next_start_ns"], answer["step_ns"]
        if start_ns is None:
            series = [found[identity] for identity in sorted(found)]
            return History(answer["tier"], step_ns, series)
        # The rest at the same resolution, whatever a request of that length would get.
        resolution = {"tier": "raw"} if step_ns is None else {"step": str(step_ns)}
        asked = {**asked, "max_points": None, **resolution, "start": start_ns}


def _add(found: dict[tuple[tuple[str, str], ...], Series], part: Mapping[str, Any]) -> None:
    columns: dict[str, list[Any]] = {}
    for name, values in part["fields"].items():
        if isinstance(values, dict):
            columns.update((f"{name}_{kind}", each) for kind, each in values.items() if each is not None)
        else:
            columns[name] = values
    series = found.setdefault(
        tuple(part["key"].items()), Series(part["key"], [], {name: [] for name in columns})
    )
    series.time_ns.extend(part["time_ns"])
    for name, values in columns.items():
        series.columns[name].extend(values)
