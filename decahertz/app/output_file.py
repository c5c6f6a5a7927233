"""Decides which file a command may write."""

from __future__ import annotations

import stat
from pathlib import Path

from decahertz.app.start_error import StartError


def target(file: Path, *, force: bool) -> Path:
    """Returns the path to write to: ``file``, with symbolic links resolved.

    Only a regular file may be replaced, and only with ``force``. Raises
    :class:`~decahertz.app.start_error.StartError`.
    """
    try:
        path = file.resolve()
        mode = path.stat().st_mode
    except FileNotFoundError:
        return path
    except (OSError, RuntimeError) as error:  # no permission, or a loop of links
        reason = error.strerror if isinstance(error, OSError) else "a loop of symbolic links"
        raise StartError(f"cannot write {file}: {reason}") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise StartError(f"cannot write {file}: it is {kind}")
    if not force:
        raise StartError(f"{file} exists; add --force to replace it")
    return path
