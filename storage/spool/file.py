"""The spool file. Everything here blocks and belongs to one thread.

One transaction deletes acked entries, appends new ones, updates the ledger and the emitters' sequences, and
drops what exceeds a limit. Entries in flight (:class:`~storage.spool.state.InFlight`) are neither read back
nor dropped; all others are the backlog.
"""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.event import Arrival
from decahertz.ingest import FORGET_NS, EmitterId, Receipt
from decahertz.ledger import Account, Changes, Ledger
from decahertz.sample import SampleBatch, SampleSchema
from decahertz.sequences import SequenceSet
from storage.entry import Ack, Entry
from storage.settings import SpoolSettings
from storage.spool import tables
from storage.spool.accounts import DAMAGED, SpoolAccounts
from storage.spool.backlog import DamagedEntry, read_arrivals, read_backlog, trim
from storage.spool.codec import encode_layout, fingerprint, layout_of
from storage.spool.commit_counter import CommitCounter, counter_path
from storage.spool.delivered import Course, DeliveredEvents
from storage.spool.errors import (
    INVALID_VALUE_ERRORS,
    SpoolDamagedError,
    SpoolRemovedError,
    SpoolUncertainError,
    SpoolUnwritableError,
    translated,
)
from storage.spool.identity import FileIdentities
from storage.spool.state import eviction_limit_ns, load_state
from storage.spool.transaction import LayoutCache, SpoolTransaction

FILE_SUFFIXES = ("", "-wal", "-shm")
"""Suffixes of the files that make up a SQLite database."""
_NS_PER_HOUR = 3600 * NS_PER_SECOND
_HOURS_PER_DAY = 24
_FREE_PAGES = 4_096
_VACUUM_PAGES = 512
_OLDEST = "SELECT spooled_ns FROM entries ORDER BY id LIMIT 1"
_RESERVE_BYTES = 16 * 1024 * 1024
"""Room on the disk that entries do not take: deleting them and checkpointing the log need some."""
_PAGES_TO_KEEP = 2_048
"""Room to grow that the file must have to keep stored events for a restart: 8 MB."""
_CHECKPOINT_DELETIONS = 1_000
"""Deleted entries after which the log is checkpointed, so that PostgreSQL may forget their batches."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Entries that are on disk only."""

    rows: int = 0
    entries: int = 0


@dataclass(slots=True)
class CommitResult:
    """Result of one transaction."""

    events: list[tuple[Receipt, list[Entry]]] = field(default_factory=list)
    """For each arrival: the answer, and entries of its new events."""
    samples: list[Entry] = field(default_factory=list)
    forgettable: list[uuid.UUID] = field(default_factory=list)
    """Stored batches whose entries would stay deleted even if the log were lost."""
    encoding_error: str = ""
    """Why samples could not be encoded, if any could not."""
    dropped_rows: int = 0
    """Rows dropped by a limit."""


