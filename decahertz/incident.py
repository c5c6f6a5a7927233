"""Logs an incident once when it begins and once when it ends.

A failure that repeats ten times a second must neither flood the log nor disappear from it: the first one is
logged with its cause, the following ones are counted, and one line reports the recovery and the count.

When a service is away that many parts use, each of them fails. They raise an :class:`OutageError` that names
the :class:`Outage`, which is the one incident of them all: their own stay silent, and there is no traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decahertz.clock import NS_PER_SECOND

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

QUIET_NS = 10 * NS_PER_SECOND
"""An incident is over after this long without a failure."""


class Outage:
    """A service that is away, as one incident of all parts that use it.

    quiet ── first part fails: logs "{event}_lost" ──► lost ── other parts fail ──► lost
    lost ── the main part recovers, or the last one: logs "{event}_recovered" ──► quiet

    A part that still fails when the main part has recovered may do so once more: it had asked before the end.
    """

    def __init__(self, event: str, log: BoundLogger) -> None:
        self._event = event
        self._log = log
        self._failing: set[object] = set()
        self._late: set[object] = set()
        """Parts that have not noticed the end."""
        self._is_lost = False

    def fail(self, part: object, error: BaseException, **details: object) -> None:
        """Notes that a part cannot use the service, and logs it if it is the first."""
        if part in self._late:
            self._late.remove(part)
            return
        self._failing.add(part)
        if not self._is_lost:
            self._is_lost = True
            self._log.warning(f"{self._event}_lost", error=str(error), **details)

    def recover(self, part: object, *, is_main: bool = False, **details: object) -> None:
        """Notes that a part can use it again; the main part, or the last one, ends the outage."""
        self._failing.discard(part)
        self._late.discard(part)
        if self._is_lost and (is_main or not self._failing):
            self._is_lost = False
            self._log.info(f"{self._event}_recovered", **details)
            self._late, self._failing = self._failing, set()


class OutageError(Exception):
    """Base of errors of a known kind of outage: the text says everything, a traceback adds nothing."""

    outage: Outage | None = None
    """The incident of all that it happens to; ``None``: it is that of the part alone."""


class Incident:
    """One condition of one part. Times are monotonic.

    quiet ── fail: logs "{event}_failed" ──► active ── fail: counts ──► active
    active ── recover, or look after ``quiet_ns``: logs "{event}_recovered" ──► quiet

    Failures that belong to an :class:`Outage` are counted, and logged there.
    """

    def __init__(self, event: str, log: BoundLogger, quiet_ns: int = QUIET_NS) -> None:
        self._event = event
        self._log = log
        self._quiet_ns = quiet_ns
        self._last_ns = 0
        self._failures = 0
        self._is_logged = False
        self._outage: Outage | None = None
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

    def fail(self, now_ns: int = 0, error: BaseException | None = None, **details: object) -> None:
        """Counts a failure, and logs it if it is the first. ``now_ns`` matters to :meth:`look` only.

        ``details`` are logged with it; a ``reason`` among them takes the place of the error's text.
        """
        self._last_ns = now_ns
        self.problem = str(error) if error else ""
        self._failures += 1
        self.total += 1
        if isinstance(error, OutageError):
            if error.outage is not None:
                self._outage = error.outage
                error.outage.fail(self, error)
                return
            details = {"reason": str(error), **details}
        if not self._is_logged:
            self._is_logged = True
            cause = None if isinstance(error, OutageError) else error
            self._log.error(f"{self._event}_failed", exc_info=cause, **details)

    def look(self, now_ns: int) -> None:
        """Ends the incident if no failure came for ``quiet_ns``; to be called regularly."""
        if self._failures and now_ns - self._last_ns >= self._quiet_ns:
            self.recover()

    def recover(self, **details: object) -> None:
        """Ends the incident at once, if there is one."""
        if self._is_logged:
            self._log.info(f"{self._event}_recovered", failures=self._failures, **details)
        outage, self._outage = self._outage, None
        if outage is not None:
            outage.recover(self)
        self._failures, self._is_logged = 0, False
        self.problem = ""
