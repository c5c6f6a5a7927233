"""What the loop asks of the spool's thread, and what it hears of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from decahertz.ingest import Receipt
from decahertz.ledger import Changes
from storage.entry import Ack, Entry
from storage.spool.errors import SpoolError
from storage.spool.file import SpoolFile, Written

if TYPE_CHECKING:
    from decahertz.event import Arrival
    from decahertz.sample import SampleBatch


@dataclass(slots=True, eq=False)
class EventsJob:
    """Events to be written down."""

    arrival: Arrival
    answer: Callable[[Receipt | SpoolError], None] | None
    """Called in the loop; without it nobody waits."""


@dataclass(frozen=True, slots=True)
class SamplesJob:
    """Samples to be written down."""

    batch: SampleBatch


@dataclass(frozen=True, slots=True)
class AckJob:
    """Entries that are in the database, or given up."""

    acks: Sequence[Ack]


@dataclass(frozen=True, slots=True)
class ReleaseJob:
    """Entries that the loop has no longer in hand."""

    ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class LossJob:
    """What was lost before it came here."""

    changes: Changes


@dataclass(frozen=True, slots=True)
class CallJob:
    """Something else to be done with the file, after all that was asked for before.

    ``call`` may raise what the file raises: where that is damaged it is called again, with the next one.
    """

    call: Callable[[SpoolFile], None]
    refuse: Callable[[SpoolError], None]
    """Called instead of it, or after it has failed, in any thread."""


@dataclass(frozen=True, slots=True)
class ReadJob:
    """Some of the backlog is wanted in the loop's hands."""

    max_rows: int
    answer: Callable[[list[Entry] | SpoolError], None]
    """Called in the thread."""

    def refuse(self, error: SpoolError) -> None:
        """The thread has ended."""
        self.answer(error)


class StopJob:
    """Write down what is there, and end."""


Job: TypeAlias = EventsJob | SamplesJob | AckJob | ReleaseJob | LossJob | ReadJob | CallJob | StopJob


@dataclass(slots=True)
class Report:
    """What the thread did, for the loop."""

    entries: list[Entry] = field(default_factory=list)
    """On disk, or, with the id 0, not: now in the loop's hands."""
    receipts: list[tuple[EventsJob, Receipt | SpoolError]] = field(default_factory=list)
    written: Written = field(default_factory=Written)
    rows: int = 0
    """Rows that were waiting for this."""
    error: SpoolError | None = None
    """Why the disk did not take them."""


def rows_of(job: Job) -> int:
    """Rows that a job is to write down."""
    if isinstance(job, EventsJob):
        return len(job.arrival.batch.events)
    return len(job.batch.samples) if isinstance(job, SamplesJob) else 0


def is_urgent(job: Job) -> bool:
    """Whether somebody waits for it."""
    return isinstance(job, (CallJob, ReadJob, StopJob)) or (
        isinstance(job, EventsJob) and job.answer is not None
    )
