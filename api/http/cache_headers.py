"""Headers of requests and responses that concern the cache of responses."""

from __future__ import annotations

from typing import Final

from api.http.cache import Cached, Found

_CACHE_STATUS: Final = {
    Found.HIT: "decahertz; hit",
    Found.SHARED: "decahertz; hit; detail=shared",
    Found.STALE: "decahertz; hit; detail=stale",
    Found.COLLAPSED: "decahertz; fwd=miss; collapsed",
    Found.MISS: "decahertz; fwd=miss",
    Found.BYPASS: "decahertz; fwd=request",
}
"""Values of the header ``Cache-Status`` (RFC 9211)."""


UNCACHED: Final = {"Age": "0", "Cache-Status": "decahertz; fwd=bypass"}
"""Headers of a response on a route with a cache, in a form that the cache does not keep."""


def insists(cache_control: str | None) -> bool:
    """Whether a client accepts only a new response: the button *reload* of browsers sends ``max-age=0``."""
    return cache_control is not None and ("no-cache" in cache_control or "max-age=0" in cache_control)


def cache_headers(cached: Cached) -> dict[str, str]:
    """Headers of a response out of the cache, or just computed."""
    return {
        "Age": str(cached.age_seconds),
        "Cache-Status": _CACHE_STATUS[cached.found],
        "ETag": cached.entry.tag,
    }