class SpoolFile:
    """An open spool file."""

    def __init__(
        self,
        path: Path,
        settings: SpoolSettings,
        clock: Clock,
        ledger: Ledger,
        before: SpoolFile | None = None,
    ) -> None:
        """Opens the file, or creates it. Raises an error of :mod:`storage.spool.errors`.

        ``before`` is the damaged file that this one replaces.
        """
        self.path = path
        self.accounts = SpoolAccounts(ledger)
        self._settings = settings
        self._clock = clock
        self._layouts = LayoutCache()
        self._keep_ns = max(FORGET_NS, round((settings.max_age_hours + _HOURS_PER_DAY) * _NS_PER_HOUR))
        self._evicted_ns: int | None = None
        self._reserve_bytes = _RESERVE_BYTES
        self._is_closed = False
        self._acked: dict[int, uuid.UUID] = {}
        self._deleted: dict[int, uuid.UUID] = {}
        self.connection = tables.connect(path)
        try:
            with _translated_errors():
                self.state, accounts = load_state(self.connection, self._keep_ns, clock.time_ns())
                file_id, commits = tables.load_commits(self.connection)
                self.delivered = DeliveredEvents(self.connection)
        except OSError:
            self.connection.close()
            raise
        self._counter = CommitCounter(path, file_id, commits, clock)
        names = [path.with_name(path.name + suffix) for suffix in FILE_SUFFIXES]
        self.files = FileIdentities([*names, counter_path(path)])
        if before is not None:
            self._take_over(before, accounts)
        self.lost = self.accounts.load(accounts)
        """Rows that the ledger counts and no entry has, by stream."""
        if before is not None:
            self.accounts.take_over(before.accounts)
        self.backlog = self._count_backlog()
        self.oldest_ns = self._find_oldest()
        """When the oldest entry was spooled; ``None`` without one. As of the last commit."""

    def close(self) -> None:
        """Closes the file. Safe twice. Acks that are not committed are repeated by the next process."""
        self._is_closed = True
        self.connection.close()
        self._counter.close()

    @property
    def has_unsaved(self) -> bool:
        """Whether acks or ledger changes wait for a commit."""
        return bool(self._acked) or bool(self.accounts.unsaved)

    @property
    def deleted(self) -> Sequence[int]:
        """Ids of deleted entries that a lost log would bring back."""
        return list(self._deleted)

    def declare(self, schemas: Iterable[SampleSchema]) -> None:
        """Sets the layouts of the program's own samples."""
        layouts = [encode_layout(layout_of(schema)) for schema in schemas]
        self.state.declared = {fingerprint(layout): layout for layout in layouts}

    def adopt(self, known: Mapping[EmitterId, SequenceSet]) -> None:
        """Adds the sequences that the database has."""
        for emitter, stored in known.items():
            sequences = self.state.sequences.setdefault(emitter, SequenceSet())
            self.state.last_seen_ns.setdefault(emitter, self._clock.time_ns())
            for low, high in stored:
                sequences.add(low, high)

    def ack(self, acks: Iterable[Ack]) -> None:
        """Acknowledges entries that are in the database, or dropped. The next :meth:`write` deletes them."""
        for ack in acks:
            self.accounts.ack(ack)
            if ack.entry.id:
                self._acked[ack.entry.id] = ack.entry.batch_id

    def release(self, ids: Iterable[int]) -> None:
        """Releases entries in flight: they are part of the backlog again."""
        lost = Changes()
        for id_ in ids:
            missing = self.state.in_flight.remove(id_)
            if missing is not None:
                stream, rows = missing
                lost.drop(stream, DAMAGED, rows)
        self.accounts.apply(lost)
        self.backlog = self._count_backlog()

    def write(
        self,
        arrivals: Sequence[Arrival] = (),
        samples: Sequence[SampleBatch] = (),
        rescued: Sequence[Entry] = (),
        course: Course | None = None,
    ) -> CommitResult:
        """Commits one transaction; returns when it is on disk.

        ``rescued`` are entries that exist in memory only, see :meth:`number_events`; with the commit they
        get their ids. A checkpoint in ``course`` includes all events that are in the file already.

        Raises :class:`~storage.spool.errors.SpoolUnwritableError`,
        :class:`~storage.spool.errors.SpoolRemovedError` or
        :class:`~storage.spool.errors.SpoolDamagedError`; then nothing has changed. After a
        :class:`~storage.spool.errors.SpoolUncertainError` the next process may find it changed.
        """
        self._require_open()
        self.files.check()
        return self._write(arrivals, samples, rescued, course)

    def shed(self) -> None:
        """Deletes what is acked and what only makes the next start quicker, also in files that were removed.

        Free space goes back to the disk. Raises as :meth:`write` does.
        """
        self._write(sheds=True)
        with suppress(sqlite3.Error):  # the disk may be too full for the log
            while self.connection.execute("PRAGMA freelist_count").fetchone()[0]:
                self.connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
                if self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    break  # a reader is in the way

    def content_bytes(self) -> int:
        """The size of a copy of the file."""
        pages: int = self.connection.execute("PRAGMA page_count").fetchone()[0]
        free: int = self.connection.execute("PRAGMA freelist_count").fetchone()[0]
        return (pages - free) * tables.PAGE_BYTES

    def _write(
        self,
        arrivals: Sequence[Arrival] = (),
        samples: Sequence[SampleBatch] = (),
        rescued: Sequence[Entry] = (),
        course: Course | None = None,
        *,
        sheds: bool = False,
    ) -> CommitResult:
        transaction = SpoolTransaction(
            self.connection, self.state, self.accounts.ledger, self._clock, self._layouts
        )
        result = CommitResult()
        try:
            has_room = not sheds and self._limit_pages() >= _PAGES_TO_KEEP
            tables.begin(self.connection)
            self.delivered.keep(self._acked, self._clock.monotonic_ns(), has_room=has_room)
            transaction.delete(self._acked)
            evicted_ns = self._evict_emitters(transaction)
            positions = [transaction.next_id]
            for arrival in arrivals:
                result.events.append(transaction.append_events(arrival))
                positions.append(transaction.next_id)
            if course is not None:
                self.delivered.save(course, positions)
            entries = [transaction.append_samples(batch) for batch in samples]
            transaction.append_rescued(rescued)
            self._trim(transaction, {entry.id for entry in rescued})
            transaction.save(self.accounts.unsaved)
            tables.count_commit(self.connection, transaction.next_id)
            self._commit([appended for _, appended in result.events], entries)
        except BaseException as error:
            tables.roll_back(self.connection)
            self.delivered.rolled_back()
            self._reuse_log()
            for entry in rescued:
                entry.id = 0
            if isinstance(error, sqlite3.Error):
                raise translated(error) from error
            raise
        self._counter.count()
        self.delivered.committed()
        transaction.apply()
        self.accounts.saved()
        self.accounts.note_rescued(transaction.rescued)
        self._evicted_ns = evicted_ns
        for id_ in self._acked:
            self.state.in_flight.remove(id_)
        self._deleted |= self._acked
        self._acked.clear()
        self.backlog = self._count_backlog()
        self.oldest_ns = self._find_oldest()
        result.samples = [entry for entry in entries if entry is not None]
        if len(self._deleted) >= _CHECKPOINT_DELETIONS:
            result.forgettable = self._checkpoint()
        result.encoding_error = transaction.encoding_error
        result.dropped_rows = transaction.dropped_rows
        return result

    def _commit(self, events: Sequence[Sequence[Entry]], samples: Sequence[Entry | None]) -> None:
        try:
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            tables.roll_back(self.connection)
            meaning = translated(error)
            if isinstance(meaning, SpoolUnwritableError):
                raise SpoolUncertainError(str(meaning), events, samples) from error
            raise meaning from error

    def number_events(self, entries: Iterable[Entry]) -> None:
        """Number the events of entries that exist in memory only."""
        state = self.state
        for entry in entries:
            if isinstance(entry.content, Arrival):
                if not entry.content.number:
                    entry.content = msgspec.structs.replace(entry.content, number=state.next_id)
                state.next_id = max(state.next_id, entry.content.number + max(entry.rows, 1))

    def read_backlog(self, max_rows: int) -> list[Entry]:
        """Reads about ``max_rows`` rows of the backlog, whose entries are in flight from then on.

        Damaged entries are dropped and counted. Raises as :meth:`write` does.
        """
        self._require_open()
        found: list[Entry] = []
        damaged: list[DamagedEntry] = []
        with _translated_errors():
            for item in read_backlog(self.connection, self.state, max_rows):
                if isinstance(item, DamagedEntry):
                    damaged.append(item)
                else:
                    found.append(item)
        for entry in found:
            self.state.in_flight.add(entry.id, entry.stream, entry.rows)
        for broken in damaged:
            self.state.in_flight.add(broken.id, broken.stream, broken.rows)
            self.lost[broken.stream] = self.lost.get(broken.stream, 0) + broken.rows
        self.ack(broken.ack() for broken in damaged)
        self.backlog = self._count_backlog()
        return found

    def read_arrivals(self, after_id: int, max_rows: int) -> tuple[list[Arrival], int | None]:
        """See :func:`storage.spool.backlog.read_arrivals`. Raises as :meth:`write` does."""
        self._require_open()
        with _translated_errors():
            return read_arrivals(self.connection, after_id, max_rows)

    def tidy(self) -> list[uuid.UUID]:
        """Returns free space to the disk and checkpoint the log; for when there is nothing else to do.

        Returns the batches that are forgettable now, see :class:`CommitResult`. Raises as :meth:`write` does.
        """
        self.files.check()
        try:
            if self.connection.execute("PRAGMA freelist_count").fetchone()[0] > _FREE_PAGES:
                self.connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
        except sqlite3.Error as error:
            raise translated(error) from error
        return self._checkpoint() if self._deleted else []

    def _checkpoint(self) -> list[uuid.UUID]:
        """Checkpoint the log; returns the batches that are forgettable now."""
        try:
            busy, pages, moved = self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error:
            return []  # committed transactions stay in the log; the next write meets the error
        if busy or pages != moved:  # a reader is in the way: later
            return []
        batches = list(self._deleted.values())
        self._deleted.clear()
        return batches

    def _reuse_log(self) -> None:
        """Checkpoint the log after a failed write, so that the next write overwrites it in place.

        A log that has filled the disk would stay otherwise, because nothing could be deleted any more.
        """
        with suppress(sqlite3.Error):
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _limit_pages(self) -> int:
        """Lets the file grow by what the disk has room for beyond the reserve; free pages are always used.

        A new page takes room twice: in the log, then in the file too. Returns these pages.
        """
        pages: int = self.connection.execute("PRAGMA page_count").fetchone()[0]
        free, lacking = self._room(pages)
        if lacking and free < pages * tables.PAGE_BYTES + self._reserve_bytes:
            # If the log filled the disk now, the file could not grow by what it lacks, and the log stayed.
            self._reuse_log()
            free, lacking = self._room(pages)
        room = max(0, free - self._reserve_bytes - lacking) // (2 * tables.PAGE_BYTES)
        self.connection.execute(f"PRAGMA max_page_count = {pages + room}")
        return room

    def _room(self, pages: int) -> tuple[int, int]:
        """Bytes that the disk has free, and bytes of so many pages that the log has and the file lacks."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError as error:
            raise SpoolRemovedError(
                f"files of the spool were removed while in use: {self.path.name}"
            ) from error
        return shutil.disk_usage(self.path.parent).free, max(0, pages * tables.PAGE_BYTES - size)

    def _count_backlog(self) -> Backlog:
        state = self.state
        return Backlog(state.rows - state.in_flight.rows, state.entries - len(state.in_flight))

    def _find_oldest(self) -> int | None:
        """When the oldest entry was spooled. Damage is not reported here: the transaction is committed."""
        with suppress(sqlite3.Error):
            match self.connection.execute(_OLDEST).fetchone():
                case (int(spooled_ns),):
                    return spooled_ns
        return None

    def _require_open(self) -> None:
        if self._is_closed:
            raise SpoolDamagedError("the damaged spool could not be replaced yet")

    def _evict_emitters(self, transaction: SpoolTransaction) -> int:
        """Evicts silent emitters once an hour; returns the monotonic time of the last eviction."""
        now_ns = self._clock.monotonic_ns()
        if self._evicted_ns is not None and now_ns - self._evicted_ns < _NS_PER_HOUR:
            return self._evicted_ns
        limit_ns = eviction_limit_ns(self.connection, self._keep_ns, self._clock.time_ns())
        transaction.evict_emitters(limit_ns)
        return now_ns

    def _trim(self, transaction: SpoolTransaction, rescued: Collection[int]) -> None:
        oldest_ns = self._clock.time_ns() - round(self._settings.max_age_hours * _NS_PER_HOUR)
        trim(self.connection, self.state, transaction, self._settings.max_bytes, oldest_ns, rescued)

    def _take_over(self, before: SpoolFile, accounts: dict[str, Account]) -> None:
        """Keeps the entries in flight: none of them is lost, even if this file lacks it."""
        self.state.declared = before.state.declared
        in_flight = self.state.in_flight = before.state.in_flight
        in_flight.keep_in_file({row[0] for row in self.connection.execute("SELECT id FROM entries")})
        for stream, rows in in_flight.rows_of_missing().items():
            accounts.setdefault(stream, Account()).spooled += rows
        self.state.next_id = max(self.state.next_id, before.state.next_id)
        self._acked = before._acked
        self._deleted = before._deleted


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Converts errors of reading the file to those of :mod:`storage.spool.errors`."""
    try:
        yield
    except sqlite3.Error as error:
        raise translated(error) from error
    except INVALID_VALUE_ERRORS as error:
        raise SpoolDamagedError(f"the spool file holds an invalid value: {error}") from error
