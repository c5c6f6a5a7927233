"""Builds one transaction of the spool file, and applies it to the state after the commit."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Sequence

from decahertz.clock import NS_PER_MICROSECOND, Clock
from decahertz.event import Arrival
from decahertz.ingest import EmitterId, Receipt, part_of
from decahertz.ledger import CLIENT_PREFIX, Changes, Ledger
from decahertz.sample import Sample, SampleBatch, SampleSchema
from decahertz.sequences import SequenceSet
from storage.entry import ENTRY_ROWS, Entry, EntryKind, events_stream, samples_stream
from storage.spool import tables
from storage.spool.codec import encode_events, encode_layout, encode_samples, fingerprint, layout_of
from storage.spool.state import FileState

REFUSED = "refused"
"""Drop reason of samples that cannot be encoded."""
OTHER = "__other__"
"""Account for emitters, and for reasons of an emitter, beyond the number that the ledger tells apart."""

_MAX_STREAMS = 1_000
_MAX_REASONS = 32
_INSERT = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ENCODING_ERRORS = (TypeError, ValueError, OverflowError)


class LayoutCache:
    """Remembers the encoded layout of each schema."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[SampleSchema, str, bytes]] = {}

    def of(self, schema: SampleSchema) -> tuple[str, bytes]:
        """Returns fingerprint and encoded layout."""
        known = self._known.get(id(schema))
        if known is None or known[0] is not schema:
            layout = encode_layout(layout_of(schema))
            known = self._known[id(schema)] = (schema, fingerprint(layout), layout)
        return known[1:]


