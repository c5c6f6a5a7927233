"""The transformations between queries and panel; one that is not known here is an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean
from typing import Any

from grafana.reader.dashboard import Transformation
from grafana.reader.frame import Field, Frame, QueryError, Type, display_name


def transformed(frames: list[Frame], steps: Sequence[Transformation]) -> list[Frame]:
    """The frames after all steps that are switched on. Raises :class:`QueryError`."""
    for step in steps:
        if step.disabled:
            continue
        if step.id not in _KNOWN:
            raise QueryError(f"the transformation {step.id} is not known here")
        frames = _KNOWN[step.id](frames, step.options)
    return frames


def reduce_values(values: Sequence[Any], how: str) -> Any:  # noqa: ANN401 - a value of the field
    """One value of a field: ``lastNotNull``, ``mean``, …. Raises :class:`QueryError` for an unknown way."""
    known = [value for value in values if value is not None]
    if how in ("last", "first"):
        return None if not values else values[-1] if how == "last" else values[0]
    if how not in _REDUCERS:
        raise QueryError(f"the calculation {how} is not known here")
    return _REDUCERS[how](known) if known or how in ("count", "sum") else None


_REDUCERS: Mapping[str, Callable[[list[Any]], Any]] = {
    "lastNotNull": lambda known: known[-1],
    "firstNotNull": lambda known: known[0],
    "mean": fmean,
    "min": min,
    "max": max,
    "sum": sum,
    "count": len,
    "range": lambda known: max(known) - min(known),
    "diff": lambda known: known[-1] - known[0],
    "delta": lambda known: sum(max(b - a, 0) for a, b in pairwise(known)),
    "allIsNull": lambda known: not known,
    "distinctCount": lambda known: len(set(known)),
}


def _organize(frames: list[Frame], options: Mapping[str, Any]) -> list[Frame]:
    excluded, included = options.get("excludeByName", {}), options.get("includeByName", {})
    order, names = options.get("indexByName", {}), options.get("renameByName", {})
    result = []
    for frame in frames:
        kept = [
            (order.get(name, len(order) + place), name, one)
            for place, one in enumerate(frame.fields)
            for name in [display_name(one, frames)]
            if not excluded.get(name) and (not included or included.get(name))
        ]
        kept.sort(key=lambda item: item[0])
        fields = [replace(one, legend=names[name]) if names.get(name) else one for _, name, one in kept]
        result.append(Frame(fields, frame.ref_id))
    return result


def _filter_by_name(frames: list[Frame], options: Mapping[str, Any]) -> list[Frame]:
    include = options.get("include", {})
    names, pattern = include.get("names", ()), include.get("pattern")
    result = []
    for frame in frames:
        fields = [
            one
            for one in frame.fields
            for name in [display_name(one, frames)]
            if name in names or (pattern and re.search(pattern.strip("/"), name))
        ]
        result.append(Frame(fields, frame.ref_id))
    return result


def _merge(frames: list[Frame], options: Mapping[str, Any]) -> list[Frame]:
    """One table: rows that agree in all columns that they share become one."""
    del options
    several = len(frames) > 1
    names: dict[str, Type] = {}
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    tables = []
    for frame in frames:
        columns = [
            (f"Value #{frame.ref_id}" if several and one.name == "Value" else one.name, one)
            for one in frame.fields
        ]
        names.update({name: one.type for name, one in columns})
        tables.append(columns)
    shared = set.intersection(*({name for name, _ in columns} for columns in tables)) if tables else set()
    for columns in tables:
        for row in range(len(columns[0][1].values) if columns else 0):
            values = {name: one.values[row] for name, one in columns}
            key = tuple(values[name] for name in sorted(shared)) if several else (row,)
            rows.setdefault(key, {}).update(values)
    fields = [Field(name, kind, [row.get(name) for row in rows.values()]) for name, kind in names.items()]
    return [Frame(fields)] if fields else []


def _sort_by(frames: list[Frame], options: Mapping[str, Any]) -> list[Frame]:
    (sort,) = options["sort"]
    result = []
    for frame in frames:
        by = next((one for one in frame.fields if display_name(one, frames) == sort["field"]), None)
        if by is None:
            raise QueryError(f"there is no field {sort['field']} to sort by")
        order = sorted(
            range(frame.rows),
            key=lambda row, values=by.values: (values[row] is None, values[row]),  # type: ignore[misc]
            reverse=bool(sort.get("desc")),
        )
        fields = [replace(one, values=[one.values[row] for row in order]) for one in frame.fields]
        result.append(Frame(fields, frame.ref_id))
    return result


def _limit(frames: list[Frame], options: Mapping[str, Any]) -> list[Frame]:
    most = int(options.get("limitField", 10))
    return [
        Frame([replace(one, values=one.values[:most]) for one in frame.fields], frame.ref_id)
        for frame in frames
    ]


def _reduce(frames: list[Frame], options: Mapping[str, Any]) -> list[Frame]:
    """A row for each series, with a column for each calculation."""
    if options.get("mode", "seriesToRows") != "seriesToRows":
        raise QueryError("reduce is known here as series to rows only")
    numbers = [one for frame in frames for one in frame.numbers()]
    labels = sorted({key for one in numbers for key in one.labels}) if options.get("labelsToFields") else []
    fields = [Field("Field", Type.STRING, [display_name(one, frames) for one in numbers])]
    fields += [Field(name, Type.STRING, [one.labels.get(name) for one in numbers]) for name in labels]
    fields += [
        Field(_TITLES.get(how, how), Type.NUMBER, [reduce_values(one.values, how) for one in numbers])
        for how in options.get("reducers", ())
    ]
    return [Frame(fields)]


_TITLES = {
    "lastNotNull": "Last *",
    "firstNotNull": "First *",
    "last": "Last",
    "mean": "Mean",
    "min": "Min",
    "max": "Max",
    "sum": "Total",
    "count": "Count",
}


def _join_by_field(frames: list[Frame], options: Mapping[str, Any]) -> list[Frame]:
    """One table with a row for each value of the joining field, by default the time."""
    name = options.get("byField")
    columns: list[Field] = []
    keys: dict[Any, None] = {}
    joined: list[tuple[Field, Field]] = []
    for frame in frames:
        by = next(
            (one for one in frame.fields if (one.name == name if name else one.type is Type.TIME)), None
        )
        if by is None:
            continue
        columns = columns or [by]
        keys.update(dict.fromkeys(by.values))
        joined += [(by, one) for one in frame.fields if one is not by]
    if not columns:
        return frames
    order = sorted(keys) if columns[0].type is Type.TIME else list(keys)
    fields = [replace(columns[0], values=order)]
    for by, one in joined:
        found = dict(zip(by.values, one.values, strict=True))
        fields.append(replace(one, values=[found.get(key) for key in order]))
    return [Frame(fields)]


def _labels_to_fields(frames: list[Frame], options: Mapping[str, Any]) -> list[Frame]:
    """The labels of each series as columns of its rows."""
    if options.get("mode", "columns") != "columns":
        raise QueryError("labels to fields is known here as columns only")
    result = []
    for frame in frames:
        labels = {key: text for one in frame.fields for key, text in one.labels.items()}
        fields = [replace(one, labels={}, legend=None) for one in frame.fields]
        fields[1:1] = [Field(key, Type.STRING, [text] * frame.rows) for key, text in labels.items()]
        result.append(Frame(fields, frame.ref_id))
    return result


_KNOWN: Mapping[str, Callable[[list[Frame], Mapping[str, Any]], list[Frame]]] = {
    "organize": _organize,
    "filterFieldsByName": _filter_by_name,
    "merge": _merge,
    "sortBy": _sort_by,
    "limit": _limit,
    "reduce": _reduce,
    "joinByField": _join_by_field,
    "labelsToFields": _labels_to_fields,
}
