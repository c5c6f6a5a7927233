"""Counts the transactions of a spool file in a small file next to it.

SQLite reads a damaged write-ahead log up to the first bad frame and reports nothing; the database is then in
an earlier state, and only the counter shows it. The counter is written in place after each commit and synced
at most once a second: a kill loses none of it, and after a power cut it is slightly behind the spool. So a
spool that is behind its counter has lost committed transactions.
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

_RECORD = struct.Struct(">16sQ")
"""Id of the spool file, number of its transactions."""
_CHECKSUM = struct.Struct(">I")


class CommitCounter:
    """Counter of an open spool file. If it cannot be written, recording goes on without it."""

    def __init__(self, path: Path, file_id: bytes, commits: int, clock: Clock) -> None:
        """Start from the count in the spool file at ``path``."""
        self._file_id = file_id
        self._clock = clock
        self._synced_ns = clock.monotonic_ns()
        self._handle: int | None = None
        with suppress(OSError):
            self._handle = os.open(counter_path(path), os.O_RDWR | os.O_CREAT, 0o600)
        self.commits = commits
        self._write()

    def count(self) -> None:
        """Counts one more committed transaction."""
        self.commits += 1
        self._write()

    def close(self) -> None:
        """Closes the counter. Safe twice."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _write(self) -> None:
        if self._handle is None:
            return
        record = _RECORD.pack(self._file_id, self.commits)
        now_ns = self._clock.monotonic_ns()
        with suppress(OSError):
            os.pwrite(self._handle, record + _CHECKSUM.pack(zlib.crc32(record)), 0)
            if now_ns - self._synced_ns >= NS_PER_SECOND:
                self._synced_ns = now_ns
                os.fdatasync(self._handle)


def counter_path(path: Path) -> Path:
    """Returns the path of a spool file's counter."""
    return path.with_suffix(".commits")


def missing_commits(path: Path) -> int:
    """Returns how many counted transactions the spool file no longer has; 0 if there is no valid counter.

    Opens the file read-only: a connection that may write would checkpoint the log and delete it.
    """
    try:
        data = counter_path(path).read_bytes()
    except OSError:
        return 0
    record = data[: _RECORD.size]
    if data[_RECORD.size :] != _CHECKSUM.pack(zlib.crc32(record)):
        return 0
    file_id, commits = _RECORD.unpack(record)
    with suppress(sqlite3.Error), closing(open_read_only(path)) as connection:
        found: tuple[bytes, int] | None = connection.execute("SELECT file_id, number FROM commits").fetchone()
        if found is not None and found[0] == file_id:
            return max(0, int(commits) - found[1])
    return 0


def open_read_only(path: Path) -> sqlite3.Connection:
    """Opens a database without changing it or its log. Raises ``sqlite3.Error``."""
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