class SpoolTransaction:
    """Changes to the file and its state that take effect with the commit.

    The id of an entry is the number of its first event, and the next entry's id is behind its last one. Ids
    follow the clock in microseconds: they ascend from one file to the next too, and JavaScript can hold them.
    The caller begins the transaction in SQLite before the first call, and commits before :meth:`apply`.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        state: FileState,
        ledger: Ledger,
        clock: Clock,
        layouts: LayoutCache,
    ) -> None:
        self._connection = connection
        self._state = state
        self._ledger = ledger
        self._layout_cache = layouts
        self._now_ns = clock.time_ns()
        self._sequences: dict[EmitterId, SequenceSet] = {}
        self._seen: set[EmitterId] = set()
        self._evicted: list[EmitterId] = []
        self._drops: dict[tables.DropId, int] = {}
        self._layouts: set[str] = set()
        self._new: list[Entry] = []
        self._entries = self._rows = self._size = 0
        self.next_id = max(state.next_id, self._now_ns // NS_PER_MICROSECOND)
        """The lowest id that no entry has."""
        self.changes = Changes()
        self.rescued = Changes()
        """Rows of rescued entries: emitted in the file, and counted in the process before."""
        self.encoding_error = ""
        """Why samples could not be encoded, if any could not."""
        self.dropped_rows = 0
        """Rows dropped by a limit."""

    @property
    def size(self) -> int:
        """Bytes of all payloads after the commit."""
        return self._state.size + self._size

    def delete(self, ids: Iterable[int]) -> None:
        """Deletes entries if they exist."""
        for id_ in ids:
            found = self._connection.execute("SELECT rows, size FROM entries WHERE id = ?", (id_,)).fetchone()
            if found is not None:
                self._connection.execute("DELETE FROM entries WHERE id = ?", (id_,))
                self._entries -= 1
                self._rows -= found[0]
                self._size -= found[1]

    def drop(self, id_: int, stream: str, reason: str, rows: int) -> None:
        """Deletes an entry that exceeds a limit, and counts its rows as dropped."""
        self.delete([id_])
        self.changes.drop(stream, reason, rows)
        self.dropped_rows += rows

    def evict_emitters(self, before_ns: int) -> None:
        """Evicts emitters that were last seen before this time."""
        tables.evict_emitters(self._connection, before_ns)
        seen = self._state.last_seen_ns.items()
        self._evicted = [emitter for emitter, seen_ns in seen if seen_ns < before_ns]

    def append_events(self, arrival: Arrival) -> tuple[Receipt, list[Entry]]:
        """Appends the events of a batch that are not durable yet."""
        batch = arrival.batch
        emitter = (batch.source, batch.epoch)
        self._seen.add(emitter)
        sequences = self._sequences_of(emitter)
        stream = self._stream(batch.source)
        entries: list[Entry] = []
        accepted = 0
        for low, high in sequences.missing(batch.first_sequence, batch.last_sequence):
            accepted += high - low + 1
            entries += [
                self._insert_events(arrival, start, min(start + ENTRY_ROWS - 1, high), stream)
                for start in range(low, high + 1, ENTRY_ROWS)
            ]
        if self._count_drops(arrival, stream) and not entries:  # so that the database counts them
            empty = batch.first_sequence - 1
            entries.append(self._insert_events(arrival, batch.first_sequence, empty, stream))
        if accepted:
            sequences.add(batch.first_sequence, batch.last_sequence)
            self._sequences[emitter] = sequences
            self.changes.emit(stream, accepted)
        receipt = Receipt(
            source=batch.source,
            epoch=batch.epoch,
            durable_sequence=sequences.highest,
            accepted=accepted,
            duplicates=len(batch.events) - accepted,
        )
        return receipt, entries

    def append_samples(self, batch: SampleBatch) -> Entry | None:
        """Appends the samples of a batch that can be encoded; ``None`` if there are none."""
        stream = samples_stream(batch.schema.collector)
        try:
            payload = encode_samples(batch.samples)
        except _ENCODING_ERRORS:
            samples, self.encoding_error = _encodable(batch.samples)
            self.changes.lose(stream, REFUSED, len(batch.samples) - len(samples))
            if not samples:
                return None
            batch = SampleBatch(batch.schema, batch.time_ns, tuple(samples))
            payload = encode_samples(samples)
        entry = Entry(batch, stream, len(batch.samples))
        self._insert(entry, EntryKind.SAMPLES, batch.time_ns, self._layout(batch.schema), payload)
        self.changes.emit(stream, entry.rows)
        return entry

    def append_rescued(self, entries: Iterable[Entry]) -> None:
        """Appends entries that exist in memory only, as far as they can be encoded.

        They keep their batch ids, under which an uncertain commit may have written them before, and their
        events keep their numbers.
        """
        for entry in entries:
            content = entry.content
            if isinstance(content, Arrival):
                batch = content.batch
                emitter = (batch.source, batch.epoch)
                self._seen.add(emitter)
                sequences = self._sequences_of(emitter)
                sequences.add(batch.first_sequence, batch.last_sequence)
                self._sequences[emitter] = sequences
                entry.id = content.number
                self._put(entry, EntryKind.EVENTS, content.received_ns, "", encode_events(batch))
            elif isinstance(content, SampleBatch):
                try:
                    payload = encode_samples(content.samples)
                except _ENCODING_ERRORS:
                    continue
                entry.id, self.next_id = self.next_id, self.next_id + 1
                layout = self._layout(content.schema)
                self._put(entry, EntryKind.SAMPLES, content.time_ns, layout, payload)
            self.rescued.emit(entry.stream, entry.rows)

    def save(self, unsaved: Changes) -> None:
        """Saves emitters and ledger; ``unsaved`` are earlier changes of the ledger."""
        tables.save_emitters(self._connection, self._sequences, self._now_ns)
        tables.save_drops(self._connection, self._drops)
        tables.add_to_ledger(self._connection, unsaved.accounts)
        tables.add_to_ledger(self._connection, self.changes.accounts)
        tables.add_to_ledger(self._connection, self.rescued.accounts)

    def apply(self) -> None:
        """Updates the state after the commit."""
        state = self._state
        for emitter in self._evicted:
            del state.sequences[emitter], state.last_seen_ns[emitter]
        state.sequences.update(self._sequences)
        for emitter in self._seen & state.sequences.keys():
            state.last_seen_ns[emitter] = max(self._now_ns, state.last_seen_ns.get(emitter, 0))
        state.drops.update(self._drops)
        state.layouts |= self._layouts
        state.entries += self._entries
        state.rows += self._rows
        state.size += self._size
        state.next_id = self.next_id
        for entry in self._new:
            state.in_flight.add(entry.id, entry.stream, entry.rows)
        self._ledger.apply(self.changes)

    def _sequences_of(self, emitter: EmitterId) -> SequenceSet:
        changed = self._sequences.get(emitter)
        if changed is not None:
            return changed
        known = self._state.sequences.get(emitter)
        return SequenceSet() if known is None else known.copy()

    def _stream(self, source: str) -> str:
        stream = events_stream(source)
        if stream in self._ledger or len(self._ledger) < _MAX_STREAMS:
            self._ledger.announce(stream)
            return stream
        return events_stream(OTHER)

    def _insert_events(self, arrival: Arrival, first: int, last: int, stream: str) -> Entry:
        batch, encoded = arrival.batch, arrival.encoded
        if first != batch.first_sequence or last != batch.last_sequence:
            batch, encoded = part_of(batch, first, last), b""
        # Without the bytes: they would stay in memory with the entry.
        content = Arrival(batch=batch, received_ns=arrival.received_ns, number=self.next_id)
        entry = Entry(content, stream, len(batch.events))
        self._insert(entry, EntryKind.EVENTS, arrival.received_ns, "", encoded or encode_events(batch))
        return entry

    def _count_drops(self, arrival: Arrival, stream: str) -> bool:
        """Counts the losses that the emitter reports for the first time; returns whether there are any."""
        batch, has_grown = arrival.batch, False
        for reason, events in batch.dropped.items():
            key = (batch.source, batch.epoch, reason)
            before = self._drops.get(key, self._state.drops.get(key, 0))
            if events > before:
                has_grown = True
                self._drops[key] = events
                self.changes.lose(stream, self._reason(stream, reason), events - before)
        return has_grown

    def _reason(self, stream: str, reason: str) -> str:
        name = CLIENT_PREFIX + reason
        known = self._ledger.reasons(stream) | self.changes.reasons(stream)
        return name if name in known or len(known) < _MAX_REASONS else CLIENT_PREFIX + OTHER

    def _layout(self, schema: SampleSchema) -> str:
        name, layout = self._layout_cache.of(schema)
        if name not in self._state.layouts and name not in self._layouts:
            # OR REPLACE: the file may have a damaged one.
            self._connection.execute("INSERT OR REPLACE INTO layouts VALUES (?, ?)", (name, layout))
            self._layouts.add(name)
        return name

    def _insert(self, entry: Entry, kind: EntryKind, time_ns: int, layout: str, payload: bytes) -> None:
        entry.id = self.next_id
        self.next_id += max(entry.rows, 1) if kind is EntryKind.EVENTS else 1
        self._put(entry, kind, time_ns, layout, payload)

    def _put(self, entry: Entry, kind: EntryKind, time_ns: int, layout: str, payload: bytes) -> None:
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
    """Returns the samples that can be encoded, and why the last of the others cannot."""
    encodable: list[Sample] = []
    reason = ""
    for sample in samples:
        try:
            encode_samples([sample])
        except _ENCODING_ERRORS as error:
            reason = f"{type(error).__name__}: {error}"
        else:
            encodable.append(sample)
    return encodable, reason
