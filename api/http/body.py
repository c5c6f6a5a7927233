"""Decodes and validates request bodies."""

from __future__ import annotations

import math
import re
from typing import Any, Final, Generic, TypeVar

import msgspec

from api.http.problems import ProblemError, field_problem
from decahertz.decode_errors import DECODE_ERRORS, malformed_in_words
from decahertz.wire import Codec, Decoder, decoder

BodyT = TypeVar("BodyT")


class BodyReader(Generic[BodyT]):
    """Decodes and validates the bodies of one route."""

    def __init__(self, type_: type[BodyT] | Any) -> None:  # noqa: ANN401 - a union is not a type
        self.type = type_
        self._decoders: dict[Codec, Decoder[Any]] = {codec: decoder(codec, type_) for codec in Codec}

    async def read(self, data: bytes, codec: Codec) -> BodyT:
        """Decodes a body; a subclass may yield to the event loop meanwhile. Raises as :meth:`decode`."""
        body: BodyT = self.decode(data, codec)
        return body

    def decode(self, data: bytes, codec: Codec) -> Any:  # noqa: ANN401 - of ``type``
        """Decodes into ``type``. Raises :class:`ProblemError` (``malformed-body``, ``invalid-body``)."""
        try:
            return self._decoders[codec].decode(data)
        except msgspec.ValidationError as error:
            problem = field_problem(error, self.type)
            detail = f"{problem.field}: {problem.reason}" if problem.field else problem.reason
            raise ProblemError("invalid-body", detail, [problem]) from error
        except DECODE_ERRORS as error:
            raise malformed(codec, error, data) from error


_BYTE_OFFSET: Final = re.compile(r"\(byte (\d+)\)$")
_NOT_FINITE: Final = re.compile(rb"(?:nan|inf(?:inity)?)\b", re.IGNORECASE)
_NULL_LENGTH: Final = 4


def malformed(codec: Codec, error: Exception, data: bytes) -> ProblemError:
    """Makes the problem of ``data`` that the codec cannot decode."""
    offset = _BYTE_OFFSET.search(str(error)) if codec is Codec.JSON else None
    if offset is not None:
        # The decoder points at the token, or past it where it took ``nan`` for a ``null``.
        at = int(offset[1])
        if any(_NOT_FINITE.match(data, start) for start in (at, at - _NULL_LENGTH) if start >= 0):
            detail = f"NaN and infinities are not JSON (byte {at}); use null for a missing value"
            return ProblemError("malformed-body", detail)
    return ProblemError("malformed-body", f"not valid {codec.media_type}: {malformed_in_words(error)}")


def is_not_finite(data: bytes, codec: Codec, field: str | None) -> bool:
    """Whether a field of the object ``data`` is NaN or infinite, which only MessagePack can express."""
    if codec is Codec.JSON or field is None:
        return False
    try:
        value = msgspec.msgpack.decode(data)
    except DECODE_ERRORS:  # such as a map as key
        return False
    value = value.get(field) if isinstance(value, dict) else None
    return isinstance(value, float) and not math.isfinite(value)
