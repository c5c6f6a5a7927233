"""How many transactions the spool's file has, noted beside it too.

SQLite ends a log at the first frame that is not whole and says nothing: the file is then as it was some
transactions ago. The note tells. It is written after each commit, in its place and not synced each time: what
a killed process wrote stays, and after a power cut the note is at most a little older than the file. So the
file is never behind the note, unless committed transactions were lost.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import zlib
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from decahertz.clock import NS_PER_SECOND, Clock

_NOTE = struct.Struct(">16sQ")
"""Which file, and how many."""
_CHECKSUM = struct.Struct(">I")


class Tally:
    """The note of an open file. Where it cannot be written it says less than it might, and that is all."""

    def __init__(self, path: Path, file_id: bytes, commits: int, clock: Clock) -> None:
        """Begin with what the file has."""
        self._file_id = file_id
        self._clock = clock
        self._synced_ns = clock.monotonic_ns()
        self._handle: int | None = None
        with suppress(OSError):
            self._handle = os.open(tally_of(path), os.O_RDWR | os.O_CREAT, 0o600)
        self.commits = commits
        self._write()

    def count(self) -> None:
        """One more is on disk."""
        self.commits += 1
        self._write()

    def close(self) -> None:
        """Safe twice."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _write(self) -> None:
        if self._handle is None:
            return
        note = _NOTE.pack(self._file_id, self.commits)
        now_ns = self._clock.monotonic_ns()
        with suppress(OSError):
            os.pwrite(self._handle, note + _CHECKSUM.pack(zlib.crc32(note)), 0)
            if now_ns - self._synced_ns >= NS_PER_SECOND:
                self._synced_ns = now_ns
                os.fdatasync(self._handle)


def tally_of(path: Path) -> Path:
    """Where the note for a spool's file is."""
    return path.with_suffix(".commits")


def missing_commits(path: Path) -> int:
    """How many transactions the file had once and has not now.

    Nothing is changed, the log least of all: whoever may write to the file brings the log into it and deletes
    it. 0 also where nobody can tell.
    """
    try:
        data = tally_of(path).read_bytes()
    except OSError:
        return 0
    note = data[: _NOTE.size]
    if data[_NOTE.size :] != _CHECKSUM.pack(zlib.crc32(note)):
        return 0
    file_id, commits = _NOTE.unpack(note)
    found = commits_of(path)
    return max(0, commits - found[1]) if found is not None and found[0] == file_id else 0


def commits_of(path: Path) -> tuple[bytes, int] | None:
    """The id of a file and how many transactions it has; ``None`` where it does not say."""
    with suppress(sqlite3.Error), closing(open_to_read(path)) as connection:
        found: tuple[bytes, int] | None = connection.execute("SELECT file_id, number FROM commits").fetchone()
        return found
    return None


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a file so that neither it nor its log is changed. Raises ``sqlite3.Error``."""
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
