"""Which codec a request speaks and which it wants to hear (RFC 9110, section 12)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from api.http.errors import FieldProblem, ProblemError
from decahertz.wire import MEDIA_TYPES, Codec

_OFFERED = ", ".join(codec.media_type for codec in Codec)
_TAKEN = ", ".join(MEDIA_TYPES)


@lru_cache(maxsize=256)
def accepted_codec(accept: str | None) -> Codec:
    """The codec to answer in; JSON where the client does not care.

    The highest ``q`` wins, then a type that is named over a wildcard, then the first. Raises
    :class:`ProblemError` when none of ours is acceptable.
    """
    if accept is None or not accept.strip():
        return Codec.JSON
    ranks: dict[Codec, tuple[int, float, int]] = {}
    for position, item in enumerate(accept.split(",")):
        media_range, quality = _weighted(item)
        for codec, named in _codecs(media_range):
            ranks[codec] = max(ranks.get(codec, (0, 0.0, 0)), (named, quality, -position))
    wanted = [
        (quality, named, place, codec) for codec, (named, quality, place) in ranks.items() if quality > 0
    ]
    if not wanted:
        raise ProblemError("not-acceptable", f"offered: {_OFFERED}")
    return max(wanted, key=lambda rank: rank[:3])[3]


@lru_cache(maxsize=256)
def accepts_gzip(accept_encoding: str | None) -> bool:
    """Whether an answer may be compressed."""
    weights = dict(_weighted(item) for item in (accept_encoding or "").split(","))
    return weights.get("gzip", weights.get("*", 0.0)) > 0


@lru_cache(maxsize=256)
def content_codec(content_type: str | None) -> Codec:
    """The codec of a body. Raises :class:`ProblemError` for a type that is not taken, or none."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    codec = MEDIA_TYPES.get(media_type)
    if codec is None:
        said = f"{media_type!r} is not taken" if media_type else "Content-Type is missing"
        raise ProblemError("media-type", f"{said}; taken: {_TAKEN}")
    return codec


def check_content_encoding(content_encodings: Iterable[str]) -> None:
    """Raise :class:`ProblemError` for a body that is compressed.

    How much it would unpack to is not known before it is done, and nobody on this machine needs it.
    """
    for encoding in ",".join(content_encodings).split(","):
        if encoding.strip().lower() not in ("", "identity"):
            reason = "compressed bodies are not taken; send it as it is"
            # The header tells clients what would be taken: RFC 9110, section 15.5.16.
            raise ProblemError(
                "media-type",
                f"Content-Encoding: {reason}",
                [FieldProblem(field="Content-Encoding", reason=reason)],
                {"Accept-Encoding": "identity"},
            )


def _codecs(media_range: str) -> list[tuple[Codec, int]]:
    """The codecs that a media range covers, each with 1 where it is named rather than a wildcard."""
    if media_range in ("*/*", "application/*"):
        return [(Codec.JSON, 0), (Codec.MSGPACK, 0)]
    codec = MEDIA_TYPES.get(media_range)
    return [(codec, 1)] if codec else []


def _weighted(item: str) -> tuple[str, float]:
    """A value of a list with its ``q``; what is no number counts as refused."""
    value, *parameters = (part.strip().lower() for part in item.split(";"))
    for parameter in parameters:
        name, _, weight = parameter.partition("=")
        if name.strip() == "q":
            try:
                return value, float(weight)
            except ValueError:
                return value, 0.0
    return value, 1.0
