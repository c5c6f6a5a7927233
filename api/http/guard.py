"""Safe by default: who may ask at all.

There are no API keys yet, so the API listens on loopback addresses only. A web page in a browser on this
machine can still send requests here; two checks keep it out. The *Host* header has to name this machine, else
a page whose own name was pointed at 127.0.0.1 (DNS rebinding) would be let in; and where a browser says from
which *Origin* a request comes, that has to be this server's own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

from aiohttp import web

from api.http.errors import ProblemError
from decahertz.settings import SettingsError


class UnsafeAddressError(SettingsError):
    """The API would be reachable from other machines, without any protection."""


class PortInUseError(SettingsError):
    """Something else listens on the port already."""


async def check_loopback(host: str) -> None:
    """Raise :class:`UnsafeAddressError` unless ``host`` means this machine only."""
    if host:  # an empty one means every address of this machine
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            reason = f"{host!r} cannot be resolved: {error.strerror or error}"
            raise SettingsError("api.host", reason) from error
        addresses = {str(info[4][0]).partition("%")[0] for info in found}
        if all(ipaddress.ip_address(address).is_loopback for address in addresses):
            return
    raise UnsafeAddressError(
        "api.host",
        f"{host!r} can be reached from other machines and there are no API keys yet; use 127.0.0.1",
    )


class Guard:
    """Checks the headers Host and Origin of every request."""

    def __init__(self, bound_host: str) -> None:
        """``bound_host`` is the setting ``api.host``."""
        self._names = frozenset({bound_host.lower().strip("[]"), "localhost", "127.0.0.1", "::1"})
        self._known: set[str] = set()

    def check(self, request: web.Request) -> None:
        """Raise :class:`ProblemError` (kinds ``host`` and ``origin``) for a request from elsewhere."""
        host = request.headers.get("Host", "")
        if host not in self._known:
            if _name_of(host) not in self._names:
                raise ProblemError("host", "the header Host does not name this machine")
            if len(self._known) < 100:  # noqa: PLR2004 - the ports of tunnels are few; a scan has many
                self._known.add(host)
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
            raise ProblemError("origin", "pages of other origins cannot use this API")


def _name_of(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
