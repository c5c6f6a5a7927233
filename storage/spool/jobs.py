"""Jobs that the event loop gives to the spool's thread, and the report that the thread returns."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from decahertz.event import Arrival
from decahertz.ingest import NotDurableError, Receipt
from decahertz.ledger import Changes
from decahertz.sample import SampleBatch
from storage.entry import Ack, Entry, entry_of
from storage.spool.delivered import Checkpoint, Course
from storage.spool.errors import SpoolError, SpoolUncertainError
from storage.spool.file import CommitResult, SpoolFile

T = TypeVar("T")

Answer = Callable[[Receipt | SpoolError], None]
"""Called in the event loop."""


class Job(ABC):
    """A task on the spool file. Each job is either run or refused."""

    @property
    def rows(self) -> int:
        """Rows that wait for a commit."""
        return 0

    @property
    def is_urgent(self) -> bool:
        """Whether a caller waits for the job."""
        return False

    @property
    def has_events(self) -> bool:
        """Whether it stores events."""
        return False

    def add_to(self, batch: JobBatch) -> None:
        """Adds the job to a batch: by default before the commit."""
        batch.before_commit.append(self)

    @abstractmethod
    def run(self, file: SpoolFile) -> None:
        """Runs the job in the spool's thread. Blocks."""

    def refuse(self, error: SpoolError) -> None:  # noqa: B027 - most jobs have no caller
        """Tells the caller that the job was not run. May be called in any thread."""


@dataclass(frozen=True)
class AckJob(Job):
    """Acknowledges entries that are in the database, or dropped."""

    acks: Sequence[Ack]

    def run(self, file: SpoolFile) -> None:
        """Have the next commit delete the entries."""
        file.ack(self.acks)


@dataclass(frozen=True)
class ReleaseJob(Job):
    """Releases entries that left memory without being stored."""

    ids: Sequence[int]

    def run(self, file: SpoolFile) -> None:
        """Returns the entries to the backlog."""
        file.release(self.ids)


@dataclass(frozen=True)
class LossJob(Job):
    """Counts rows that were lost before they reached the spool's thread."""

    changes: Changes

    def run(self, file: SpoolFile) -> None:
        """Have the next commit save the counts."""
        file.accounts.apply(self.changes)


@dataclass(frozen=True)
class CheckpointJob(Job):
    """Saves a checkpoint with the next commit. If that fails, the one before stays."""

    checkpoint: Checkpoint

    def add_to(self, batch: JobBatch) -> None:
        """Joins the batch's transaction, behind the events that were queued before."""
        batch.write.course.add_checkpoint(self.checkpoint, len(batch.write.arrivals))

    def run(self, file: SpoolFile) -> None:
        """Saves the checkpoint in a transaction of its own."""
        file.write(course=Course(checkpoint=self.checkpoint))


@dataclass(frozen=True)
class CallJob(Job, Generic[T]):
    """Calls a function with the file, after the commit of all earlier jobs.

    If the function raises :class:`~storage.spool.errors.SpoolDamagedError` it is called again, with the file
    that replaces the damaged one.
    """

    call: Callable[[SpoolFile], T]
    answer: Callable[[T | SpoolError], None]
    """Called with the result or the error, in any thread."""

    @property
    def is_urgent(self) -> bool:
        """Whether a caller waits: always."""
        return True

    def add_to(self, batch: JobBatch) -> None:
        """Runs after the commit."""
        batch.after_commit.append(self)

    def run(self, file: SpoolFile) -> None:
        """Calls the function and passes its result on."""
        self.answer(self.call(file))

    def refuse(self, error: SpoolError) -> None:
        """Passes the error on."""
        self.answer(error)


@dataclass(slots=True)
class Report:
    """Outcome of a commit, failed or not, for the event loop."""

    rows: int = 0
    """Rows that waited for this commit."""
    entries: list[Entry] = field(default_factory=list)
    """New ones, for the memory queue; those with the id 0 are not on disk."""
    rescued: list[Entry] = field(default_factory=list)
    """Entries that were in memory only, for the memory queue again; those with the id 0 still are."""
    receipts: list[tuple[Answer, Receipt | SpoolError]] = field(default_factory=list)
    result: CommitResult = field(default_factory=CommitResult)
    error: SpoolError | None = None
    """Why the commit failed."""


