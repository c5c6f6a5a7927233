"""Errors of the gateway, in addition to those of providers (:mod:`decahertz.provider`)."""

from __future__ import annotations

from typing import ClassVar

from decahertz.clock import NS_PER_SECOND, format_time


class GatewayError(Exception):
    """Raised when the gateway does not let a request through. ``str()`` says why."""

    outcome: ClassVar[str] = "refused"
    """Its name in the metrics."""
    retry_seconds: float = 1.0
    """When the same request may succeed."""


class QueueFullError(GatewayError):
    """Raised when too many calls wait already."""

    outcome = "queue_full"


class CircuitOpenError(GatewayError):
    """Raised while the circuit breaker is open."""

    outcome = "circuit_open"

    def __init__(self, reason: str, retry_seconds: float) -> None:
        super().__init__(f"the circuit breaker is open after failures ({reason})")
        self.retry_seconds = retry_seconds


class ThrottledError(GatewayError):
    """Raised when the rate limit leaves no call within the time-out."""

    outcome = "throttled"

    def __init__(self, retry_seconds: float, *, is_paused: bool) -> None:
        """``is_paused``: the source has asked for the pause."""
        paused = f"the provider asks to pause for {retry_seconds:.0f} s more"
        super().__init__(paused if is_paused else "the rate limit of the provider is used up")
        self.retry_seconds = retry_seconds


class BudgetExhaustedError(GatewayError):
    """Raised when a call would exceed the costs of the day."""

    outcome = "budget"

    def __init__(self, whose: str, limit: float, now_ns: int, reset_ns: int) -> None:
        """``whose`` budget: that of the provider, or of a key."""
        super().__init__(
            f"the budget of {whose}, {limit:g} a day, is spent; resets at {format_time(reset_ns)}"
        )
        self.reset_ns = reset_ns
        self.retry_seconds = (reset_ns - now_ns) / NS_PER_SECOND


class LateError(GatewayError):
    """Raised when there is no answer within the time that the request allows."""

    outcome = "late"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s; the call goes on, so ask again")
