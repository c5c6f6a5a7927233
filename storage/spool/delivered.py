"""The newest checkpoint of the collectors, and the events since then.

An event entry that is acknowledged leaves the queue. While a checkpoint does not include its events, it moves
to the table ``delivered`` instead of being deleted; so a start needs nothing but this file.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from decahertz.checkpoint import SavedCheckpoint
from decahertz.clock import NS_PER_SECOND
from decahertz.event import Arrival
from storage.entry import EntryKind
from storage.spool.codec import PayloadError, decode_events

_STALE_NS = 300 * NS_PER_SECOND
"""A checkpoint not replaced within this time is dropped: the events since then would fill the disk."""
_FORGOTTEN_AT_ONCE = 2_000
_REPLAYED_AT_ONCE = 500
_KEEP = (
    "INSERT OR REPLACE INTO delivered"
    " SELECT id, time_ns, checksum, payload FROM entries WHERE id = ? AND kind = ?"
)
_FORGET = "DELETE FROM delivered WHERE id IN (SELECT id FROM delivered WHERE id < ? ORDER BY id LIMIT ?)"
_REPLAY = """
SELECT id, time_ns, checksum, payload FROM entries WHERE kind = ? AND id >= ?
UNION ALL SELECT id, received_ns, checksum, payload FROM delivered WHERE id >= ?
ORDER BY 1 LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint to save, and what it includes of the transaction that saves it."""

    time_ns: int
    states: Mapping[str, bytes]
    arrivals: int = 0
    """Number of first arrivals."""
    cycles: int = 0
    """Number of first cycles."""


@dataclass(slots=True)
class Course:
    """Cycles of the collectors in a transaction, and their last checkpoint."""

    cycles: list[tuple[int, int]] = field(default_factory=list)
    """Time of each cycle, and the number of arrivals before it."""
    checkpoint: Checkpoint | None = None

    def add_cycle(self, time_ns: int, arrivals: int) -> None:
        """Adds a cycle, once for all collectors."""
        if not self.cycles or self.cycles[-1][0] != time_ns:
            self.cycles.append((time_ns, arrivals))

    def add_checkpoint(self, checkpoint: Checkpoint, arrivals: int) -> None:
        """Adds a checkpoint behind these arrivals and all cycles so far."""
        self.checkpoint = replace(checkpoint, arrivals=arrivals, cycles=len(self.cycles))


class DeliveredEvents:
    """The checkpoint and the events since then, in an open spool file. Belongs to the file's thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Raises ``sqlite3.Error``."""
        self._connection = connection
        self._position, self._time_ns = connection.execute(
            "SELECT max(position), max(time_ns) FROM checkpoints"
        ).fetchone()
        self._renewed_ns: int | None = None
        """When the checkpoint was replaced, or the file opened, by the monotonic clock."""
        self._has_old = True
        self._new: tuple[int | None, int | None] | None = None
        self._cycle_ns: int | None = None
        """The last cycle of the transactions so far: a transaction may begin with the rest of its samples."""
        self._new_cycle_ns: int | None = None

    def save(self, course: Course, positions: Sequence[int]) -> None:
        """Saves cycles and checkpoint; ``positions`` are the numbers behind each number of arrivals."""
        cycles = [(time_ns, positions[arrivals]) for time_ns, arrivals in course.cycles]
        first = 0
        if cycles:
            first = int(cycles[0][0] == self._cycle_ns)
            self._new_cycle_ns = cycles[-1][0]
        checkpoint = course.checkpoint
        if checkpoint is not None:
            position = positions[checkpoint.arrivals]
            self._connection.execute("DELETE FROM checkpoints")
            self._connection.execute("DELETE FROM cycles")
            self._connection.executemany(
                "INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?)",
                [
                    (name, position, checkpoint.time_ns, zlib.crc32(state), state)
                    for name, state in checkpoint.states.items()
                ],
            )
            self._new = position, checkpoint.time_ns
            first = max(first, checkpoint.cycles)
        elif self._position is None:
            return
        self._connection.executemany("INSERT INTO cycles (time_ns, position) VALUES (?, ?)", cycles[first:])

    def keep(self, ids: Iterable[int], monotonic_ns: int, *, has_room: bool) -> None:
        """Keeps those of these entries, which are deleted next, that the checkpoint does not include."""
        if self._renewed_ns is None:
            self._renewed_ns = monotonic_ns
        if self._position is None:
            return
        if not has_room or monotonic_ns - self._renewed_ns > _STALE_NS:
            self._connection.execute("DELETE FROM checkpoints")
            self._connection.execute("DELETE FROM delivered")
            self._connection.execute("DELETE FROM cycles")
            self._new = None, None
            return
        kept = [(id_, EntryKind.EVENTS.value) for id_ in ids if id_ >= self._position]
        self._connection.executemany(_KEEP, kept)
        if self._has_old:
            deleted = self._connection.execute(_FORGET, (self._position, _FORGOTTEN_AT_ONCE)).rowcount
            self._has_old = deleted == _FORGOTTEN_AT_ONCE

    def committed(self) -> None:
        """Takes over the changes of the transaction."""
        if self._new is not None:
            self._position, self._time_ns = self._new
            self._renewed_ns, self._has_old, self._new = None, True, None
        if self._new_cycle_ns is not None:
            self._cycle_ns, self._new_cycle_ns = self._new_cycle_ns, None

    def rolled_back(self) -> None:
        """Forgets the changes of the transaction."""
        self._has_old, self._new, self._new_cycle_ns = True, None, None

    def load(self) -> SavedCheckpoint | None:
        """Returns the checkpoint; ``None`` without an intact one. Raises ``sqlite3.Error``."""
        rows = self._connection.execute("SELECT collector, checksum, state FROM checkpoints").fetchall()
        states = {name: state for name, checksum, state in rows if zlib.crc32(state) == checksum}
        if self._position is None or self._time_ns is None or not states:
            return None
        cycles = self._connection.execute("SELECT time_ns, position FROM cycles ORDER BY number").fetchall()
        return SavedCheckpoint(time_ns=self._time_ns, position=self._position, states=states, cycles=cycles)

    def replay(self, position: int) -> tuple[list[Arrival], int | None]:
        """Returns events from a position on, and where to continue, if at all.

        Raises ``sqlite3.Error``, or ``PayloadError`` for damaged events.
        """
        kind = EntryKind.EVENTS.value
        rows = self._connection.execute(_REPLAY, (kind, position, position, _REPLAYED_AT_ONCE)).fetchall()
        found: dict[int, Arrival] = {}
        for id_, received_ns, checksum, payload in rows:
            if zlib.crc32(payload) != checksum:
                raise PayloadError(f"the events with the number {id_} are damaged")
            found[id_] = Arrival(batch=decode_events(payload), received_ns=received_ns, number=id_)
        return list(found.values()), rows[-1][0] + 1 if len(rows) == _REPLAYED_AT_ONCE else None
