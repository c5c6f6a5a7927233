"""Negotiates the codecs of request and response bodies (RFC 9110, section 12)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from api.http.problems import FieldProblem, ProblemError
from decahertz.negotiation import preferences
from decahertz.wire import MEDIA_TYPES, Codec

_OFFERED = ", ".join(codec.media_type for codec in Codec)
_SUPPORTED = ", ".join(MEDIA_TYPES)


@lru_cache(maxsize=256)
def accepted_codec(accept: str | None) -> Codec:
    """Chooses the codec of the response; JSON without a preference.

    The highest ``q`` wins, then a named type over a wildcard, then the first. Raises :class:`ProblemError`
    (``not-acceptable``) when the client accepts neither.
    """
    if accept is None or not accept.strip():
        return Codec.JSON
    ranks: dict[Codec, tuple[int, float, int]] = {}
    for position, item in enumerate(preferences(accept)):
        for codec, named in _codecs(item.name):
            ranks[codec] = max(ranks.get(codec, (0, 0.0, 0)), (named, item.quality, -position))
    acceptable = [
        (quality, named, order, codec) for codec, (named, quality, order) in ranks.items() if quality > 0
    ]
    if not acceptable:
        raise ProblemError("not-acceptable", f"offered: {_OFFERED}")
    return max(acceptable, key=lambda rank: rank[:3])[3]


@lru_cache(maxsize=256)
def content_codec(content_type: str | None) -> Codec:
    """Returns the codec of a request body. Raises :class:`ProblemError` (``unsupported-media-type``)."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    codec = MEDIA_TYPES.get(media_type)
    if codec is None:
        reason = f"{media_type!r} is not supported" if media_type else "Content-Type is missing"
        raise ProblemError("unsupported-media-type", f"{reason}; supported: {_SUPPORTED}")
    return codec


def check_content_encoding(content_encodings: Iterable[str]) -> None:
    """Raises :class:`ProblemError` (``unsupported-media-type``) for a compressed body.

    Its size is unknown until it is decompressed, and clients on this machine gain nothing by compressing.
    """
    for encoding in ",".join(content_encodings).split(","):
        if encoding.strip().lower() not in ("", "identity"):
            reason = "compressed bodies are not supported; send the body uncompressed"
            # RFC 9110, section 15.5.16: the header names the supported encodings.
            raise ProblemError(
                "unsupported-media-type",
                f"Content-Encoding: {reason}",
                [FieldProblem(field="Content-Encoding", reason=reason)],
                {"Accept-Encoding": "identity"},
            )


def _codecs(media_range: str) -> list[tuple[Codec, int]]:
    """Codecs that a media range matches; 1 with those that it names, 0 with those of a wildcard."""
    if media_range in ("*/*", "application/*"):
        return [(Codec.JSON, 0), (Codec.MSGPACK, 0)]
    codec = MEDIA_TYPES.get(media_range)
    return [(codec, 1)] if codec else []
