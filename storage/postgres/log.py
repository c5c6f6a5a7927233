"""The log of a server that writes to a descriptor: bounded, and its end can be told."""

from __future__ import annotations

import os
from pathlib import Path

from storage.postgres.installation import EmbeddedPostgresError

_TELLING = ("PANIC:", "FATAL:", "ERROR:", "error:", "DETAIL:", "HINT:")


class ServerLog:
    """A file that another process appends to, kept below a size. The part before is kept once, as ``NAME.1``.

    All of it blocks on the disk: call it in a thread.
    """

    def __init__(self, path: Path, *, limit: int = 4 * 1024 * 1024) -> None:
        self.path = path
        self._limit = limit
        self._descriptor: int | None = None
        self._begin = 0

    def open(self) -> int:
        """Open it and return the descriptor to give to the other process. :meth:`tail` starts here."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        self._descriptor = os.open(self.path, flags, 0o600)
        self.bound()
        self.mark()
        return self._descriptor

    def mark(self) -> None:
        """Let :meth:`tail` start at what is written from now on."""
        if self._descriptor is not None:
            self._begin = os.fstat(self._descriptor).st_size

    def bound(self) -> None:
        """Put a file beyond the limit aside.

        The writer keeps its descriptor, so the file is copied and emptied, not renamed. What is written
        between the two is lost: a few lines of a log that has run to megabytes.
        """
        if self._descriptor is None or os.fstat(self._descriptor).st_size <= self._limit:
            return
        size = os.fstat(self._descriptor).st_size
        kept = os.pread(self._descriptor, self._limit, size - self._limit)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(f"{self.path}.1", flags, 0o600), "wb") as file:
            file.write(kept)
        os.ftruncate(self._descriptor, 0)
        self._begin = 0

    def tail(self, lines: int = 3) -> str:
        """The last telling lines since :meth:`open`, as one."""
        if self._descriptor is None:
            return ""
        size = os.fstat(self._descriptor).st_size
        begin = max(min(self._begin, size), size - 16_384)
        said = os.pread(self._descriptor, size - begin, begin).decode(errors="replace").splitlines()
        said = [line.strip() for line in said if line.strip()]
        telling = [line for line in said if any(word in line for word in _TELLING)]
        return " | ".join((telling or said)[-lines:])

    def failure(self, what: str) -> EmbeddedPostgresError:
        """The error to raise: what failed, and what the program said of it."""
        return EmbeddedPostgresError(f"{what}: {self.tail() or 'it said nothing'} (log: {self.path})")

    def close(self) -> None:
        """Close it. Safe twice, and without :meth:`open`."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
