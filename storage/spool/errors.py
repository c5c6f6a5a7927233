"""What can be wrong with a spool."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.entry import Entry


class SpoolError(OSError):
    """Something is wrong with the spool. ``str()`` of it is one line."""


class SpoolInUseError(SpoolError):
    """Another process has it open."""


class SpoolTooNewError(SpoolError):
    """A newer version of the program made it."""


class SpoolUnwritableError(SpoolError):
    """The disk takes nothing more, or not now. Nothing of what was to be written is there."""


class SpoolUncertainError(SpoolUnwritableError):
    """The commit failed. What was to be written may be in the log, and come back if the process ends now."""

    def __init__(
        self, reason: str, events: Sequence[Sequence[Entry]], samples: Sequence[Entry | None]
    ) -> None:
        """Keep what may come back: for each arrival and each batch of samples that was given."""
        super().__init__(reason)
        self.events = events
        self.samples = samples


class SpoolDamagedError(SpoolError):
    """The file is not what was written to it."""


NONSENSE = (TypeError, ValueError, LookupError)
"""What values raise that nobody wrote, of another type or no text, where SQLite sees nothing wrong."""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)


def translated(error: sqlite3.Error) -> SpoolError:
    """The error of this module that an error of SQLite means."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # without its extension
    if code in _DAMAGED:
        return SpoolDamagedError(f"the spool is damaged: {error}")
    if code == sqlite3.SQLITE_ERROR:  # a table or column is not there: nobody but damage takes it away
        return SpoolDamagedError(f"the spool is not whole: {error}")
    return SpoolUnwritableError(f"the spool cannot be written: {error}")
