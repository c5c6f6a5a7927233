"""Cross-origin requests (CORS): which pages of other origins may use the API.

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

if TYPE_CHECKING:
    from multidict import CIMultiDict

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE",
    "Access-Control-Allow-Headers": (
        "Accept, Authorization, Cache-Control, Content-Encoding, Content-Type, If-None-Match, X-Request-ID"
    ),
    "Access-Control-Max-Age": "600",
    "Cache-Control": "no-store",
}
_EXPOSED: Final = (
    "Age, Cache-Status, Content-Disposition, ETag, Link, RateLimit, RateLimit-Policy, Retry-After,"
    " Server-Timing, X-Request-ID"
)
"""Headers of responses that a page may read."""


class Cors:
    """Names the listed origins in responses, and answers preflight requests. Without origins it does nothing.

    Only listed origins are named, never ``*``, so credentials are safe to allow.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self.origins = frozenset(_as_browsers_send(origin) for origin in origins)

    def allows(self, origin: str) -> bool:
        """Whether pages of an origin may use the API."""
        return origin.lower() in self.origins

    def preflight(self, request: web.Request) -> web.Response | None:
        """The response to a preflight request; ``None`` for any other. Its origin is checked already."""
        if request.method != hdrs.METH_OPTIONS or not self.origins:
            return None
        headers = request.headers
        if "Access-Control-Request-Method" not in headers or not self.allows(headers.get("Origin", "")):
            return None
        return web.Response(status=204, headers=_PREFLIGHT)

    def mark(self, request: web.Request, headers: CIMultiDict[str]) -> None:
        """Adds the headers that let a page of a listed origin read the response."""
        if not self.origins:
            return
        vary = headers.get("Vary")
        if vary is None or "Origin" not in vary:  # an API process passes on what the recorder has marked
            headers["Vary"] = "Origin" if vary is None else f"{vary}, Origin"
        origin = request.headers.get("Origin")
        if origin is not None and self.allows(origin):
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Allow-Credentials"] = "true"
            headers["Access-Control-Expose-Headers"] = _EXPOSED


def _as_browsers_send(origin: str) -> str:
    """In lower case, without the default port of the scheme."""
    parts = urlsplit(origin.lower())
    default = f":{_DEFAULT_PORTS.get(parts.scheme)}"
    return f"{parts.scheme}://{parts.netloc.removesuffix(default)}"
