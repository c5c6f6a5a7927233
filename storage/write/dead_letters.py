"""Dead letters: what no table took is kept, with the reason, where a person can look at it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from decahertz.event import Arrival
from decahertz.sample import SampleBatch
from storage.entry import Entry, Unreadable

if TYPE_CHECKING:
    from storage.database import AnyConnection

EVENT, SAMPLE, ENTRY = "event", "sample", "entry"
"""Kinds of dead letters: see the table."""

_LONGEST_REASON = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A row of ``dead_letters``."""

    stream: str
    reason: str
    kind: str
    rows: int = 1
    time_ns: int | None = None
    received_ns: int | None = None
    source: str | None = None
    epoch: int | None = None
    sequence: int | None = None
    batch_id: uuid.UUID
    payload: bytes


_COLUMNS = tuple(Reject.__dataclass_fields__)


def rejects_of(entry: Entry, indices: Sequence[int], reason: str) -> Iterator[Reject]:
    """These rows of an entry, as dead letters."""
    reason = reason.replace("\0", "").encode(errors="replace").decode()[:_LONGEST_REASON]
    content = entry.content
    if isinstance(content, Unreadable):
        yield Reject(
            stream=entry.stream,
            reason=reason,
            kind=ENTRY,
            rows=entry.rows,
            batch_id=entry.batch_id,
            payload=content.payload,
        )
    elif isinstance(content, SampleBatch):
        for index in indices:
            yield Reject(
                stream=entry.stream,
                reason=reason,
                kind=SAMPLE,
                time_ns=content.time_ns,
                batch_id=entry.batch_id,
                payload=_encoded(msgspec.structs.asdict(content.samples[index])),
            )
    else:
        yield from _events(content, entry, indices, reason)


def _events(arrival: Arrival, entry: Entry, indices: Sequence[int], reason: str) -> Iterator[Reject]:
    batch = arrival.batch
    for index in indices:
        event = batch.events[index]
        yield Reject(
            stream=entry.stream,
            reason=reason,
            kind=EVENT,
            time_ns=event.time_ns,
            received_ns=arrival.received_ns,
            source=batch.source,
            epoch=batch.epoch,
            sequence=batch.first_sequence + index,
            batch_id=entry.batch_id,
            payload=_encoded(event),
        )


async def save_rejects(connection: AnyConnection, rejects: Iterable[Reject]) -> None:
    """Write them down, in the caller's transaction."""
    records = [tuple(getattr(reject, name) for name in _COLUMNS) for reject in rejects]
    if records:
        await connection.copy_records_to_table("dead_letters", records=records, columns=_COLUMNS)


def _encoded(value: Any) -> bytes:  # noqa: ANN401 - an event, or the fields of a sample
    try:
        return msgspec.msgpack.encode(value)
    except (TypeError, ValueError, OverflowError):  # no codec takes it; a person may still read it
        return msgspec.msgpack.encode(repr(value).encode(errors="backslashreplace"))
