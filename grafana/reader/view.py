"""A dashboard that is open: its variables have values, and its queries run against the data sources."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from grafana.reader.dashboard import (
    Annotation,
    Dashboard,
    DataSourceRef,
    Panel,
    PrometheusTarget,
    SqlTarget,
    Variable,
)
from grafana.reader.frame import Frame, QueryError, Type
from grafana.reader.interpolation import Value, interpolate, names_in
from grafana.reader.intervals import TimeRange, parse_interval, step_of
from grafana.reader.postgres import PostgresSource
from grafana.reader.prometheus import PrometheusSource
from grafana.reader.provisioning import DataSource

ALL = "$__all"
BUILT_IN = "-- Grafana --"
SCREEN_WIDTH = 1920
COLUMNS = 24
_ANNOTATION_POINTS = 100
_SORTS = {
    1: (False, False),
    2: (False, True),
    3: (True, False),
    4: (True, True),
    5: (False, False),
    6: (False, True),
}


@dataclass(frozen=True)
class Mark:
    """An annotation: a moment, or a span when it has an end."""

    annotation: Annotation
    time_ms: int
    end_ms: int | None
    text: str
    tags: tuple[str, ...] = ()


class Sources:
    """Connections to the provisioned data sources, opened when first used."""

    def __init__(self, sources: Mapping[str, DataSource]) -> None:
        self.provisioned = sources
        self._postgres: dict[str, PostgresSource] = {}
        self._prometheus: dict[str, PrometheusSource] = {}

    def close(self) -> None:
        """Closes the connections."""
        for source in self._postgres.values():
            source.close()

    def of(self, ref: DataSourceRef | None) -> DataSource:
        """The source that a query names. Raises :class:`QueryError`."""
        if ref is None or ref.uid not in self.provisioned:
            raise QueryError(f"no data source is provisioned as {ref and ref.uid!r}")
        source = self.provisioned[ref.uid]
        if ref.type is not None and ref.type != source.type:
            raise QueryError(f"{ref.uid} has the type {source.type}, not {ref.type}")
        return source

    def postgres(self, source: DataSource) -> PostgresSource:
        """The connection of a PostgreSQL source."""
        if source.uid not in self._postgres:
            self._postgres[source.uid] = PostgresSource(source)
        return self._postgres[source.uid]

    def prometheus(self, source: DataSource) -> PrometheusSource:
        """The client of a Prometheus source."""
        if source.uid not in self._prometheus:
            self._prometheus[source.uid] = PrometheusSource(source.url, source.min_interval)
        return self._prometheus[source.uid]


class View:
    """A dashboard in a time range, with selected values of variables; others have their defaults."""

    def __init__(
        self,
        dashboard: Dashboard,
        sources: Sources,
        time_range: TimeRange,
        selections: Mapping[str, str | Sequence[str]] | None = None,
    ) -> None:
        self.dashboard = dashboard
        self.time_range = time_range
        self.values: dict[str, Value] = {}
        self.options: dict[str, list[str]] = {}
        self._sources = sources
        chosen = selections or {}
        for variable in _ordered(dashboard.templating.items):
            options = self._options(variable)
            self.options[variable.name] = options
            self.values[variable.name] = _value(variable, options, chosen.get(variable.name))

    def with_value(self, name: str, selected: str) -> View:
        """The view of a repeated panel or row, in which a variable has one of its values."""
        view = copy(self)
        value = replace(self.values[name], selected=(selected,), custom_all=None, text="")
        view.values = {**self.values, name: value}
        return view

    def text(self, text: str) -> str:
        """A title or a Markdown text with the variables replaced."""
        return interpolate(text, self.values, self.time_range)

    def targets(self, panel: Panel) -> list[SqlTarget | PrometheusTarget]:
        """The queries of a panel that are not hidden. Raises :class:`QueryError` for one that is mistyped."""
        found: list[SqlTarget | PrometheusTarget] = []
        for raw in panel.targets:
            ref = (
                msgspec.convert(raw["datasource"], DataSourceRef) if "datasource" in raw else panel.datasource
            )
            kind: type[SqlTarget | PrometheusTarget] = SqlTarget
            if self._sources.of(ref).type == "prometheus":
                kind = PrometheusTarget
            try:
                target = msgspec.convert({**raw, "datasource": msgspec.to_builtins(ref)}, kind)
            except msgspec.ValidationError as error:
                raise QueryError(f"query {raw.get('refId')}: {error}") from error
            if not target.hide:
                found.append(target)
        return found

    def run(self, panel: Panel, target: SqlTarget | PrometheusTarget) -> list[Frame]:
        """The answer to one query of a panel. Raises :class:`QueryError`."""
        source = self._sources.of(target.datasource)
        time_range = self.range_of(panel)
        points = panel.max_data_points or SCREEN_WIDTH * panel.grid_pos.w // COLUMNS
        interval_ms = step_of(time_range, points, self.text(panel.interval or "") or source.min_interval)
        if isinstance(target, PrometheusTarget):
            prometheus = self._sources.prometheus(source)
            return prometheus.query(target, self.values, time_range, interval_ms, points)
        return self._sources.postgres(source).query(target, self.values, time_range, interval_ms)

    def frames(self, panel: Panel) -> list[Frame]:
        """Runs all queries of a panel and returns their frames. Raises :class:`QueryError`."""
        if panel.transformations:
            raise QueryError(f"the transformation {panel.transformations[0].id} is not known here")
        return [frame for target in self.targets(panel) for frame in self.run(panel, target)]

    def range_of(self, panel: Panel) -> TimeRange:
        """The time range of a panel, which may have its own length and shift."""
        start, end = self.time_range.from_ms, self.time_range.to_ms
        if panel.time_from:
            start = end - parse_interval(panel.time_from)
        shift = parse_interval(panel.time_shift) if panel.time_shift else 0
        return TimeRange(start - shift, end - shift)

    def marks(self, annotation: Annotation) -> list[Mark]:
        """The marks of an annotation query. Raises :class:`QueryError`."""
        source = self._sources.of(annotation.datasource)
        query = annotation.target or {}
        if source.type == "prometheus":
            expr = str(query.get("expr") or annotation.expr)
            step_ms = parse_interval(annotation.step or "60s")
            frames = self._sources.prometheus(source).annotations(expr, self.values, self.time_range, step_ms)
            return [
                Mark(annotation, at, None, annotation.title_format or annotation.name)
                for frame in frames
                for at, value in zip(frame.fields[0].values, frame.fields[1].values, strict=True)
                if value
            ]
        interval_ms = step_of(self.time_range, _ANNOTATION_POINTS, source.min_interval)
        postgres = self._sources.postgres(source)
        sql = str(query.get("rawSql") or annotation.raw_query)
        frame = postgres.rows(postgres.expand(sql, self.values, self.time_range, interval_ms))
        return _marks(annotation, frame)

    def _options(self, variable: Variable) -> list[str]:
        """The options of a variable, sorted and filtered. Raises :class:`QueryError`."""
        if variable.type in ("constant", "textbox"):
            return [str(variable.query)]
        if variable.type in ("custom", "interval"):
            items = re.split(r"(?<!\\),", str(variable.query))
            return [one.rpartition(" : ")[2].strip() for one in items]
        if variable.type == "datasource":
            kind = variable.query
            return [one.uid for one in self._sources.provisioned.values() if one.type == kind]
        if variable.type != "query":
            raise QueryError(f"variable {variable.name}: the type {variable.type} is not known here")
        options = list(dict.fromkeys(self._queried(variable)))
        if variable.regex:
            pattern = re.compile(variable.regex.strip("/"))
            matches = [match for one in options if (match := pattern.search(one))]
            options = [match[1] if pattern.groups else match.string for match in matches]
        if variable.sort:
            is_number, is_descending = _SORTS[variable.sort]
            options.sort(key=float if is_number else str.casefold, reverse=is_descending)
        return options

    def _queried(self, variable: Variable) -> list[str]:
        source = self._sources.of(variable.datasource)
        query: Any = variable.query
        if source.type == "prometheus":
            text = query if isinstance(query, str) else str(query["query"])
            return self._sources.prometheus(source).variable(text, self.values, self.time_range)
        text = query if isinstance(query, str) else str(query["rawSql"])
        postgres = self._sources.postgres(source)
        frame = postgres.rows(postgres.expand(text, self.values, self.time_range, 60_000))
        columns = {one.name: one for one in frame.fields}
        fields = [columns["__value"]] if "__value" in columns else frame.fields
        return [str(value) for one in fields for value in one.values if value is not None]


def _ordered(variables: Sequence[Variable]) -> list[Variable]:
    """The variables, each after those that its query refers to."""
    known = {variable.name: variable for variable in variables}
    ordered: dict[str, Variable] = {}

    def add(variable: Variable, above: tuple[str, ...]) -> None:
        if variable.name in above:
            raise QueryError(f"variables refer to each other: {', '.join(above)}")
        query = variable.query if isinstance(variable.query, str) else str(variable.query)
        for name in sorted(names_in(query) & known.keys()):
            add(known[name], (*above, variable.name))
        ordered[variable.name] = variable

    for variable in variables:
        add(variable, ())
    return list(ordered.values())


def _value(variable: Variable, options: Sequence[str], chosen: str | Sequence[str] | None) -> Value:
    selected = chosen if chosen is not None else variable.current.value
    if not selected and options:
        selected = options[0]
    items = [selected] if isinstance(selected, str) else list(selected)
    value = Value(variable.name, items[0] if items else "", variable.multi, variable.include_all)
    if ALL in items:
        return replace(value, selected=tuple(options), custom_all=variable.all_value or None, text="All")
    return replace(value, selected=tuple(items)) if variable.multi else value


def _marks(annotation: Annotation, frame: Frame) -> list[Mark]:
    columns = {one.name.lower(): one for one in frame.fields}
    if "time" not in columns or columns["time"].type is not Type.TIME:
        raise QueryError("an annotation needs a column named time")
    if "text" not in columns:
        raise QueryError("an annotation needs a column named text")
    ends, tags = columns.get("timeend"), columns.get("tags")
    if ends and None in ends.values:
        raise QueryError("an annotation needs an end in every row: Grafana draws none after a row without")
    return [
        Mark(
            annotation,
            columns["time"].values[row],
            ends.values[row] if ends else None,
            str(columns["text"].values[row] or ""),
            tuple(one.strip() for one in str(tags.values[row] or "").split(",")) if tags else (),
        )
        for row in range(frame.rows)
    ]
