"""Tables of a spool file: creating, reading and updating them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from decahertz.ingest import EmitterId
from decahertz.ledger import Account
from decahertz.sequences import SequenceSet
from storage.files import make_private_file
from storage.spool.codec import fingerprint
from storage.spool.errors import (
    SpoolDamagedError,
    SpoolError,
    SpoolTooNewError,
    SpoolUnwritableError,
    translated,
)

VERSION = 1
PAGE_BYTES = 4096
_CHECKPOINT_PAGES = 1_000  # the log stays near 4 MB: on a full disk its room is missed
_WAL_BYTES = 8 * 1024 * 1024  # a larger log, of one large transaction, is cut off
_BUSY_SECONDS = 5.0
_SCHEMA = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    stream TEXT NOT NULL,
    rows INTEGER NOT NULL,
    size INTEGER NOT NULL,
    spooled_ns INTEGER NOT NULL,
    time_ns INTEGER NOT NULL,
    batch_id BLOB NOT NULL,
    layout TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    payload BLOB NOT NULL
);
CREATE INDEX entries_kind ON entries (kind, id, spooled_ns, stream, rows, size); -- without the payloads
CREATE TABLE layouts (fingerprint TEXT PRIMARY KEY, layout BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE emitters (
    source TEXT NOT NULL, epoch INTEGER NOT NULL, ranges BLOB NOT NULL, last_seen_ns INTEGER NOT NULL,
    PRIMARY KEY (source, epoch)
) WITHOUT ROWID;
CREATE TABLE emitter_drops (
    source TEXT NOT NULL, epoch INTEGER NOT NULL, reason TEXT NOT NULL, events INTEGER NOT NULL,
    PRIMARY KEY (source, epoch, reason)
) WITHOUT ROWID;
CREATE TABLE ledger (
    stream TEXT NOT NULL, account TEXT NOT NULL, rows INTEGER NOT NULL, PRIMARY KEY (stream, account)
) WITHOUT ROWID;
CREATE TABLE commits (file_id BLOB NOT NULL, number INTEGER NOT NULL, next_id INTEGER NOT NULL);
INSERT INTO commits VALUES (randomblob(16), 0, 1);
"""
_CHECKPOINTS = """
CREATE TABLE IF NOT EXISTS checkpoints (
    collector TEXT PRIMARY KEY, position INTEGER NOT NULL, time_ns INTEGER NOT NULL,
    checksum INTEGER NOT NULL, state BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS delivered (
    id INTEGER PRIMARY KEY, received_ns INTEGER NOT NULL, checksum INTEGER NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS cycles (
    number INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, position INTEGER NOT NULL
);
"""
_EMITTED, _STORED, _DROPPED = "emitted", "stored", "dropped:"
_ADD = """
INSERT INTO ledger (stream, account, rows) VALUES (?, ?, ?)
ON CONFLICT (stream, account) DO UPDATE SET rows = rows + excluded.rows
"""
_SAVE_EMITTER = """
INSERT INTO emitters (source, epoch, ranges, last_seen_ns) VALUES (?, ?, ?, ?)
ON CONFLICT (source, epoch)
DO UPDATE SET ranges = excluded.ranges, last_seen_ns = max(last_seen_ns, excluded.last_seen_ns)
"""
_SAVE_DROP = """
INSERT INTO emitter_drops (source, epoch, reason, events) VALUES (?, ?, ?, ?)
ON CONFLICT (source, epoch, reason) DO UPDATE SET events = excluded.events
"""
DROP_TYPES = (str, int, str, int)
LEDGER_TYPES = (str, str, int)
_RANGES = msgspec.msgpack.Decoder(list[tuple[int, int]])

DropId = tuple[str, int, str]
"""(source, epoch, reason)."""


def connect(path: Path) -> sqlite3.Connection:
    """Opens a spool file, or creates it. A committed transaction survives a power cut.

    Raises an error of :mod:`storage.spool.errors`.
    """
    try:
        make_private_file(path)  # SQLite gives its log the same rights
        connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_SECONDS)
    except sqlite3.Error as error:
        raise translated(error) from error
    except OSError as error:
        raise SpoolUnwritableError(f"the spool cannot be opened: {error}") from error
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise translated(error) from error
    except SpoolError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION:
        raise SpoolTooNewError(
            f"{path} has version {found}, this Decahertz reads version {VERSION}: update Decahertz"
        )
    if found == 0:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    if found == 0:
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise SpoolDamagedError(f"{path} is a SQLite database of another program")
        _create_tables(connection)
    else:
        connection.executescript(_CHECKPOINTS)


def _create_tables(connection: sqlite3.Connection) -> None:
    try:
        connection.executescript(f"BEGIN; {_SCHEMA} {_CHECKPOINTS} PRAGMA user_version = {VERSION}; COMMIT")
    except sqlite3.Error:
        roll_back(connection)
        raise
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the tables survive a lost log


def typed(rows: Iterable[tuple[Any, ...]], types: Sequence[type]) -> Iterator[tuple[Any, ...]]:
    """Yields the rows; raises :class:`SpoolDamagedError` at one with a value of another type."""
    for row in rows:
        if not all(map(isinstance, row, types)):
            raise SpoolDamagedError("the spool file holds a value of the wrong type")
        yield row


