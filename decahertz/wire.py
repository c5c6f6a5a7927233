"""The two codecs of everything that leaves or enters the process: JSON and MessagePack.

Encoders are made once and reused. Decoders of a type are made by the caller, once, with
:func:`decoder`, and raise :class:`msgspec.ValidationError` (wrong shape; the message ends with the
path of the field) or :class:`msgspec.DecodeError` (not that codec at all).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MEDIA_TYPES: Mapping[str, Codec]


class Codec(StrEnum):
    """A wire format, by the name used in WebSocket subprotocols."""

    JSON = "json"
    MSGPACK = "msgpack"

    @property
    def media_type(self) -> str:
        """The HTTP media type."""
        return "application/json" if self is Codec.JSON else "application/vnd.msgpack"


MEDIA_TYPES = {
    "application/json": Codec.JSON,
    "application/vnd.msgpack": Codec.MSGPACK,
    "application/msgpack": Codec.MSGPACK,
    "application/x-msgpack": Codec.MSGPACK,
}
"""Media types accepted and offered; the first of a codec is the one answered."""

_ENCODERS: Mapping[Codec, Callable[[object], bytes]] = {
    Codec.JSON: msgspec.json.Encoder().encode,
    Codec.MSGPACK: msgspec.msgpack.Encoder().encode,
}


class Decoder(Protocol[T_co]):
    """Decodes bytes of one codec into one type."""

    def decode(self, data: bytes, /) -> T_co:
        """Decode and validate; see the module's text for the errors."""
        ...


def encode(codec: Codec, value: object) -> bytes:
    """Encode any msgspec-serialisable value."""
    return _ENCODERS[codec](value)


def decoder(codec: Codec, type_: type[T] | Any) -> Decoder[T]:  # noqa: ANN401 - unions are no types
    """A reusable decoder of ``type_``."""
    if codec is Codec.JSON:
        return msgspec.json.Decoder(type_)
    return msgspec.msgpack.Decoder(type_)
