"""Parses query strings into structs, whose fields declare the parameters.

A list field accepts a repeated parameter, a comma-separated one, or both; a :data:`Time` accepts integer
nanoseconds, RFC 3339, or a duration before now. Undeclared parameters are invalid, except on routes that use
them as further filters.
"""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, Generic, TypeAlias, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from msgspec import Meta, Struct

from api.http.presentation import AS_REQUESTED, AnyPresentation, Presentation
from api.http.problems import FieldProblem, ProblemError, field_problem
from decahertz.clock import Clock, TimeFormatError, TimeUnitError, parse_time
from decahertz.duration import is_relative_time, parse_relative_time

QueryT = TypeVar("QueryT", bound=Struct)
StructT = TypeVar("StructT", bound=Struct)

Extra: TypeAlias = Mapping[str, tuple[str, ...]]
"""Undeclared parameters, on routes that accept them: values by name."""

_TIME_TAG: Final = {"decahertz": "time"}
Time: TypeAlias = Annotated[
    int,
    Meta(
        ge=0,
        le=2**63 - 1,
        extra=_TIME_TAG,
        description="Nanoseconds since the Unix epoch, RFC 3339, or a duration before now: `-10m`.",
    ),
]
"""A time parameter."""

_MAX_PARAMETERS = 300
_MAX_CHARACTERS = 8192
_MAX_ECHO_CHARACTERS = 80
_CACHE_ENTRIES = 256
_MAX_CACHED_CHARACTERS = 256
_WITHOUT_UNIT: Final = re.compile(r"-[1-9][0-9]{0,9}")


class NoQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Query of a route without parameters."""


class ParsedQuery(Struct, Generic[QueryT], frozen=True, gc=False):
    """A parsed query string."""

    query: QueryT
    extra: Extra
    presentation: AnyPresentation
    is_relative: bool
    """Whether it depends on the time at which it was parsed."""


def parse_moment(text: str, clock: Clock) -> int:
    """Parses integer nanoseconds, RFC 3339, or a duration before now (``-10m``) to nanoseconds.

    Raises :class:`~decahertz.clock.TimeFormatError`.
    """
    if is_relative_time(text):
        return parse_relative_time(text, clock.time_ns())
    if _WITHOUT_UNIT.fullmatch(text):
        raise TimeFormatError(
            f"{text!r} has no unit: {text}s for seconds before now, {text}m for minutes, {text}h"
        )
    try:
        return parse_time(text)
    except TimeUnitError:
        raise
    except (ValueError, OverflowError) as error:
        shown = text[:_MAX_ECHO_CHARACTERS]
        raise TimeFormatError(
            f"{shown!r} is neither integer nanoseconds, nor an RFC 3339 time with a zone,"
            " nor a duration before now like -10m"
        ) from error


class QueryParser(Generic[QueryT]):
    """Parses the query strings of one route."""

    def __init__(
        self,
        type_: type[QueryT],
        clock: Clock,
        *,
        presentation: type[AnyPresentation] | None = Presentation,
        takes_extra: bool = False,
        in_path: Collection[str] = (),
    ) -> None:
        """``in_path`` names the fields that are parts of the path; ``presentation`` adds its own fields."""
        self._type = type_
        self._clock = clock
        self._takes_extra = takes_extra
        self._presentation = presentation
        self._presented = frozenset(presentation.__struct_fields__ if presentation else ())
        self._names = frozenset(type_.__struct_fields__) - frozenset(in_path)
        lists, times = _lists_and_times(type_)
        self._lists, self._times = lists & self._names, times & self._names
        # Pollers repeat the same query, and parsing is a third of the cost of a small response.
        self._recent: dict[str, ParsedQuery[QueryT]] = {}

    def parse(self, text: str, path: Mapping[str, str] | None = None) -> ParsedQuery[QueryT]:
        """Parses the text after the question mark; ``path`` holds the values of the fields in the path.

        Raises :class:`ProblemError` (``invalid-parameter``).
        """
        if path:
            return self._parse(text, path)
        cached = self._recent.get(text)
        if cached is not None:
            return cached
        parsed = self._parse(text, {})
        if len(text) <= _MAX_CACHED_CHARACTERS and not parsed.is_relative:
            if len(self._recent) >= _CACHE_ENTRIES:
                self._recent.clear()
            self._recent[text] = parsed
        return parsed

    def _parse(self, text: str, path: Mapping[str, str]) -> ParsedQuery[QueryT]:
        given: dict[str, list[str]] = {}
        for name, value in _pairs(text):
            given.setdefault(name, []).append(value)
        extra: dict[str, tuple[str, ...]] = {}
        values: dict[str, Any] = dict(path)
        presented: dict[str, Any] = {}
        for name, value in path.items():
            if "\0" in value:
                raise parameter_problem(name, "contains a NUL character")
        for name, texts in given.items():
            if name in self._names:
                values[name] = self._value(name, texts)
            elif name in self._presented:
                presented[name] = self._value(name, texts)
            elif self._takes_extra:
                extra[name] = _alternatives(texts)
            else:
                raise unknown_parameter(name, self._names | self._presented)
        presentation: AnyPresentation = AS_REQUESTED
        if presented and self._presentation is not None:
            presentation = _converted(presented, self._presentation)
        is_relative = any(name in given and is_relative_time(given[name][0]) for name in self._times)
        return ParsedQuery(_converted(values, self._type), extra, presentation, is_relative)

    def _value(self, name: str, texts: list[str]) -> Any:  # noqa: ANN401 - msgspec converts it
        if name in self._lists:
            return [part for text in texts for part in text.split(",")]
        if len(texts) > 1:
            raise parameter_problem(name, "given more than once, but is not a list")
        if name in self._times:
            try:
                return parse_moment(texts[0], self._clock)
            except TimeFormatError as error:
                raise parameter_problem(name, str(error)) from error
        return texts[0]


@functools.cache
def _lists_and_times(type_: type[Struct]) -> tuple[frozenset[str], frozenset[str]]:
    """The names of the fields that are lists, and of those that are times."""
    hints = typing.get_type_hints(type_, include_extras=True).items()
    return (
        frozenset(name for name, hint in hints if is_list(hint)),
        frozenset(name for name, hint in hints if is_time(hint)),
    )


def check_path(target: str) -> None:
    """Raises :class:`ProblemError` (``bad-request``) if the path of a request target is not UTF-8."""
    path = target.partition("?")[0]
    if "%" not in path and path.isascii():
        return
    try:
        unquote_to_bytes(path.encode(errors="surrogateescape")).decode()
    except UnicodeDecodeError as error:
        raise ProblemError("bad-request", "the path is not UTF-8 after percent-decoding") from error


def _converted(values: Mapping[str, Any], type_: type[StructT]) -> StructT:
    try:
        converted = msgspec.convert(values, type_, strict=False)
    except msgspec.ValidationError as error:
        problem = field_problem(error, type_)
        name = (problem.field or "").partition("[")[0]
        raise parameter_problem(name, problem.reason) from error
    for name in values:
        if getattr(converted, name) is None:  # msgspec takes the text "null" for it
            raise parameter_problem(name, "cannot be null; omit the parameter")
    return converted


def parameter_problem(name: str, reason: str) -> ProblemError:
    """Makes the problem of an invalid parameter."""
    return ProblemError("invalid-parameter", f"{name}: {reason}", [FieldProblem(field=name, reason=reason)])


def unknown_parameter(name: str, known: typing.Iterable[str]) -> ProblemError:
    """Makes the problem of an undeclared parameter."""
    listed = ", ".join(sorted(known)) or "none"
    return parameter_problem(name[:_MAX_ECHO_CHARACTERS], f"unknown parameter; known: {listed}")


def is_time(hint: object) -> bool:
    """Whether a type hint is :data:`Time`, optional or not."""
    if get_origin(hint) is Annotated:
        return any(isinstance(m, Meta) and m.extra == _TIME_TAG for m in get_args(hint)[1:])
    return any(is_time(option) for option in get_args(hint))


def is_list(hint: object) -> bool:
    """Whether a type hint is a list or tuple, optional or not."""
    if get_origin(hint) in (list, tuple):
        return True
    return get_origin(hint) is not dict and any(is_list(option) for option in get_args(hint))


def _pairs(text: str) -> list[tuple[str, str]]:
    if not text:
        return []
    if len(text) > _MAX_CHARACTERS:
        raise ProblemError("invalid-parameter", f"the query is longer than {_MAX_CHARACTERS} characters")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    except UnicodeDecodeError as error:
        raise ProblemError("invalid-parameter", "the query is not UTF-8 after percent-decoding") from error
    except ValueError as error:
        raise ProblemError(
            "invalid-parameter", f"the query has more than {_MAX_PARAMETERS} parameters"
        ) from error
    for name, value in pairs:
        if "\0" in name or "\0" in value:
            raise parameter_problem(name.replace("\0", "")[:_MAX_ECHO_CHARACTERS], "a NUL character")
    return pairs


def _alternatives(texts: list[str]) -> tuple[str, ...]:
    """Each value as given and, if it contains commas, its parts: names may contain commas themselves."""
    values = dict.fromkeys(texts)
    for text in texts:
        if "," in text:
            values.update(dict.fromkeys(part for part in text.split(",") if part))
    return tuple(values)
