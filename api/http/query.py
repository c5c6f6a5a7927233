"""Query strings into structs.

The struct is the declaration: its fields are the parameters. A field that is a list takes a repeated
parameter, a comma-separated one, or both; a :data:`Time` takes integer nanoseconds or RFC 3339. Parameters
that are not declared are refused, except on routes whose remaining parameters filter by the key of a sample.
"""

from __future__ import annotations

import typing
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, Generic, TypeAlias, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, Struct

from api.http.errors import FieldProblem, ProblemError, field_problem
from decahertz.clock import parse_time

QueryT = TypeVar("QueryT", bound=Struct)

Extra: TypeAlias = Mapping[str, tuple[str, ...]]
"""Parameters beyond the declared ones, on routes that take them: values by name."""

_TIME_MARK: Final = {"decahertz": "time"}
Time: TypeAlias = Annotated[
    int,
    Meta(ge=0, le=2**63 - 1, extra=_TIME_MARK, description="Nanoseconds since the Unix epoch, or RFC 3339."),
]
"""A parameter that is a time."""

_MOST_PARAMETERS = 300
_MOST_CHARACTERS = 8192
_LONGEST_ECHO = 80
_MOST_KEPT = 256
_LONGEST_KEPT = 256


class NoQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """The query of a route that has no parameters."""


class QueryParser(Generic[QueryT]):
    """Parses the query strings of one route."""

    def __init__(
        self, type_: type[QueryT], *, takes_extra: bool = False, in_path: Collection[str] = ()
    ) -> None:
        """Look at the fields once. Those ``in_path`` come from the path."""
        self._type = type_
        self._takes_extra = takes_extra
        hints = typing.get_type_hints(type_, include_extras=True)
        self._names = frozenset(type_.__struct_fields__) - frozenset(in_path)
        self._lists = frozenset(name for name in self._names if is_list(hints[name]))
        self._times = frozenset(name for name in self._names if is_time(hints[name]))
        # Who polls asks the same again and again, and parsing is a third of what a small answer costs.
        self._recent: dict[str, tuple[QueryT, Extra]] = {}

    def parse(self, text: str, path: Mapping[str, str] | None = None) -> tuple[QueryT, Extra]:
        """``text`` is what follows the question mark, ``path`` the values of the fields in the path.

        Raises :class:`ProblemError` (kind ``query``).
        """
        if path:
            return self._parse(text, path)
        known = self._recent.get(text)
        if known is not None:
            return known
        parsed = self._parse(text, {})
        if len(text) <= _LONGEST_KEPT:
            if len(self._recent) >= _MOST_KEPT:
                self._recent.clear()
            self._recent[text] = parsed
        return parsed

    def _parse(self, text: str, path: Mapping[str, str]) -> tuple[QueryT, Extra]:
        given: dict[str, list[str]] = {}
        for name, value in _pairs(text):
            given.setdefault(name, []).append(value)
        extra: dict[str, tuple[str, ...]] = {}
        values: dict[str, Any] = dict(path)
        for name, value in path.items():
            if "\0" in value:
                raise parameter_problem(name, "a NUL character")
        for name, texts in given.items():
            if name in self._names:
                values[name] = self._value(name, texts)
            elif self._takes_extra:
                extra[name] = _any_of(texts)
            else:
                raise unknown_parameter(name, self._names)
        try:
            return msgspec.convert(values, self._type, strict=False), extra
        except msgspec.ValidationError as error:
            problem = field_problem(error)
            name = (problem.field or "").partition("[")[0]
            raise parameter_problem(name, problem.reason) from error

    def _value(self, name: str, texts: list[str]) -> Any:  # noqa: ANN401 - msgspec converts it
        if name in self._lists:
            return [part for text in texts for part in text.split(",")]
        if len(texts) > 1:
            raise parameter_problem(name, "given more than once")
        if name in self._times:
            try:
                return parse_time(texts[0])
            except (ValueError, OverflowError) as error:
                shown = texts[0][:_LONGEST_ECHO]
                reason = f"{shown!r} is neither integer nanoseconds nor an RFC 3339 time with a zone"
                raise parameter_problem(name, reason) from error
        return texts[0]


def parameter_problem(name: str, reason: str) -> ProblemError:
    """A parameter is wrong."""
    return ProblemError("query", f"{name}: {reason}", [FieldProblem(field=name, reason=reason)])


def unknown_parameter(name: str, known: typing.Iterable[str]) -> ProblemError:
    """A parameter that nobody declared."""
    listed = ", ".join(sorted(known)) or "none"
    return parameter_problem(name[:_LONGEST_ECHO], f"no such parameter; there are: {listed}")


def is_time(hint: object) -> bool:
    """Whether a type hint is :data:`Time`, or that or nothing."""
    if get_origin(hint) is Annotated:
        return any(isinstance(m, Meta) and m.extra == _TIME_MARK for m in get_args(hint)[1:])
    return any(is_time(option) for option in get_args(hint))


def is_list(hint: object) -> bool:
    """Whether a type hint is a list or tuple, or that or nothing."""
    if get_origin(hint) in (list, tuple):
        return True
    return get_origin(hint) is not dict and any(is_list(option) for option in get_args(hint))


def _pairs(text: str) -> list[tuple[str, str]]:
    if not text:
        return []
    if len(text) > _MOST_CHARACTERS:
        raise ProblemError("query", f"longer than {_MOST_CHARACTERS} characters")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except UnicodeDecodeError as error:
        raise ProblemError("query", "not UTF-8 after percent-decoding") from error
    except ValueError as error:
        raise ProblemError("query", f"more than {_MOST_PARAMETERS} parameters") from error
    for name, value in pairs:
        if "\0" in name or "\0" in value:
            raise parameter_problem(name.replace("\0", "")[:_LONGEST_ECHO], "a NUL character")
    return pairs


def _any_of(texts: list[str]) -> tuple[str, ...]:
    """Each value as it stands and, where it has commas, its parts: names may hold commas themselves."""
    values = dict.fromkeys(texts)
    for text in texts:
        if "," in text:
            values.update(dict.fromkeys(part for part in text.split(",") if part))
    return tuple(values)
