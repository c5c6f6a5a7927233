"""Log file of the server: limited in size, and the source of error messages."""

from __future__ import annotations

import os
from pathlib import Path

from storage.postgres.installation import EmbeddedPostgresError

_ERROR_MARKS = ("PANIC:", "FATAL:", "ERROR:", "error:", "DETAIL:", "HINT:")


class ServerLog:
    """A file that another process appends to. Above a size it is moved to ``NAME.1`` and emptied.

    All methods block on the disk: call them in a thread.
    """

    def __init__(self, path: Path, *, limit: int = 4 * 1024 * 1024) -> None:
        self.path = path
        self._limit = limit
        self._descriptor: int | None = None
        self._begin = 0

    def open(self) -> int:
        """Opens the file and returns the descriptor for the other process. :meth:`tail` starts here."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        self._descriptor = os.open(self.path, flags, 0o600)
        self.rotate()
        self.mark()
        return self._descriptor

    def mark(self) -> None:
        """Lets :meth:`tail` start at the current end of the file."""
        if self._descriptor is not None:
            self._begin = os.fstat(self._descriptor).st_size

    def rotate(self) -> None:
        """Rotates the file if it exceeds the limit.

        The writer keeps its descriptor, so the file is copied and emptied, not renamed. Lines that are
        written between the two steps are lost.
        """
        if self._descriptor is None or os.fstat(self._descriptor).st_size <= self._limit:
            return
        size = os.fstat(self._descriptor).st_size
        content = os.pread(self._descriptor, self._limit, size - self._limit)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(f"{self.path}.1", flags, 0o600), "wb") as file:
            file.write(content)
        os.ftruncate(self._descriptor, 0)
        self._begin = 0

    def tail(self, lines: int = 3) -> str:
        """Returns the last lines with an error since :meth:`open`, else the last lines, joined to one."""
        if self._descriptor is None:
            return ""
        size = os.fstat(self._descriptor).st_size
        begin = max(min(self._begin, size), size - 16_384)
        text = os.pread(self._descriptor, size - begin, begin).decode(errors="replace")
        found = [line.strip() for line in text.splitlines() if line.strip()]
        errors = [line for line in found if any(mark in line for mark in _ERROR_MARKS)]
        return " | ".join((errors or found)[-lines:])

    def failure(self, problem: str) -> EmbeddedPostgresError:
        """Returns an error with the problem and the program's own message."""
        return EmbeddedPostgresError(f"{problem}: {self.tail() or 'no message'} (log: {self.path})")

    def close(self) -> None:
        """Closes the file. Safe twice, and without :meth:`open`."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