def load_commits(connection: sqlite3.Connection) -> tuple[bytes, int]:
    """Returns the id of the file, and its number of transactions."""
    found: tuple[bytes, int] | None = connection.execute("SELECT file_id, number FROM commits").fetchone()
    if found is None:
        raise SpoolDamagedError("the spool file has no count of its transactions")
    return found


def load_next_id(connection: sqlite3.Connection) -> int:
    """Returns the lowest id that no entry has had yet."""
    (next_id,) = connection.execute("SELECT max(next_id) FROM commits").fetchone()
    return next_id if isinstance(next_id, int) else 1


def count_commit(connection: sqlite3.Connection, next_id: int) -> None:
    """Counts the current transaction."""
    connection.execute("UPDATE commits SET number = number + 1, next_id = ?", (next_id,))


def load_emitters(connection: sqlite3.Connection) -> dict[EmitterId, SequenceSet]:
    """Returns the durable sequences of all emitters."""
    rows = connection.execute("SELECT source, epoch, ranges FROM emitters")
    try:
        return {(source, epoch): SequenceSet(_RANGES.decode(ranges)) for source, epoch, ranges in rows}
    except (msgspec.MsgspecError, TypeError) as error:
        raise SpoolDamagedError(f"the emitters in the spool file are damaged: {error}") from error


def load_last_seen(connection: sqlite3.Connection) -> dict[EmitterId, int]:
    """Returns when each emitter sent its last batch."""
    rows = connection.execute("SELECT source, epoch, last_seen_ns FROM emitters")
    return {(source, epoch): last_seen_ns for source, epoch, last_seen_ns in rows}


def evict_emitters(connection: sqlite3.Connection, before_ns: int) -> None:
    """Deletes emitters that were last seen before this time."""
    connection.execute("DELETE FROM emitters WHERE last_seen_ns < ?", (before_ns,))


def save_emitters(
    connection: sqlite3.Connection, sequences: Mapping[EmitterId, SequenceSet], last_seen_ns: int
) -> None:
    """Saves the durable sequences of these emitters."""
    rows = [
        (*emitter, msgspec.msgpack.encode(list(ranges)), last_seen_ns)
        for emitter, ranges in sequences.items()
    ]
    connection.executemany(_SAVE_EMITTER, rows)


def load_layouts(connection: sqlite3.Connection) -> dict[str, bytes]:
    """Returns the intact layouts, by fingerprint."""
    rows = connection.execute("SELECT fingerprint, layout FROM layouts")
    return {name: data for name, data in rows if isinstance(data, bytes) and fingerprint(data) == name}


def load_drops(connection: sqlite3.Connection) -> dict[DropId, int]:
    """Returns the losses that emitters reported."""
    rows = connection.execute("SELECT source, epoch, reason, events FROM emitter_drops")
    return {(source, epoch, reason): events for source, epoch, reason, events in typed(rows, DROP_TYPES)}


def save_drops(connection: sqlite3.Connection, drops: Mapping[DropId, int]) -> None:
    """Saves the losses that emitters reported."""
    connection.executemany(_SAVE_DROP, [(*key, events) for key, events in drops.items()])


def load_ledger(connection: sqlite3.Connection) -> dict[str, Account]:
    """Returns the saved counts; rows that wait are counted from the entries."""
    accounts: dict[str, Account] = {}
    saved = connection.execute("SELECT stream, account, rows FROM ledger")
    for stream, name, rows in typed(saved, LEDGER_TYPES):
        account = accounts.setdefault(stream, Account())
        if name == _EMITTED:
            account.emitted = rows
        elif name == _STORED:
            account.stored = rows
        else:
            account.dropped[name.removeprefix(_DROPPED)] = rows
    waiting = connection.execute("SELECT stream, sum(rows) FROM entries GROUP BY stream")
    for stream, rows in typed(waiting, (str, int)):
        accounts.setdefault(stream, Account()).spooled = rows
    return accounts


def add_to_ledger(connection: sqlite3.Connection, accounts: Mapping[str, Account]) -> None:
    """Adds changes to the saved counts. Rows that wait are not saved: the entries have them."""
    rows: list[tuple[str, str, int]] = []
    for stream, account in accounts.items():
        rows.append((stream, _EMITTED, account.emitted))
        rows.append((stream, _STORED, account.stored))
        rows += ((stream, _DROPPED + reason, count) for reason, count in account.dropped.items())
    connection.executemany(_ADD, [row for row in rows if row[2]])


def replace_ledger(connection: sqlite3.Connection, accounts: Mapping[str, Account]) -> None:
    """Replaces the saved counts."""
    begin(connection)
    connection.execute("DELETE FROM ledger")
    add_to_ledger(connection, accounts)
    connection.execute("COMMIT")


def delete_entries(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Deletes these entries if they exist."""
    begin(connection)
    connection.executemany("DELETE FROM entries WHERE id = ?", [(id_,) for id_ in ids])
    connection.execute("COMMIT")


def begin(connection: sqlite3.Connection) -> None:
    """Begins a write transaction."""
    connection.execute("BEGIN IMMEDIATE")


def roll_back(connection: sqlite3.Connection) -> None:
    """Undoes the current transaction. Raises :class:`SpoolUnwritableError` if that fails too."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise SpoolUnwritableError(f"the spool cannot roll back: {error}") from error
