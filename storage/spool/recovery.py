"""Opens a spool exclusively, and replaces a damaged file with a new one that has all its readable content."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decahertz.clock import Clock
from decahertz.ledger import Ledger
from decahertz.words import counted
from storage.entry import EntryKind
from storage.files import open_locked, sync_folder
from storage.settings import SpoolSettings
from storage.spool import tables
from storage.spool.commit_counter import missing_commits, open_read_only
from storage.spool.errors import SpoolDamagedError, SpoolError, SpoolInUseError, translated
from storage.spool.file import FILE_SUFFIXES, SpoolFile

FILE_NAME = "spool.sqlite"
LOCK_NAME = "spool.lock"
NEW_NAME = FILE_NAME + ".new"
"""The replacement of a damaged file while it is being filled."""

_LARGEST_ID = 2**53
_SINGLE_STEPS = 500
_UUID_BYTES = 16
_SELECT_ENTRY = "SELECT * FROM entries WHERE id >= ? ORDER BY id LIMIT 1"
_INSERT_ENTRY = "INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(slots=True)
class Recovery:
    """Result of replacing a damaged file."""

    set_aside: Path
    """Where the damaged file is now."""
    reason: str
    rows: int = 0
    """Rows copied to the new file."""
    lost: dict[str, int] = field(default_factory=dict)
    """Rows known to be lost, by stream."""
    lost_transactions: int = 0
    """Committed transactions that SQLite no longer finds in the write-ahead log. Their rows are unknown."""

    @property
    def inspect(self) -> str:
        """How to look at the damaged file without changing it."""
        name = self.set_aside.name
        return f"copy {name}* to another folder and run there: sqlite3 -readonly {name} .dump"

    def __str__(self) -> str:
        lost = f"{counted(sum(self.lost.values()), 'row')} lost"
        if self.lost_transactions:
            lost += f" and {self.lost_transactions} transactions lost"
        return (
            f"damaged spool set aside as {self.set_aside.name}: {counted(self.rows, 'row')} recovered,"
            f" {lost}; to look at it, {self.inspect}"
        )


def lock_spool(folder: Path) -> int:
    """Keeps others out of a folder until the descriptor is closed. Raises :class:`SpoolInUseError`."""
    try:
        return open_locked(folder / LOCK_NAME)
    except BlockingIOError as error:
        raise SpoolInUseError(f"another process records into {folder.parent}") from error


def open_spool(
    folder: Path, settings: SpoolSettings, clock: Clock, ledger: Ledger
) -> tuple[SpoolFile, Recovery | None]:
    """Opens the spool of a folder, and replaces its file if it is damaged.

    The caller has locked the folder with :func:`lock_spool`. Raises an error of :mod:`storage.spool.errors`.
    """
    path = folder / FILE_NAME
    finish_replacement(path, clock)
    missing = missing_commits(path)
    if missing:
        reason = (
            f"the write-ahead log {path.name}-wal is damaged: {missing} committed transactions are missing"
        )
        return replace_file(folder, settings, clock, ledger, reason, missing=missing)
    try:
        file = SpoolFile(path, settings, clock, ledger)
    except SpoolDamagedError as error:
        return replace_file(folder, settings, clock, ledger, str(error))
    sync_folder(folder)
    return file, None


def replace_file(
    folder: Path,
    settings: SpoolSettings,
    clock: Clock,
    ledger: Ledger,
    reason: str,
    before: SpoolFile | None = None,
    missing: int = 0,
) -> tuple[SpoolFile, Recovery]:
    """Sets the damaged file aside and fills a new one with its readable content.

    ``before`` is the damaged file if it was in use; the new one takes over its state. ``missing`` is
    the number of transactions that SQLite does not find in the write-ahead log. The damaged file stays in
    place until the new one is complete: after a crash, or with a full disk, the next attempt finds it.
    """
    path = folder / FILE_NAME
    new = folder / NEW_NAME
    if before is not None:
        before.close()
    remove_file(new)
    try:
        rows = _fill_new_file(path, new, before, clock.time_ns())
    except SpoolError:
        remove_file(new)
        raise
    recovery = Recovery(set_aside(path, clock), reason, rows, lost_transactions=missing)
    finish_replacement(path, clock)
    file = SpoolFile(path, settings, clock, ledger, before)
    recovery.lost = file.lost
    sync_folder(folder)
    return file, recovery


def _fill_new_file(path: Path, new: Path, before: SpoolFile | None, now_ns: int) -> int:
    connection = tables.connect(new)
    try:
        rows = _copy_readable(path, connection, now_ns)
        if before is not None:
            tables.save_emitters(connection, before.state.sequences, now_ns)
            tables.save_drops(connection, before.state.drops)
            tables.replace_ledger(connection, before.accounts.committed())
            tables.delete_entries(connection, before.deleted)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the single file is complete without a log
    except sqlite3.Error as error:
        raise translated(error) from error
    finally:
        connection.close()
    return rows


def finish_replacement(path: Path, clock: Clock) -> None:
    """Renames a complete new file into the place of one that was set aside; removes an incomplete one."""
    new = path.with_name(NEW_NAME)
    if path.exists() or not new.exists():
        remove_file(new)
        return
    if any(Path(f"{path}{suffix}").exists() for suffix in FILE_SUFFIXES):
        set_aside(path, clock)  # the old file's log must not be applied to the new file
    new.rename(path)


def remove_file(file: Path) -> None:
    """Removes a SQLite database with its log."""
    for suffix in FILE_SUFFIXES:
        Path(f"{file}{suffix}").unlink(missing_ok=True)


def set_aside(path: Path, clock: Clock) -> Path:
    """Renames a file and its log; returns its new path."""
    target = path.with_name(f"{path.name}.damaged-{clock.time_ns()}")
    while target.exists():
        target = target.with_name(target.name + "x")
    for suffix in FILE_SUFFIXES:
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{target}{suffix}")
    return target


def _copy_readable(path: Path, to: sqlite3.Connection, now_ns: int) -> int:
    """Copies everything readable; returns the rows of the copied entries."""
    try:
        damaged = open_read_only(path)  # leaves its log as it is
        damaged.execute("PRAGMA writable_schema = ON")  # reads a truncated file too
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
        for entry in _readable_entries(damaged):
            rows += entry[3] * to.execute(_INSERT_ENTRY, entry).rowcount
        to.execute("COMMIT")
    finally:
        damaged.close()
    return rows


def _copy_ledger(damaged: sqlite3.Connection, to: sqlite3.Connection) -> None:
    rows = damaged.execute("SELECT stream, account, rows FROM ledger").fetchall()
    valid = (row for row in rows if all(map(isinstance, row, tables.LEDGER_TYPES)))
    to.executemany("INSERT INTO ledger VALUES (?, ?, ?)", valid)


def _copy_drops(damaged: sqlite3.Connection, to: sqlite3.Connection) -> None:
    rows = damaged.execute("SELECT source, epoch, reason, events FROM emitter_drops").fetchall()
    valid = [row for row in rows if all(map(isinstance, row, tables.DROP_TYPES))]
    tables.save_drops(to, {(source, epoch, reason): events for source, epoch, reason, events in valid})


def _copy_layouts(damaged: sqlite3.Connection, to: sqlite3.Connection) -> None:
    to.executemany("INSERT INTO layouts VALUES (?, ?)", tables.load_layouts(damaged).items())


def _readable_entries(damaged: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    """Yields every intact entry; skips ids behind an unreadable one until an entry can be read again."""
    next_id, failures = 0, 0
    while next_id < _LARGEST_ID:
        try:
            entry = damaged.execute(_SELECT_ENTRY, (next_id,)).fetchone()
        except sqlite3.Error:
            failures += 1  # single steps first; then doubling, as a damaged index page covers many ids
            next_id += 1 if failures <= _SINGLE_STEPS else 2 ** (failures - _SINGLE_STEPS)
            continue
        if entry is None:
            return
        if _is_intact(entry, next_id):
            yield entry
        next_id, failures = max(next_id, entry[0] if isinstance(entry[0], int) else 0) + 1, 0


def _is_intact(entry: tuple[Any, ...], least_id: int) -> bool:
    id_, kind, stream, rows, size, spooled_ns, time_ns, batch_id, layout, checksum, payload = entry
    return (
        all(isinstance(value, int) for value in (id_, rows, size, spooled_ns, time_ns, checksum))
        and all(isinstance(value, str) for value in (stream, layout))
        and all(isinstance(value, bytes) for value in (batch_id, payload))
        and (id_ >= least_id and rows >= 0 and size == len(payload) and len(batch_id) == _UUID_BYTES)
        and kind in set(EntryKind)
        and zlib.crc32(payload) == checksum
    )
