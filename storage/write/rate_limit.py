"""A pace that is kept on average."""

from __future__ import annotations

from decahertz.clock import NS_PER_SECOND, Clock


class RateLimiter:
    """Says when the next lot may go. What is not used is not saved up."""

    def __init__(self, rows_per_second: float, clock: Clock) -> None:
        """The first lot may go at once."""
        self._ns_per_row = NS_PER_SECOND / rows_per_second
        self._clock = clock
        self._due_ns = clock.monotonic_ns()

    def seconds_until_due(self) -> float:
        """How long until the next lot may go; 0: now."""
        return max(0, self._due_ns - self._clock.monotonic_ns()) / NS_PER_SECOND

    def spend(self, rows: int) -> None:
        """A lot goes now."""
        self._due_ns = max(self._due_ns, self._clock.monotonic_ns()) + round(rows * self._ns_per_row)
