"""Entries as bytes.

Events are their batch in MessagePack. Samples are written without their field names: these stand once, in a
*layout*, under its fingerprint. A layout says enough to store the samples in their table again, so the spool
is read back whatever has become of the declaration since.
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
    """Bytes are not the entry that they should be."""


class _State(StrEnum):
    """Stands for every enumeration of states: in the spool they are texts."""


_TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool, "state": _State}


class Layout(Struct, frozen=True, kw_only=True):
    """What samples need to find their table: as much of a declaration as the bytes depend on."""

    collector: str
    key: tuple[str, ...]
    fields: tuple[str, ...]
    """All fields of a sample, in their order."""
    metrics: tuple[tuple[str, str], ...]
    """Name, and ``int``, ``float``, ``bool`` or ``state``."""


def layout_of(schema: SampleSchema) -> Layout:
    """The layout of samples declared like this."""
    return Layout(
        collector=schema.collector,
        key=schema.key,
        fields=schema.type.__struct_fields__,
        metrics=tuple((f.name, "state" if f.states else f.type.__name__) for f in schema.metrics),
    )


def encode_layout(layout: Layout) -> bytes:
    """For the file."""
    return msgspec.json.encode(layout)


def fingerprint(layout: bytes) -> str:
    """Of an encoded layout: the same for the same, and for no other."""
    return hashlib.sha256(layout).hexdigest()[:32]


def decode_layout(data: bytes) -> Layout:
    """Raises :class:`PayloadError`."""
    try:
        return msgspec.json.decode(data, type=Layout)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PayloadError(str(error)) from error


def encode_samples(samples: Sequence[Sample]) -> bytes:
    """Raises ``TypeError``, ``ValueError`` or ``OverflowError`` for values that no sample may have."""
    return _ENCODER.encode([astuple(sample) for sample in samples])


class SampleReader:
    """Reads samples of one layout back. They are not of the declared type but have its fields."""

    def __init__(self, layout: Layout) -> None:
        """Raises :class:`PayloadError` for a layout that cannot be."""
        try:
            twin = msgspec.defstruct(
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
            raise PayloadError(f"no samples look like this: {error}") from error
        assert issubclass(twin, Sample)  # noqa: S101 - for the type checker
        self.schema = SampleSchema(layout.collector, layout.key, metrics, twin)
        self._decoder = msgspec.msgpack.Decoder(tuple[twin, ...])  # type: ignore[valid-type]  # made above

    def decode(self, payload: bytes) -> tuple[Sample, ...]:
        """Raises :class:`PayloadError`."""
        try:
            return self._decoder.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise PayloadError(str(error)) from error


def _kind(code: str) -> Kind:
    return Kind.STATE if code == "state" else Kind.GAUGE


@lru_cache(_CACHED_LAYOUTS)
def reader_of(layout: Layout) -> SampleReader:
    """The reader of a layout; always the same one, so that its schema is too."""
    return SampleReader(layout)


def encode_events(batch: EventBatch) -> bytes:
    """Raises ``TypeError``, ``ValueError`` or ``OverflowError`` for what no event may have."""
    return _ENCODER.encode(batch)


def decode_events(payload: bytes) -> EventBatch:
    """Raises :class:`PayloadError`."""
    try:
        return _EVENTS.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PayloadError(str(error)) from error
