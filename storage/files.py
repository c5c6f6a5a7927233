"""Files that survive a power cut, and files that lock other processes out."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make new names in a folder durable. Blocks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_locked(path: Path) -> int:
    """Open a file, or create it, and lock it; returns the descriptor, which has the lock until it is closed.

    The kernel releases the lock when the process ends. Raises ``BlockingIOError`` if the file is locked, also
    by this process: not a POSIX lock, which would let a second owner in this process in.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
