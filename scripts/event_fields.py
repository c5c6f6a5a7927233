"""Writes what follows from the event types: the page docs/events.md and the fields that the client checks."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.inspect import (
    BoolType,
    EnumType,
    FloatType,
    IntType,
    Metadata,
    NoneType,
    StrType,
    StructType,
    Type,
    UnionType,
    VarTupleType,
)
from reader_code import formatted

from decahertz import event as event_module
from decahertz.event import EVENT_TYPES, Event

_KINDS: Final[dict[type[Type], str]] = {BoolType: "boolean", FloatType: "number", IntType: "integer"}
_VALUES: Final = {
    "names": "list of names",
    "account": "name or empty",
    "time": "integer nanoseconds since 1970, UTC",
}
_TIMES: Final = frozenset({"time_ns"})
_MODULE_HEAD: Final = '''"""Fields of the events, by event type.

Written by ``scripts/derive.py`` from the event types of the server.
"""

from __future__ import annotations

from decahertz_client._fields import Field

EVENT_FIELDS: dict[str, dict[str, Field]] = '''
_PAGE_HEAD: Final = """\
# Events

Every event type with its fields and the values that they may have. Written by `scripts/derive.py` from
`decahertz/event.py`. [`decahertz-client`](../client/README.md) has a method of the same name for each type,
and `POST /api/v1/events` ([api.md](api.md#ingesting-events)) takes them as objects whose `type` is the name.

A *name* has 1 to 128 characters, none of them a control character, and no blank at either end: `BTC-USD`,
`BRK.B`, `1000PEPE/USDT:USDT`. It is never translated: `BTC-USD` and `BTC/USD` are two instruments, unless the
[definition](#instrument) of one lists the other in `aliases`. An *identifier* has 1 to 256 characters, a
*text* up to 16,384, neither a NUL character. Numbers are finite. A field that is not *required* may be left
out.
"""


class EventField(NamedTuple):
    """A field of an event type."""

    name: str
    kind: str
    """As in ``decahertz_client._fields.Field``."""
    required: bool
    default: Any
    least: float | None
    above: float | None
    most: float | None
    choices: tuple[str, ...]
    meaning: str


def fields_file(folder: Path) -> tuple[Path, str]:
    """The client's module with the fields, and its text."""
    types = {
        event_type.__name__.lower(): {field.name: _FieldCode(field) for field in event_fields(event_type)}
        for event_type in EVENT_TYPES
    }
    path = folder / "_event_fields.py"
    return path, formatted(_MODULE_HEAD + repr(types) + "\n", path)


class _FieldCode:
    """A field whose ``repr`` is the call that makes it in the client."""

    def __init__(self, field: EventField) -> None:
        self._field = field

    def __repr__(self) -> str:
        field = self._field
        given = [repr(field.kind)]
        given += ["required=True"] if field.required else []
        for bound in ("least", "above", "most"):
            value = getattr(field, bound)
            given += [] if value is None else [f"{bound}={value:g}"]
        given += [f"choices={field.choices!r}"] if field.choices else []
        return f"Field({', '.join(given)})"


def events_page() -> str:
    """The page of all event types."""
    parts = [_PAGE_HEAD]
    for event_type in EVENT_TYPES:
        rows = [
            "| field | value | default | meaning |",
            "| --- | --- | --- | --- |",
            *(_row(field) for field in event_fields(event_type)),
        ]
        name = event_type.__name__.lower()
        key = f":{{{event_type.topic_key}}}" if event_type.topic_key else ""
        stored = f"Table `{event_type.table}`, WebSocket topic `{event_type.topic}{key}`."
        parts += [f"\n## {name}\n", f"{_text(event_type)} {stored}\n", *rows]
    return "\n".join(parts) + "\n"


def _text(event_type: type[Event]) -> str:
    return " ".join(inspect.cleandoc(event_type.__doc__ or "").split()).replace("``None``", "null")


def _row(field: EventField) -> str:
    default = "required" if field.required else _shown(field.default)
    meaning = field.meaning.replace("``None``", "null").replace("``", "`")
    return f"| `{field.name}` | {_value(field)} | {default} | {meaning} |"


def _shown(value: object) -> str:
    if value in (None, (), ""):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _value(field: EventField) -> str:
    if field.choices:
        return ", ".join(f"`{choice}`" for choice in field.choices)
    if field.above is not None:
        return f"{field.kind} above {field.above:g}"
    if field.least is not None:
        limit = "or more" if field.most is None else f"to {field.most:g}"
        return f"{field.kind}, {field.least:g} {limit}"
    return _VALUES.get(field.kind, field.kind)


def event_fields(event_type: type[Event]) -> Iterator[EventField]:
    """The fields of an event type, its time first, then in order of declaration."""
    info = msgspec.inspect.type_info(event_type)
    assert isinstance(info, StructType)  # noqa: S101 - an event is a struct
    meanings = {
        name: text
        for base in reversed(event_type.__mro__)
        if base.__module__ == event_module.__name__
        for name, text in _attribute_docs(base).items()
    }
    for field in info.fields:
        default = None if field.default is msgspec.NODEFAULT else field.default
        yield _described(field.name, field.type, meanings.get(field.name, ""), field.required, default)


def _described(name: str, type_: Type, meaning: str, required: bool, default: object) -> EventField:  # noqa: FBT001 - private
    options = type_.types if isinstance(type_, UnionType) else (type_,)
    (inner,) = (option for option in options if not isinstance(option, NoneType))
    if isinstance(inner, Metadata):
        inner = inner.type
    least = above = most = None
    if isinstance(inner, FloatType):
        least, above, most = (_bound(value) for value in (inner.ge, inner.gt, inner.le))
    elif isinstance(inner, IntType):
        least = _bound(inner.ge)
    choices = tuple(member.value for member in inner.cls) if isinstance(inner, EnumType) else ()
    return EventField(name, _kind(name, inner), required, default, least, above, most, choices, meaning)


def _bound(value: float | None) -> float | None:
    """A limit that says something: the outermost ones only keep numbers finite."""
    return None if value is None or abs(value) > 2**48 else value


def _kind(name: str, type_: Type) -> str:
    if name in _TIMES:
        return "time"
    if isinstance(type_, VarTupleType):
        return "names"
    if isinstance(type_, EnumType):
        return "choice"
    if isinstance(type_, StrType):
        if name == "account":
            return "account"
        return {128: "name", 256: "identifier"}.get(type_.max_length or 0, "text")
    return _KINDS[type(type_)]


def _attribute_docs(class_: type) -> dict[str, str]:
    """The docstrings of the attributes of a class."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(class_))).body
    assert isinstance(tree, ast.ClassDef)  # noqa: S101 - the source of a class
    found = {}
    for statement, following in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            found[statement.target.id] = " ".join(str(following.value.value).split())
    return found
