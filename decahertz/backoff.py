"""Exponential backoff with a cap and jitter."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

_MOST_DOUBLINGS = 32


class Backoff(Struct, frozen=True):
    """Waits that double from ``first_seconds`` to ``most_seconds``.

    Half of each wait is random ("equal jitter": Brooker, *Exponential Backoff And Jitter*, AWS
    Architecture Blog, 2015), so that clients that lost the same venue do not reconnect together, and none
    reconnects at once.
    """

    first_seconds: float = 1.0
    most_seconds: float = 60.0

    def seconds(self, attempt: int, random: Callable[[], float]) -> float:
        """The wait before retry number ``attempt``, from 0; ``random`` returns a number in [0, 1)."""
        doublings = min(max(attempt, 0), _MOST_DOUBLINGS)
        longest = min(self.most_seconds, self.first_seconds * 2.0**doublings)
        return longest * (0.5 + 0.5 * random())
