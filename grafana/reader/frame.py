"""Data frames: what a query returns and a panel draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


class Type(StrEnum):
    """Type of a field."""

    TIME = "time"
    """Milliseconds since the Unix epoch."""
    NUMBER = "number"
    STRING = "string"
    BOOLEAN = "boolean"


class QueryError(Exception):
    """Raised for a query that shows an error mark on its panel."""


@dataclass(frozen=True)
class Field:
    """A column."""

    name: str
    type: Type
    values: list[Any]
    labels: Mapping[str, str] = field(default_factory=dict)
    legend: str | None = None
    """The name that the data source gives it, from a legend format."""


@dataclass(frozen=True)
class Frame:
    """Columns of the same length."""

    fields: list[Field]
    ref_id: str = ""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.fields[0].values) if self.fields else 0

    @property
    def time(self) -> Field | None:
        """The first time field."""
        return next((one for one in self.fields if one.type is Type.TIME), None)

    def numbers(self) -> list[Field]:
        """The fields of numbers."""
        return [one for one in self.fields if one.type is Type.NUMBER]


def display_name(one: Field, frames: Sequence[Frame]) -> str:
    """The name of a field in legends and headers, unless the panel gives it another."""
    if one.legend is not None:
        return one.legend
    parts = [one.name] if one.name != "Value" else []
    if one.labels:
        keys = {key for frame in frames for other in frame.fields for key in other.labels}
        if len(keys) == 1:
            parts += one.labels.values()
        else:
            parts.append("{" + ", ".join(f'{key}="{text}"' for key, text in one.labels.items()) + "}")
    return " ".join(parts) or one.name


def long_to_wide(frame: Frame, time: Field) -> Frame:
    """One value field for each combination of the text columns, which become labels.

    Raises :class:`QueryError` unless the rows are sorted by time.
    """
    texts = [one for one in frame.fields if one.type is Type.STRING]
    numbers = [one for one in frame.fields if one.type is Type.NUMBER]
    if any(later < earlier for earlier, later in zip(time.values, time.values[1:], strict=False)):
        raise QueryError("rows of a time series have to be sorted by time, ascending")
    if not texts:
        return Frame([time, *numbers], frame.ref_id)
    instants = sorted(set(time.values))
    row_of = {instant: row for row, instant in enumerate(instants)}
    wide: dict[tuple[str, ...], list[Field]] = {}
    for row in range(frame.rows):
        key = tuple("" if one.values[row] is None else str(one.values[row]) for one in texts)
        if key not in wide:
            labels = {one.name: text for one, text in zip(texts, key, strict=True)}
            wide[key] = [Field(one.name, Type.NUMBER, [None] * len(instants), labels) for one in numbers]
        for target, one in zip(wide[key], numbers, strict=True):
            target.values[row_of[time.values[row]]] = one.values[row]
    fields = [one for _, group in sorted(wide.items()) for one in group]
    if len(frame.fields) == 3 and [one.name for one in texts] == ["metric"]:  # noqa: PLR2004 - as before labels
        fields = [replace(one, name=one.labels["metric"], labels={}) for one in fields]
    return Frame([Field(time.name, Type.TIME, list(instants)), *fields], frame.ref_id)


def points(frames: Iterable[Frame]) -> int:
    """Number of values that are not null, times left out."""
    return sum(
        value is not None
        for frame in frames
        for one in frame.fields
        if one.type is not Type.TIME
        for value in one.values
    )
