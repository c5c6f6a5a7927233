"""Rows of samples and events, encoded for binary COPY."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from decahertz.event import AnyEvent, Event
from decahertz.sample import Sample, SampleSchema
from storage.schema.events import EVENT_NUMBER, event_columns
from storage.schema.samples import RECORDER, TIME, table_of
from storage.write.copy_codegen import Number, compile_event, compile_samples
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

_SELDOM_REPEATED = frozenset(
    {
        "order_id",
        "fill_id",
        "signal_id",
        "trade_id",
        "reason",
        "headline",
        "message",
        "instruments",
        "aliases",
    }
)
_NUMBER_CODES = {"bigint": "q", "double precision": "d"}
_ENCODERS: dict[str, Callable[[Any], bytes]] = {"boolean": boolean, "text": text, "text[]": text_array}


@dataclass(slots=True)
class Encoded:
    """Rows ready for COPY."""

    data: list[bytes]
    """Pieces, to be joined."""
    rows: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)
    """Rows that cannot be encoded, by index, with the reason; they are not in ``data``."""
    not_finite: int = 0
    """Numbers that were NaN or infinite and became null."""


class SampleRows:
    """Encodes the samples of one type, as rows of one recorder."""

    def __init__(self, schema: SampleSchema, recorder: str) -> None:
        self.table = table_of(schema)
        numbers = [field for field in schema.metrics if field.type in (int, float)]
        others = [field for field in schema.metrics if field.type not in (int, float)]
        self.columns = (RECORDER, *schema.key, TIME, *(f.name for f in numbers), *(f.name for f in others))
        self._key = reader(schema.key)
        self._keys = PieceCache([text] * len(schema.key), field_count(len(self.columns)) + text(recorder))
        self._numbers: list[tuple[str, Callable[[Any], bytes]]] = [
            (field.name, bigint if field.type is int else double) for field in numbers
        ]
        self._state = reader([field.name for field in others])
        self._states = PieceCache([text if issubclass(f.type, enum.StrEnum) else boolean for f in others])
        self._compiled = compile_samples(
            schema.key,
            [Number(f.name, "q" if f.type is int else "d", f.optional) for f in numbers],
            [field.name for field in others],
            self._keys,
            self._states,
        )

    def encode(self, samples: Sequence[Sample], time_ns: int) -> Encoded:
        """Encodes the rows of these samples, which share one time."""
        time = timestamp(time_ns)
        try:
            data, total = self._compiled(samples, time)
        except ENCODING_ERRORS:
            return self._encode_each(samples, time)
        if not math.isfinite(total):
            return self._encode_each(samples, time)
        return Encoded(data, len(samples))

    def _encode_each(self, samples: Sequence[Sample], time: bytes) -> Encoded:
        """As :meth:`encode`, for a batch with an invalid value: keeps the valid rows."""
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
                encoded.data += (self._keys[self._key(row)], time, packed, self._states[self._state(row)])
                encoded.rows += 1
            except ENCODING_ERRORS as error:
                encoded.refused.append((index, f"{type(error).__name__}: {error}"))
        return encoded


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and float("-inf") < value < float("inf") else None


class EventRows:
    """Encodes the events of one type, as rows of one recorder."""

    def __init__(self, event_type: type[Event], recorder: str) -> None:
        self.table = event_type.table
        columns = event_columns(event_type)
        numbers = [column for column in columns if column.sql_type in _NUMBER_CODES]
        others = [column for column in columns if column.sql_type not in _NUMBER_CODES]
        cached = [column for column in others if column.field not in _SELDOM_REPEATED]
        direct = [column for column in others if column.field in _SELDOM_REPEATED]
        self.columns = (
            *(RECORDER, "source", "epoch", "received_ns", "time", "time_ns", "sequence", EVENT_NUMBER),
            *(column.name for column in (*numbers, *cached, *direct)),
        )
        self._start = field_count(len(self.columns)) + text(recorder)
        self._encode = compile_event(
            [column.field for column in numbers],
            "".join(_NUMBER_CODES[column.sql_type] for column in numbers),
            [column.field for column in cached],
            PieceCache([_ENCODERS[column.sql_type] for column in cached]),
            [(column.field, _ENCODERS[column.sql_type]) for column in direct],
        )

    def origin(self, source: str, epoch: int, received_ns: int) -> bytes:
        """The bytes that every row of one batch begins with."""
        return self._start + text(source) + bigint(epoch) + bigint(received_ns)

    def encode(self, event: AnyEvent, sequence: int, number: int, origin: bytes) -> tuple[bytes, ...]:
        """One row, in pieces. Raises one of ``ENCODING_ERRORS``."""
        return self._encode(event, sequence, number, origin)
