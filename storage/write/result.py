"""The result of one transaction of the writer."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from storage.entry import Ack, Entry, Unreadable
from storage.write.dead_letters import DeadLetterRow, dead_letters_of
from storage.write.instruments import SeenRow

DEAD_LETTER, DUPLICATE, SUPERSEDED = "dead_letter", "duplicate", "superseded"
"""Why rows of an entry were not stored: the database refused them; it had the events already; it had samples
of another process with their keys and cycles."""


@dataclass(slots=True)
class WriteResult:
    """Rows that a transaction stored; valid once it is committed."""

    acks: dict[uuid.UUID, Ack] = field(default_factory=dict)
    """Of every entry, by batch id."""
    rows: dict[str, int] = field(default_factory=dict)
    """Rows stored, by table."""
    not_finite: dict[str, int] = field(default_factory=dict)
    """Numbers that were NaN or infinite and were stored as null, by table."""
    dead_letters: list[DeadLetterRow] = field(default_factory=list)
    instruments: list[SeenRow] = field(default_factory=list)

    def drop(self, entry: Entry, reason: str, rows: int) -> None:
        """Count rows of an entry as not stored."""
        if rows:
            dropped = self.acks[entry.batch_id].dropped
            dropped[reason] = dropped.get(reason, 0) + rows

    def refuse(self, entry: Entry, indices: Sequence[int], reason: str) -> None:
        """Turn rows of an entry into dead letters."""
        self.dead_letters += dead_letters_of(entry, indices, reason)
        rows = entry.rows if isinstance(entry.content, Unreadable) else len(indices)
        self.drop(entry, DEAD_LETTER, rows)

    def merge(self, part: WriteResult) -> None:
        """Adds the result of a part of an entry."""
        for ack in part.acks.values():
            for reason, rows in ack.dropped.items():
                self.drop(ack.entry, reason, rows)
        for mine, others in ((self.rows, part.rows), (self.not_finite, part.not_finite)):
            for table, count in others.items():
                mine[table] = mine.get(table, 0) + count
        self.dead_letters += part.dead_letters
        self.instruments = part.instruments or self.instruments
