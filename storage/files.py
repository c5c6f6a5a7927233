"""Files that survive a power cut, lock other processes out, and belong to one user whatever the umask is."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

_TRIES, _RETRY_S = 50, 0.02


def sync_folder(folder: Path) -> None:
    """Makes new names in a folder durable. Blocks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_folder(folder: Path) -> None:
    """Makes a folder, and its missing parents, that no other user can enter. One that exists stays."""
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def make_private_file(path: Path) -> None:
    """Makes an empty file that no other user can read. One that exists stays as it is."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))


def open_locked(path: Path) -> int:
    """Opens or creates a file and locks it; returns the descriptor, which has the lock until it is closed.

    The kernel releases the lock when the process ends. Raises ``BlockingIOError`` if the file is locked, also
    by this process: not a POSIX lock, which would let a second owner in this process in.

    Blocks for up to a second before it raises: a process that was killed while it started a program leaves
    its locks to the child until that executes the program.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        for _ in range(_TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            time.sleep(_RETRY_S)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
