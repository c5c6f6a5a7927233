"""Variables in texts: ``$name``, ``${name:format}`` and ``[[name:format]]``, with the formats of Grafana."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from grafana.reader.intervals import TimeRange

VARIABLE = re.compile(r"\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.([^:^}]+))?(?::([^}]+))?\}")
_REGEX_SPECIAL = re.compile(r"[\\^$*+?.()|[\]{}/]")
_PROMQL_SPECIAL = re.compile(r"[$^*{}\[\]'+?.()|]")


@dataclass(frozen=True)
class Value:
    """The selected value of a variable."""

    name: str
    selected: str | tuple[str, ...]
    """One text, or those of a multi-value variable; for "all" without a custom value all options."""
    multi: bool = False
    include_all: bool = False
    custom_all: str | None = None
    """The custom value of "all", inserted as it is, when "all" is selected."""
    text: str = ""

    @property
    def is_list(self) -> bool:
        """Whether a query language's own format quotes or escapes it as a list."""
        return self.multi or self.include_all

    def items(self) -> tuple[str, ...]:
        """The selected values."""
        return (self.selected,) if isinstance(self.selected, str) else self.selected


Formatter = Callable[[Value], str]
"""The format of a query language for a variable without one."""


def interpolate(
    text: str, values: Mapping[str, Value], time_range: TimeRange, default: Formatter | None = None
) -> str:
    """The text with the variables that exist replaced; others stay, as in Grafana."""

    def replace(match: re.Match[str]) -> str:
        plain, bracketed, bracket_format, braced, _, brace_format = match.groups()
        name = plain or bracketed or braced
        chosen = bracket_format or brace_format
        value = values.get(name)
        if value is None:
            built_in = _built_in(name, chosen, values, time_range)
            return str(match[0]) if built_in is None else built_in
        if value.custom_all is not None and chosen not in ("text", "queryparam"):
            return value.custom_all
        if chosen is None:
            return default(value) if default else _glob(value)
        kind = chosen.partition(":")[0]
        return _FORMATS.get(kind, _glob)(value)

    return VARIABLE.sub(replace, text)


def _built_in(
    name: str, chosen: str | None, values: Mapping[str, Value], time_range: TimeRange
) -> str | None:
    if name in ("__from", "__to"):
        return _date(time_range.from_ms if name == "__from" else time_range.to_ms, chosen)
    if name == "__all_variables":
        return "&".join(_query_parameters(value) for value in values.values())
    if name == "__url_time_range":
        return f"from={time_range.from_ms}&to={time_range.to_ms}"
    return None


def names_in(text: str) -> set[str]:
    """The names that a text refers to: variables, and macros, which begin with two underscores."""
    return {match[1] or match[2] or match[4] for match in VARIABLE.finditer(text)}


def sql_format(value: Value) -> str:
    """The format of the SQL sources: lists are quoted, a single value has its quotes doubled."""
    if value.is_list:
        return ",".join("'" + one.replace("'", "''") + "'" for one in value.items())
    return ",".join(value.items()).replace("'", "''")


def promql_format(value: Value) -> str:
    """The format of the Prometheus source: a regular expression within a string for lists, else a string."""
    if not value.is_list:
        return ",".join(value.items()).replace("\\", "\\\\").replace('"', '\\"')
    return _alternatives(
        [_PROMQL_SPECIAL.sub(r"\\\\\g<0>", one.replace("\\", "\\\\\\\\")) for one in value.items()]
    )


def _alternatives(escaped: list[str]) -> str:
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _glob(value: Value) -> str:
    items = value.items()
    return items[0] if len(items) == 1 else "{" + ",".join(items) + "}"


def _quoted(mark: str, escaped: Mapping[str, str]) -> Formatter:
    table = str.maketrans(dict(escaped))
    return lambda value: ",".join(mark + one.translate(table) + mark for one in value.items())


def _encoded(value: Value) -> str:
    items = value.items()
    return quote(items[0] if isinstance(value.selected, str) else "{" + ",".join(items) + "}", safe="-_.~")


def _query_parameters(value: Value) -> str:
    items = ("$__all",) if value.custom_all is not None else value.items()
    return "&".join(f"var-{value.name}={quote(one, safe='-_.~')}" for one in items)


def _date(ms: int, chosen: str | None) -> str:
    kind, _, argument = (chosen or "").partition(":")
    if kind != "date" or argument == "ms":
        return str(ms)
    if argument == "seconds":
        return str(round(ms / 1000))
    raise ValueError(f"the format {chosen!r} of a time is not known here")


_FORMATS: Mapping[str, Formatter] = {
    "csv": lambda value: ",".join(value.items()),
    "raw": lambda value: ",".join(value.items()),
    "pipe": lambda value: "|".join(value.items()),
    "glob": _glob,
    "json": lambda value: (
        value.selected
        if isinstance(value.selected, str)
        else json.dumps(value.selected, separators=(",", ":"))
    ),
    "regex": lambda value: _alternatives([_REGEX_SPECIAL.sub(r"\\\g<0>", one) for one in value.items()]),
    "sqlstring": _quoted("'", {"'": "''", '"': '\\"'}),
    "singlequote": _quoted("'", {"'": "\\'"}),
    "doublequote": _quoted('"', {'"': '\\"'}),
    "percentencode": _encoded,
    "queryparam": _query_parameters,
    "text": lambda value: value.text or " + ".join(value.items()),
}
