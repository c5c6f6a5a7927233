"""Conditions of the spool, for the log and the health report."""

from __future__ import annotations

import structlog

from decahertz.clock import Clock
from decahertz.incident import Incident
from decahertz.words import counted

_LIMITS = "the backlog exceeds spool.max_bytes or spool.max_age_hours"


class SpoolHealth:
    """Remembers which conditions hold; each is logged once when it begins and once when it ends."""

    def __init__(self, clock: Clock) -> None:
        log = structlog.get_logger(part="spool")
        self._clock = clock
        self._writing = Incident("spool_write", log)
        self._limits = Incident("spool_capacity", log)
        self._encoding = Incident("sample_encoding", log)
        self._encoding_error = ""
        self._dropped_rows = 0
        self.write_error = ""
        """Error of the last write; empty after a success."""

    def __str__(self) -> str:
        """The most severe condition; empty if there is none."""
        if self.write_error:
            return f"{self.write_error}; events are refused, samples go on in memory"
        if self._limits.active:
            return f"{counted(self._dropped_rows, 'row')} dropped: {_LIMITS}"
        return f"samples cannot be encoded: {self._encoding_error}" if self._encoding.active else ""

    def note_write_error(self, reason: str) -> None:
        """Notes that a write failed."""
        self._writing.fail(self._clock.monotonic_ns(), reason=reason)
        self.write_error = reason

    def note_written(self) -> None:
        """Notes that a write succeeded."""
        self._writing.recover()
        self.write_error = ""

    def note_dropped(self, rows: int, *, has_backlog: bool) -> None:
        """Notes rows dropped by a limit (0: none). The condition ends when the backlog is empty."""
        if rows:
            self._limits.fail(self._clock.monotonic_ns(), reason=_LIMITS)
            self._dropped_rows += rows
        elif self._limits.active and not has_backlog:
            self._limits.recover(rows=self._dropped_rows)
            self._dropped_rows = 0

    def note_encoding(self, error: str, *, has_samples: bool) -> None:
        """Notes why samples of a commit could not be encoded; empty if all could."""
        if error:
            self._encoding.fail(self._clock.monotonic_ns(), reason=error)
            self._encoding_error = error
        elif has_samples:
            self._encoding.recover()
