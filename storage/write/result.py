"""What a transaction of the writer came to."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from storage.entry import Ack, Entry, Unreadable
from storage.write.dead_letters import Reject, rejects_of
from storage.write.instruments import Row

DEAD_LETTER, DUPLICATE = "dead_letter", "duplicate"
"""Why rows of an entry are not in their table: no table took them; they were there before."""


@dataclass(slots=True)
class WriteResult:
    """What a transaction stored. It is true once the transaction is committed."""

    acks: dict[uuid.UUID, Ack] = field(default_factory=dict)
    """By batch id, of every entry."""
    rows: dict[str, int] = field(default_factory=dict)
    """By table."""
    not_finite: dict[str, int] = field(default_factory=dict)
    """Numbers that were NaN or infinite and are null now, by table."""
    rejects: list[Reject] = field(default_factory=list)
    instruments: list[Row] = field(default_factory=list)

    def drop(self, entry: Entry, reason: str, rows: int) -> None:
        """Rows of an entry are not stored by it."""
        if rows:
            dropped = self.acks[entry.batch_id].dropped
            dropped[reason] = dropped.get(reason, 0) + rows

    def reject(self, entry: Entry, indices: Sequence[int], reason: str) -> None:
        """Rows of an entry fit no table."""
        self.rejects += rejects_of(entry, indices, reason)
        rows = entry.rows if isinstance(entry.content, Unreadable) else len(indices)
        self.drop(entry, DEAD_LETTER, rows)

    def merge(self, part: WriteResult) -> None:
        """Take over what a part of an entry came to."""
        for ack in part.acks.values():
            for reason, rows in ack.dropped.items():
                self.drop(ack.entry, reason, rows)
        for mine, others in ((self.rows, part.rows), (self.not_finite, part.not_finite)):
            for table, count in others.items():
                mine[table] = mine.get(table, 0) + count
        self.rejects += part.rejects
        self.instruments = part.instruments or self.instruments
