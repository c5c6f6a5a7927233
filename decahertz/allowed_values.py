"""The values that an enumeration allows, for the problem of a value that it does not."""

from __future__ import annotations

import enum
import functools
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Struct

_STEP: Final = re.compile(r"\.[^.\[]+|\[[^\]]*\]")
_INDEX: Final = re.compile(r"\[\d+\]")


def allowed_values(type_: Any, path: str) -> tuple[str, ...]:  # noqa: ANN401 - a union is not a type
    """The values allowed at a path of msgspec (``$.events[3].state``) in a type; empty: it names none."""
    return _allowed(type_, _INDEX.sub("[]", path))


@functools.lru_cache(maxsize=256)
def _allowed(type_: Any, path: str) -> tuple[str, ...]:  # noqa: ANN401 - as above
    options = list(_options(type_))
    for step in _STEP.findall(path):
        options = [inner for option in options for inner in _inner(option, step)]
    values: dict[str, None] = {}
    for option in options:
        if get_origin(option) is Literal:
            values.update(dict.fromkeys(map(str, get_args(option))))
        elif isinstance(option, type) and issubclass(option, enum.Enum):
            values.update(dict.fromkeys(str(member.value) for member in option))
    return tuple(values)


def _options(hint: Any) -> Iterator[Any]:  # noqa: ANN401 - as above
    """The members of a union, without annotations."""
    origin = get_origin(hint)
    if origin is Annotated:
        yield from _options(get_args(hint)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(hint):
            yield from _options(member)
    else:
        yield hint


def _inner(option: Any, step: str) -> Iterator[Any]:  # noqa: ANN401 - as above
    origin = get_origin(option) or option
    if step.startswith("["):
        arguments = [argument for argument in get_args(option) if argument is not Ellipsis]
        for argument in arguments[1:] if origin is dict else arguments:
            yield from _options(argument)
    elif isinstance(origin, type) and issubclass(origin, Struct):
        name, config = step[1:], origin.__struct_config__
        if name == config.tag_field:
            yield Literal[config.tag]
        elif name in origin.__struct_encode_fields__:
            for field in msgspec.structs.fields(option):
                if field.encode_name == name:
                    yield from _options(field.type)
