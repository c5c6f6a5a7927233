"""Dead letters: rows that the database refused, kept with the reason for a person to look at."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from decahertz.sample import SampleBatch
from storage.entry import Entry, Unreadable

if TYPE_CHECKING:
    from storage.database import AnyConnection

EVENT, SAMPLE, ENTRY = "event", "sample", "entry"
"""Kinds of dead letters: the column ``kind`` of the table."""

_LONGEST_REASON = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterRow:
    """A row of ``dead_letters``."""

    stream: str
    reason: str
    kind: str
    rows: int = 1
    row_time_ns: int | None = None
    received_ns: int | None = None
    source: str | None = None
    epoch: int | None = None
    sequence: int | None = None
    batch_id: uuid.UUID
    payload: bytes


_COLUMNS = tuple(DeadLetterRow.__dataclass_fields__)


def dead_letters_of(entry: Entry, indices: Sequence[int], reason: str) -> Iterator[DeadLetterRow]:
    """The dead letters of these rows of an entry."""
    reason = reason.replace("\0", "").encode(errors="replace").decode()[:_LONGEST_REASON]
    letter = partial(DeadLetterRow, stream=entry.stream, reason=reason, batch_id=entry.batch_id)
    content = entry.content
    if isinstance(content, Unreadable):
        yield letter(kind=ENTRY, rows=entry.rows, payload=content.payload)
    elif isinstance(content, SampleBatch):
        for index in indices:
            fields = msgspec.structs.asdict(content.samples[index])
            yield letter(kind=SAMPLE, row_time_ns=content.time_ns, payload=_encoded(fields))
    else:
        batch = content.batch
        for index in indices:
            event = batch.events[index]
            yield letter(
                kind=EVENT,
                row_time_ns=event.time_ns,
                received_ns=content.received_ns,
                source=batch.source,
                epoch=batch.epoch,
                sequence=batch.first_sequence + index,
                payload=_encoded(event),
            )


async def save_dead_letters(
    connection: AnyConnection, recorder: str, letters: Iterable[DeadLetterRow]
) -> None:
    """Stores dead letters, in the caller's transaction."""
    records = [(recorder, *(getattr(letter, name) for name in _COLUMNS)) for letter in letters]
    if records:
        await connection.copy_records_to_table(
            "dead_letters", records=records, columns=("recorder", *_COLUMNS)
        )


def _encoded(value: Any) -> bytes:  # noqa: ANN401 - an event, or the fields of a sample
    try:
        return msgspec.msgpack.encode(value)
    except (TypeError, ValueError, OverflowError):  # no codec can encode it; a person may still read it
        return msgspec.msgpack.encode(repr(value).encode(errors="backslashreplace"))
