"""The files that commands write: where they go, and what they may replace."""

from __future__ import annotations

import stat
from pathlib import Path

from decahertz.app.pipeline import StartError


def target(file: Path, *, force: bool) -> Path:
    """The path to write to for ``file``: itself, or what it is a symbolic link to.

    Only a regular file is ever replaced, and only with ``force``: devices, pipes and folders stay what they
    are. Raises :class:`~decahertz.app.pipeline.StartError`.
    """
    try:
        path = file.resolve()
        mode = path.stat().st_mode
    except FileNotFoundError:
        return path
    except (OSError, RuntimeError) as error:  # no right to look, or links in a circle
        reason = error.strerror if isinstance(error, OSError) else "symbolic links in a circle"
        raise StartError(f"cannot write {file}: {reason}") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise StartError(f"cannot write {file}: it is {kind}")
    if not force:
        raise StartError(f"{file} is there already; with --force it is replaced")
    return path
