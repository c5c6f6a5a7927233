"""The spool's file. Everything here blocks and belongs to one thread.

What the database has taken is deleted, what came in is added, and the ledger, the emitters' sequences and the
caps follow, all in one transaction. What the loop has in hand (see :class:`~storage.spool.state.Held`) is
neither read back nor dropped by a cap; everything else is the backlog.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.event import Arrival
from decahertz.ingest import FORGET_NS, EmitterId, Receipt
from decahertz.ledger import Account, Changes, Ledger
from decahertz.sample import SampleBatch, SampleSchema
from decahertz.sequences import SequenceSet
from storage.entry import Ack, Entry
from storage.settings import SpoolSettings
from storage.spool import tables
from storage.spool.backlog import DAMAGED, DamagedEntry, read_arrivals, read_backlog, trim
from storage.spool.codec import encode_layout, fingerprint, layout_of
from storage.spool.commit_counter import CommitCounter
from storage.spool.errors import (
    NONSENSE,
    SpoolDamagedError,
    SpoolUncertainError,
    SpoolUnwritableError,
    translated,
)
from storage.spool.state import forgettable_before, load_state
from storage.spool.transaction import Draft, LayoutNames

_NS_PER_HOUR = 3600 * NS_PER_SECOND
_HOURS_PER_DAY = 24
_FREE_PAGES = 4_096
_VACUUM_PAGES = 512
_DELETED = 1_000
"""Entries that are deleted before the log goes into the file, so that their batches may be forgotten."""


@dataclass(slots=True)
class Written:
    """What one transaction put into the file."""

    events: list[tuple[Receipt, list[Entry]]] = field(default_factory=list)
    """For each arrival that was given: the answer, and what of it was new."""
    samples: list[Entry] = field(default_factory=list)
    forgettable: list[uuid.UUID] = field(default_factory=list)
    """Batches that are in the database, and not even in an older state of the file."""
    refused: str = ""
    """Why samples, if any, could not be written down."""
    given_up: int = 0
    """Rows that a cap took."""


class SpoolFile:
    """An open spool."""

    def __init__(
        self,
        path: Path,
        settings: SpoolSettings,
        clock: Clock,
        book: Ledger,
        before: SpoolFile | None = None,
    ) -> None:
        """Open it, or make it. Raises an error of :mod:`storage.spool.errors`.

        ``before`` is the file that this one takes the place of.
        """
        self.path = path
        self.book = book
        self._settings = settings
        self._clock = clock
        self._names = LayoutNames()
        self._keep_ns = max(FORGET_NS, round((settings.max_age_hours + _HOURS_PER_DAY) * _NS_PER_HOUR))
        self._forgot_ns: int | None = None
        self._is_closed = False
        self._settling: dict[int, uuid.UUID] = {}
        self._deleted: dict[int, uuid.UUID] = {}
        self._unsaved = Changes()
        self._outside = Changes()
        self.connection = tables.connect(path)
        try:
            self.state, accounts = load_state(self.connection, self._keep_ns, clock.time_ns())
            file_id, commits = tables.load_commits(self.connection)
        except sqlite3.Error as error:
            self.connection.close()
            raise translated(error) from error
        except OSError:
            self.connection.close()
            raise
        except NONSENSE as error:
            self.connection.close()
            raise SpoolDamagedError(f"the spool holds what nobody wrote: {error}") from error
        self._counter = CommitCounter(path, file_id, commits, clock)
        if before is not None:
            self._take_over(before, accounts)
        self.lost = self._reconcile(accounts)
        """Rows that the ledger says should be here and are not, by stream."""
        book.load(accounts)
        if before is not None:
            book.apply(before._unsaved)  # noqa: SLF001 - of this class
            self._unsaved.merge(before._unsaved)  # noqa: SLF001 - see above
            book.apply(self._outside)

    def close(self) -> None:
        """Close the file. What is acked and not written down yet is acked again next time. Safe twice."""
        self._is_closed = True
        self.connection.close()
        self._counter.close()

    @property
    def backlog_rows(self) -> int:
        """Rows in the file that the loop has not in hand."""
        return self.state.rows - self.state.held.rows

    @property
    def has_backlog(self) -> bool:
        """Whether there is something to read back, if only an entry without rows."""
        return self.state.entries > len(self.state.held)

    @property
    def has_unsaved(self) -> bool:
        """Whether there is something to write even when nothing comes in."""
        return bool(self._settling) or bool(self._unsaved)

    @property
    def deleted(self) -> Sequence[int]:
        """Entries that are deleted, and would be there again if the log were lost."""
        return list(self._deleted)

    def adopt(self, known: Mapping[EmitterId, SequenceSet], schemas: Iterable[SampleSchema] = ()) -> None:
        """Recognise these events too when they come again; read samples declared like this in any case."""
        layouts = [encode_layout(layout_of(schema)) for schema in schemas]
        self.state.declared = {fingerprint(layout): layout for layout in layouts}
        for emitter, stored in known.items():
            taken = self.state.sequences.setdefault(emitter, SequenceSet())
            self.state.heard_ns.setdefault(emitter, self._clock.time_ns())
            for low, high in stored:
                taken.add(low, high)

    def ack(self, acks: Iterable[Ack]) -> None:
        """Entries are in the database, or given up. The next :meth:`write` takes them out of the file."""
        for ack in acks:
            entry = ack.entry
            changes = Changes()
            changes.store(entry.stream, ack.stored)
            for reason, rows in ack.dropped.items():
                changes.drop(entry.stream, reason, rows)
            self.book.apply(changes)
            if entry.id:
                self._settling[entry.id] = entry.batch_id
            else:  # it never was in the file: there it is noted as emitted only now
                changes.emit(entry.stream, entry.rows)
                self._outside.emit(entry.stream, -entry.rows)
            self._unsaved.merge(changes)

    def note_outside(self, entries: Iterable[Entry]) -> None:
        """The loop has entries in hand that could not be written down."""
        changes = Changes()
        for entry in entries:
            changes.emit(entry.stream, entry.rows)
        self.book.apply(changes)
        self._outside.merge(changes)

    def hand_back(self, ids: Iterable[int]) -> None:
        """The loop has these no longer in hand: they wait in the file."""
        lost = Changes()
        for id_ in ids:
            missing = self.state.held.remove(id_)
            if missing is not None:
                lost.drop(missing[0], DAMAGED, missing[1])
        self.note(lost)

    def note(self, changes: Changes) -> None:
        """The ledger changes, and no entry does."""
        self.book.apply(changes)
        self._unsaved.merge(changes)

    def write(self, arrivals: Sequence[Arrival] = (), samples: Sequence[SampleBatch] = ()) -> Written:
        """One transaction. Returns when it is on disk.

        Raises :class:`~storage.spool.errors.SpoolUnwritableError` or
        :class:`~storage.spool.errors.SpoolDamagedError`; then nothing has changed. After a
        :class:`SpoolUncertainError` it may have all the same, for the next process.
        """
        self._demand_open()
        draft = Draft(self.connection, self.state, self.book, self._clock, self._names)
        written = Written()
        try:
            tables.begin(self.connection)
            draft.delete(self._settling)
            forgot_ns = self._forget(draft)
            written.events = [draft.take_events(arrival) for arrival in arrivals]
            entries = [draft.take_samples(batch) for batch in samples]
            self._trim(draft)
            draft.save(self._unsaved)
            tables.count_commit(self.connection)
            self._commit([found for _, found in written.events], entries)
        except sqlite3.Error as error:
            tables.roll_back(self.connection)
            raise translated(error) from error
        except BaseException:
            tables.roll_back(self.connection)
            raise
        self._counter.count()
        draft.apply()
        self._forgot_ns = forgot_ns
        for id_ in self._settling:
            self.state.held.remove(id_)
        written.samples = [entry for entry in entries if entry is not None]
        self._deleted |= self._settling
        if len(self._deleted) >= _DELETED:
            written.forgettable = self._checkpoint()
        written.refused = draft.refused
        written.given_up = draft.given_up
        self._settling.clear()
        self._unsaved = Changes()
        return written

    def _commit(self, events: Sequence[Sequence[Entry]], samples: Sequence[Entry | None]) -> None:
        try:
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            tables.roll_back(self.connection)
            meaning = translated(error)
            if isinstance(meaning, SpoolUnwritableError):
                raise SpoolUncertainError(str(meaning), events, samples) from error
            raise meaning from error

    def read_backlog(self, max_rows: int) -> list[Entry]:
        """Some of what waits, about ``max_rows`` rows; the loop has it in hand then.

        What cannot be read is dropped and counted. Raises as :meth:`write` does.
        """
        self._demand_open()
        found, damaged = [], []
        try:
            for entry in read_backlog(self.connection, self.state, max_rows):
                if isinstance(entry, DamagedEntry):
                    damaged.append(entry)
                else:
                    found.append(entry)
        except sqlite3.Error as error:
            raise translated(error) from error
        except NONSENSE as error:
            raise SpoolDamagedError(f"the spool holds what nobody wrote: {error}") from error
        for entry in found:
            self.state.held.add(entry.id, entry.stream, entry.rows)
        for wreck in damaged:
            self.state.held.add(wreck.id, wreck.stream, wreck.rows)
            self.lost[wreck.stream] = self.lost.get(wreck.stream, 0) + wreck.rows
        self.ack(wreck.ack() for wreck in damaged)
        return found

    def read_arrivals(self, after_id: int, max_rows: int) -> tuple[list[Arrival], int | None]:
        """See :func:`storage.spool.backlog.read_arrivals`. Raises as :meth:`write` does."""
        self._demand_open()
        try:
            return read_arrivals(self.connection, after_id, max_rows)
        except sqlite3.Error as error:
            raise translated(error) from error
        except NONSENSE as error:
            raise SpoolDamagedError(f"the spool holds what nobody wrote: {error}") from error

    def tidy(self) -> list[uuid.UUID]:
        """Give some of the disk's space back after a backlog; call it when there is nothing else to do.

        Returns what is forgettable by now (see :class:`Written`). Raises as :meth:`write` does.
        """
        try:
            if self.connection.execute("PRAGMA freelist_count").fetchone()[0] > _FREE_PAGES:
                self.connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
        except sqlite3.Error as error:
            raise translated(error) from error
        return self._checkpoint() if self._deleted else []

    def _checkpoint(self) -> list[uuid.UUID]:
        """Bring the log into the file; returns the batches that not even a lost log brings back."""
        try:
            busy, pages, done = self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error:
            return []  # what is committed stays so; the next one who writes hears of it
        if busy or pages != done:  # somebody reads: later
            return []
        batches = list(self._deleted.values())
        self._deleted.clear()
        return batches

    def _demand_open(self) -> None:
        if self._is_closed:
            raise SpoolDamagedError("the damaged spool could not be replaced yet")

    def _forget(self, draft: Draft) -> int:
        """Once an hour: forget emitters; returns when that was, in monotonic time."""
        now_ns = self._clock.monotonic_ns()
        if self._forgot_ns is not None and now_ns - self._forgot_ns < _NS_PER_HOUR:
            return self._forgot_ns
        draft.forget_emitters(forgettable_before(self.connection, self._keep_ns, self._clock.time_ns()))
        return now_ns

    def _trim(self, draft: Draft) -> None:
        oldest_ns = self._clock.time_ns() - round(self._settings.max_age_hours * _NS_PER_HOUR)
        trim(self.connection, self.state, draft, self._settings.max_bytes, oldest_ns)

    def committed(self) -> dict[str, Account]:
        """The ledger as it is written down."""
        accounts = self.book.accounts()
        for changes in (self._unsaved, self._outside):
            for stream, change in changes:
                accounts[stream].subtract(change)
        return accounts

    def _take_over(self, before: SpoolFile, accounts: dict[str, Account]) -> None:
        """What the loop has in hand of the file before is not lost, whether or not it is in this one."""
        self.state.declared = before.state.declared
        held = self.state.held = before.state.held
        held.keep_in_file({row[0] for row in self.connection.execute("SELECT id FROM entries")})
        for stream, rows in held.rows_of_missing().items():
            accounts.setdefault(stream, Account()).spooled += rows
        self.state.next_id = max(self.state.next_id, before.state.next_id)
        self._settling = before._settling
        self._deleted = before._deleted
        self._outside = before._outside

    def _reconcile(self, accounts: Mapping[str, Account]) -> dict[str, int]:
        """Count what the ledger has and the entries have not: it balances again, and says what is lost."""
        lost = {}
        for stream, account in accounts.items():
            missing = account.imbalance
            correction = Account()
            if missing > 0:
                correction.dropped[DAMAGED] = lost[stream] = missing
            else:  # entries that came from elsewhere
                correction.emitted = -missing
            account.add(correction)
            self._unsaved.accounts[stream] = correction
        self._unsaved.accounts = {s: a for s, a in self._unsaved.accounts.items() if a != Account()}
        return lost
