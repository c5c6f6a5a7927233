"""Limit of connections per address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from api.http.raw_problem import raw_problem

_REFUSAL: Final = "too many connections from this address (api.address_connections)"


class ConnectionLimit:
    """Counts open connections by address, and refuses those above the limit with 429."""

    def __init__(
        self, most: int, network: Callable[[str | None], str | None], refused: Callable[[], None]
    ) -> None:
        """``network`` names an address, ``None`` if it has no limit; ``refused`` counts refusals."""
        self._most = most
        self._network = network
        self._refused = refused
        self._names: dict[object, str] = {}
        self._counts: dict[str, int] = {}

    def opened(self, connection: object, transport: asyncio.Transport) -> None:
        """Counts a new connection, or closes it."""
        peer = transport.get_extra_info("peername")
        name = self._network(peer[0] if isinstance(peer, tuple) else None)
        if name is None:
            return
        count = self._counts.get(name, 0)
        if count >= self._most:
            self._refused()
            transport.write(raw_problem("rate-limited", "Too Many Requests", _REFUSAL))
            transport.close()
            return
        self._counts[name] = count + 1
        self._names[connection] = name

    def closed(self, connection: object) -> None:
        """Forgets a connection; safe for one that was refused."""
        name = self._names.pop(connection, None)
        if name is not None:
            self._counts[name] -= 1
            if not self._counts[name]:
                del self._counts[name]
