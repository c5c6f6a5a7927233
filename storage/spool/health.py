"""What is wrong with the spool at present: said in the log when it begins and when it ends."""

from __future__ import annotations

import structlog

_TOO_MUCH = "more waits than spool.max_bytes and spool.max_age_hours allow"


class Troubles:
    """Remembers them."""

    def __init__(self) -> None:
        """There are none yet."""
        self.disk = ""
        """Why the disk takes nothing; empty: it does."""
        self._refusing = ""
        self._given_up = 0
        self._log = structlog.get_logger(part="spool")

    def __str__(self) -> str:
        """The gravest of them; empty: none."""
        if self.disk:
            return f"{self.disk}; events are refused, samples go on in memory"
        if self._given_up:
            return f"{self._given_up} rows were given up: {_TOO_MUCH}"
        return f"samples are refused: {self._refusing}" if self._refusing else ""

    def note_disk(self, reason: str) -> None:
        """The disk takes nothing."""
        if not self.disk:
            self._log.error("spool_does_not_write", reason=reason)
        self.disk = reason

    def note_written(self) -> None:
        """The disk took something."""
        if self.disk:
            self._log.info("spool_writes_again")
            self.disk = ""

    def note_given_up(self, rows: int, *, has_backlog: bool) -> None:
        """So many rows were given up because too much waits."""
        if rows and not self._given_up:
            self._log.error("backlog_given_up", reason=_TOO_MUCH)
        self._given_up += rows
        if self._given_up and not rows and not has_backlog:
            self._log.info("backlog_no_longer_given_up", rows=self._given_up)
            self._given_up = 0

    def note_refusal(self, reason: str, *, has_good: bool) -> None:
        """Samples could not be written down, for a reason of theirs; empty: all could, if there were any."""
        if reason and not self._refusing:
            self._log.error("samples_refused", reason=reason)
        elif self._refusing and has_good and not reason:
            self._log.info("samples_no_longer_refused")
            reason = ""
        elif not reason:
            return
        self._refusing = reason
