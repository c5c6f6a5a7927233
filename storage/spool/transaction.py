"""A transaction in the making: what comes in becomes rows of the file, and what was known grows with it."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Sequence

from decahertz.clock import Clock
from decahertz.event import Arrival
from decahertz.ingest import EmitterId, Receipt, part_of
from decahertz.ledger import CLIENT_PREFIX, Changes, Ledger
from decahertz.sample import Sample, SampleBatch, SampleSchema
from decahertz.sequences import SequenceSet
from storage.entry import ENTRY_ROWS, Entry, EntryKind, events_stream, samples_stream
from storage.spool import tables
from storage.spool.codec import encode_events, encode_layout, encode_samples, fingerprint, layout_of
from storage.spool.state import State

REFUSED = "refused"
"""Why samples are dropped that cannot be written down."""
OTHER = "__other__"
"""Stands for the emitters, and for an emitter's reasons, beyond the number that the ledger tells apart."""

_MAX_STREAMS = 1_000
_MAX_REASONS = 32
_INSERT = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ENCODING_ERRORS = (TypeError, ValueError, OverflowError)


class LayoutNames:
    """Remembers the fingerprint of each schema."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._known: dict[int, tuple[SampleSchema, str, bytes]] = {}

    def of(self, schema: SampleSchema) -> tuple[str, bytes]:
        """Fingerprint and encoded layout."""
        known = self._known.get(id(schema))
        if known is None or known[0] is not schema:
            layout = encode_layout(layout_of(schema))
            known = self._known[id(schema)] = (schema, fingerprint(layout), layout)
        return known[1:]


class Draft:
    """What becomes true with the commit. All its statements run within a transaction of its maker's."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        state: State,
        book: Ledger,
        clock: Clock,
        names: LayoutNames,
    ) -> None:
        """Begin with what is true now."""
        self._connection = connection
        self._state = state
        self._book = book
        self._names = names
        self._now_ns = clock.time_ns()
        self._sequences: dict[EmitterId, SequenceSet] = {}
        self._heard: set[EmitterId] = set()
        self._forgotten: list[EmitterId] = []
        self._drops: dict[tables.DropId, int] = {}
        self._layouts: set[str] = set()
        self._new: list[Entry] = []
        self._entries = self._rows = self._size = 0
        self.changes = Changes()
        self.refused = ""
        """Why samples, if any, could not be written down."""
        self.given_up = 0
        """Rows that a cap took."""

    @property
    def size(self) -> int:
        """Bytes of all payloads, as they will be."""
        return self._state.size + self._size

    def delete(self, ids: Iterable[int]) -> None:
        """Take entries out; those that are not there any more do no harm."""
        for id_ in ids:
            found = self._connection.execute("SELECT rows, size FROM entries WHERE id = ?", (id_,)).fetchone()
            if found is not None:
                self._connection.execute("DELETE FROM entries WHERE id = ?", (id_,))
                self._entries -= 1
                self._rows -= found[0]
                self._size -= found[1]

    def give_up(self, id_: int, stream: str, reason: str, rows: int) -> None:
        """A cap takes an entry."""
        self.delete([id_])
        self.changes.drop(stream, reason, rows)
        self.given_up += rows

    def forget_emitters(self, before_ns: int) -> None:
        """Those that were not heard of since then."""
        tables.forget_emitters(self._connection, before_ns)
        heard = self._state.heard_ns.items()
        self._forgotten = [emitter for emitter, heard_ns in heard if heard_ns < before_ns]

    def take_events(self, arrival: Arrival) -> tuple[Receipt, list[Entry]]:
        """Put in what of a batch is new."""
        batch = arrival.batch
        emitter = (batch.source, batch.epoch)
        self._heard.add(emitter)
        taken = self._sequences_of(emitter)
        stream = self._stream(batch.source)
        entries: list[Entry] = []
        accepted = 0
        for low, high in taken.missing(batch.first_sequence, batch.last_sequence):
            accepted += high - low + 1
            entries += [
                self._put_events(arrival, start, min(start + ENTRY_ROWS - 1, high), stream)
                for start in range(low, high + 1, ENTRY_ROWS)
            ]
        if self._note_drops(arrival, stream) and not entries:
            entries.append(self._put_events(arrival, batch.first_sequence, batch.first_sequence - 1, stream))
        if accepted:
            taken.add(batch.first_sequence, batch.last_sequence)
            self._sequences[emitter] = taken
            self.changes.emit(stream, accepted)
        receipt = Receipt(
            source=batch.source,
            epoch=batch.epoch,
            durable_sequence=taken.highest,
            accepted=accepted,
            duplicates=len(batch.events) - accepted,
        )
        return receipt, entries

    def take_samples(self, batch: SampleBatch) -> Entry | None:
        """Put in what of a batch can be written down; ``None`` where that is nothing."""
        stream = samples_stream(batch.schema.collector)
        try:
            payload = encode_samples(batch.samples)
        except _ENCODING_ERRORS:
            samples, self.refused = _encodable(batch.samples)
            self.changes.lose(stream, REFUSED, len(batch.samples) - len(samples))
            if not samples:
                return None
            batch = SampleBatch(batch.schema, batch.time_ns, tuple(samples))
            payload = encode_samples(samples)
        entry = Entry(batch, stream, len(batch.samples))
        self._put(entry, EntryKind.SAMPLES, batch.time_ns, self._layout(batch.schema), payload)
        self.changes.emit(stream, entry.rows)
        return entry

    def save(self, unsaved: Changes) -> None:
        """Write down what goes with the entries, and changes of the ledger from before."""
        tables.save_emitters(self._connection, self._sequences, self._now_ns)
        tables.save_drops(self._connection, self._drops)
        tables.add_to_ledger(self._connection, unsaved.accounts)
        tables.add_to_ledger(self._connection, self.changes.accounts)

    def apply(self) -> None:
        """It is committed."""
        state = self._state
        for emitter in self._forgotten:
            del state.sequences[emitter], state.heard_ns[emitter]
        state.sequences.update(self._sequences)
        for emitter in self._heard & state.sequences.keys():
            state.heard_ns[emitter] = max(self._now_ns, state.heard_ns.get(emitter, 0))
        state.drops.update(self._drops)
        state.layouts |= self._layouts
        state.entries += self._entries
        state.rows += self._rows
        state.size += self._size
        state.next_id += len(self._new)
        for entry in self._new:
            state.held.add(entry.id, entry.stream, entry.rows)
        self._book.apply(self.changes)

    def _sequences_of(self, emitter: EmitterId) -> SequenceSet:
        changed = self._sequences.get(emitter)
        if changed is not None:
            return changed
        known = self._state.sequences.get(emitter)
        return SequenceSet() if known is None else known.copy()

    def _stream(self, source: str) -> str:
        stream = events_stream(source)
        if stream in self._book or len(self._book) < _MAX_STREAMS:
            self._book.announce(stream)
            return stream
        return events_stream(OTHER)

    def _put_events(self, arrival: Arrival, first: int, last: int, stream: str) -> Entry:
        batch, encoded = arrival.batch, arrival.encoded
        if first != batch.first_sequence or last != batch.last_sequence:
            batch, encoded = part_of(batch, first, last), b""
        # Without the bytes: they would stay in memory with the entry.
        content = Arrival(batch=batch, received_ns=arrival.received_ns)
        entry = Entry(content, stream, len(batch.events))
        self._put(entry, EntryKind.EVENTS, arrival.received_ns, "", encoded or encode_events(batch))
        return entry

    def _note_drops(self, arrival: Arrival, stream: str) -> bool:
        """Count what the emitter lost since it last said so; whether there was anything."""
        batch, grown = arrival.batch, False
        for reason, events in batch.dropped.items():
            key = (batch.source, batch.epoch, reason)
            before = self._drops.get(key, self._state.drops.get(key, 0))
            if events > before:
                grown = True
                self._drops[key] = events
                self.changes.lose(stream, self._reason(stream, reason), events - before)
        return grown

    def _reason(self, stream: str, reason: str) -> str:
        name = CLIENT_PREFIX + reason
        known = self._book.reasons(stream) | self.changes.reasons(stream)
        return name if name in known or len(known) < _MAX_REASONS else CLIENT_PREFIX + OTHER

    def _layout(self, schema: SampleSchema) -> str:
        name, layout = self._names.of(schema)
        if name not in self._state.layouts and name not in self._layouts:
            # Replaced, where one is there that is damaged.
            self._connection.execute("INSERT OR REPLACE INTO layouts VALUES (?, ?)", (name, layout))
            self._layouts.add(name)
        return name

    def _put(self, entry: Entry, kind: EntryKind, time_ns: int, layout: str, payload: bytes) -> None:
        entry.id = self._state.next_id + len(self._new)
        self._new.append(entry)
        row = (
            *(entry.id, kind.value, entry.stream, entry.rows, len(payload), self._now_ns, time_ns),
            *(entry.batch_id.bytes, layout, zlib.crc32(payload), payload),
        )
        self._connection.execute(_INSERT, row)
        self._entries += 1
        self._rows += entry.rows
        self._size += len(payload)


def _encodable(samples: Sequence[Sample]) -> tuple[list[Sample], str]:
    """Those that can be written down, and why the last of the others cannot."""
    good, reason = [], ""
    for sample in samples:
        try:
            encode_samples([sample])
        except _ENCODING_ERRORS as error:
            reason = f"{type(error).__name__}: {error}"
        else:
            good.append(sample)
    return good, reason
