"""Rows of samples and events, encoded for binary COPY."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.inspect import (
    BoolType,
    EnumType,
    FloatType,
    IntType,
    Metadata,
    NoneType,
    StrType,
    Type,
    UnionType,
    VarTupleType,
)

from decahertz.event import EVENT_TYPES, AnyEvent, Event
from decahertz.sample import Sample, SampleSchema
from storage.schema.samples import TIME, table_of
from storage.write.copy_codegen import Number, SampleLoop, compile_event
from storage.write.copy_format import (
    ENCODING_ERRORS,
    NULL,
    PieceCache,
    bigint,
    boolean,
    double,
    field_count,
    reader,
    text,
    text_array,
    timestamp,
)

EVENT_TABLES: dict[type[Event], str] = {event_type: event_type.table for event_type in EVENT_TYPES}
"""The table of each event type; the migrations make them."""

_SELDOM_REPEATED = frozenset(
    {"order_id", "fill_id", "signal_id", "trade_id", "reason", "headline", "message", "instruments"}
)


@dataclass(slots=True)
class Encoded:
    """Rows ready for COPY."""

    data: list[bytes]
    """Pieces, to be joined."""
    rows: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)
    """Rows that no table can hold, by their place, each with the reason; they are not in ``data``."""
    not_finite: int = 0
    """Numbers that were NaN or infinite and became null."""


class SampleRows:
    """Encodes the samples of one type."""

    def __init__(self, schema: SampleSchema) -> None:
        """Work out the order of the columns."""
        self.table = table_of(schema)
        numbers = [field for field in schema.metrics if field.type in (int, float)]
        others = [field for field in schema.metrics if field.type not in (int, float)]
        self.columns = (*schema.key, TIME, *(f.name for f in numbers), *(f.name for f in others))
        self._key = reader(schema.key)
        self._keys = PieceCache([text] * len(schema.key), field_count(len(self.columns)))
        self._numbers: list[tuple[str, Callable[[Any], bytes]]] = [
            (field.name, bigint if field.type is int else double) for field in numbers
        ]
        self._state = reader([field.name for field in others])
        self._states = PieceCache([text if issubclass(f.type, enum.StrEnum) else boolean for f in others])
        self._loop = SampleLoop(
            schema.key,
            [Number(f.name, "q" if f.type is int else "d", f.optional) for f in numbers],
            [field.name for field in others],
            self._keys,
            self._states,
        )

    def encode(self, samples: Sequence[Sample], time_ns: int) -> Encoded:
        """The rows of these samples at this instant."""
        moment = timestamp(time_ns)
        try:
            data, total = self._loop(samples, moment)
        except ENCODING_ERRORS:
            return self._encode_each(samples, moment)
        if not math.isfinite(total):
            return self._encode_each(samples, moment)
        return Encoded(data, len(samples))

    def _encode_each(self, samples: Sequence[Sample], moment: bytes) -> Encoded:
        """As :meth:`encode`, for a batch in which something is wrong: the good rows are kept."""
        encoded = Encoded([])
        for index, row in enumerate(samples):
            try:
                values = [getattr(row, name) for name, _ in self._numbers]
                finite = [_finite_or_none(value) for value in values]
                encoded.not_finite += sum(new is not old for new, old in zip(finite, values, strict=True))
                packed = b"".join(
                    NULL if value is None else encode(value)
                    for value, (_, encode) in zip(finite, self._numbers, strict=True)
                )
                encoded.data += (self._keys[self._key(row)], moment, packed, self._states[self._state(row)])
                encoded.rows += 1
            except ENCODING_ERRORS as error:
                encoded.refused.append((index, f"{type(error).__name__}: {error}"))
        return encoded


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and float("-inf") < value < float("inf") else None


class EventRows:
    """Encodes the events of one type."""

    def __init__(self, event_type: type[Event]) -> None:
        """Work out the order of the columns."""
        self.table = EVENT_TABLES[event_type]
        fields = event_fields(event_type)
        numbers = [field for field in fields if field.code]
        cached = [field for field in fields if not field.code and field.repeats]
        direct = [field for field in fields if not field.code and not field.repeats]
        self.columns = (
            *("source", "epoch", "received_ns", "time", "time_ns", "sequence"),
            *(field.column for field in (*numbers, *cached, *direct)),
        )
        self._count = field_count(len(self.columns))
        self._encode = compile_event(
            [field.name for field in numbers],
            "".join(field.code for field in numbers),
            [field.name for field in cached],
            PieceCache([field.encode for field in cached]),
            [(field.name, field.encode) for field in direct],
        )

    def origin(self, source: str, epoch: int, received_ns: int) -> bytes:
        """What the rows of one batch begin with."""
        return self._count + text(source) + bigint(epoch) + bigint(received_ns)

    def encode(self, event: AnyEvent, sequence: int, origin: bytes) -> tuple[bytes, ...]:
        """One row, in pieces. Raises one of ``ENCODING_ERRORS``."""
        return self._encode(event, sequence, origin)


@dataclass(frozen=True, slots=True)
class EventField:
    """A field of an event and its column."""

    name: str
    column: str
    code: str
    """``q`` or ``d`` for numbers (see :class:`~storage.write.copy_codegen.Number`), empty for others."""
    encode: Callable[[Any], bytes]
    repeats: bool
    """Whether the same few values come again and again."""


def event_fields(event_type: type[Event]) -> list[EventField]:
    """The fields of an event type, without its time, in order of declaration."""
    info = msgspec.inspect.type_info(event_type)
    assert isinstance(info, msgspec.inspect.StructType)  # noqa: S101 - an event is a struct
    return [_event_field(field.name, field.type) for field in info.fields if field.name != "time_ns"]


def _event_field(name: str, type_: Type) -> EventField:
    bare, column = type_, name
    if isinstance(type_, UnionType):
        (bare,) = (option for option in type_.types if not isinstance(option, NoneType))
    if isinstance(bare, Metadata):
        column = (bare.extra or {}).get("column", name)
        bare = bare.type
    code, encode = _codes(bare)
    return EventField(name, column, code, encode, name not in _SELDOM_REPEATED)


def _codes(type_: Type) -> tuple[str, Callable[[Any], bytes]]:
    if isinstance(type_, IntType):
        return "q", bigint
    if isinstance(type_, FloatType):
        return "d", double
    if isinstance(type_, BoolType):
        return "", boolean
    if isinstance(type_, (StrType, EnumType)):
        return "", text
    if isinstance(type_, VarTupleType):
        return "", text_array
    raise TypeError(f"no column can be made of {type_}")
