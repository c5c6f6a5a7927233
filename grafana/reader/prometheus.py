"""The Prometheus source: steps, macros, and series as frames."""

from __future__ import annotations

import json
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from grafana.reader.dashboard import PrometheusTarget
from grafana.reader.frame import Field, Frame, QueryError, Type
from grafana.reader.interpolation import Value, interpolate, promql_format
from grafana.reader.intervals import TimeRange, format_interval, parse_interval, step_of

_MOST_POINTS = 11_000
_LEGEND = re.compile(r"\{\{\s*(.+?)\s*\}\}")
_VARIABLES = (
    "__interval_ms",
    "__interval",
    "__range_ms",
    "__range_s",
    "__range",
    "__rate_interval_ms",
    "__rate_interval",
)


class PrometheusSource:
    """The server of the provisioned data source."""

    def __init__(self, url: str, min_interval: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise QueryError(f"{url!r} is not an address of a Prometheus")
        self._url = url.rstrip("/")
        self._min_interval = min_interval
        self.elapsed_seconds = 0.0
        """How long the newest request took, from sending it to the last byte of the answer."""

    def query(
        self,
        target: PrometheusTarget,
        values: Mapping[str, Value],
        time_range: TimeRange,
        interval_ms: int,
        points: int,
    ) -> list[Frame]:
        """Runs a panel's query. Raises :class:`QueryError`."""
        step_ms = _step(target, time_range, interval_ms, points)
        expr = self.expand(target, values, time_range, interval_ms, step_ms)
        if target.instant:
            parameters = {"query": expr, "time": time_range.to_ms / 1000}
            series = self._get("query", parameters)
        else:
            start, end = (ms - ms % step_ms for ms in (time_range.from_ms, time_range.to_ms))
            parameters = {"query": expr, "start": start / 1000, "end": end / 1000, "step": step_ms / 1000}
            series = self._get("query_range", parameters)
        frames = _frames(series, target)
        if target.format == "table":
            return [_table(frames, target.ref_id)] if frames else []
        if target.format == "heatmap":
            return _heatmap(frames)
        return frames

    def expand(
        self,
        target: PrometheusTarget,
        values: Mapping[str, Value],
        time_range: TimeRange,
        interval_ms: int,
        step_ms: int,
    ) -> str:
        """The PromQL that Prometheus gets."""
        scrape = parse_interval(target.interval or self._min_interval)
        rate_ms = max(interval_ms + scrape, 4 * scrape)
        texts = {
            "__interval": format_interval(step_ms),
            "__interval_ms": str(step_ms),
            "__range": f"{round(time_range.ms / 1000)}s",
            "__range_s": str(round(time_range.ms / 1000)),
            "__range_ms": str(time_range.ms),
            "__rate_interval": f"{rate_ms}ms",
            "__rate_interval_ms": str(rate_ms),
        }
        scoped = {name: Value(name, text) for name, text in texts.items()}
        return interpolate(target.expr, {**values, **scoped}, time_range, promql_format)

    def variable(self, query: str, values: Mapping[str, Value], time_range: TimeRange) -> list[str]:
        """The options of a variable: ``label_values(…)`` or ``query_result(…)``."""
        text = interpolate(query, values, time_range, promql_format)
        if match := re.fullmatch(r"label_values\(\s*(?:(.+)\s*,\s*)?([a-zA-Z_]\w*)\s*\)", text, re.DOTALL):
            selector, label = match.groups()
            parameters: dict[str, Any] = {
                "start": time_range.from_ms / 1000,
                "end": time_range.to_ms / 1000,
            }
            if selector:
                parameters["match[]"] = selector
            return [str(one) for one in self._get(f"label/{label}/values", parameters)]
        if match := re.fullmatch(r"query_result\((.+)\)", text, re.DOTALL):
            series = self._get("query", {"query": match[1], "time": time_range.to_ms / 1000})
            return [_metric_text(one["metric"]) + f" {one['value'][1]}" for one in series]
        raise QueryError(f"a variable's query that is not known here: {query}")

    def annotations(
        self, expr: str, values: Mapping[str, Value], time_range: TimeRange, step_ms: int
    ) -> list[Frame]:
        """The series of an annotation query; a point above zero is a mark."""
        target = PrometheusTarget(ref_id="Anno", expr=expr, interval=format_interval(step_ms))
        return self.query(target, values, time_range, step_ms, _MOST_POINTS)

    def _get(self, path: str, parameters: Mapping[str, Any]) -> list[Any]:
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        start = time.perf_counter()
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - http, checked above
                text = answer.read()
        except urllib.error.HTTPError as error:
            reason = error.read().decode(errors="replace")
            raise QueryError(f"{reason.strip()}\n{parameters.get('query', path)}") from error
        except OSError as error:
            raise QueryError(f"{self._url} does not answer: {error}") from error
        self.elapsed_seconds = time.perf_counter() - start
        data = json.loads(text)["data"]
        if isinstance(data, list):
            return data
        if data["resultType"] in ("scalar", "string"):
            return [{"metric": {}, "value": data["result"]}]
        return list(data["result"])


def _step(target: PrometheusTarget, time_range: TimeRange, interval_ms: int, points: int) -> int:
    """The step of the query itself, else that of its panel; never more points than Prometheus answers."""
    fine = step_of(time_range, points, target.interval or f"{interval_ms}ms")
    return max(fine, step_of(time_range, _MOST_POINTS, "1ms")) * target.interval_factor


def _frames(series: list[Any], target: PrometheusTarget) -> list[Frame]:
    frames = []
    for one in series:
        labels = {name: text for name, text in one["metric"].items() if name != "__name__"}
        pairs = one["values"] if "values" in one else [one["value"]]
        legend = _legend(target, one["metric"])
        values = [_number(text) for _, text in pairs]
        frames.append(
            Frame(
                [
                    Field("Time", Type.TIME, [round(at * 1000) for at, _ in pairs]),
                    Field("Value", Type.NUMBER, values, labels, legend),
                ],
                target.ref_id,
            )
        )
    return frames


def _legend(target: PrometheusTarget, metric: Mapping[str, str]) -> str | None:
    if target.legend_format == "__auto":
        return None if metric.keys() - {"__name__"} else target.expr
    if not target.legend_format:
        return _metric_text(metric)
    return _LEGEND.sub(lambda match: metric.get(match[1], match[1]), target.legend_format)


def _metric_text(metric: Mapping[str, str]) -> str:
    labels = ", ".join(f'{name}="{text}"' for name, text in metric.items() if name != "__name__")
    return metric.get("__name__", "") + (f"{{{labels}}}" if labels else "") or "{}"


def _number(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _table(frames: list[Frame], ref_id: str) -> Frame:
    """One row for each series and time, with a column for each label."""
    names = sorted({name for frame in frames for name in frame.fields[1].labels})
    rows = [
        (at, *(frame.fields[1].labels.get(name) for name in names), value)
        for frame in frames
        for at, value in zip(frame.fields[0].values, frame.fields[1].values, strict=True)
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    fields = [Field("Time", Type.TIME, columns[0])]
    fields += [Field(name, Type.STRING, column) for name, column in zip(names, columns[1:-1], strict=True)]
    return Frame([*fields, Field("Value", Type.NUMBER, columns[-1])], ref_id)


def _heatmap(frames: list[Frame]) -> list[Frame]:
    """Buckets in ascending order, each less the one below it: counts instead of cumulative counts."""
    if not frames:
        return []
    if any("le" not in frame.fields[1].labels for frame in frames):
        raise QueryError("a heatmap of Prometheus needs the label le")
    ordered = sorted(frames, key=lambda frame: float(frame.fields[1].labels["le"]))
    instants = sorted({at for frame in ordered for at in frame.fields[0].values})
    fields, below = [Field("Time", Type.TIME, list(instants))], dict.fromkeys(instants, 0.0)
    for frame in ordered:
        here = dict(zip(frame.fields[0].values, frame.fields[1].values, strict=True))
        counts = {at: (here.get(at) or 0.0) for at in instants}
        values = [max(counts[at] - below[at], 0.0) for at in instants]
        fields.append(Field(frame.fields[1].labels["le"], Type.NUMBER, values))
        below = counts
    return [Frame(fields, ordered[0].ref_id)]
