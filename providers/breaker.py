"""Circuit breaker of one provider."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from decahertz.backoff import Backoff
from decahertz.clock import NS_PER_SECOND
from providers.errors import CircuitOpenError

if TYPE_CHECKING:
    from decahertz.clock import Clock

_LONGEST_SECONDS: Final = 600.0


class BreakerState(StrEnum):
    """States of the breaker."""

    CLOSED = "closed"
    """Calls pass."""
    OPEN = "open"
    """Calls are refused at once."""
    HALF_OPEN = "half_open"
    """One call passes as a trial; the others are refused."""


class Breaker:
    """Stops calling a source that fails, and tries it again from time to time.

    closed ── ``failures`` in a row ──► open ── its time is over ──► half-open ── trial succeeds ──► closed
                                         ▲                              │
                                         └───────── trial fails ────────┘  (open for twice as long)

    Source: Nygard, *Release It!*, 2007.
    """

    def __init__(self, clock: Clock, failures: int, seconds: float, random: Callable[[], float]) -> None:
        self._clock = clock
        self._limit = failures
        self._backoff = Backoff(first_seconds=seconds, most_seconds=max(seconds, _LONGEST_SECONDS))
        self._random = random
        self._openings = 0
        """Times that it opened since it was closed."""
        self._open_until_ns = 0
        self._has_trial = False
        self.failures = 0
        """Failures in a row."""
        self.opened = 0
        """Times that it opened since the start."""
        self.reason = ""
        """The newest failure, while there are some in a row."""

    @property
    def state(self) -> BreakerState:
        """The state now."""
        if not self._openings:
            return BreakerState.CLOSED
        if self._clock.monotonic_ns() < self._open_until_ns:
            return BreakerState.OPEN
        return BreakerState.HALF_OPEN

    @property
    def retry_seconds(self) -> float:
        """Time until the next trial; 0: there may be one now."""
        if not self._openings:
            return 0.0
        return max(0, self._open_until_ns - self._clock.monotonic_ns()) / NS_PER_SECOND

    def admit(self) -> None:
        """Lets a call pass; tell its end with one of the other methods.

        Raises :class:`~providers.errors.CircuitOpenError`.
        """
        state = self.state
        if state is BreakerState.OPEN or (state is BreakerState.HALF_OPEN and self._has_trial):
            raise CircuitOpenError(self.reason, max(self.retry_seconds, 1.0))
        self._has_trial = state is BreakerState.HALF_OPEN

    def succeeded(self) -> None:
        """The source has answered."""
        self.failures = self._openings = 0
        self._has_trial = False
        self.reason = ""

    def failed(self, reason: str) -> None:
        """The source has failed."""
        self.failures += 1
        self.reason = reason
        was_trial, self._has_trial = self._has_trial, False
        if was_trial or (not self._openings and self.failures >= self._limit):
            seconds = self._backoff.seconds(self._openings, self._random)
            self._open_until_ns = self._clock.monotonic_ns() + round(seconds * NS_PER_SECOND)
            self._openings += 1
            self.opened += 1

    def abandoned(self) -> None:
        """The call has ended without telling anything about the source."""
        self._has_trial = False
