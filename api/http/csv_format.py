"""Writes lists as CSV (RFC 4180), the way exports do.

The first line has the names of the columns. Null is an empty field and an empty text is ``""``, booleans are
``true`` and ``false``, numbers keep all digits, and lists and objects are JSON.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

CSV_MEDIA_TYPE: Final = "text/csv"
_NEEDS_QUOTES: Final = re.compile(r'[",\r\n]|^$|^\s|\s$|^\\\.$')
_json = msgspec.json.Encoder().encode


@functools.cache
def list_columns(type_: Any) -> tuple[str, ...]:  # noqa: ANN401 - a generic alias is not a type
    """The columns of a response that is a list: nothing but ``items`` and its cursor; else nothing."""
    fields = {field.name: field.type for field in _fields(type_)}
    items = fields.pop("items", None)
    if get_origin(items) is not list or fields.keys() - {"next_cursor"}:
        return ()
    return tuple(field.encode_name for field in _fields(*get_args(items)))


def _fields(type_: Any) -> tuple[FieldInfo, ...]:  # noqa: ANN401 - as above
    """The fields of a struct, without a look into them: it takes a tenth of that."""
    origin = get_origin(type_) or type_
    is_struct = isinstance(origin, type) and issubclass(origin, msgspec.Struct)
    return msgspec.structs.fields(type_) if is_struct else ()


def to_csv(columns: Sequence[str], items: Iterable[Any]) -> bytes:
    """Encodes items, which are structs or dicts, one a line."""
    lines = [",".join(map(_cell, columns))]
    for item in items:
        values = item if isinstance(item, dict) else msgspec.to_builtins(item)
        lines.append(",".join([_cell(values.get(name)) for name in columns]))
    return "".join([f"{line}\r\n" for line in lines]).encode()


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case str():
            return _quoted(value) if _NEEDS_QUOTES.search(value) else value
        case int() | float():
            return _json(value).decode()
        case _:
            return _quoted(_json(value).decode())


def _quoted(text: str) -> str:
    return f'"{text.replace(chr(34), chr(34) * 2)}"'
