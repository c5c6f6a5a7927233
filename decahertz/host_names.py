"""Names of this machine that the ``Host`` header may carry, for every listener of the program.

A web page in a browser on this machine can send requests to loopback. By DNS rebinding (the page's own name
resolves to 127.0.0.1) it could also read the responses; the ``Host`` header then has that name. Nobody can
point an address elsewhere, so every address is accepted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_MAX_REMEMBERED = 100
"""Tunnels use a few ports; a scan uses many."""


class HostNames:
    """Accepts the names of loopback, every address, and further names."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = _LOOPBACK | {name.lower().strip("[]") for name in names}
        self._accepted: set[str] = set()

    def accepts(self, header: str) -> bool:
        """Whether the value of the ``Host`` header names this machine; an empty one does not."""
        if header in self._accepted:
            return True
        name = _host_name(header)
        if name is None or not (name in self._names or _is_address(name)):
            return False
        if len(self._accepted) < _MAX_REMEMBERED:
            self._accepted.add(header)
        return True


def _host_name(header: str) -> str | None:
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname if parts.netloc == header and "@" not in header else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
