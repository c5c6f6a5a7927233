"""Which format and which compression a scraper gets: RFC 9110, sections 12.4.2, 12.5.1 and 12.5.3.

A scraper that accepts neither format gets the text format all the same, as every exporter does: a person
with a browser or ``curl`` wants to see something.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Format(StrEnum):
    """The formats of ``/metrics``; the value is the ``Content-Type`` of the answer."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    """https://prometheus.io/docs/instrumenting/exposition_formats/"""

    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    """https://prometheus.io/docs/specs/om/open_metrics_spec/"""


_MEDIA_TYPES = {Format.TEXT: "text/plain", Format.OPENMETRICS: "application/openmetrics-text"}
# Versions whose readers understand what we write. Text 1.0.0 only adds quoted names to 0.0.4.
_VERSIONS = {Format.TEXT: {"", "0.0.4", "1.0.0"}, Format.OPENMETRICS: {"", "0.0.1", "1.0.0"}}


@dataclass(frozen=True, slots=True)
class _Choice:
    name: str
    version: str
    quality: float


def choose_format(accept: str) -> Format:
    """The format for an ``Accept`` header: the one of the highest quality.

    Between equals a format that is named wins over one that a wildcard lets in, and OpenMetrics, which
    says more, over text. Without a header it is text.
    """
    choices = list(_choices(accept))
    best, best_rank = Format.TEXT, (0.0, 0)
    for offered in (Format.OPENMETRICS, Format.TEXT):
        quality, precision = _match(offered, choices)
        if offered is Format.TEXT and not precision:
            precision = 1  # among formats that only wildcards let in, text is the common ground
        if quality > 0 and (quality, precision) > best_rank:
            best, best_rank = offered, (quality, precision)
    return best


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an ``Accept-Encoding`` header lets gzip in."""
    qualities = {choice.name: choice.quality for choice in _choices(accept_encoding)}
    named = qualities.get("gzip", qualities.get("x-gzip"))
    return (qualities.get("*", 0.0) if named is None else named) > 0


def _match(offered: Format, choices: list[_Choice]) -> tuple[float, int]:
    """Quality of the most precise range that matches, and whether it names a type or is a wildcard."""
    media_type = _MEDIA_TYPES[offered]
    ranges = {media_type: 3, media_type.split("/", maxsplit=1)[0] + "/*": 2, "*/*": 1}
    found = [
        (ranges[choice.name], choice.quality)
        for choice in choices
        if choice.name in ranges and (choice.name != media_type or choice.version in _VERSIONS[offered])
    ]
    if not found:
        return 0.0, 0
    precision, quality = max(found)
    return quality, 2 if precision == ranges[media_type] else 0


def _choices(header: str) -> Iterator[_Choice]:
    for part in header.split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if not name:
            continue
        values = dict(_parameter(parameter) for parameter in parameters)
        yield _Choice(name.lower(), values.get("version", ""), _quality(values.get("q", "1")))


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"')


def _quality(text: str) -> float:
    """A quality between 0 and 1; what is no such number counts as not accepted."""
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0
