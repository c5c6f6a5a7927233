"""Caps the average number of rows per second."""

from __future__ import annotations

from decahertz.clock import NS_PER_SECOND, Clock


class RateLimiter:
    """Tells when the next batch is due. Unused capacity is not saved up."""

    def __init__(self, rows_per_second: float, clock: Clock) -> None:
        """The first batch is due at once."""
        self._ns_per_row = NS_PER_SECOND / rows_per_second
        self._clock = clock
        self._due_ns = clock.monotonic_ns()

    def seconds_until_due(self) -> float:
        """Seconds until the next batch is due; 0: now."""
        return max(0, self._due_ns - self._clock.monotonic_ns()) / NS_PER_SECOND

    def spend(self, rows: int) -> None:
        """Account for a batch of ``rows`` that is sent now."""
        self._due_ns = max(self._due_ns, self._clock.monotonic_ns()) + round(rows * self._ns_per_row)
