"""Encodes the states of collectors for their checkpoints, as MessagePack."""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from types import GenericAlias
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from collectors.common.fill_ids import FillIds
from collectors.common.windows import RecentSet
from decahertz.key_budget import Key, KeyBudget
from decahertz.trading_days import TradingDays

StateT = TypeVar("StateT", bound=msgspec.Struct)


def _reduce(value: object) -> object:
    """Returns what stands for a value that msgspec does not know."""
    if isinstance(value, deque):
        return list(value)
    if isinstance(value, array):
        return value.typecode, value.tobytes()
    if isinstance(value, RecentSet):
        return value.limit, value.ring, value.oldest
    if isinstance(value, FillIds):
        return value.encoded()
    if isinstance(value, KeyBudget):  # its content is encoded once, with the state of the collector
        return None
    if isinstance(value, TradingDays):  # the collector sets it again
        return None
    raise NotImplementedError(f"{type(value).__name__} cannot be in a checkpoint")


def _rebuild(type_: Any, found: Any) -> object:  # noqa: ANN401 - types and contents of any field
    kind, arguments = get_origin(type_) or type_, get_args(type_)
    if kind is KeyBudget:
        return KeyBudget("", 0, 0)
    if kind is TradingDays:
        return TradingDays()
    if kind is FillIds:
        return FillIds(msgspec.convert(found, dict[int, bytes]))
    if kind is array:
        return _array(*found)
    if kind is RecentSet:
        limit, ring, oldest = found
        return RecentSet(limit, _array(*ring), oldest)
    content: GenericAlias
    if kind is deque:
        content = GenericAlias(list, arguments)
    elif kind is OrderedDict:
        content = GenericAlias(dict, arguments)
    elif kind is Counter:
        content = GenericAlias(dict, (*arguments, int))
    else:
        raise NotImplementedError(f"{type_} cannot be in a checkpoint")
    return kind(msgspec.convert(found, content, dec_hook=_rebuild))


def _array(typecode: str, content: bytes) -> array[Any]:
    values = array(typecode)
    values.frombytes(content)
    return values


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_reduce)


def encode(state: msgspec.Struct, budgets: Sequence[KeyBudget] = ()) -> bytes:
    """Encodes a state and what key budgets hold.

    Raises ``NotImplementedError`` for a value that has no place in a state.
    """
    return _ENCODER.encode((state, [budget.held() for budget in budgets]))


def decode(data: bytes, type_: type[StateT]) -> tuple[StateT, list[list[tuple[Key, str]]]]:
    """Decodes what :func:`encode` returned. Raises ``msgspec.MsgspecError`` for a state of another type."""
    content = GenericAlias(tuple, (type_, list[list[tuple[Key, str]]]))
    found: tuple[StateT, list[list[tuple[Key, str]]]] = msgspec.msgpack.decode(
        data, type=content, dec_hook=_rebuild
    )
    return found
