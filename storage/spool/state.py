"""In-memory state of a spool file."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from decahertz.clock import NS_PER_MICROSECOND
from decahertz.ingest import EmitterId
from decahertz.ledger import Account
from decahertz.sequences import SequenceSet
from storage.entry import EntryKind
from storage.spool import tables

_NEWEST_SAMPLE = (
    "SELECT max(time_ns) FROM (SELECT time_ns FROM entries WHERE kind = ? ORDER BY id DESC LIMIT ?)"
)
_OLDEST_EVENTS = "SELECT min(spooled_ns) FROM entries WHERE kind = ?"
_TOTALS = "SELECT count(*), coalesce(sum(rows), 0), coalesce(sum(size), 0), max(id) FROM entries"
_LAST_ENTRIES = 100
"""More than there are collectors."""


class InFlight:
    """Entries in flight: the event loop has them, in the memory queue or handed to the writer."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[str, int]] = {}
        self._missing: set[int] = set()
        self.rows = 0
        """Rows of the entries that the file has too."""

    def __contains__(self, entry_id: object) -> bool:
        return entry_id in self._entries

    def __len__(self) -> int:
        """Number of entries that the file has too."""
        return len(self._entries) - len(self._missing)

    def add(self, entry_id: int, stream: str, rows: int) -> None:
        """Hands an entry to the event loop."""
        self._entries[entry_id] = (stream, rows)
        self.rows += rows

    def remove(self, entry_id: int) -> tuple[str, int] | None:
        """Takes an entry back; returns stream and rows if the file does not have it."""
        stream, rows = self._entries.pop(entry_id, ("", 0))
        if entry_id in self._missing:
            self._missing.discard(entry_id)
            return stream, rows
        self.rows -= rows
        return None

    def rows_of_missing(self) -> dict[str, int]:
        """Rows of entries that the file does not have, by stream."""
        found: dict[str, int] = {}
        for entry_id in self._missing:
            stream, rows = self._entries[entry_id]
            found[stream] = found.get(stream, 0) + rows
        return found

    def keep_in_file(self, present: set[int]) -> None:
        """Marks the entries that a new file lacks as missing."""
        self._missing = set(self._entries) - present
        self.rows = sum(rows for id_, (_, rows) in self._entries.items() if id_ in present)


@dataclass(slots=True)
class FileState:
    """Content of the file as of the last commit."""

    sequences: dict[EmitterId, SequenceSet]
    last_seen_ns: dict[EmitterId, int]
    drops: dict[tables.DropId, int]
    layouts: set[str]
    """Fingerprints of the intact layouts in the file."""
    entries: int
    rows: int
    size: int
    """Bytes of all payloads."""
    next_id: int
    """The lowest id of the next entry. See :class:`storage.spool.transaction.SpoolTransaction`."""
    newest_sample_ns: int | None
    """Time of the newest sample when the file was opened."""
    in_flight: InFlight = field(default_factory=InFlight)
    declared: Mapping[str, bytes] = field(default_factory=dict)
    """Layouts of the program's own samples, by fingerprint; used if those in the file are damaged."""


def eviction_limit_ns(connection: sqlite3.Connection, keep_ns: int, now_ns: int) -> int:
    """Emitters that were last seen before this time may be evicted. Raises ``sqlite3.Error``.

    Never later than the oldest events in the file, whose sequences must stay known.
    """
    oldest_ns = connection.execute(_OLDEST_EVENTS, (EntryKind.EVENTS.value,)).fetchone()[0]
    return now_ns - keep_ns if oldest_ns is None else min(oldest_ns, now_ns - keep_ns)


def load_state(
    connection: sqlite3.Connection, keep_ns: int, now_ns: int
) -> tuple[FileState, dict[str, Account]]:
    """Loads the state of a file and its ledger. Raises ``sqlite3.Error`` or ``SpoolDamagedError``.

    Emitters that were silent for ``keep_ns`` are left out.
    """
    limit_ns = eviction_limit_ns(connection, keep_ns, now_ns)
    last_seen_ns = {
        emitter: seen_ns
        for emitter, seen_ns in tables.load_last_seen(connection).items()
        if seen_ns >= limit_ns
    }
    sequences = tables.load_emitters(connection)
    entries, rows, size, newest = connection.execute(_TOTALS).fetchone()
    newest_sample_ns = connection.execute(
        _NEWEST_SAMPLE, (EntryKind.SAMPLES.value, _LAST_ENTRIES)
    ).fetchone()[0]
    state = FileState(
        sequences={emitter: ranges for emitter, ranges in sequences.items() if emitter in last_seen_ns},
        last_seen_ns=last_seen_ns,
        drops=tables.load_drops(connection),
        layouts=set(tables.load_layouts(connection)),
        entries=entries,
        rows=rows,
        size=size,
        next_id=max((newest or 0) + 1, tables.load_next_id(connection), now_ns // NS_PER_MICROSECOND),
        newest_sample_ns=newest_sample_ns,
    )
    return state, tables.load_ledger(connection)
