"""Opening a spool for this process alone; a damaged file is set aside and what can be read of it is saved."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decahertz.clock import Clock
from decahertz.ledger import Ledger
from decahertz.settings import SpoolSettings
from storage.entry import EntryKind
from storage.spool import tables
from storage.spool.commit_counter import commits_of, missing_commits, open_to_read
from storage.spool.errors import SpoolDamagedError, SpoolError, SpoolInUseError, translated
from storage.spool.file import SpoolFile
from storage.spool.log import mend_log

FILE_NAME = "spool.sqlite"
LOCK_NAME = "spool.lock"
_NEW_NAME = FILE_NAME + ".new"
"""The file that takes a damaged one's place, until it is complete."""
_MENDED_NAME = FILE_NAME + ".mended"
"""A damaged one under another name, to be read with another log."""

_COMPANIONS = ("", "-wal", "-shm")
_LARGEST_ID = 2**48
_SINGLE_STEPS = 500
_UUID_BYTES = 16
_ENTRY = "SELECT * FROM entries WHERE id >= ? ORDER BY id LIMIT 1"
_KEEP = "INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(slots=True)
class Salvage:
    """What became of a damaged file."""

    aside: Path
    """Where it is now."""
    reason: str
    rows: int = 0
    """Rows that were saved."""
    lost: dict[str, int] = field(default_factory=dict)
    """Rows that are known to be lost, by stream."""
    transactions: int = 0
    """Transactions that are lost whole: what was in them nobody can tell."""

    def __str__(self) -> str:
        """One line."""
        lost = sum(self.lost.values())
        saved = f"a damaged spool was set aside as {self.aside.name}: {self.rows} rows saved, {lost} lost"
        return f"{saved}, and all of {self.transactions} transactions" if self.transactions else saved


class SpoolLock:
    """Keeps other processes away from a folder. It ends with the process, however that ends."""

    def __init__(self, folder: Path) -> None:
        """Raises :class:`SpoolInUseError`."""
        self._file = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise SpoolInUseError(f"another process records into {folder.parent}") from error

    def release(self) -> None:
        """Let others in."""
        os.close(self._file)


def open_spool(
    folder: Path, settings: SpoolSettings, clock: Clock, book: Ledger
) -> tuple[SpoolFile, Salvage | None]:
    """Open the spool of a folder. Whoever calls has the folder's :class:`SpoolLock`.

    Raises an error of :mod:`storage.spool.errors`; damage is none, it is dealt with.
    """
    path = folder / FILE_NAME
    _finish(path, clock)
    missing = missing_commits(path)
    if missing:
        reason = f"of the last transactions {missing} are missing: the log ({path.name}-wal) is damaged"
        return start_over(folder, settings, clock, book, reason, missing=missing)
    try:
        file = SpoolFile(path, settings, clock, book)
    except SpoolDamagedError as error:
        return start_over(folder, settings, clock, book, str(error))
    _make_lasting(folder)
    return file, None


def start_over(
    folder: Path,
    settings: SpoolSettings,
    clock: Clock,
    book: Ledger,
    reason: str,
    before: SpoolFile | None = None,
    missing: int = 0,
) -> tuple[SpoolFile, Salvage]:
    """Set the file aside and begin a new one with what can be read of it.

    ``before`` is the damaged file where it was in use; what was known of it is kept. ``missing`` is how many
    transactions SQLite does not find in the log. The damaged file stays where it is until the new one is
    complete: a crash, or a disk that is full, leaves it to the next attempt.
    """
    path = folder / FILE_NAME
    new = folder / _NEW_NAME
    if before is not None:
        before.close()
    _remove(new)
    salvage = Salvage(path, reason)
    try:
        if missing:
            with _mended(path) as (source, found):
                salvage.transactions = max(0, missing - found)
                salvage.rows = _renew(source, new, before, clock.time_ns())
        else:
            salvage.rows = _renew(path, new, before, clock.time_ns())
    except SpoolError:
        _remove(new)
        raise
    salvage.aside = _set_aside(path, clock)
    _finish(path, clock)
    file = SpoolFile(path, settings, clock, book, before)
    salvage.lost = file.lost
    _make_lasting(folder)
    return file, salvage


@contextmanager
def _mended(path: Path) -> Iterator[tuple[Path, int]]:
    """The same file with a log that SQLite reads to its end, and how many transactions more that gives.

    The original, where nothing is gained. Raises ``OSError``.
    """
    copy = path.with_name(_MENDED_NAME)
    try:
        gained = 0
        with suppress(FileNotFoundError):
            if mend_log(Path(f"{path}-wal"), Path(f"{copy}-wal"), tables.PAGE_BYTES):
                _link(path, copy)
                before, after = commits_of(path), commits_of(copy)
                gained = after[1] - before[1] if before and after and after[0] == before[0] else 0
        yield (copy, gained) if gained > 0 else (path, 0)
    finally:
        _remove(copy)