@dataclass(eq=False)
class WriteJob(Job):
    """Appends events and samples in one transaction, so that they share one ``fsync``."""

    report: Callable[[Report], None]
    """Called in the spool's thread."""
    arrivals: list[Arrival] = field(default_factory=list)
    answers: list[Answer | None] = field(default_factory=list)
    """For each arrival; ``None`` if no caller waits."""
    samples: list[SampleBatch] = field(default_factory=list)
    rescued: list[Entry] = field(default_factory=list)
    """Entries that an earlier job could not write, and that are in memory only since."""
    course: Course = field(default_factory=Course)

    @property
    def rows(self) -> int:
        """Events and samples."""
        return (
            sum(len(arrival.batch.events) for arrival in self.arrivals)
            + sum(len(batch.samples) for batch in self.samples)
            + sum(entry.rows for entry in self.rescued)
        )

    @property
    def is_urgent(self) -> bool:
        """Whether a caller waits; samples and the events of feeds wait for others to share a commit."""
        return any(answer is not None for answer in self.answers)

    @property
    def has_events(self) -> bool:
        """Whether it has arrivals, or entries that an earlier job could not write."""
        return bool(self.arrivals or self.rescued)

    def add_to(self, batch: JobBatch) -> None:
        """Joins the batch's transaction."""
        for samples in self.samples:
            batch.write.course.add_cycle(samples.time_ns, len(batch.write.arrivals))
        batch.write.arrivals += self.arrivals
        batch.write.answers += self.answers
        batch.write.samples += self.samples
        batch.write.rescued += self.rescued

    def split(self) -> Iterator[WriteJob]:
        """Yields a job of its own for each arrival, each batch of samples and each entry."""
        for arrival, answer in zip(self.arrivals, self.answers, strict=True):
            yield WriteJob(self.report, [arrival], [answer])
        for batch in self.samples:
            yield WriteJob(self.report, samples=[batch])
        for entry in self.rescued:
            yield WriteJob(self.report, rescued=[entry])

    def run(self, file: SpoolFile) -> None:
        """Commits, and reports the entries on disk."""
        result = file.write(self.arrivals, self.samples, self.rescued, self.course)
        report = Report(self.rows, list(result.samples), self.rescued, result=result)
        for answer, (receipt, entries) in zip(self.answers, result.events, strict=True):
            report.entries += entries
            if answer is not None:
                report.receipts.append((answer, receipt))
        report.entries.sort(key=lambda entry: entry.id)
        self.report(report)

    def continue_in_memory(self, file: SpoolFile, error: SpoolError) -> None:
        """Refuses arrivals that a caller waits for, and reports the rest as entries in memory only."""
        report = Report(self.rows, rescued=self.rescued, error=error)
        for answer, entries in zip(self.answers, self._events_in_memory(error), strict=True):
            file.number_events(entries)
            if answer is not None:
                report.receipts.append((answer, error))
            else:
                report.entries += entries
        report.entries += self._samples_in_memory(error)
        file.accounts.add_memory_only(report.entries)
        if file.has_unsaved:  # deleting acknowledged entries makes room
            with suppress(SpoolError):
                report.result = file.write()
        self.report(report)

    def refuse(self, error: SpoolError) -> None:
        """Refuses all arrivals: the thread has ended."""
        receipts = [(answer, error) for answer in self.answers if answer is not None]
        self.report(Report(self.rows, rescued=self.rescued, receipts=list(receipts), error=error))

    def _events_in_memory(self, error: SpoolError) -> list[list[Entry]]:
        """Entries for each arrival, with the batch ids under which they may reappear after a crash."""
        if not isinstance(error, SpoolUncertainError):
            return [[entry_of(Arrival(batch=a.batch, received_ns=a.received_ns))] for a in self.arrivals]
        found = [list(entries) for entries in error.events]
        for entries in found:
            for entry in entries:
                entry.id = 0
        return found

    def _samples_in_memory(self, error: SpoolError) -> list[Entry]:
        """Entries for each batch of samples, including samples that cannot be encoded."""
        found = [entry_of(batch) for batch in self.samples]
        if isinstance(error, SpoolUncertainError):
            for entry, attempted in zip(found, error.samples, strict=True):
                if attempted is not None:
                    entry.batch_id = attempted.batch_id
        return found


def answer_to(done: asyncio.Future[Receipt]) -> Answer:
    """Returns the answer that completes a future."""

    def answer(outcome: Receipt | SpoolError) -> None:
        if done.done():
            return
        if isinstance(outcome, Receipt):
            done.set_result(outcome)
        else:
            done.set_exception(NotDurableError(str(outcome)))

    return answer


def result_of(done: asyncio.Future[T]) -> Callable[[T], None]:
    """Returns a function that completes a future from any thread."""

    def complete(outcome: T) -> None:
        if not done.done():
            done.set_result(outcome)

    def answer(outcome: T) -> None:
        with suppress(RuntimeError):  # the loop is closed: no caller waits
            done.get_loop().call_soon_threadsafe(complete, outcome)

    return answer


class JobBatch:
    """Jobs that share a commit, in the order in which they run.

    Acks and releases come first, in their order, because the commit deletes acknowledged entries. Calls come
    last, so that they see the new entries.
    """

    def __init__(self, report: Callable[[Report], None], jobs: Sequence[Job]) -> None:
        self.before_commit: list[Job] = []
        self.write = WriteJob(report)
        self.after_commit: list[Job] = []
        for job in jobs:
            job.add_to(self)
