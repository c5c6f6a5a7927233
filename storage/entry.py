"""An entry of the spool: up to a few thousand rows that go into the database together."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

from decahertz.event import Arrival
from decahertz.ingest import part_of
from decahertz.sample import SampleBatch

ENTRY_ROWS = 2_000
"""A larger batch of events becomes several entries, so that reading one back takes milliseconds."""


class EntryKind(IntEnum):
    """Content of an entry. The spool file stores the numbers."""

    SAMPLES = 1
    EVENTS = 2


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Content of an entry that this version of the program cannot decode."""

    payload: bytes
    reason: str


Content: TypeAlias = SampleBatch | Arrival | Unreadable


@dataclass(slots=True, eq=False)
class Entry:
    """One batch: stored as a whole or not at all."""

    content: Content
    stream: str
    """Its stream in the ledger."""
    rows: int
    batch_id: uuid.UUID = field(default_factory=uuid.uuid4)
    """PostgreSQL records it with the rows, so that a retry recognises that the first attempt succeeded."""
    id: int = 0
    """Ascending id in the spool file; 0 for an entry that is in memory only."""

    def part(self, start: int, stop: int) -> Entry:
        """The rows from ``start`` to ``stop`` as an entry with the same id."""
        content = self.content
        if isinstance(content, SampleBatch):
            content = SampleBatch(content.schema, content.time_ns, content.samples[start:stop])
        elif isinstance(content, Arrival):
            first = content.batch.first_sequence
            part = part_of(content.batch, first + start, first + stop - 1)
            number = content.number + start if content.number else 0
            content = Arrival(batch=part, received_ns=content.received_ns, number=number)
        return Entry(content, self.stream, stop - start, self.batch_id, self.id)


@dataclass(slots=True, eq=False)
class Ack:
    """Confirms that an entry is stored, or says why rows of it are not."""

    entry: Entry
    dropped: dict[str, int] = field(default_factory=dict)
    """Rows of the entry that were not stored, by reason."""

    @property
    def stored(self) -> int:
        """Rows of the entry that were stored."""
        return self.entry.rows - sum(self.dropped.values())


def samples_stream(collector: str) -> str:
    """The ledger's name for the samples of a collector."""
    return f"samples:{collector}"


def events_stream(source: str) -> str:
    """The ledger's name for the events of an emitter."""
    return f"events:{source}"


def entry_of(content: SampleBatch | Arrival) -> Entry:
    """An entry that is in memory only."""
    if isinstance(content, SampleBatch):
        return Entry(content, samples_stream(content.schema.collector), len(content.samples))
    return Entry(content, events_stream(content.batch.source), len(content.batch.events))
