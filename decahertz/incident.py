"""Logging a trouble once, and once more when it is over.

What fails ten times a second, or on every second event, must neither fill the log nor vanish from it: the
first failure is logged with its cause, the following ones are counted, and when none has come for a while
one line says that it recovered and how often it had failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decahertz.clock import NS_PER_SECOND

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

QUIET_NS = 10 * NS_PER_SECOND
"""So long without a failure, and the trouble is over."""


class Incident:
    """One kind of trouble of one part. ``log`` is a bound structlog logger; times are monotonic."""

    def __init__(self, event: str, log: BoundLogger, quiet_ns: int = QUIET_NS) -> None:
        """Log lines are named ``{event}_failed`` and ``{event}_recovered``."""
        self._event = event
        self._log = log
        self._quiet_ns = quiet_ns
        self._last_ns = 0
        self._failures = 0
        self.total = 0
        """Failures since the start."""

    @property
    def active(self) -> bool:
        """Whether it has not recovered yet."""
        return self._failures > 0

    def fail(self, now_ns: int, error: BaseException | None = None, **details: object) -> None:
        """Count a failure; log it if it is the first."""
        self._last_ns = now_ns
        self._failures += 1
        self.total += 1
        if self._failures == 1:
            self._log.error(f"{self._event}_failed", exc_info=error, **details)

    def look(self, now_ns: int) -> None:
        """Called now and then: notices that it is over."""
        if self._failures and now_ns - self._last_ns >= self._quiet_ns:
            self.recover()

    def recover(self, **details: object) -> None:
        """End the incident at once, if there is one, and log that it recovered."""
        if self._failures:
            self._log.info(f"{self._event}_recovered", failures=self._failures, **details)
            self._failures = 0
