"""Puts the messages of the decoder into words: what is wrong with a value, and what is right."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, get_args

import msgspec

from decahertz.allowed_values import allowed_values
from decahertz.event import Account, Name, Text

DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Raised by decoders for malformed bytes, besides the subclass ``ValidationError``."""

_TYPES: Final = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
    "bytes": "binary data",
    "ext": "binary data",
}
_UNITS: Final = {"str": "character", "array": "item", "object": "field", "bytes": "byte"}
_BOUNDS: Final = {">=": "{} or more", ">": "more than {}", "<=": "{} or less", "<": "less than {}"}
_LENGTHS: Final = {">=": "at least {}", "<=": "at most {}", "==": "exactly {}"}


def _length(found: re.Match[str]) -> str:
    unit = _UNITS.get(found["type"].partition(" ")[0], "item") + ("" if found["limit"] == "1" else "s")
    return f"must have {_LENGTHS[found['sign']].format(found['limit'])} {unit}"


def _bound(found: re.Match[str]) -> str:
    return f"must be {_BOUNDS[found['sign']].format(found['limit'].removesuffix('.0'))}"


def _type(found: re.Match[str]) -> str:
    got = f", not {_name(found['got'])}" if found["got"] else ""
    return f"must be {_name(found['type'])}{got}"


def _name(types: str) -> str:
    return " or ".join(_TYPES.get(type_, type_) for type_ in types.split(" | "))


_LONGEST_QUOTE: Final = 64


def _cut(text: str) -> str:
    """Shortens what a client sent: a message does not repeat all of it."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


_Words: TypeAlias = "Callable[[re.Match[str]], str]"
_WORDS: Final[Sequence[tuple[re.Pattern[str], _Words]]] = (
    (re.compile(r"Expected `(?P<type>[^`]+)` of length (?P<sign>[<>=]+) (?P<limit>\d+)"), _length),
    (re.compile(r"Expected `[^`]+` (?P<sign>[<>=]+) (?P<limit>\S+)"), _bound),
    (re.compile(r"Expected `(?P<type>[^`]+)`(?:, got `(?P<got>[^`]+)`)?"), _type),
    (
        re.compile(r"Object missing required field `([^`]*)`"),
        lambda found: f"the field {found[1]} is missing",
    ),
    (
        re.compile("Object contains unknown field `(.*)`", re.DOTALL),
        lambda found: f"there is no field {_cut(found[1])}",
    ),
    (re.compile("Invalid (?:enum )?value (.*)", re.DOTALL), lambda found: f"{_cut(found[1])} is unknown"),
)
"""Messages of the decoder about a value, and their words."""


def reason_in_words(text: str) -> str:
    """The message about a value, without the place of the value; one that is not known stays as it is."""
    for pattern, words in _WORDS:
        found = pattern.fullmatch(text)
        if found is not None:
            return words(found)
    return text


_LOCATION: Final = re.compile(r"(?P<reason>.*) - at `(?P<inner>key in `)?(?P<path>\$[^`]*)`", re.DOTALL)
_FIELD_NAME: Final = re.compile(
    r"Object (?:missing required|contains unknown) field `(?P<name>[^`]*)`", re.DOTALL
)
_NOT_AMONG: Final = ("Invalid enum value", "Invalid value")
_PATTERN_REASONS: Final[dict[str, str]] = {}
"""Messages of msgspec about a pattern, and the rule in words."""


def explained(pattern: str, reason: str) -> str:
    """Returns the pattern, and lets messages give ``reason`` for a text that does not match it."""
    _PATTERN_REASONS[f"Expected `str` matching regex {pattern!r}"] = reason
    return pattern


explained(
    get_args(Name)[1].pattern,
    "a name has 1 to 128 characters, no control character, no blank at either end",
)
explained(get_args(Account)[1].pattern, "an account has no control character, and no blank at either end")
explained(get_args(Text)[1].pattern, "a text has no NUL characters")


class InvalidField(NamedTuple):
    """A field of a value that does not fit its type."""

    field: str
    """Its place, such as ``legs[1].strike``; empty for the whole value."""
    reason: str


def invalid_field(error: msgspec.ValidationError, type_: Any) -> InvalidField:  # noqa: ANN401 - a union is not a type
    """Parses a message of msgspec: ``… - at `$.bid``` is about the field ``bid``.

    ``type_`` is what was decoded; the reason names the values of an enumeration in it.
    """
    text = str(error)
    location = _LOCATION.fullmatch(text)
    reason, path = (location["reason"], location["path"]) if location else (text, "$")
    words = _PATTERN_REASONS.get(reason) or reason_in_words(reason)
    if reason.startswith(_NOT_AMONG) and (allowed := allowed_values(type_, path)):
        words = f"{words}; allowed: {', '.join(allowed)}"
    field = path.removeprefix("$").removeprefix(".").rstrip(".")
    named = _FIELD_NAME.match(reason)
    if named is not None:
        name = _cut(named["name"])
        field = f"{field}.{name}" if field else name
    return InvalidField(field, words)


def malformed_in_words(error: Exception) -> str:
    """Says why bytes cannot be decoded: one of :data:`DECODE_ERRORS`."""
    if isinstance(error, UnicodeDecodeError):
        return "a text in it is not valid UTF-8"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = str(error)
    return "it ends too early" if text == "Input data was truncated" else text
