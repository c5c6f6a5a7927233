"""How long to wait before the next attempt: exponential, capped, jittered."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

_MOST_DOUBLINGS = 32


class Backoff(Struct, frozen=True):
    """Waits that double from ``first_seconds`` to ``most_seconds``.

    Half of each wait is random ("equal jitter": Brooker, *Exponential Backoff And Jitter*, AWS
    Architecture Blog, 2015), so that many clients that lost the same venue do not return together,
    and none returns at once.
    """

    first_seconds: float = 1.0
    most_seconds: float = 60.0

    def seconds(self, attempt: int, random: Callable[[], float]) -> float:
        """The wait before attempt ``attempt`` (the first retry is 0); ``random`` gives [0, 1)."""
        doublings = min(max(attempt, 0), _MOST_DOUBLINGS)
        whole = min(self.most_seconds, self.first_seconds * 2.0**doublings)
        return whole * (0.5 + 0.5 * random())
