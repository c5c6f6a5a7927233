"""Writes the files of a spool again that were removed while it is in use, from the open descriptors."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from storage.files import make_private_file, make_private_folder, sync_folder
from storage.spool.errors import SpoolUnwritableError, translated
from storage.spool.file import SpoolFile
from storage.spool.recovery import FILE_NAME, NEW_NAME, finish_replacement, remove_file, set_aside

if TYPE_CHECKING:
    from decahertz.clock import Clock
    from decahertz.ledger import Ledger
    from storage.settings import SpoolSettings


def rewrite_file(
    folder: Path, settings: SpoolSettings, clock: Clock, ledger: Ledger, before: SpoolFile
) -> SpoolFile:
    """Writes the content of a file that was removed to a new one in its place, which takes over its state.

    Raises an error of :mod:`storage.spool.errors`, or ``OSError``; then the file can still be used.
    """
    path, new = folder / FILE_NAME, folder / NEW_NAME
    make_private_folder(folder)
    if not _has_room(before, folder):
        before.shed()
        if not _has_room(before, folder):  # a copy that fails would fill the disk in the meantime
            raise SpoolUnwritableError("there is no room on the disk to write the files of the spool again")
    _copy(before, new)
    _sync(new)
    before.close()
    if before.files.is_exchanged(path):
        set_aside(path, clock)  # somebody else's
    else:
        remove_file(path)
    finish_replacement(path, clock)
    file = SpoolFile(path, settings, clock, ledger, before)
    sync_folder(folder)
    return file


def _has_room(before: SpoolFile, folder: Path) -> bool:
    remove_file(folder / NEW_NAME)
    return shutil.disk_usage(folder).free >= before.content_bytes()


def _copy(before: SpoolFile, new: Path) -> None:
    remove_file(new)
    make_private_file(new)
    try:
        before.connection.execute("VACUUM INTO ?", (str(new),))
    except sqlite3.Error as error:
        remove_file(new)
        raise translated(error) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
