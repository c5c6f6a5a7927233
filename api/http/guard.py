"""Checks who may send requests.

Programs of this machine may need no key, and a web page in a browser on this machine can send requests too:
two checks keep it out. The *Host* header must name this machine (:mod:`decahertz.host_names`). The *Origin*
header, where a browser sends one, must be the server's own or a listed one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiohttp import web

from api.http.cors import Cors
from api.http.problems import ProblemError
from decahertz.host_names import HostNames

_MAX_ECHO_CHARACTERS = 80


class Guard:
    """Checks the headers Host and Origin of every request."""

    def __init__(self, host_names: Iterable[str], cors: Cors | None = None) -> None:
        """``host_names`` may stand in the header Host besides the names of loopback."""
        self.cors = cors or Cors(())
        self._host_names = HostNames(host_names)

    def check(self, request: web.Request) -> None:
        """Raises :class:`ProblemError` (``misdirected-request``, ``forbidden-origin``)."""
        host = request.headers.get("Host", "")
        if not self._host_names.accepts(host):
            raise ProblemError(
                "misdirected-request",
                f"the header Host is {host[:_MAX_ECHO_CHARACTERS]!r} and does not name this machine:"
                " list the name of the host in the setting api.host_names to permit it",
            )
        origin = request.headers.get("Origin")
        if origin is None or is_own_origin(request.headers):
            return
        if not self.cors.allows(origin):
            raise ProblemError(
                "forbidden-origin", "pages of this origin cannot use this API (api.cors_origins)"
            )


def is_own_origin(headers: Mapping[str, str]) -> bool:
    """Whether a request comes from a page of this server, as its browser says."""
    host, origin = headers.get("Host", "").lower(), headers.get("Origin", "").lower()
    return origin in (f"http://{host}", f"https://{host}")
