"""Reads the backlog, and drops entries that are too old or too many."""

from __future__ import annotations

import sqlite3
import time
import uuid
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from decahertz.event import Arrival
from decahertz.sample import SampleBatch
from storage.entry import Ack, Content, Entry, EntryKind, Unreadable
from storage.spool.accounts import DAMAGED
from storage.spool.codec import PayloadError, decode_events, decode_layout, fingerprint, reader_of
from storage.spool.errors import SpoolDamagedError
from storage.spool.state import FileState
from storage.spool.transaction import SpoolTransaction

CAP_BYTES, CAP_AGE = "cap_bytes", "cap_age"
"""Drop reasons of rows of the backlog."""

_BATCH_BYTES = 8 * 1024 * 1024
_ROW = "SELECT kind, stream, rows, time_ns, batch_id, layout, checksum, payload FROM entries WHERE id = ?"
_TYPES = (int, str, int, int, bytes, str, int, bytes)
_BATCH_ID, _UUID_BYTES = 4, 16


@dataclass(frozen=True, slots=True)
class DamagedEntry:
    """An entry whose checksum is wrong."""

    id: int
    stream: str
    rows: int
    batch_id: uuid.UUID

    def ack(self) -> Ack:
        """Returns the ack that drops it."""
        entry = Entry(Unreadable(b"", DAMAGED), self.stream, self.rows, self.batch_id, self.id)
        return Ack(entry, {DAMAGED: self.rows})


def read_backlog(
    connection: sqlite3.Connection, state: FileState, max_rows: int
) -> Iterator[Entry | DamagedEntry]:
    """Yields entries of the backlog: events in their order, samples newest first.

    About half of the rows are events if there are both. Events come in order of time because deriving round
    trips is cheapest that way; of samples, a reader wants the newest first.
    """
    events = list(_ids(connection, state, EntryKind.EVENTS, "ASC", max_rows))
    samples = list(_ids(connection, state, EntryKind.SAMPLES, "DESC", max_rows))
    if samples and events:
        events = _first(events, max_rows // 2)
    rows = sum(rows for _, rows in events)
    for id_, _ in [*events, *(_first(samples, max_rows - rows) if rows < max_rows else [])]:
        yield read_entry(connection, id_, state.declared)
        time.sleep(0)  # lets other threads run between two entries: the grid must hold


def read_arrivals(
    connection: sqlite3.Connection, after_id: int, max_rows: int
) -> tuple[list[Arrival], int | None]:
    """Reads the events after an entry without taking them; returns where to continue, ``None`` at the end.

    Skips unreadable entries; :func:`read_backlog` counts them.
    """
    statement = "SELECT id, rows FROM entries WHERE kind = ? AND id > ? ORDER BY id"
    found: list[Arrival] = []
    for id_, rows in connection.execute(statement, (EntryKind.EVENTS.value, after_id)).fetchmany(max_rows):
        entry = read_entry(connection, id_)
        after_id = id_
        if isinstance(entry, Entry) and isinstance(entry.content, Arrival):
            found.append(entry.content)
        max_rows -= max(rows, 1)
        if max_rows <= 0:
            return found, after_id
    return found, None


def _first(found: list[tuple[int, int]], max_rows: int) -> list[tuple[int, int]]:
    chosen: list[tuple[int, int]] = []
    total = 0
    for id_, rows in found:
        if chosen and total + rows > max_rows:
            break
        chosen.append((id_, rows))
        total += rows
    return chosen


def _ids(
    connection: sqlite3.Connection, state: FileState, kind: EntryKind, order: str, max_rows: int
) -> Iterator[tuple[int, int]]:
    max_bytes = _BATCH_BYTES
    # ``order`` is ASC or DESC, and never comes from outside.
    statement = f"SELECT id, rows, size FROM entries WHERE kind = ? ORDER BY id {order}"  # noqa: S608
    for id_, rows, size in connection.execute(statement, (kind.value,)):
        if id_ in state.in_flight:
            continue
        yield id_, rows
        max_rows -= max(rows, 1)
        max_bytes -= size
        if max_rows <= 0 or max_bytes <= 0:
            return


def read_entry(
    connection: sqlite3.Connection, entry_id: int, declared: Mapping[str, bytes] = MappingProxyType({})
) -> Entry | DamagedEntry:
    """Reads an entry; ``declared`` are layouts that the file need not have.

    Raises ``sqlite3.Error``, or :class:`~storage.spool.errors.SpoolDamagedError` for a row with an invalid
    value.
    """
    row = connection.execute(_ROW, (entry_id,)).fetchone()
    if row is None or not all(map(isinstance, row, _TYPES)) or len(row[_BATCH_ID]) != _UUID_BYTES:
        raise SpoolDamagedError(f"the spool is damaged: entry {entry_id} has invalid values")
    kind, stream, rows, time_ns, batch_id, layout, checksum, payload = row
    if zlib.crc32(payload) != checksum:
        return DamagedEntry(entry_id, stream, rows, uuid.UUID(bytes=batch_id))
    content: Content
    try:
        if kind == EntryKind.EVENTS:
            content = Arrival(batch=decode_events(payload), received_ns=time_ns, number=entry_id)
        else:
            content = _samples(connection, declared, layout, time_ns, payload)
    except PayloadError as error:  # written under another declaration of the events, or without its layout
        content = Unreadable(payload, str(error))
    return Entry(content, stream, rows, uuid.UUID(bytes=batch_id), entry_id)


def _samples(
    connection: sqlite3.Connection, declared: Mapping[str, bytes], name: str, time_ns: int, payload: bytes
) -> SampleBatch:
    data = declared.get(name)
    if data is None:
        found = connection.execute("SELECT layout FROM layouts WHERE fingerprint = ?", (name,)).fetchone()
        if found is None or not isinstance(found[0], bytes) or fingerprint(found[0]) != name:
            raise PayloadError(f"the layout {name} is missing or damaged")
        data = found[0]
    reader = reader_of(decode_layout(data))
    return SampleBatch(reader.schema, time_ns, reader.decode(payload))


def trim(
    connection: sqlite3.Connection,
    state: FileState,
    transaction: SpoolTransaction,
    max_bytes: int,
    oldest_ns: int,
    rescued: Collection[int] = (),
) -> None:
    """Drops entries from before ``oldest_ns``, and the oldest of those above ``max_bytes``.

    Samples go first and events last. Entries in flight stay, and those of these ids, which are in memory
    too: they are about to be stored.
    """
    excess = transaction.size - max_bytes
    for kind in EntryKind:
        for id_, stream, rows, size, reason in list(
            _over_limit(connection, state, kind, excess, oldest_ns, rescued)
        ):
            transaction.drop(id_, stream, reason, rows)
            excess -= size


def _over_limit(
    connection: sqlite3.Connection,
    state: FileState,
    kind: EntryKind,
    excess: int,
    oldest_ns: int,
    rescued: Collection[int],
) -> Iterator[tuple[int, str, int, int, str]]:
    statement = "SELECT id, spooled_ns, stream, rows, size FROM entries WHERE kind = ? AND id < ? ORDER BY id"
    for id_, spooled_ns, stream, rows, size in connection.execute(statement, (kind.value, state.next_id)):
        is_old = spooled_ns < oldest_ns
        if not is_old and excess <= 0:
            return
        if id_ not in state.in_flight and id_ not in rescued:
            yield id_, stream, rows, size, CAP_AGE if is_old else CAP_BYTES
            excess -= size