def _link(path: Path, other: Path) -> None:
    """The same file under another name; it is read only. Where that cannot be: a copy."""
    try:
        other.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, other)


def _renew(path: Path, new: Path, before: SpoolFile | None, now_ns: int) -> int:
    connection = tables.connect(new)
    try:
        rows = _rescue(path, connection, now_ns)
        if before is not None:
            tables.save_emitters(connection, before.state.sequences, now_ns)
            tables.save_drops(connection, before.state.drops)
            tables.replace_ledger(connection, before.committed())
            tables.delete_entries(connection, before.deleted)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # all of it is in the one file then
    except sqlite3.Error as error:
        raise translated(error) from error
    finally:
        connection.close()
    return rows


def _finish(path: Path, clock: Clock) -> None:
    """Where a damaged file was set aside the new one is complete: it takes its place. Else it is none."""
    _remove(path.with_name(_MENDED_NAME))
    new = path.with_name(_NEW_NAME)
    if path.exists() or not new.exists():
        _remove(new)
        return
    if any(Path(f"{path}{ending}").exists() for ending in _COMPANIONS):
        _set_aside(path, clock)  # the log of the old one is not for the new one
    new.rename(path)


def _remove(file: Path) -> None:
    for ending in _COMPANIONS:
        Path(f"{file}{ending}").unlink(missing_ok=True)


def _set_aside(path: Path, clock: Clock) -> Path:
    aside = path.with_name(f"{path.name}.damaged-{clock.time_ns()}")
    while aside.exists():
        aside = aside.with_name(aside.name + "x")
    for ending in _COMPANIONS:
        with suppress(FileNotFoundError):
            Path(f"{path}{ending}").rename(f"{aside}{ending}")
    return aside


def _make_lasting(folder: Path) -> None:
    """The names of new files survive a power cut too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rescue(aside: Path, to: sqlite3.Connection, now_ns: int) -> int:
    """Copy what can be read; returns how many rows of entries that was."""
    try:
        damaged = open_to_read(aside)  # its log stays as it is
        damaged.execute("PRAGMA writable_schema = ON")  # else a file that was cut short is not read at all
    except sqlite3.Error:
        return 0
    rows = 0
    try:
        tables.begin(to)
        for copy in (_copy_ledger, _copy_drops, _copy_layouts):
            with suppress(sqlite3.Error, SpoolError):
                copy(damaged, to)
        with suppress(sqlite3.Error, SpoolError):
            tables.save_emitters(to, tables.load_emitters(damaged), now_ns)
        for entry in _readable(damaged):
            rows += entry[3] * to.execute(_KEEP, entry).rowcount
        to.execute("COMMIT")
    finally:
        damaged.close()
    return rows


def _copy_ledger(damaged: sqlite3.Connection, to: sqlite3.Connection) -> None:
    rows = damaged.execute("SELECT stream, account, rows FROM ledger").fetchall()
    whole = (row for row in rows if all(map(isinstance, row, tables.LEDGER_TYPES)))
    to.executemany("INSERT INTO ledger VALUES (?, ?, ?)", whole)


def _copy_drops(damaged: sqlite3.Connection, to: sqlite3.Connection) -> None:
    rows = damaged.execute("SELECT source, epoch, reason, events FROM emitter_drops").fetchall()
    whole = [row for row in rows if all(map(isinstance, row, tables.DROP_TYPES))]
    tables.save_drops(to, {(source, epoch, reason): events for source, epoch, reason, events in whole})


def _copy_layouts(damaged: sqlite3.Connection, to: sqlite3.Connection) -> None:
    to.executemany("INSERT INTO layouts VALUES (?, ?)", tables.load_layouts(damaged).items())


def _readable(damaged: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    """All entries that can be read. Behind one that cannot be the next that can is looked for."""
    next_id, failures = 0, 0
    while next_id < _LARGEST_ID:
        try:
            entry = damaged.execute(_ENTRY, (next_id,)).fetchone()
        except sqlite3.Error:
            failures += 1  # first step by step; but a damaged index may reach far
            next_id += 1 if failures <= _SINGLE_STEPS else 2 ** (failures - _SINGLE_STEPS)
            continue
        if entry is None:
            return
        if _is_whole(entry, next_id):
            yield entry
        next_id, failures = max(next_id, entry[0] if isinstance(entry[0], int) else 0) + 1, 0


def _is_whole(entry: tuple[Any, ...], least_id: int) -> bool:
    id_, kind, stream, rows, size, spooled_ns, time_ns, batch_id, layout, checksum, payload = entry
    return (
        all(isinstance(value, int) for value in (id_, rows, size, spooled_ns, time_ns, checksum))
        and all(isinstance(value, str) for value in (stream, layout))
        and all(isinstance(value, bytes) for value in (batch_id, payload))
        and (id_ >= least_id and rows >= 0 and size == len(payload) and len(batch_id) == _UUID_BYTES)
        and kind in set(EntryKind)
        and zlib.crc32(payload) == checksum
    )
