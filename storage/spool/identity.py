"""The identity of the files of an open spool: whether they are still the ones that the process has open.

The open descriptors of a removed file still read and write it: a process that goes on with them acknowledges
events that are gone when it ends. So the files are checked before every transaction, and every second.
"""

from __future__ import annotations

from pathlib import Path

from storage.spool.errors import SpoolRemovedError


class FileIdentities:
    """Remembers device and inode of files by their paths."""

    def __init__(self, paths: list[Path]) -> None:
        """Files that do not exist are left out."""
        self._known = {path: found for path in paths if (found := _identity(path)) is not None}

    def is_exchanged(self, path: Path) -> bool:
        """Whether another file is in the place of this one."""
        return _identity(path) not in (None, self._known.get(path))

    def check(self) -> None:
        """Raises :class:`~storage.spool.errors.SpoolRemovedError` if a file was removed or exchanged."""
        gone = [path.name for path, known in self._known.items() if _identity(path) != known]
        if gone:
            raise SpoolRemovedError(f"files of the spool were removed while in use: {', '.join(gone)}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
