"""Parameters of every route that choose how a response is written: ``format`` and ``times``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct

from decahertz.wire import Codec, encode


class TimeFormat(StrEnum):
    """How a response writes nanoseconds."""

    INTEGER = "integer"
    STRING = "string"


class ListFormat(StrEnum):
    """How a response that is a list is written."""

    JSON = Codec.JSON.value
    MSGPACK = Codec.MSGPACK.value
    CSV = "csv"


Times: TypeAlias = Annotated[
    TimeFormat,
    Meta(description="`string`: nanoseconds as strings, for JavaScript, whose numbers cannot hold them."),
]


class Presentation(Struct, frozen=True, forbid_unknown_fields=True):
    """How a response is written."""

    format: Annotated[Codec, Meta(description="Codec of the response; default: by `Accept`.")] | None = None
    times: Times = TimeFormat.INTEGER


class ListPresentation(Struct, frozen=True, forbid_unknown_fields=True):
    """How a response that is a list is written."""

    format: (
        Annotated[
            ListFormat,
            Meta(
                description="Codec of the response; default: by `Accept`."
                " `csv`: the items as lines, and the next page in the header `Link`."
            ),
        ]
        | None
    ) = None
    times: Times = TimeFormat.INTEGER


AnyPresentation: TypeAlias = Presentation | ListPresentation
AS_REQUESTED: Final = Presentation()
"""The presentation without parameters."""

_TIME_NAMES: Final = ("epoch", "venue_sequence")


def is_time_name(name: str) -> bool:
    """Whether ``times=string`` turns the integers of a field into strings: nanoseconds need 61 bits."""
    return name.endswith("_ns") or name in _TIME_NAMES


def encoded(content: object, codec: Codec, presentation: AnyPresentation) -> bytes:
    """Encodes the content of a response."""
    return encode(codec, with_text_times(content) if presentation.times is TimeFormat.STRING else content)


def with_text_times(content: object) -> Any:  # noqa: ANN401 - plain values
    """Converts content to plain values, with nanoseconds as strings."""
    return _with_text_times(msgspec.to_builtins(content))


def _with_text_times(value: Any) -> Any:  # noqa: ANN401 - plain values
    if isinstance(value, dict):
        return {
            name: _as_text(inner) if is_time_name(name) else _with_text_times(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        return [_with_text_times(item) for item in value]
    return value


def _as_text(value: Any) -> Any:  # noqa: ANN401 - plain values
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    return str(value) if isinstance(value, int) else _with_text_times(value)
