"""Runs the thread that owns the spool file.

Events that an emitter waits for are committed as soon as the thread is free, together with everything that
arrived in the meantime: one ``fsync`` for all. Samples, which nobody waits for, are held back briefly so that
more of them share a commit.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from decahertz.clock import NS_PER_SECOND, Clock
from decahertz.ingest import EmitterId
from decahertz.ledger import Ledger
from decahertz.sequences import SequenceSet
from decahertz.supervision import current
from decahertz.words import counted
from storage.files import make_private_folder
from storage.settings import SpoolSettings
from storage.spool.errors import (
    SpoolDamagedError,
    SpoolError,
    SpoolInUseError,
    SpoolRemovedError,
    SpoolUnwritableError,
)
from storage.spool.file import Backlog, CommitResult, SpoolFile
from storage.spool.jobs import CallJob, Job, JobBatch, Report, WriteJob
from storage.spool.queue import SpoolQueue
from storage.spool.recovery import Recovery, lock_spool, open_spool, replace_file
from storage.spool.removal import rewrite_file

if TYPE_CHECKING:
    from decahertz.sample import SampleSchema

_CLOSE_SECONDS = 10.0
_REPLACE_INTERVAL_NS = 10 * NS_PER_SECOND
"""Minimum time between two replacements: each damaged file that is kept takes disk space."""
_REMOVAL_SHOWN_NS = 10 * NS_PER_SECOND
"""Minimum time for which the health reports removed files."""

_Opened = dict[EmitterId, SequenceSet] | BaseException


class SpoolWorker:
    """The spool's thread, with the state that the event loop may read."""

    def __init__(
        self,
        folder: Path,
        settings: SpoolSettings,
        clock: Clock,
        ledger: Ledger,
        schemas: Sequence[SampleSchema],
        report: Callable[[Report], None],
    ) -> None:
        """``schemas`` declare the samples to store; ``report`` is called in the thread."""
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._ledger = ledger
        self._schemas = schemas
        self._report = report
        self._queue = SpoolQueue(clock, settings.commit_seconds)
        self._unanswered: Sequence[Job] = ()
        self._supervision = current()
        self._is_stopping = False
        self._thread: threading.Thread | None = None
        self._lock = -1
        self._file: SpoolFile | None = None
        self._replaced_ns: int | None = None
        self._log = structlog.get_logger(part="spool")
        self.recovery: Recovery | None = None
        """The last replacement of a damaged file."""
        self.removal = ""
        """Report of a removal of files while in use; empty once the database has all that was in them."""
        self._removed_ns = (0, 0)
        """When that was, by the wall clock and by the monotonic one."""
        self.failure = ""
        """Why the thread ended before :meth:`close`."""
        self.newest_sample_ns: int | None = None
        """Time of the newest sample that was in the spool at the start."""
        self.first_new_id = 1
        """Entries with a smaller id were in the spool at the start."""

    @property
    def backlog(self) -> Backlog:
        """Entries that are on disk only."""
        return self._file.backlog if self._file is not None else Backlog()

    @property
    def rows(self) -> int:
        """Rows of all entries in the file."""
        return self._file.state.rows if self._file is not None else 0

    @property
    def bytes(self) -> int:
        """Bytes of all entries in the file."""
        return self._file.state.size if self._file is not None else 0

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest entry in the file was spooled."""
        return self._file.oldest_ns if self._file is not None else None

    def open(self, known: Mapping[EmitterId, SequenceSet]) -> dict[EmitterId, SequenceSet]:
        """Opens the file and starts the thread; returns the sequences of all durable events. Blocks.

        Raises an error of :mod:`storage.spool.errors`, or ``OSError`` if the folder cannot be created.
        """
        opened: queue.SimpleQueue[_Opened] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(known, opened), name="spool", daemon=True)
        self._thread.start()
        outcome = opened.get()
        if isinstance(outcome, BaseException):
            self._thread.join()
            self._thread = None
            raise outcome
        return outcome

    def put(self, job: Job) -> None:
        """Queues a job; returns at once. A job is refused if the thread ends before its turn."""
        self._queue.put(job)

    def close(self) -> None:
        """Runs the waiting jobs, closes the file and ends the thread. Blocks. Safe to call twice."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(CallJob(self._stop, lambda _: None))
            thread.join(_CLOSE_SECONDS)
            if thread.is_alive():  # the disk hangs; rows that it has not accepted by now are lost
                self._log.error("spool_close_timed_out", waited_seconds=_CLOSE_SECONDS)

    def _stop(self, _: SpoolFile) -> None:
        self._is_stopping = True

    def _run(self, known: Mapping[EmitterId, SequenceSet], opened: queue.SimpleQueue[_Opened]) -> None:
        try:
            make_private_folder(self._folder)
            self._lock = lock_spool(self._folder)
        except OSError as error:
            opened.put(error)
            return
        try:
            try:
                file = self._open(known)
            except Exception as error:  # noqa: BLE001 - passed on to the caller of open()
                opened.put(error)
                return
            opened.put({emitter: sequences.copy() for emitter, sequences in file.state.sequences.items()})
            self._work(file).close()
        except BaseException as error:
            self.failure = f"{type(error).__name__}: {error}"
            raise
        finally:
            closed = SpoolError(self.failure or "the spool is not open")
            self._refuse_unanswered(closed)
            self._queue.close(closed)
            os.close(self._lock)

    def _open(self, known: Mapping[EmitterId, SequenceSet]) -> SpoolFile:
        file, self.recovery = open_spool(self._folder, self._settings, self._clock, self._ledger)
        self._log_recovery()
        file.declare(self._schemas)
        file.adopt(known)
        self._file = file
        self.newest_sample_ns = file.state.newest_sample_ns
        self.first_new_id = file.state.next_id
        return file

    def _work(self, file: SpoolFile) -> SpoolFile:
        """Runs jobs until :meth:`close`; returns the file in use by then."""
        while not self._is_stopping:
            try:
                file = self._run_jobs(file)
            except Exception as error:  # noqa: BLE001 - a bug: its jobs are refused, later ones go on
                file = self._file or file
                self._supervision.failed("spool", error)
                self._refuse_unanswered(SpoolUnwritableError(f"{type(error).__name__}: {error}"))
        return file

    def _run_jobs(self, file: SpoolFile) -> SpoolFile:
        if self.removal:
            self._settle_removal(file)
        jobs = self._queue.collect(has_unsaved=file.has_unsaved)
        if not jobs and not file.has_unsaved:
            return self._tidy(file)
        self._unanswered = jobs
        file = self._process(file, JobBatch(self._report, jobs))
        self._unanswered = ()
        return file

    def _refuse_unanswered(self, error: SpoolError) -> None:
        jobs, self._unanswered = self._unanswered, ()
        for job in jobs:
            job.refuse(error)

    def _process(self, file: SpoolFile, batch: JobBatch) -> SpoolFile:
        for job in batch.before_commit:
            file = self._call(file, job)
        self._unanswered = [batch.write, *batch.after_commit]
        file = self._write(file, batch.write)
        self._unanswered = batch.after_commit
        for job in batch.after_commit:
            file = self._call(file, job)
        return file

    def _write(self, file: SpoolFile, job: WriteJob) -> SpoolFile:
        file, error = self._attempt(file, job)
        if error is None:
            return file
        if not isinstance(error, SpoolError):  # nothing was written: only the job at fault is refused
            jobs = list(job.split())
            if len(jobs) > 1:
                for single in jobs:
                    file = self._write(file, single)
                return file
            error = self._unexpected(error)
        job.continue_in_memory(file, error)
        return file

    def _call(self, file: SpoolFile, job: Job) -> SpoolFile:
        file, error = self._attempt(file, job)
        if error is not None:
            job.refuse(error if isinstance(error, SpoolError) else self._unexpected(error))
        return file

    def _attempt(self, file: SpoolFile, job: Job) -> tuple[SpoolFile, Exception | None]:
        """Runs a job, again on a new file if this one is damaged; returns the file in use and the error."""
        try:
            try:
                job.run(file)
            except SpoolRemovedError as error:
                file = self._rewrite(file, error)
                job.run(file)
            except SpoolDamagedError as error:
                file = self._replace(file, error)
                job.run(file)
        except Exception as error:  # noqa: BLE001 - even a bug: its caller is told, other jobs go on
            return file, error
        return file, None

    def _rewrite(self, file: SpoolFile, error: SpoolRemovedError) -> SpoolFile:
        """Writes the removed files again, with everything that the open ones hold."""
        try:
            file = rewrite_file(self._folder, self._settings, self._clock, self._ledger, file)
            self._renew_lock()
        except SpoolError:
            raise
        except OSError as failure:
            raise SpoolUnwritableError(f"{error}; they cannot be written again: {failure}") from failure
        self._file = file
        rows = file.state.rows
        self.removal = f"{error}; they were written again with all {counted(rows, 'row')}"
        self._removed_ns = (self._clock.time_ns(), self._clock.monotonic_ns())
        self._log.error("spool_files_removed", reason=str(error), rows_written=rows)
        return file

    def _settle_removal(self, file: SpoolFile) -> None:
        """Ends the report of a removal once the database has every row that was written again."""
        wall_ns, monotonic_ns = self._removed_ns
        is_stored = file.oldest_ns is None or file.oldest_ns > wall_ns
        if is_stored and self._clock.monotonic_ns() - monotonic_ns >= _REMOVAL_SHOWN_NS:
            self.removal = ""
            self._log.info("spool_files_recovered")

    def _renew_lock(self) -> None:
        with suppress(SpoolInUseError):  # the file of the lock is still there
            lock = lock_spool(self._folder)
            os.close(self._lock)
            self._lock = lock

    def _replace(self, file: SpoolFile, error: SpoolError) -> SpoolFile:
        now_ns = self._clock.monotonic_ns()
        if self._replaced_ns is not None and now_ns - self._replaced_ns < _REPLACE_INTERVAL_NS:
            raise SpoolUnwritableError(
                "spool damaged again within 10 s of its replacement; the damaged file is kept to avoid "
                f"filling the disk: {error}"
            )
        try:
            file, self.recovery = replace_file(
                self._folder, self._settings, self._clock, self._ledger, str(error), file
            )
        except SpoolError:
            raise
        except OSError as failure:
            raise SpoolUnwritableError(f"the damaged spool cannot be replaced: {failure}") from failure
        self._replaced_ns = now_ns
        self._file = file
        self._log_recovery()
        return file

    def _unexpected(self, error: Exception) -> SpoolError:
        self._supervision.failed("spool", error)
        return SpoolUnwritableError(f"{type(error).__name__}: {error}")

    def _tidy(self, file: SpoolFile) -> SpoolFile:
        try:
            try:
                forgettable = file.tidy()
            except SpoolRemovedError as error:
                file = self._rewrite(file, error)
                forgettable = file.tidy()
        except SpoolError as error:
            self._log.warning("spool_tidy_failed", error=str(error))
            return file
        if forgettable:
            self._report(Report(result=CommitResult(forgettable=forgettable)))
        return file

    def _log_recovery(self) -> None:
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
