"""Bodies into structs."""

from __future__ import annotations

import math
import re
from typing import Any, Final, Generic, TypeVar

import msgspec

from api.http.errors import ProblemError, field_problem
from decahertz.wire import Codec, Decoder, decoder

BodyT = TypeVar("BodyT")

NOT_DECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for bytes that are not of its codec (besides ``ValidationError``, a subclass)."""


class BodyReader(Generic[BodyT]):
    """Decodes and validates the bodies of one route."""

    def __init__(self, type_: type[BodyT] | Any) -> None:  # noqa: ANN401 - unions are no types
        """Make the decoders of both codecs."""
        self.type = type_
        self._decoders: dict[Codec, Decoder[Any]] = {codec: decoder(codec, type_) for codec in Codec}

    async def read(self, data: bytes, codec: Codec) -> BodyT:
        """Raises :class:`ProblemError`: ``malformed`` or ``validation``."""
        body: BodyT = self.decode(data, codec)
        return body

    def decode(self, data: bytes, codec: Codec) -> Any:  # noqa: ANN401 - of ``type``
        """Decodes into ``type``, with the same errors."""
        try:
            return self._decoders[codec].decode(data)
        except msgspec.ValidationError as error:
            problem = field_problem(error)
            raise ProblemError("validation", _sentence(problem.field, problem.reason), [problem]) from error
        except NOT_DECODABLE as error:
            raise malformed(codec, error, data) from error


_AT_BYTE: Final = re.compile(r"\(byte (\d+)\)$")
_NOT_FINITE: Final = re.compile(rb"(?:nan|inf(?:inity)?)\b", re.IGNORECASE)
_LENGTH_OF_NULL: Final = 4


def malformed(codec: Codec, error: Exception, data: bytes) -> ProblemError:
    """``data`` is not of its codec."""
    place = _AT_BYTE.search(str(error)) if codec is Codec.JSON else None
    if place is not None:
        # The decoder points at the token, or behind it where it took ``nan`` for a ``null``.
        at = int(place[1])
        if any(_NOT_FINITE.match(data, start) for start in (at, at - _LENGTH_OF_NULL) if start >= 0):
            return ProblemError("malformed", f"NaN and infinities are not JSON (byte {at}); null is no value")
    return ProblemError("malformed", f"this is not {codec.media_type}: {error}")


def is_not_finite(data: bytes, codec: Codec, field: str | None) -> bool:
    """Whether a field of the object ``data`` is NaN or infinite, which only MessagePack can say."""
    if codec is Codec.JSON or field is None:
        return False
    try:
        value = msgspec.msgpack.decode(data)
    except NOT_DECODABLE:  # such as a key that is a map: nothing to look into
        return False
    value = value.get(field) if isinstance(value, dict) else None
    return isinstance(value, float) and not math.isfinite(value)


def _sentence(field: str | None, reason: str) -> str:
    return f"{field}: {reason}" if field else reason
