"""Logs an incident once when it begins and once when it ends.

A failure that repeats ten times a second must neither flood the log nor disappear from it: the first one is
logged with its cause, the following ones are counted, and one line reports the recovery and the count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decahertz.clock import NS_PER_SECOND

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

QUIET_NS = 10 * NS_PER_SECOND
"""An incident is over after this long without a failure."""


class Incident:
    """One condition of one part. Times are monotonic.

    quiet ── fail: logs "{event}_failed" ──► active ── fail: counts ──► active
    active ── recover, or look after ``quiet_ns``: logs "{event}_recovered" ──► quiet
    """

    def __init__(self, event: str, log: BoundLogger, quiet_ns: int = QUIET_NS) -> None:
        self._event = event
        self._log = log
        self._quiet_ns = quiet_ns
        self._last_ns = 0
        self._failures = 0
        self.problem = ""
        """Text of the newest error while the incident is active."""
        self.total = 0
        """Failures since the start."""

    @property
    def active(self) -> bool:
        """Whether it began and has not ended."""
        return self._failures > 0

    @property
    def failures(self) -> int:
        """Failures since it began; 0 while it is not active."""
        return self._failures

    def fail(self, now_ns: int, error: BaseException | None = None, **details: object) -> None:
        """Count a failure, and log it if it is the first. ``now_ns`` matters to :meth:`look` only."""
        self._last_ns = now_ns
        self.problem = str(error) if error else ""
        self._failures += 1
        self.total += 1
        if self._failures == 1:
            self._log.error(f"{self._event}_failed", exc_info=error, **details)

    def look(self, now_ns: int) -> None:
        """End the incident if no failure came for ``quiet_ns``; to be called regularly."""
        if self._failures and now_ns - self._last_ns >= self._quiet_ns:
            self.recover()

    def recover(self, **details: object) -> None:
        """End the incident at once, if there is one."""
        if self._failures:
            self._log.info(f"{self._event}_recovered", failures=self._failures, **details)
            self._failures = 0
            self.problem = ""
