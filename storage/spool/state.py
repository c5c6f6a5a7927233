"""What a spool's thread knows of its file without asking it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from decahertz.ingest import EmitterId
from decahertz.ledger import Account
from decahertz.sequences import SequenceSet
from storage.entry import EntryKind
from storage.spool import tables

_NEWEST_SAMPLE = (
    "SELECT max(time_ns) FROM (SELECT time_ns FROM entries WHERE kind = ? ORDER BY id DESC LIMIT ?)"
)
_OLDEST_EVENTS = "SELECT min(spooled_ns) FROM entries WHERE kind = ?"
_LAST_ENTRIES = 100
"""More than there are collectors."""


class Held:
    """The entries that the loop has in hand, each with its stream and rows."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._entries: dict[int, tuple[str, int]] = {}
        self._missing: set[int] = set()
        self.rows = 0
        """Rows of those that are in the file too."""

    def __contains__(self, entry_id: object) -> bool:
        """Whether the loop has it."""
        return entry_id in self._entries

    def __len__(self) -> int:
        """How many of them are in the file too."""
        return len(self._entries) - len(self._missing)

    def add(self, entry_id: int, stream: str, rows: int) -> None:
        """The loop gets it."""
        self._entries[entry_id] = (stream, rows)
        self.rows += rows

    def remove(self, entry_id: int) -> tuple[str, int] | None:
        """The loop has it no longer; returns stream and rows where nobody has it then."""
        stream, rows = self._entries.pop(entry_id, ("", 0))
        if entry_id in self._missing:
            self._missing.discard(entry_id)
            return stream, rows
        self.rows -= rows
        return None

    def rows_of_missing(self) -> dict[str, int]:
        """Rows that are in the loop's hands only, by stream."""
        found: dict[str, int] = {}
        for entry_id in self._missing:
            stream, rows = self._entries[entry_id]
            found[stream] = found.get(stream, 0) + rows
        return found

    def keep_in_file(self, present: set[int]) -> None:
        """Of these alone the file has a copy."""
        self._missing = set(self._entries) - present
        self.rows = sum(rows for id_, (_, rows) in self._entries.items() if id_ in present)

    def ids(self) -> list[int]:
        """All of them."""
        return list(self._entries)


@dataclass(slots=True)
class State:
    """As of the last commit."""

    sequences: dict[EmitterId, SequenceSet]
    heard_ns: dict[EmitterId, int]
    """When each of these was heard of last."""
    drops: dict[tables.DropId, int]
    layouts: set[str]
    """Those that are in the file as they were written, by fingerprint."""
    entries: int
    rows: int
    size: int
    """Bytes of all payloads."""
    next_id: int
    newest_sample_ns: int | None
    """The latest instant among the last samples that were there when it was opened."""
    held: Held = field(default_factory=Held)
    declared: Mapping[str, bytes] = field(default_factory=dict)
    """The layouts of this program's own samples, by fingerprint: for where the file's are damaged."""


def forgettable_before(connection: sqlite3.Connection, keep_ns: int, now_ns: int) -> int:
    """Emitters that were not heard of since then may be forgotten: nothing of theirs waits.

    What waits must be here once, so its numbers have to be known. Raises ``sqlite3.Error``.
    """
    oldest_ns = connection.execute(_OLDEST_EVENTS, (EntryKind.EVENTS.value,)).fetchone()[0]
    return now_ns - keep_ns if oldest_ns is None else min(oldest_ns, now_ns - keep_ns)


def load_state(connection: sqlite3.Connection, keep_ns: int, now_ns: int) -> tuple[State, dict[str, Account]]:
    """What the file says, and its ledger. Raises ``sqlite3.Error`` or ``SpoolDamagedError``.

    Emitters that were not heard of for ``keep_ns`` are left out.
    """
    before_ns = forgettable_before(connection, keep_ns, now_ns)
    heard_ns = {
        emitter: at_ns for emitter, at_ns in tables.load_heard(connection).items() if at_ns >= before_ns
    }
    sequences = tables.load_emitters(connection)
    question = "SELECT count(*), coalesce(sum(rows), 0), coalesce(sum(size), 0), max(id) FROM entries"
    entries, rows, size, newest = connection.execute(question).fetchone()
    newest_sample_ns = connection.execute(
        _NEWEST_SAMPLE, (EntryKind.SAMPLES.value, _LAST_ENTRIES)
    ).fetchone()[0]
    state = State(
        sequences={emitter: taken for emitter, taken in sequences.items() if emitter in heard_ns},
        heard_ns=heard_ns,
        drops=tables.load_drops(connection),
        layouts=set(tables.load_layouts(connection)),
        entries=entries,
        rows=rows,
        size=size,
        next_id=(newest or 0) + 1,
        newest_sample_ns=newest_sample_ns,
    )
    return state, tables.load_ledger(connection)
