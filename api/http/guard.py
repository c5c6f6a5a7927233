"""Checks who may send requests.

There are no API keys yet, so the API listens on loopback addresses only, or on a private network if the
settings say so. A web page in a browser on this machine can still send requests; two checks keep it out. The
*Host* header must name this machine, which stops DNS rebinding (a page whose own name resolves to 127.0.0.1).
The *Origin* header, where a browser sends one, must be the server's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from api.http.problems import ProblemError

_MAX_REMEMBERED_HOSTS = 100
"""Tunnels use a few ports; a scan uses many."""


class Guard:
    """Checks the headers Host and Origin of every request."""

    def __init__(self, host_names: Iterable[str]) -> None:
        """``host_names`` may stand in the header Host besides the names of loopback."""
        names = {name.lower().strip("[]") for name in host_names}
        self._names = frozenset(names | {"localhost", "127.0.0.1", "::1"})
        self._accepted: set[str] = set()

    def check(self, request: web.Request) -> None:
        """Raises :class:`ProblemError` (``misdirected-request``, ``forbidden-origin``)."""
        host = request.headers.get("Host", "")
        if host not in self._accepted:
            if _host_name(host) not in self._names:
                raise ProblemError("misdirected-request", "the header Host does not name this machine")
            if len(self._accepted) < _MAX_REMEMBERED_HOSTS:
                self._accepted.add(host)
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
            raise ProblemError("forbidden-origin", "pages of other origins cannot use this API")


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
