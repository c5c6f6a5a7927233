"""The connection to PostgreSQL: pools, time-outs, and errors that say what is wrong in one line."""

from __future__ import annotations


class DatabaseError(RuntimeError):
    """Something is wrong with the database. ``str()`` of it is one line without a password."""


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be reached, or the connection to it was lost. Trying again makes sense."""


class DatabaseTooOldError(DatabaseError):
    """The server is older than the oldest PostgreSQL that is taken."""
