"""One transaction: a parcel of samples and events goes into the tables, whole or not at all.

With it go the id of the parcel, by which a second attempt after a lost connection sees that the first one
succeeded, the numbers of the stored events, by which an event that comes again is stored once, and what is
derived from events: trades, the state of orders, the list of instruments.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from decahertz.clock import Clock
from decahertz.event import AnyEvent, Event, Fill, Order, Quote, Tick
from decahertz.ingest import EmitterId, Receipt
from decahertz.sample import SampleBatch
from decahertz.sequences import SequenceSet
from storage.emitters import lock_emitters, save_drops, save_emitters
from storage.encoding import ENCODING_ERRORS, HEADER, TRAILER
from storage.instruments import InstrumentBook, Row, save_instruments
from storage.orders import PlacedOrder, update_orders
from storage.queue import EventItem, Parcel
from storage.rows import EventRows, SampleRows
from storage.trades import PlacedFill, fold_fills

if TYPE_CHECKING:
    from storage.database import AnyConnection

ROWS_AT_ONCE = 1000
"""Rows encoded before the event loop gets a turn: about a millisecond."""

_CLAIM = """
WITH settled AS (DELETE FROM stored_batches WHERE batch_id = ANY($2::uuid[]))
INSERT INTO stored_batches (batch_id) VALUES ($1) ON CONFLICT (batch_id) DO NOTHING RETURNING batch_id
"""


class EventRefusedError(ValueError):
    """An event fits no table; its batch is not stored."""


@dataclass(slots=True)
class Outcome:
    """What a transaction stored. It is true once the transaction is committed."""

    rows: dict[str, int] = field(default_factory=dict)
    """By table."""
    receipts: list[tuple[EventItem, Receipt]] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    """Rows that fit no table, by stream: ``events``, ``samples:{collector}``."""
    not_finite: dict[str, int] = field(default_factory=dict)
    """Numbers that were NaN or infinite and are null now, by table."""
    reason: str = ""
    """Why a row was refused, for the log."""
    instruments: list[Row] = field(default_factory=list)

    def refuse(self, stream: str, rows: int, reason: str) -> None:
        """Count refused rows."""
        if rows:
            self.refused[stream] = self.refused.get(stream, 0) + rows
            self.reason = reason


@dataclass(slots=True)
class _NewEvents:
    """The events of a parcel that are not stored yet, encoded and sorted by what has to be done."""

    rows: dict[type[Event], list[bytes]] = field(default_factory=dict)
    counts: dict[type[Event], int] = field(default_factory=dict)
    fills: list[PlacedFill] = field(default_factory=list)
    orders: list[PlacedOrder] = field(default_factory=list)


class Store:
    """Writes parcels. Keeps encoders and which transactions are settled between them."""

    def __init__(self, clock: Clock) -> None:
        """Encoders are made when a type is first seen."""
        self._samples: dict[str, tuple[object, SampleRows]] = {}
        self._events: dict[type[Event], EventRows] = {}
        self._instruments = InstrumentBook(clock)
        self._settled: list[uuid.UUID] = []
        self._unsure: dict[uuid.UUID, Outcome] = {}

    async def write(self, connection: AnyConnection, parcel: Parcel) -> Outcome:
        """Store a parcel; returns when it is committed.

        When the connection breaks this may be called again with the same parcel, as often as it takes.
        Raises :class:`EventRefusedError` for an event somebody waits for that fits no table, and what
        asyncpg raises; then nothing is stored, or the connection broke and nobody knows.
        """
        async with connection.transaction():
            settled = self._settled.copy()
            if await connection.fetchval(_CLAIM, parcel.batch_id, settled) is None:
                outcome = self._unsure[parcel.batch_id]
            else:
                outcome = await self._fill(connection, parcel)
                self._unsure[parcel.batch_id] = outcome  # from here on it may be committed
        del self._unsure[parcel.batch_id]
        self._settled = [parcel.batch_id]
        self._instruments.mark(outcome.instruments)
        return outcome

    async def write_instruments(self, connection: AnyConnection) -> None:
        """Write what the list of instruments still lacks."""
        rows = self._instruments.due(everything=True)
        await save_instruments(connection, rows)
        self._instruments.mark(rows)

    def forget(self, parcel: Parcel) -> None:
        """The parcel is given up."""
        self._unsure.pop(parcel.batch_id, None)

    async def _fill(self, connection: AnyConnection, parcel: Parcel) -> Outcome:
        outcome = Outcome()
        if parcel.events:
            await self._store_events(connection, parcel.events, outcome)
        by_collector: dict[str, list[SampleBatch]] = {}
        for batch in parcel.samples:
            by_collector.setdefault(batch.schema.collector, []).append(batch)
        for collector, batches in by_collector.items():
            rows = self._sample_rows(batches[-1])
            pieces = _encode_samples(rows, batches, outcome)
            await connection.copy_to_table(rows.table, source=pieces, columns=rows.columns, format="binary")
            stored = sum(len(batch.samples) for batch in batches)
            outcome.rows[rows.table] = stored - outcome.refused.get(f"samples:{collector}", 0)
        return outcome

    async def _store_events(
        self, connection: AnyConnection, items: Sequence[EventItem], outcome: Outcome
    ) -> None:
        batches = [item.arrival.batch for item in items]
        stored = await lock_emitters(connection, ((b.source, b.epoch) for b in batches))
        new = _NewEvents()
        for item in items:
            await self._collect(item, stored, new, outcome)
        for event_type, pieces in new.rows.items():
            rows = self._event_rows(event_type)
            await connection.copy_to_table(
                rows.table, source=_pieces(pieces), columns=rows.columns, format="binary"
            )
            outcome.rows[rows.table] = new.counts[event_type]
        await fold_fills(connection, new.fills)
        await update_orders(connection, new.orders)
        outcome.instruments = self._instruments.due()
        await save_instruments(connection, outcome.instruments)
        await save_emitters(connection, stored)
        await save_drops(connection, batches)

    async def _collect(
        self,
        item: EventItem,
        stored: dict[EmitterId, SequenceSet],
        new: _NewEvents,
        outcome: Outcome,
    ) -> None:
        """Encode what is new in one batch, and mark it as stored."""
        batch = item.arrival.batch
        sequences = stored[batch.source, batch.epoch]
        accepted = 0
        for low, high in sequences.missing(batch.first_sequence, batch.last_sequence):
            accepted += high - low + 1
            for start in range(low, high + 1, ROWS_AT_ONCE):
                self._encode(item, range(start, min(start + ROWS_AT_ONCE, high + 1)), new, outcome)
                await asyncio.sleep(0)
        sequences.add(batch.first_sequence, batch.last_sequence)
        receipt = Receipt(
            source=batch.source,
            epoch=batch.epoch,
            durable_sequence=sequences.highest,
            accepted=accepted,
            duplicates=len(batch.events) - accepted,
        )
        outcome.receipts.append((item, receipt))

    def _encode(self, item: EventItem, numbers: range, new: _NewEvents, outcome: Outcome) -> None:
        batch, received_ns = item.arrival.batch, item.arrival.received_ns
        origins: dict[type[Event], bytes] = {}
        for sequence in numbers:
            event = batch.events[sequence - batch.first_sequence]
            kind = type(event)
            try:
                rows = self._event_rows(kind)
                if kind not in origins:
                    origins[kind] = rows.origin(batch.source, batch.epoch, received_ns)
                pieces = rows.encode(event, sequence, origins[kind])
            except ENCODING_ERRORS as error:
                reason = f"event {sequence} of {batch.source}: {error}"
                if item.done is not None:
                    raise EventRefusedError(reason) from error
                outcome.refuse("events", 1, reason)
                continue
            new.rows.setdefault(kind, []).extend(pieces)
            new.counts[kind] = new.counts.get(kind, 0) + 1
            self._derive(event, item, sequence, new)

    def _derive(self, event: AnyEvent, item: EventItem, sequence: int, new: _NewEvents) -> None:
        batch = item.arrival.batch
        if isinstance(event, (Quote, Tick)):
            self._instruments.note(event.venue, event.instrument, event.time_ns)
        elif isinstance(event, Fill):
            new.fills.append(((event.time_ns, batch.source, batch.epoch, sequence), event))
        elif isinstance(event, Order):
            new.orders.append((event, batch.source, batch.epoch, sequence, item.arrival.received_ns))

    def _sample_rows(self, batch: SampleBatch) -> SampleRows:
        schema, rows = self._samples.get(batch.schema.collector, (None, None))
        if rows is None or schema is not batch.schema:
            rows = SampleRows(batch.schema)
            self._samples[batch.schema.collector] = (batch.schema, rows)
        return rows

    def _event_rows(self, kind: type[Event]) -> EventRows:
        rows = self._events.get(kind)
        if rows is None:
            rows = self._events[kind] = EventRows(kind)
        return rows


async def _encode_samples(
    rows: SampleRows, batches: Iterable[SampleBatch], outcome: Outcome
) -> AsyncIterator[bytes]:
    yield HEADER
    for batch in batches:
        for start in range(0, len(batch.samples), ROWS_AT_ONCE):
            encoded = rows.encode(batch.samples[start : start + ROWS_AT_ONCE], batch.time_ns)
            outcome.refuse(f"samples:{batch.schema.collector}", encoded.refused, encoded.reason)
            if encoded.not_finite:
                outcome.not_finite[rows.table] = outcome.not_finite.get(rows.table, 0) + encoded.not_finite
            yield b"".join(encoded.data)
            await asyncio.sleep(0)
    yield TRAILER


async def _pieces(pieces: list[bytes]) -> AsyncIterator[bytes]:
    yield HEADER
    for start in range(0, len(pieces), 8 * ROWS_AT_ONCE):
        yield b"".join(pieces[start : start + 8 * ROWS_AT_ONCE])
        await asyncio.sleep(0)
    yield TRAILER
