"""Inserts the rows of spool entries into their tables, in the caller's transaction.

Events update the stored sequences of their emitter, by which a duplicate is recognised, and the tables that
derive from them: round trips, the current state of orders, instruments. A row that cannot be encoded becomes
a dead letter.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from decahertz.accounting import AccountingSettings
from decahertz.clock import Clock, to_datetime
from decahertz.event import AnyEvent, Arrival, Event, Fill, Instrument, Order, Quote, Signal, Tick
from decahertz.ingest import EmitterId
from decahertz.sample import SampleBatch, SampleSchema
from decahertz.sequences import SequenceSet
from storage.entry import Entry
from storage.schema.samples import RECORDER, TIME, quoted, recent_of
from storage.write.copy_format import ENCODING_ERRORS, HEADER, TRAILER
from storage.write.emitters import lock_emitters, save_drops, save_emitters
from storage.write.encoders import EventRows, SampleRows
from storage.write.instruments import InstrumentTable, save_instruments
from storage.write.orders import PlacedOrder, refer_to_signals, update_orders
from storage.write.result import DUPLICATE, SUPERSEDED, WriteResult
from storage.write.round_trips import PlacedFill, fold_fills
from storage.write.stored_rows import KnownIds, find_prints, lock_prints

if TYPE_CHECKING:
    from storage.database import AnyConnection

ROWS_AT_ONCE = 1000
"""Rows encoded before the event loop gets a turn: about a millisecond."""
PRINTS_AT_ONCE = 1000
"""Prints looked for in the database before the event loop gets a turn."""

_CACHED_SCHEMAS = 256


class _Print(NamedTuple):
    """A print with an id of the venue, and what its row needs."""

    tick: Tick
    entry: Entry
    place: int
    """Index in its batch."""
    sequence: int
    number: int
    origin: bytes


@dataclass(slots=True)
class _NewEvents:
    """Events that are not stored yet: encoded, and grouped by the tables that they update."""

    rows: dict[type[Event], list[bytes]] = field(default_factory=dict)
    counts: dict[type[Event], int] = field(default_factory=dict)
    prints: list[_Print] = field(default_factory=list)
    """Prints with an id of the venue: not encoded yet, as the database may have them."""
    fills: list[PlacedFill] = field(default_factory=list)
    orders: list[PlacedOrder] = field(default_factory=list)
    signal_ids: list[str] = field(default_factory=list)
    definitions: list[Instrument] = field(default_factory=list)

    def add(self, kind: type[Event], pieces: Iterable[bytes]) -> None:
        """Adds the row of an event."""
        self.rows.setdefault(kind, []).extend(pieces)
        self.counts[kind] = self.counts.get(kind, 0) + 1


class Inserter:
    """Inserts rows under the name of one recorder."""

    def __init__(
        self,
        recorder: str,
        clock: Clock,
        first_new_id: int = 0,
        accounting: AccountingSettings | None = None,
    ) -> None:
        """Samples of spool entries with a smaller id than ``first_new_id`` may be superseded.

        ``accounting`` is how round trips are computed; ``None``: the defaults.
        """
        self._accounting = accounting or AccountingSettings()
        self._recorder = recorder
        self._first_new_id = first_new_id
        self._samples: dict[int, tuple[SampleSchema, SampleRows]] = {}
        self._stored_tables: dict[str, str] = {}
        """The tables that rows were stored in, by their names."""
        self._events: dict[type[Event], EventRows] = {}
        self._instruments = InstrumentTable(clock)

    async def fill(self, connection: AnyConnection, entries: Sequence[Entry], result: WriteResult) -> None:
        """Inserts the rows. Raises the errors of asyncpg."""
        events: list[tuple[Entry, Arrival]] = []
        samples: dict[int, list[tuple[Entry, SampleBatch]]] = {}
        for entry in entries:
            content = entry.content
            if isinstance(content, Arrival):
                events.append((entry, content))
            elif isinstance(content, SampleBatch):
                samples.setdefault(id(content.schema), []).append((entry, content))
            else:
                result.refuse(entry, (), content.reason)
        if events:
            await self._store_events(connection, events, result)
        for batches in samples.values():
            await self._store_samples(connection, batches, result)

    def committed(self, result: WriteResult) -> None:
        """Notes that the rows of this transaction are committed."""
        self._instruments.mark(result.instruments)

    async def write_instruments(self, connection: AnyConnection) -> None:
        """Writes what the list of instruments still lacks."""
        rows = self._instruments.due(everything=True)
        await save_instruments(connection, rows)
        self._instruments.mark(rows)

    async def _store_samples(
        self, connection: AnyConnection, batches: Sequence[tuple[Entry, SampleBatch]], result: WriteResult
    ) -> None:
        rows = self._sample_rows(batches[0][1].schema)
        times = {batch.time_ns for entry, batch in batches if 0 < entry.id < self._first_new_id}
        if times:
            batches = await self._without_superseded(connection, rows.table, times, batches, result)
        counted = Counted()
        pieces = _encode_samples(rows, batches, result, counted)
        stored = await self._stored_table(connection, rows.table)
        await connection.copy_to_table(stored, source=pieces, columns=rows.columns, format="binary")
        self._stored_tables[rows.table] = stored
        result.rows[rows.table] = result.rows.get(rows.table, 0) + counted.rows

    async def _stored_table(self, connection: AnyConnection, table: str) -> str:
        """The table behind the name: on plain PostgreSQL that is a view over recent and packed rows."""
        known = self._stored_tables.get(table)
        if known is not None:
            return known
        recent = recent_of(table)
        exists = await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", quoted(recent))
        return recent if exists else table

    async def _without_superseded(
        self,
        connection: AnyConnection,
        table: str,
        times: set[int],
        batches: Sequence[tuple[Entry, SampleBatch]],
        result: WriteResult,
    ) -> Sequence[tuple[Entry, SampleBatch]]:
        """Leaves out samples of an earlier process if the database has their keys and cycles already.

        Another process stored them, after this recorder's earlier process was cut off from the database.
        """
        key = batches[0][1].schema.key
        statement = (
            f"SELECT {', '.join((TIME, *map(quoted, key)))} FROM {quoted(table)}"  # noqa: S608 - quoted
            f" WHERE {RECORDER} = $1 AND {TIME} = ANY($2)"
        )
        found = await connection.fetch(statement, self._recorder, list(map(to_datetime, times)))
        stored = set(map(tuple, found))
        if not stored:
            return batches
        kept: list[tuple[Entry, SampleBatch]] = []
        for entry, batch in batches:
            time = to_datetime(batch.time_ns)
            samples = tuple(
                sample
                for sample in batch.samples
                if batch.time_ns not in times
                or (time, *(getattr(sample, name) for name in key)) not in stored
            )
            result.drop(entry, SUPERSEDED, len(batch.samples) - len(samples))
            if samples:
                kept.append((entry, SampleBatch(batch.schema, batch.time_ns, samples)))
            await asyncio.sleep(0)
        return kept

    async def _store_events(
        self, connection: AnyConnection, items: Sequence[tuple[Entry, Arrival]], result: WriteResult
    ) -> None:
        batches = [arrival.batch for _, arrival in items]
        stored = await lock_emitters(connection, ((b.source, b.epoch) for b in batches))
        new = _NewEvents()
        for entry, arrival in items:
            await self._collect(entry, arrival, stored, new, result)
        if new.prints:
            await self._add_prints(connection, new, result)
        for event_type, pieces in new.rows.items():
            rows = self._event_rows(event_type)
            table = await self._stored_table(connection, rows.table)
            await connection.copy_to_table(
                table, source=_pieces(pieces), columns=rows.columns, format="binary"
            )
            self._stored_tables[rows.table] = table
            result.rows[rows.table] = result.rows.get(rows.table, 0) + new.counts[event_type]
        await fold_fills(connection, self._recorder, new.fills, self._accounting.cost)
        await update_orders(connection, self._recorder, new.orders, (fill for _, fill in new.fills))
        await refer_to_signals(connection, self._recorder, new.signal_ids)
        result.instruments = self._instruments.due()
        await save_instruments(connection, result.instruments, new.definitions)
        await save_emitters(connection, stored)
        await save_drops(connection, batches)

    async def _collect(
        self,
        entry: Entry,
        arrival: Arrival,
        stored: dict[EmitterId, SequenceSet],
        new: _NewEvents,
        result: WriteResult,
    ) -> None:
        """Encodes what is new in one batch, and marks it as stored."""
        batch = arrival.batch
        sequences = stored[batch.source, batch.epoch]
        accepted = 0
        for low, high in sequences.missing(batch.first_sequence, batch.last_sequence):
            accepted += high - low + 1
            for start in range(low, high + 1, ROWS_AT_ONCE):
                self._encode(entry, arrival, range(start, min(start + ROWS_AT_ONCE, high + 1)), new, result)
                await asyncio.sleep(0)
        sequences.add(batch.first_sequence, batch.last_sequence)
        result.drop(entry, DUPLICATE, len(batch.events) - accepted)

    def _encode(
        self, entry: Entry, arrival: Arrival, numbers: range, new: _NewEvents, result: WriteResult
    ) -> None:
        batch = arrival.batch
        origins: dict[type[Event], bytes] = {}
        first, step = arrival.number, 1 if arrival.number else 0
        for sequence in numbers:
            index = sequence - batch.first_sequence
            event = batch.events[index]
            kind = type(event)
            try:
                rows = self._event_rows(kind)
                if kind not in origins:
                    origins[kind] = rows.origin(batch.source, batch.epoch, arrival.received_ns)
                number = first + step * index
                if isinstance(event, Tick) and event.trade_id is not None:
                    new.prints.append(_Print(event, entry, index, sequence, number, origins[kind]))
                    continue
                pieces = rows.encode(event, sequence, number, origins[kind])
            except ENCODING_ERRORS as error:
                result.refuse(entry, (index,), f"{type(error).__name__}: {error}")
                continue
            new.add(kind, pieces)
            self._derive(event, arrival, sequence, new)

    async def _add_prints(self, connection: AnyConnection, new: _NewEvents, result: WriteResult) -> None:
        """Encodes the prints that the database does not have; the others count as duplicates."""
        await lock_prints(connection, {one.tick.venue for one in new.prints})
        known = KnownIds()
        for start in range(0, len(new.prints), PRINTS_AT_ONCE):
            part = new.prints[start : start + PRINTS_AT_ONCE]
            await find_prints(connection, [one.tick for one in part], self._recorder, known)
            self._encode_prints(part, known, new, result)

    def _encode_prints(
        self, prints: Sequence[_Print], known: KnownIds, new: _NewEvents, result: WriteResult
    ) -> None:
        rows = self._event_rows(Tick)
        for one in prints:
            tick = one.tick
            if not known.add((tick.venue, tick.instrument, tick.trade_id), tick.time_ns):
                result.drop(one.entry, DUPLICATE, 1)
                continue
            try:
                new.add(Tick, rows.encode(tick, one.sequence, one.number, one.origin))
            except ENCODING_ERRORS as error:
                result.refuse(one.entry, (one.place,), f"{type(error).__name__}: {error}")
                continue
            self._instruments.note(tick.venue, tick.instrument, tick.time_ns)

    def _derive(self, event: AnyEvent, arrival: Arrival, sequence: int, new: _NewEvents) -> None:
        batch = arrival.batch
        if isinstance(event, (Quote, Tick)):
            self._instruments.note(event.venue, event.instrument, event.time_ns)
        elif isinstance(event, Fill):
            new.fills.append(((event.time_ns, batch.source, batch.epoch, sequence), event))
        elif isinstance(event, Order):
            new.orders.append((event, batch.source, batch.epoch, sequence, arrival.received_ns))
        elif isinstance(event, Signal):
            new.signal_ids.append(event.signal_id)
        elif isinstance(event, Instrument):
            new.definitions.append(event)

    def _sample_rows(self, schema: SampleSchema) -> SampleRows:
        known, rows = self._samples.get(id(schema), (None, None))
        if rows is None or known is not schema:
            if len(self._samples) >= _CACHED_SCHEMAS:
                self._samples.clear()
            rows = SampleRows(schema, self._recorder)
            self._samples[id(schema)] = (schema, rows)
        return rows

    def _event_rows(self, kind: type[Event]) -> EventRows:
        rows = self._events.get(kind)
        if rows is None:
            rows = self._events[kind] = EventRows(kind, self._recorder)
        return rows


@dataclass(slots=True)
class Counted:
    """How many rows went out."""

    rows: int = 0


async def _encode_samples(
    rows: SampleRows, batches: Iterable[tuple[Entry, SampleBatch]], result: WriteResult, counted: Counted
) -> AsyncIterator[bytes]:
    yield HEADER
    pieces: list[bytes] = []
    waiting = 0
    for entry, batch in batches:
        for start in range(0, len(batch.samples), ROWS_AT_ONCE):
            encoded = rows.encode(batch.samples[start : start + ROWS_AT_ONCE], batch.time_ns)
            for index, reason in encoded.refused:
                result.refuse(entry, (start + index,), reason)
            if encoded.not_finite:
                result.not_finite[rows.table] = result.not_finite.get(rows.table, 0) + encoded.not_finite
            counted.rows += encoded.rows
            pieces += encoded.data
            waiting += encoded.rows
            if waiting >= ROWS_AT_ONCE:
                yield b"".join(pieces)
                pieces, waiting = [], 0
                await asyncio.sleep(0)
    yield b"".join(pieces) + TRAILER


async def _pieces(pieces: list[bytes]) -> AsyncIterator[bytes]:
    yield HEADER
    for start in range(0, len(pieces), 8 * ROWS_AT_ONCE):
        yield b"".join(pieces[start : start + 8 * ROWS_AT_ONCE])
        await asyncio.sleep(0)
    yield TRAILER
