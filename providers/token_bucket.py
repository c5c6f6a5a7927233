"""The rate limit of one provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decahertz.clock import NS_PER_SECOND

if TYPE_CHECKING:
    from decahertz.clock import Clock


class TokenBucket:
    """Tokens that fill up at a constant rate, stored as the time at which all are there again.

    That is the generic cell rate algorithm (ITU-T I.371): a token that is not there yet can be reserved, and
    the caller waits for it.
    """

    def __init__(self, clock: Clock, per_second: float, burst: int) -> None:
        """With ``per_second`` 0 there are always tokens."""
        self._clock = clock
        self._token_ns = round(NS_PER_SECOND / per_second) if per_second else 0
        self._burst_ns = self._token_ns * burst
        self.burst = burst
        self._full_ns = 0
        self._paused_until_ns = 0

    @property
    def tokens(self) -> int | None:
        """Tokens that are there now; ``None``: there is no limit."""
        if not self._token_ns:
            return None
        missing_ns = max(0, self._full_ns - self._clock.monotonic_ns())
        return max(0, (self._burst_ns - missing_ns) // self._token_ns)

    @property
    def pause_seconds(self) -> float:
        """How long the source still asks to pause; 0: it does not."""
        return max(0, self._paused_until_ns - self._clock.monotonic_ns()) / NS_PER_SECOND

    @property
    def wait_seconds(self) -> float:
        """How long the next token has to be waited for."""
        now_ns = self._clock.monotonic_ns()
        full_ns = max(self._full_ns, now_ns) + self._token_ns
        return max(0, full_ns - self._burst_ns - now_ns, self._paused_until_ns - now_ns) / NS_PER_SECOND

    def take(self, most_seconds: float) -> float:
        """Takes a token; returns the seconds to wait until it is there.

        If they are more than ``most_seconds``, no token is taken.
        """
        seconds = self.wait_seconds
        if seconds <= most_seconds:
            self._full_ns = max(self._full_ns, self._clock.monotonic_ns()) + self._token_ns
        return seconds

    def pause(self, seconds: float) -> None:
        """Gives no token for a time, as the source asks."""
        until_ns = self._clock.monotonic_ns() + round(seconds * NS_PER_SECOND)
        self._paused_until_ns = max(self._paused_until_ns, until_ns)
