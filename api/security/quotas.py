"""Limits per key and per address: requests, messages over WebSocket, connections."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from api.http.connections import ConnectionLimit
from api.http.problems import ProblemError
from api.http.rate_limit import ALLOWANCE, Allowance, RateLimiter, seconds_up

if TYPE_CHECKING:
    from decahertz.clock import Clock

_IPV6_PREFIX: Final = 64
"""A customer of an IPv6 network has at least as many addresses; they count as one."""


class Quotas:
    """Counts requests against the address that they come from, and against their key.

    A limit of 0 is none. Addresses of this machine have no limits unless ``limit_loopback``.
    """

    def __init__(
        self,
        clock: Clock,
        registry: CollectorRegistry,
        *,
        key_per_second: float = 0.0,
        address_per_second: float = 0.0,
        limit_loopback: bool = False,
    ) -> None:
        self._keys = RateLimiter("key", clock, key_per_second) if key_per_second else None
        self._addresses = RateLimiter("address", clock, address_per_second) if address_per_second else None
        self._limit_loopback = limit_loopback
        refused = Counter(
            "decahertz_api_rate_limited",
            "Requests, WebSocket messages and connections refused: too many of one key or address.",
            ("limit", "kind"),
            registry=registry,
        )
        self._refused = {
            (limit, kind): refused.labels(limit, kind)
            for limit in ("key", "address")
            for kind in ("request", "message", "connection")
        }
        # Parsing an address takes microseconds, a look-up does not.
        self.network = lru_cache(maxsize=4096)(self._network)
        """The name under which an address is counted; ``None``: it has no limits."""

    def connection_limit(self, most: int) -> ConnectionLimit:
        """Makes the limit of open connections per address."""
        return ConnectionLimit(most, self.network, self._refused["address", "connection"].inc)

    def admit(self, request: web.Request) -> None:
        """Counts a request against its address. Raises :class:`ProblemError` (``rate-limited``)."""
        if self._addresses is None:
            return
        network = self.network(request.remote)
        if network is not None:
            self._take(self._addresses, network, request)

    def admit_key(self, request: web.Request, key_id: str | None) -> None:
        """Counts a request against its key. Raises :class:`ProblemError` (``rate-limited``)."""
        if key_id is not None and self._keys is not None:
            self._take(self._keys, key_id, request)

    def message_meter(self, request: web.Request, key_id: str | None) -> Callable[[], str]:
        """Counts the messages of a WebSocket client: returns why the next one is refused, or ``""``."""
        counted = []
        network = self.network(request.remote)
        if self._addresses is not None and network is not None:
            counted.append((self._addresses, network))
        if self._keys is not None and key_id is not None:
            counted.append((self._keys, key_id))

        def refusal() -> str:
            for limiter, bucket in counted:
                allowance = limiter.take(bucket)
                if not allowance.is_admitted:
                    self._refused[allowance.name, "message"].inc()
                    return _text(allowance)
            return ""

        return refusal

    def _take(self, limiter: RateLimiter, bucket: str, request: web.Request) -> None:
        allowance = request[ALLOWANCE] = limiter.take(bucket)
        if not allowance.is_admitted:
            self._refused[allowance.name, "request"].inc()
            raise ProblemError(
                "rate-limited", _text(allowance), headers={"Retry-After": str(seconds_up(allowance.wait_ns))}
            )

    def _network(self, remote: str | None) -> str | None:
        try:
            address = ipaddress.ip_address((remote or "").partition("%")[0])
        except ValueError:
            return "unknown"
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        if address.is_loopback and not self._limit_loopback:
            return None
        if isinstance(address, ipaddress.IPv6Address):
            return str(ipaddress.IPv6Network((address, _IPV6_PREFIX), strict=False))
        return str(address)


def _text(allowance: Allowance) -> str:
    setting = f"api.{allowance.name}_requests_per_second"
    return f"too many from this {allowance.name} ({setting}); try again in {seconds_up(allowance.wait_ns)} s"
