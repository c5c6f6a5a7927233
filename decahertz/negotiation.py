"""Parses what a client accepts, and compresses responses (RFC 9110, sections 12.4.2 and 12.5)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

_GZIP_BITS = 31  # a window of 32 KiB, in the gzip format


@dataclass(frozen=True, slots=True)
class Preference:
    """One item of an ``Accept`` or ``Accept-Encoding`` header."""

    name: str
    """The media range or coding, in lower case."""
    parameters: Mapping[str, str]
    quality: float
    """From 0 (not acceptable) to 1; an invalid value is 0."""


def preferences(header: str) -> Iterator[Preference]:
    """Yields the items of a header in order."""
    for item in header.split(","):
        name, *rest = (part.strip() for part in item.split(";"))
        if name:
            parameters = dict(_parameter(text) for text in rest)
            yield Preference(name.lower(), parameters, _quality(parameters.get("q", "1")))


@lru_cache(maxsize=256)
def accepts_gzip(accept_encoding: str | None) -> bool:
    """Whether a client accepts gzip."""
    qualities = {item.name: item.quality for item in preferences(accept_encoding or "")}
    named = qualities.get("gzip", qualities.get("x-gzip"))
    return (qualities.get("*", 0.0) if named is None else named) > 0


def gzipped(chunks: Iterable[bytes], level: int) -> bytes:
    """Compresses to the gzip format (RFC 1952)."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, _GZIP_BITS)
    return b"".join([*map(compressor.compress, chunks), compressor.flush()])


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"')


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0
