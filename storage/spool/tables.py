"""The tables of a spool file, and opening one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from decahertz.ingest import EmitterId
from decahertz.ledger import Account
from decahertz.sequences import SequenceSet
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
_CHECKPOINT_PAGES = 4_000
_WAL_BYTES = 64 * 1024 * 1024
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
    source TEXT NOT NULL, epoch INTEGER NOT NULL, ranges BLOB NOT NULL, heard_ns INTEGER NOT NULL,
    PRIMARY KEY (source, epoch)
) WITHOUT ROWID;
CREATE TABLE emitter_drops (
    source TEXT NOT NULL, epoch INTEGER NOT NULL, reason TEXT NOT NULL, events INTEGER NOT NULL,
    PRIMARY KEY (source, epoch, reason)
) WITHOUT ROWID;
CREATE TABLE ledger (
    stream TEXT NOT NULL, account TEXT NOT NULL, rows INTEGER NOT NULL, PRIMARY KEY (stream, account)
) WITHOUT ROWID;
CREATE TABLE commits (file_id BLOB NOT NULL, number INTEGER NOT NULL);
INSERT INTO commits VALUES (randomblob(16), 0);
"""
_EMITTED, _STORED, _DROPPED = "emitted", "stored", "dropped:"
_ADD = """
INSERT INTO ledger (stream, account, rows) VALUES (?, ?, ?)
ON CONFLICT (stream, account) DO UPDATE SET rows = rows + excluded.rows
"""
_SAVE_EMITTER = """
INSERT INTO emitters (source, epoch, ranges, heard_ns) VALUES (?, ?, ?, ?)
ON CONFLICT (source, epoch)
DO UPDATE SET ranges = excluded.ranges, heard_ns = max(heard_ns, excluded.heard_ns)
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
    """Open a spool file, and make it where there is none. What is committed survives a power cut.

    Raises an error of :mod:`storage.spool.errors`.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_SECONDS)
    except sqlite3.Error as error:
        raise translated(error) from error
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
        raise SpoolTooNewError(f"{path} was made by a newer version of Decahertz ({found} > {VERSION})")
    if found == 0:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    if found == 0:
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise SpoolDamagedError(f"{path} is a database, and none of ours")
        _create_tables(connection)


def _create_tables(connection: sqlite3.Connection) -> None:
    try:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT")
    except sqlite3.Error:
        roll_back(connection)
        raise
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # a log that is lost takes no tables with it


def sound(rows: Iterable[tuple[Any, ...]], types: Sequence[type]) -> Iterator[tuple[Any, ...]]:
    """The rows. Raises :class:`SpoolDamagedError` at one whose values are of other types: nobody wrote it."""
    for row in rows:
        if not all(map(isinstance, row, types)):
            raise SpoolDamagedError("the spool holds what nobody wrote")
        yield row


def load_commits(connection: sqlite3.Connection) -> tuple[bytes, int]:
    """The id of the file, and how many transactions it has."""
    found: tuple[bytes, int] | None = connection.execute("SELECT file_id, number FROM commits").fetchone()
    if found is None:
        raise SpoolDamagedError("the spool's count of transactions is not there")
    return found


def count_commit(connection: sqlite3.Connection) -> None:
    """One more transaction: this one."""
    connection.execute("UPDATE commits SET number = number + 1")


def load_emitters(connection: sqlite3.Connection) -> dict[EmitterId, SequenceSet]:
    """The sequences of all emitters that were taken."""
    rows = connection.execute("SELECT source, epoch, ranges FROM emitters")
    try:
        return {(source, epoch): SequenceSet(_RANGES.decode(ranges)) for source, epoch, ranges in rows}
    except (msgspec.MsgspecError, TypeError) as error:
        raise SpoolDamagedError(f"the spool's notes on emitters are damaged: {error}") from error


def load_heard(connection: sqlite3.Connection) -> dict[EmitterId, int]:
    """When each emitter was heard of last."""
    rows = connection.execute("SELECT source, epoch, heard_ns FROM emitters")
    return {(source, epoch): heard_ns for source, epoch, heard_ns in rows}


def forget_emitters(connection: sqlite3.Connection, before_ns: int) -> None:
    """Take out those that were not heard of since then."""
    connection.execute("DELETE FROM emitters WHERE heard_ns < ?", (before_ns,))


def save_emitters(
    connection: sqlite3.Connection, sequences: Mapping[EmitterId, SequenceSet], heard_ns: int
) -> None:
    """Write down what was taken of these emitters."""
    rows = [(*emitter, msgspec.msgpack.encode(list(taken)), heard_ns) for emitter, taken in sequences.items()]
    connection.executemany(_SAVE_EMITTER, rows)


def load_layouts(connection: sqlite3.Connection) -> dict[str, bytes]:
    """The layouts that are as they were written, by fingerprint."""
    rows = connection.execute("SELECT fingerprint, layout FROM layouts")
    return {name: data for name, data in rows if isinstance(data, bytes) and fingerprint(data) == name}


def load_drops(connection: sqlite3.Connection) -> dict[DropId, int]:
    """What emitters said that they lost."""
    rows = connection.execute("SELECT source, epoch, reason, events FROM emitter_drops")
    return {(source, epoch, reason): events for source, epoch, reason, events in sound(rows, DROP_TYPES)}


def save_drops(connection: sqlite3.Connection, drops: Mapping[DropId, int]) -> None:
    """Write down what these emitters said."""
    connection.executemany(_SAVE_DROP, [(*key, events) for key, events in drops.items()])


def load_ledger(connection: sqlite3.Connection) -> dict[str, Account]:
    """What was written down, and what waits according to the entries themselves."""
    accounts: dict[str, Account] = {}
    noted = connection.execute("SELECT stream, account, rows FROM ledger")
    for stream, name, rows in sound(noted, LEDGER_TYPES):
        account = accounts.setdefault(stream, Account())
        if name == _EMITTED:
            account.emitted = rows
        elif name == _STORED:
            account.stored = rows
        else:
            account.dropped[name.removeprefix(_DROPPED)] = rows
    waiting = connection.execute("SELECT stream, sum(rows) FROM entries GROUP BY stream")
    for stream, rows in sound(waiting, (str, int)):
        accounts.setdefault(stream, Account()).spooled = rows
    return accounts


def add_to_ledger(connection: sqlite3.Connection, accounts: Mapping[str, Account]) -> None:
    """Add to what is written down. What waits is not: the entries say it."""
    rows: list[tuple[str, str, int]] = []
    for stream, account in accounts.items():
        rows.append((stream, _EMITTED, account.emitted))
        rows.append((stream, _STORED, account.stored))
        rows += ((stream, _DROPPED + reason, count) for reason, count in account.dropped.items())
    connection.executemany(_ADD, [row for row in rows if row[2]])


def replace_ledger(connection: sqlite3.Connection, accounts: Mapping[str, Account]) -> None:
    """Write down another ledger."""
    begin(connection)
    connection.execute("DELETE FROM ledger")
    add_to_ledger(connection, accounts)
    connection.execute("COMMIT")


def delete_entries(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Take these out, where they are."""
    begin(connection)
    connection.executemany("DELETE FROM entries WHERE id = ?", [(id_,) for id_ in ids])
    connection.execute("COMMIT")


def begin(connection: sqlite3.Connection) -> None:
    """Begin to write."""
    connection.execute("BEGIN IMMEDIATE")


def roll_back(connection: sqlite3.Connection) -> None:
    """Undo what is not committed; where that fails too, the file is no longer to be used."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise SpoolUnwritableError(f"the spool cannot go back: {error}") from error
