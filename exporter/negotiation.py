"""Chooses the exposition format for a scraper (RFC 9110, section 12.5.1).

A client that accepts neither format gets the text format, as from every exporter: it may be a browser or
``curl``.
"""

from __future__ import annotations

from enum import StrEnum

from decahertz.negotiation import Preference, preferences


class Format(StrEnum):
    """Formats of ``/metrics``; the value is the ``Content-Type`` of the response."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    """https://prometheus.io/docs/instrumenting/exposition_formats/"""

    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    """https://prometheus.io/docs/specs/om/open_metrics_spec/"""


_MEDIA_TYPES = {Format.TEXT: "text/plain", Format.OPENMETRICS: "application/openmetrics-text"}
# Versions that the output is valid in. Text 1.0.0 only adds quoted names to 0.0.4.
_VERSIONS = {Format.TEXT: {"", "0.0.4", "1.0.0"}, Format.OPENMETRICS: {"", "0.0.1", "1.0.0"}}


def choose_format(accept: str) -> Format:
    """Chooses the format of the highest quality in an ``Accept`` header; text without a header.

    Between equals, a named format wins over one that only a wildcard matches, and OpenMetrics over text.
    """
    accepted = list(preferences(accept))
    best, best_rank = Format.TEXT, (0.0, 0)
    for offered in (Format.OPENMETRICS, Format.TEXT):
        quality, precision = _match(offered, accepted)
        if offered is Format.TEXT and not precision:
            precision = 1  # prefer text if only wildcards match
        if quality > 0 and (quality, precision) > best_rank:
            best, best_rank = offered, (quality, precision)
    return best


def _match(offered: Format, accepted: list[Preference]) -> tuple[float, int]:
    """Quality of the most precise matching range, and 2 if that names the type, 0 for a wildcard."""
    media_type = _MEDIA_TYPES[offered]
    ranges = {media_type: 3, media_type.split("/", maxsplit=1)[0] + "/*": 2, "*/*": 1}
    found = [
        (ranges[item.name], item.quality)
        for item in accepted
        if item.name in ranges
        and (item.name != media_type or item.parameters.get("version", "") in _VERSIONS[offered])
    ]
    if not found:
        return 0.0, 0
    precision, quality = max(found)
    return quality, 2 if precision == ranges[media_type] else 0
