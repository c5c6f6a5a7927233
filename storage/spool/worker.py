"""The thread that owns the spool's file.

Whoever waits for an answer is written as soon as the thread is free, and all who came meanwhile with him: one
``fsync`` for all. Samples, for which nobody waits, first wait a little for company.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog

from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.ingest import EmitterId
from decahertz.ledger import Ledger
from decahertz.sequences import SequenceSet
from storage.entry import Entry, entry_of
from storage.settings import SpoolSettings
from storage.spool.errors import SpoolDamagedError, SpoolError, SpoolUncertainError, SpoolUnwritableError
from storage.spool.file import SpoolFile, Written
from storage.spool.jobs import (
    AckJob,
    CallJob,
    EventsJob,
    Job,
    LossJob,
    ReadJob,
    ReleaseJob,
    Report,
    SamplesJob,
    StopJob,
    rows_of,
)
from storage.spool.queue import Inbox
from storage.spool.recovery import Recovery, SpoolLock, open_spool, replace_file

if TYPE_CHECKING:
    from decahertz.sample import SampleBatch, SampleSchema

T = TypeVar("T")

_CLOSE_SECONDS = 10.0
_AGAIN_NS = 10 * NS_PER_SECOND
"""How long a file that took the place of a damaged one is used at least, whatever is the matter with it."""


class SpoolWorker:
    """Runs the thread."""

    def __init__(
        self,
        folder: Path,
        settings: SpoolSettings,
        clock: Clock,
        book: Ledger,
        schemas: Sequence[SampleSchema],
        report: Callable[[Report], None],
    ) -> None:
        """``schemas`` are those of the samples to come; ``report`` is called in the thread."""
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._book = book
        self._schemas = schemas
        self._report = report
        self._inbox = Inbox(clock, settings.commit_seconds, self._refuse)
        self._in_hand: Sequence[Job] = ()
        self._thread: threading.Thread | None = None
        self._replaced_ns: int | None = None
        self._log = structlog.get_logger(part="spool")
        self.recovery: Recovery | None = None
        """The last damage."""
        self.failure = ""
        """Why the thread ended before it was told to."""
        self.newest_sample_ns: int | None = None
        """The latest instant that was sampled before this start and waits; ``None``: there is none."""
        self.backlog_rows = 0
        self.has_backlog = False
        self.bytes = 0

    def open(self, known: Mapping[EmitterId, SequenceSet]) -> dict[EmitterId, SequenceSet]:
        """Open the file and start the thread; returns which events are taken. Blocks.

        Raises an error of :mod:`storage.spool.errors`, or ``OSError`` for a folder that cannot be.
        """
        opened: queue.SimpleQueue[dict[EmitterId, SequenceSet] | BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(known, opened), name="spool", daemon=True)
        self._thread.start()
        outcome = opened.get()
        if isinstance(outcome, BaseException):
            self._thread.join()
            self._thread = None
            raise outcome
        return outcome

    def put(self, job: Job) -> None:
        """Have something done; returns at once. What the thread does not come to is refused."""
        self._inbox.put(job)

    def close(self) -> None:
        """Do what was asked for, close the file and end the thread. Blocks. Safe twice."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._inbox.put(StopJob())
            thread.join(_CLOSE_SECONDS)
            if thread.is_alive():  # the disk hangs; what it has not taken by now is lost
                self._log.error("spool_does_not_close", waited_seconds=_CLOSE_SECONDS)

    def _run(
        self,
        known: Mapping[EmitterId, SequenceSet],
        opened: queue.SimpleQueue[dict[EmitterId, SequenceSet] | BaseException],
    ) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = SpoolLock(self._folder)
        except OSError as error:
            opened.put(error)
            return
        try:
            try:
                file = self._open(known)
            except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is told
                opened.put(error)
                return
            opened.put({emitter: taken.copy() for emitter, taken in file.state.sequences.items()})
            try:
                file = self._work(file)
            except Exception as error:  # noqa: BLE001 - an error of ours: say so instead of hanging silently
                self.failure = f"{type(error).__name__}: {error}"
                self._log.error("spool_failed", exc_info=error)
            file.close()
        finally:
            for job in self._in_hand:
                self._refuse(job)
            self._inbox.close()
            lock.release()

    def _open(self, known: Mapping[EmitterId, SequenceSet]) -> SpoolFile:
        file, self.recovery = open_spool(self._folder, self._settings, self._clock, self._book)
        self._note_damage()
        file.adopt(known, self._schemas)
        self._publish(file)
        self.newest_sample_ns = file.state.newest_sample_ns
        return file

    def _refuse(self, job: Job) -> None:
        """The thread has ended, and somebody may wait."""
        error = SpoolError(self.failure or "the spool is not open")
        if isinstance(job, (ReadJob, CallJob)):
            job.refuse(error)
        elif isinstance(job, EventsJob):
            self._report(Report(receipts=[(job, error)], rows=rows_of(job), error=error))
        elif isinstance(job, SamplesJob):
            self._report(Report(rows=rows_of(job), error=error))

    def _work(self, file: SpoolFile) -> SpoolFile:
        """Until it is told to stop; returns the file that is in use then."""
        stopping = False
        while not stopping:
            jobs = self._inbox.collect(file.has_unsaved)
            stopping = any(isinstance(job, StopJob) for job in jobs)
            if not jobs and not file.has_unsaved:
                self._tidy(file)
                continue
            self._in_hand = jobs
            file = self._process(file, jobs)
            self._in_hand = ()
        return file

    def _process(self, file: SpoolFile, jobs: Sequence[Job]) -> SpoolFile:
        events = [job for job in jobs if isinstance(job, EventsJob)]
        samples = [job.batch for job in jobs if isinstance(job, SamplesJob)]
        for job in jobs:  # in their order: what is acked first cannot be handed back
            if isinstance(job, AckJob):
                file.ack(job.acks)
            elif isinstance(job, ReleaseJob):
                file.hand_back(job.ids)
            elif isinstance(job, LossJob):
                file.note(job.changes)
        file = self._write(file, events, samples)
        self._in_hand = [
            job for job in jobs if isinstance(job, (CallJob, ReadJob))
        ]  # the others are answered
        for job in jobs:
            if isinstance(job, CallJob):
                file = self._call(file, job)
            elif isinstance(job, ReadJob):
                file = self._read(file, job)
        return file

    def _write(self, file: SpoolFile, events: list[EventsJob], samples: list[SampleBatch]) -> SpoolFile:
        arrivals = [job.arrival for job in events]
        report = Report(rows=sum(map(rows_of, events)) + sum(len(batch.samples) for batch in samples))
        try:
            try:
                report.written = file.write(arrivals, samples)
            except SpoolDamagedError as error:
                file = self._start_over(file, error)
                report.written = file.write(arrivals, samples)
        except SpoolError as error:
            report.error = error
        except Exception as error:  # noqa: BLE001 - nothing was written; whoever waits is told so
            if len(events) + len(samples) > 1:
                return self._write_apart(file, events, samples)
            report.error = self._note_error(error)
        if report.error is None:
            self._hand_over(report, events)
        else:
            self._do_without(file, report, events, samples)
        self._publish(file)
        self._report(report)
        return file

    def _write_apart(self, file: SpoolFile, events: list[EventsJob], samples: list[SampleBatch]) -> SpoolFile:
        """What one of them has that no file takes costs the others nothing."""
        for job in events:
            file = self._write(file, [job], [])
        for batch in samples:
            file = self._write(file, [], [batch])
        return file

    def _call(self, file: SpoolFile, job: CallJob) -> SpoolFile:
        try:
            try:
                job.call(file)
            except SpoolDamagedError as error:
                file = self._start_over(file, error)
                self._publish(file)
                job.call(file)
        except SpoolError as error:
            job.refuse(error)
        except Exception as error:  # noqa: BLE001 - an error of ours; who asked is told, the others go on
            job.refuse(self._note_error(error))
        return file

    def _note_error(self, error: Exception) -> SpoolUnwritableError:
        self._log.error("spool_failed", exc_info=error)
        return SpoolUnwritableError(f"{type(error).__name__}: {error}")

    def _read(self, file: SpoolFile, job: ReadJob) -> SpoolFile:
        try:
            try:
                entries = file.read_backlog(job.max_rows)
            except SpoolDamagedError as error:
                file = self._start_over(file, error)
                entries = file.read_backlog(job.max_rows)
        except SpoolError as error:
            job.answer(error)
        except Exception as error:  # noqa: BLE001 - as above
            job.answer(self._note_error(error))
        else:
            self._publish(file)
            job.answer(entries)
        return file

    def _hand_over(self, report: Report, events: Sequence[EventsJob]) -> None:
        for job, (receipt, entries) in zip(events, report.written.events, strict=True):
            report.receipts.append((job, receipt))
            report.entries += entries
        report.entries += report.written.samples
        report.entries.sort(key=lambda entry: entry.id)

    def _do_without(
        self, file: SpoolFile, report: Report, events: Sequence[EventsJob], samples: Sequence[SampleBatch]
    ) -> None:
        """The disk takes nothing: whoever waits is refused, the others go on in memory."""
        assert report.error is not None  # noqa: S101 - that is why this is called
        for job, entries in zip(events, _events_outside(report.error, events), strict=True):
            if job.answer is not None:
                report.receipts.append((job, report.error))
            else:
                report.entries += entries
        report.entries += _samples_outside(report.error, samples)
        file.note_outside(report.entries)
        if file.has_unsaved:  # deleting makes room
            try:
                report.written = file.write()
            except SpoolError:
                return

    def _start_over(self, file: SpoolFile, error: SpoolError) -> SpoolFile:
        now_ns = self._clock.monotonic_ns()
        if self._replaced_ns is not None and now_ns - self._replaced_ns < _AGAIN_NS:
            raise SpoolUnwritableError(f"so soon again: {error}")  # or copies would fill the disk
        try:
            file, self.recovery = replace_file(
                self._folder, self._settings, self._clock, self._book, str(error), file
            )
        except SpoolError:
            raise
        except OSError as trouble:
            raise SpoolUnwritableError(f"no new spool can be made: {trouble}") from trouble
        self._replaced_ns = now_ns
        self._note_damage()
        return file

    def _tidy(self, file: SpoolFile) -> None:
        try:
            forgettable = file.tidy()
        except SpoolError as error:
            self._log.warning("spool_not_tidied", error=str(error))
            return
        if forgettable:
            self._report(Report(written=Written(forgettable=forgettable)))

    def _note_damage(self) -> None:
        if self.recovery is not None:
            self._log.error(
                "spool_damaged",
                reason=self.recovery.reason,
                set_aside=str(self.recovery.set_aside),
                rows_recovered=self.recovery.rows,
                rows_lost=self.recovery.lost,
                transactions_lost=self.recovery.lost_transactions,
                inspect=self.recovery.inspect,
            )

    def _publish(self, file: SpoolFile) -> None:
        self.has_backlog = file.has_backlog
        self.backlog_rows = file.backlog_rows
        self.bytes = file.state.size


def _events_outside(error: SpoolError, events: Sequence[EventsJob]) -> list[list[Entry]]:
    """For each job entries that are in memory only, with the batch ids under which they may come back."""
    if not isinstance(error, SpoolUncertainError):
        return [[entry_of(job.arrival)] for job in events]
    found = [list(entries) for entries in error.events]
    for entries in found:
        for entry in entries:
            entry.id = 0
    return found


def _samples_outside(error: SpoolError, samples: Sequence[SampleBatch]) -> list[Entry]:
    """The same for batches of samples; they are whole here, with what no file takes."""
    found = [entry_of(batch) for batch in samples]
    if isinstance(error, SpoolUncertainError):
        for entry, twin in zip(found, error.samples, strict=True):
            if twin is not None:
                entry.batch_id = twin.batch_id
    return found
