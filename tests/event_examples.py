"""Hypothesis strategies for events of every type, with every value that their declarations allow."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from decahertz.event import EVENT_TYPES, Account, AnyEvent, Event, Fill, Name

names = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters=":*"),
    min_size=1,
    max_size=20,
)
_texts = st.characters(codec="utf-8", exclude_characters="\0")
_NAME_PATTERN = msgspec.inspect.type_info(Name).pattern  # type: ignore[attr-defined] # it is a StrType
_ACCOUNT_PATTERN = msgspec.inspect.type_info(Account).pattern  # type: ignore[attr-defined] # likewise
_money = st.floats(min_value=-1e9, max_value=1e9)
_FIELDS: dict[type[Event], dict[str, st.SearchStrategy[Any]]] = {
    # Money is the product of price and quantity, and that has to stay finite as well.
    Fill: {
        "price": _money,
        "quantity": st.floats(min_value=1e-9, max_value=1e9),
        "fee": _money,
        "risk": st.none() | st.floats(min_value=0, max_value=1e9),
    }
}


def _values_of(type_: inspect.Type) -> st.SearchStrategy[Any]:
    """Values of a field with this annotation."""
    match type_:
        case inspect.Metadata(type=inner):
            found = _values_of(inner)
        case inspect.UnionType(types=options):
            found = st.one_of(*map(_values_of, options))
        case inspect.EnumType(cls=enum):
            found = st.sampled_from(enum)
        case inspect.VarTupleType(item_type=item):
            found = st.lists(_values_of(item), max_size=3).map(tuple)
        case inspect.StrType(min_length=shortest, pattern=pattern):
            texts = st.text(_texts, min_size=shortest or 0, max_size=40)
            found = {_NAME_PATTERN: names, _ACCOUNT_PATTERN: names | st.just("")}.get(pattern, texts)
        case inspect.IntType(gt=gt, ge=ge, le=le):
            found = st.integers(ge if gt is None else gt + 1, le)
        case inspect.FloatType(gt=gt, ge=ge, lt=lt, le=le):
            lowest, highest = ge if gt is None else gt, le if lt is None else lt
            found = st.floats(lowest, highest, exclude_min=gt is not None, exclude_max=lt is not None)
        case inspect.BoolType():
            found = st.booleans()
        case inspect.NoneType():
            found = st.none()
        case _:
            raise TypeError(type_)
    return found


def _events_of(event_type: type[Any]) -> st.SearchStrategy[AnyEvent]:
    info = inspect.type_info(event_type)
    assert isinstance(info, inspect.StructType)
    fields = {field.name: _values_of(field.type) for field in info.fields}
    return st.builds(event_type, **fields | _FIELDS.get(event_type, {}))


events_by_type: dict[type, st.SearchStrategy[AnyEvent]] = {
    event_type: _events_of(event_type) for event_type in EVENT_TYPES
}
events: st.SearchStrategy[AnyEvent] = st.one_of(*events_by_type.values())


def type_name(event_type: type[Event]) -> str:
    """The ``type`` of an event on the wire: ``quote`` for ``Quote``."""
    tag = event_type.__struct_config__.tag
    assert isinstance(tag, str)
    return tag
