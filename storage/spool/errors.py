"""Errors of the spool."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.entry import Entry


class SpoolError(OSError):
    """Base class of the spool's errors. ``str()`` of one is a single line."""


class SpoolInUseError(SpoolError):
    """Another process has the spool open."""


class SpoolTooNewError(SpoolError):
    """A newer version of Decahertz made the file."""


class SpoolUnwritableError(SpoolError):
    """The disk is full or fails. Nothing of the transaction is in the file."""


class SpoolUncertainError(SpoolUnwritableError):
    """The commit failed. Its rows may be in the log all the same, and reappear if the process ends now."""

    def __init__(
        self, reason: str, events: Sequence[Sequence[Entry]], samples: Sequence[Entry | None]
    ) -> None:
        """``events`` and ``samples`` are the entries of each arrival and each batch of samples."""
        super().__init__(reason)
        self.events = events
        self.samples = samples


class SpoolRemovedError(SpoolError):
    """A file of the spool was removed or exchanged while in use. Nothing of the transaction is in it."""


class SpoolDamagedError(SpoolError):
    """The file does not hold what was written to it."""


INVALID_VALUE_ERRORS = (TypeError, ValueError, LookupError)
"""Raised when a stored value decodes to something this program never writes: wrong type, or invalid UTF-8."""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)


def translated(error: sqlite3.Error) -> SpoolError:
    """Returns the error of this module for an error of SQLite."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # without its extension
    if code in _DAMAGED:
        return SpoolDamagedError(f"the spool is damaged: {error}")
    if code == sqlite3.SQLITE_ERROR:  # a table or column is missing: only damage removes one
        return SpoolDamagedError(f"the spool is incomplete: {error}")
    return SpoolUnwritableError(f"the spool cannot be written: {error}")
