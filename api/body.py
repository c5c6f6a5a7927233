"""Bodies into structs."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from api.errors import ProblemError, field_problem
from decahertz.wire import Codec, Decoder, decoder

BodyT = TypeVar("BodyT")

NOT_DECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for bytes that are not of its codec (besides ``ValidationError``, a subclass)."""


class BodyReader(Generic[BodyT]):
    """Decodes and validates the bodies of one route."""

    def __init__(self, type_: type[BodyT] | Any) -> None:  # noqa: ANN401 - unions are no types
        """Make the decoders of both codecs."""
        self.type = type_
        self._decoders: dict[Codec, Decoder[BodyT]] = {codec: decoder(codec, type_) for codec in Codec}

    async def read(self, data: bytes, codec: Codec) -> BodyT:
        """Raises :class:`ProblemError`: ``malformed`` or ``validation``."""
        return self.decode(data, codec)

    def decode(self, data: bytes, codec: Codec) -> BodyT:
        """The same, in one go."""
        try:
            return self._decoders[codec].decode(data)
        except msgspec.ValidationError as error:
            problem = field_problem(error)
            raise ProblemError("validation", _sentence(problem.field, problem.reason), [problem]) from error
        except NOT_DECODABLE as error:
            raise malformed(codec, error) from error


def malformed(codec: Codec, error: Exception) -> ProblemError:
    """The body is not of its codec."""
    return ProblemError("malformed", f"this is not {codec.media_type}: {error}")


def _sentence(field: str | None, reason: str) -> str:
    return f"{field}: {reason}" if field else reason
