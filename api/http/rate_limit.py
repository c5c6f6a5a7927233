"""Rate limiter: one token bucket per key or address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web
from msgspec import Struct

from decahertz.clock import NS_PER_SECOND

if TYPE_CHECKING:
    from decahertz.clock import Clock

_BURST_SECONDS: Final = 2
"""A bucket holds as many tokens as it gets in this time."""
_MAX_BUCKETS: Final = 20_000
"""Buckets in each of the two generations."""


class Allowance(Struct, frozen=True, gc=False):
    """Decision about one request."""

    name: str
    """Name of the limit: ``key`` or ``address``."""
    burst: int
    """Tokens of a full bucket."""
    remaining: int
    wait_ns: int
    """Time until the refused request can succeed; 0: it is admitted."""
    reset_ns: int
    """Time until the bucket is full."""
    window_ns: int
    """Time in which an empty bucket fills."""

    @property
    def is_admitted(self) -> bool:
        """Whether there was a token."""
        return self.wait_ns == 0

    def headers(self) -> dict[str, str]:
        """Header fields that the working group HTTPAPI of the IETF proposes."""
        window, reset = seconds_up(self.window_ns), seconds_up(self.reset_ns)
        return {
            "RateLimit-Policy": f'"{self.name}";q={self.burst};w={window}',
            "RateLimit": f'"{self.name}";r={self.remaining};t={reset}',
        }


def seconds_up(time_ns: int) -> int:
    """Whole seconds, rounded up."""
    return -(-time_ns // NS_PER_SECOND)


ALLOWANCE: Final[web.RequestKey[Allowance]] = web.RequestKey("allowance", Allowance)
"""Key under which a request carries the allowance of the last limit that it was counted against."""


class RateLimiter:
    """Token buckets by name, each with ``per_second`` tokens a second and two seconds' worth at most.

    A bucket is stored as the time at which it will be full (the generic cell rate algorithm), so a request
    costs two look-ups and no timer. Buckets live in two generations: ::

        new ──rotation, every window──> old ──rotation──> forgotten

    The window is the time in which an empty bucket fills. A used bucket moves to the new generation. One
    that is forgotten was not used for a window and is full again: nothing is lost. A generation that reaches
    its limit is rotated early: memory stays bounded however many addresses there are, and the least used
    buckets start full.
    """

    def __init__(
        self, name: str, clock: Clock, per_second: float, *, max_buckets: int = _MAX_BUCKETS
    ) -> None:
        self._name = name
        self._clock = clock
        self._token_ns = max(1, round(NS_PER_SECOND / per_second))
        self._burst = max(1, round(per_second * _BURST_SECONDS))
        self._window_ns = self._burst * self._token_ns
        self._max_buckets = max_buckets
        self._new: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._rotate_ns = 0

    @property
    def buckets(self) -> int:
        """Buckets in memory."""
        return len(self._new) + len(self._old)

    def take(self, bucket: str) -> Allowance:
        """Takes a token out of a bucket, if the bucket has one."""
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._rotate_ns or len(self._new) >= self._max_buckets:
            self._rotate(now_ns)
        full_ns = self._new.get(bucket)
        if full_ns is None:
            full_ns = self._old.get(bucket, now_ns)
        full_ns = max(full_ns, now_ns) + self._token_ns
        missing_ns = full_ns - now_ns
        left_ns = self._window_ns - missing_ns
        if left_ns < 0:
            reset_ns = missing_ns - self._token_ns
            return Allowance(self._name, self._burst, 0, -left_ns, reset_ns, self._window_ns)
        self._new[bucket] = full_ns
        return Allowance(self._name, self._burst, left_ns // self._token_ns, 0, missing_ns, self._window_ns)

    def _rotate(self, now_ns: int) -> None:
        self._old, self._new = self._new, {}
        self._rotate_ns = now_ns + self._window_ns
