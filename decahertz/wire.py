"""The wire codecs: JSON and MessagePack.

Callers create the decoder of a type once, with :func:`decoder`. Decoders raise
:class:`msgspec.ValidationError` (wrong type or value; the message ends with the path of the field) or
:class:`msgspec.DecodeError` (malformed data).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Codec(StrEnum):
    """A wire format, named as in WebSocket subprotocols."""

    JSON = "json"
    MSGPACK = "msgpack"

    @property
    def media_type(self) -> str:
        """The HTTP media type."""
        return "application/json" if self is Codec.JSON else "application/vnd.msgpack"


MEDIA_TYPES: Mapping[str, Codec] = {
    "application/json": Codec.JSON,
    "application/vnd.msgpack": Codec.MSGPACK,
    "application/msgpack": Codec.MSGPACK,
    "application/x-msgpack": Codec.MSGPACK,
}
"""Accepted media types; responses carry the first one of a codec."""

_ENCODERS: Mapping[Codec, Callable[[object], bytes]] = {
    Codec.JSON: msgspec.json.Encoder().encode,
    Codec.MSGPACK: msgspec.msgpack.Encoder().encode,
}


class Decoder(Protocol[T_co]):
    """Decodes bytes of one codec into one type."""

    def decode(self, data: bytes, /) -> T_co:
        """Decodes and validates; see the module docstring for the errors."""
        ...


def encode(codec: Codec, value: object) -> bytes:
    """Encodes a value that msgspec can serialise."""
    return _ENCODERS[codec](value)


def decoder(codec: Codec, type_: type[T] | Any) -> Decoder[T]:  # noqa: ANN401 - unions are not types
    """Creates a reusable decoder of ``type_``."""
    if codec is Codec.JSON:
        return msgspec.json.Decoder(type_)
    return msgspec.msgpack.Decoder(type_)
