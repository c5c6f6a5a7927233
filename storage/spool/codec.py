"""Encodes entries.

Events are stored as their batch in MessagePack. Samples are stored without field names; a *layout*, stored
once under its fingerprint, holds the names. It holds everything that the writer needs to store the samples in
their table, so a spool can be read back after the declaration has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from decahertz.event import EventBatch
from decahertz.metric import Kind, Metric
from decahertz.sample import MetricField, Sample, SampleSchema

_ENCODER = msgspec.msgpack.Encoder()
_EVENTS = msgspec.msgpack.Decoder(EventBatch)
_CACHED_LAYOUTS = 256


class PayloadError(ValueError):
    """Raised for bytes that do not decode."""


class _AnyState(StrEnum):
    """Stands for every enumeration of states, which the spool stores as text."""


_TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool, "state": _AnyState}


class SampleLayout(Struct, frozen=True, kw_only=True):
    """The part of a declaration that encoded samples depend on."""

    collector: str
    key: tuple[str, ...]
    fields: tuple[str, ...]
    """All fields of a sample, in their order."""
    metrics: tuple[tuple[str, str], ...]
    """Name, and ``int``, ``float``, ``bool`` or ``state``."""


def layout_of(schema: SampleSchema) -> SampleLayout:
    """Returns the layout of a declaration."""
    return SampleLayout(
        collector=schema.collector,
        key=schema.key,
        fields=schema.type.__struct_fields__,
        metrics=tuple((f.name, "state" if f.states else f.type.__name__) for f in schema.metrics),
    )


def encode_layout(layout: SampleLayout) -> bytes:
    """Encodes a layout for the file."""
    return msgspec.json.encode(layout)


def fingerprint(layout: bytes) -> str:
    """Returns the hash of an encoded layout."""
    return hashlib.sha256(layout).hexdigest()[:32]


def decode_layout(data: bytes) -> SampleLayout:
    """Decodes a layout. Raises :class:`PayloadError`."""
    try:
        return msgspec.json.decode(data, type=SampleLayout)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PayloadError(str(error)) from error


def encode_samples(samples: Sequence[Sample]) -> bytes:
    """Encodes samples. Raises ``TypeError``, ``ValueError`` or ``OverflowError`` for an invalid value."""
    return _ENCODER.encode([astuple(sample) for sample in samples])


class SampleReader:
    """Decodes samples of one layout, into a type that has the fields of the declared one."""

    def __init__(self, layout: SampleLayout) -> None:
        """Raises :class:`PayloadError` for an impossible layout."""
        try:
            type_ = msgspec.defstruct(
                "SpooledSample",
                [(name, Any) for name in layout.fields],
                bases=(Sample,),
                frozen=True,
                array_like=True,
                gc=False,
                kw_only=True,
            )
            metrics = tuple(
                MetricField(name, Metric(name, kind=_kind(code)), _TYPES[code], optional=True)
                for name, code in layout.metrics
            )
        except (TypeError, KeyError, ValueError) as error:
            raise PayloadError(f"impossible layout of samples: {error}") from error
        assert issubclass(type_, Sample)  # noqa: S101 - for the type checker
        self.schema = SampleSchema(layout.collector, layout.key, metrics, type_)
        self._decoder = msgspec.msgpack.Decoder(tuple[type_, ...])  # type: ignore[valid-type]  # made above

    def decode(self, payload: bytes) -> tuple[Sample, ...]:
        """Decodes samples. Raises :class:`PayloadError`."""
        try:
            return self._decoder.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise PayloadError(str(error)) from error


def _kind(code: str) -> Kind:
    return Kind.STATE if code == "state" else Kind.GAUGE


@lru_cache(_CACHED_LAYOUTS)
def reader_of(layout: SampleLayout) -> SampleReader:
    """Returns the reader of a layout; it is cached, so that its schema stays the same object."""
    return SampleReader(layout)


def encode_events(batch: EventBatch) -> bytes:
    """Encodes a batch. Raises ``TypeError``, ``ValueError`` or ``OverflowError`` for an invalid value."""
    return _ENCODER.encode(batch)


def decode_events(payload: bytes) -> EventBatch:
    """Decodes a batch. Raises :class:`PayloadError`."""
    try:
        return _EVENTS.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PayloadError(str(error)) from error
