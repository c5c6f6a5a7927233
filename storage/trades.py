"""Trades, kept in step with the fills.

Fills are folded in the order (time, source, epoch, sequence), whatever order they arrive in. Where the
derivation of each (strategy, venue, instrument) stands is a row of ``round_trips`` that is locked, read and
written in the transaction that stores the fills: a restart goes on from there, and a second writer waits its
turn. A fill older than the newest one folded makes everything from the last flat point before it fold anew.
A trade whose money is beyond what a number can hold is left out.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from decahertz.clock import to_datetime
from decahertz.event import Fill, Liquidity, Side
from decahertz.trade import RoundTrip, Trade

if TYPE_CHECKING:
    from storage.database import AnyConnection

Place: TypeAlias = tuple[int, str, int, int]
"""Where a fill stands among all fills: (time_ns, source, epoch, sequence)."""
Key: TypeAlias = tuple[str, str, str]
"""(strategy, venue, instrument)."""
PlacedFill: TypeAlias = tuple[Place, Fill]

BEFORE_ALL: Place = (0, "", 0, 0)
_PREFETCH = 500
_FOLDED_AT_ONCE = 500
"""Then the event loop gets a turn."""
_LOCK = """
INSERT INTO round_trips (strategy, venue, instrument)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
ON CONFLICT (strategy, venue, instrument) DO UPDATE SET strategy = excluded.strategy
RETURNING strategy, venue, instrument, state, last_ns, last_source, last_epoch, last_sequence
"""
_SAVE = """
UPDATE round_trips SET position = $4, state = $5,
    last_ns = $6, last_source = $7, last_epoch = $8, last_sequence = $9
WHERE strategy = $1 AND venue = $2 AND instrument = $3
"""
_FLAT_BEFORE = """
SELECT closed_ns, closed_source, closed_epoch, closed_sequence FROM trades
WHERE strategy = $1 AND venue = $2 AND instrument = $3
    AND closed_flat AND (closed_ns, closed_source, closed_epoch, closed_sequence)
        < ($4::bigint, $5::text, $6::bigint, $7::bigint)
ORDER BY closed_ns DESC, closed_source DESC, closed_epoch DESC, closed_sequence DESC LIMIT 1
"""
_FORGET = """
DELETE FROM trades
WHERE strategy = $1 AND venue = $2 AND instrument = $3
    AND (closed_ns, closed_source, closed_epoch, closed_sequence)
        > ($4::bigint, $5::text, $6::bigint, $7::bigint)
"""
_FILLS = """
SELECT * FROM fills
WHERE strategy = $1 AND venue = $2 AND instrument = $3
    AND (time_ns, source, epoch, sequence) > ($4::bigint, $5::text, $6::bigint, $7::bigint)
ORDER BY time_ns, source, epoch, sequence
"""
_TRADE_COLUMNS = Trade.__struct_fields__
_COLUMNS = (
    *_TRADE_COLUMNS,
    *("opened", "closed", "closed_source", "closed_epoch", "closed_sequence", "closed_flat"),
)


@dataclass(slots=True)
class Fold:
    """The derivation of one key: what is open, the newest fill in it, and the trades that came out."""

    trip: RoundTrip = field(default_factory=RoundTrip)
    last: Place = BEFORE_ALL
    trades: list[tuple[Trade, Place, bool]] = field(default_factory=list)
    """Each with the place of its closing fill and whether that left no position."""

    def add(self, place: Place, fill: Fill) -> None:
        """Fold the next fill in."""
        trade = self.trip.add(fill)
        self.last = place
        if trade is not None:
            self.trades.append((trade, place, self.trip.position == 0.0))


async def fold_fills(connection: AnyConnection, fills: Iterable[PlacedFill]) -> int:
    """Bring the trades up to date after these fills were stored, in the same transaction.

    Returns how many trades were written.
    """
    by_key: dict[Key, list[PlacedFill]] = {}
    for place, fill in fills:
        by_key.setdefault((fill.strategy, fill.venue, fill.instrument), []).append((place, fill))
    if not by_key:
        return 0
    states = await _lock(connection, sorted(by_key))
    records: list[tuple[Any, ...]] = []
    saved: list[tuple[Any, ...]] = []
    for key, fold in states.items():
        new = sorted(by_key[key], key=_place)
        if new[0][0] > fold.last:
            for number, (place, fill) in enumerate(new, start=1):
                fold.add(place, fill)
                if number % _FOLDED_AT_ONCE == 0:
                    await asyncio.sleep(0)
        else:
            fold = await _fold_anew(connection, key, new[0][0])  # noqa: PLW2901 - it replaces that state
        records += [_record(closed) for closed in fold.trades if _is_finite(closed[0])]
        saved.append((*key, fold.trip.position, msgspec.msgpack.encode(fold.trip), *fold.last))
    if records:
        await connection.copy_records_to_table("trades", records=records, columns=_COLUMNS)
    await connection.executemany(_SAVE, saved)
    return len(records)


def fill_of(row: Any) -> Fill:  # noqa: ANN401 - a record, by column name
    """The fill in a row of ``fills``."""
    return Fill(
        time_ns=row["time_ns"],
        strategy=row["strategy"],
        venue=row["venue"],
        instrument=row["instrument"],
        order_id=row["order_id"],
        fill_id=row["fill_id"],
        side=Side(row["side"]),
        price=row["price"],
        quantity=row["quantity"],
        fee=row["fee"],
        liquidity=None if row["liquidity"] is None else Liquidity(row["liquidity"]),
        risk=row["risk"],
    )


def _place(placed: PlacedFill) -> Place:
    return placed[0]


async def _lock(connection: AnyConnection, keys: Sequence[Key]) -> dict[Key, Fold]:
    rows = await connection.fetch(_LOCK, *(list(column) for column in zip(*keys, strict=True)))
    states = {}
    for row in rows:
        trip = msgspec.msgpack.decode(row["state"], type=RoundTrip) if row["state"] else RoundTrip()
        last = (row["last_ns"], row["last_source"], row["last_epoch"], row["last_sequence"])
        states[row["strategy"], row["venue"], row["instrument"]] = Fold(trip, last)
    return states


async def _fold_anew(connection: AnyConnection, key: Key, late: Place) -> Fold:
    """Fold again everything after the last flat point before a late fill."""
    row = await connection.fetchrow(_FLAT_BEFORE, *key, *late)
    start: Place = BEFORE_ALL if row is None else (row[0], row[1], row[2], row[3])
    await connection.execute(_FORGET, *key, *start)
    fold = Fold()
    async for place, fill in _stored_fills(connection, key, start):
        fold.add(place, fill)
    return fold


async def _stored_fills(connection: AnyConnection, key: Key, after: Place) -> AsyncIterator[PlacedFill]:
    async for row in connection.cursor(_FILLS, *key, *after, prefetch=_PREFETCH):
        yield (row["time_ns"], row["source"], row["epoch"], row["sequence"]), fill_of(row)


def _record(closed: tuple[Trade, Place, bool]) -> tuple[Any, ...]:
    trade, (_, source, epoch, sequence), flat = closed
    return (
        *_values(trade),
        to_datetime(trade.opened_ns),
        to_datetime(trade.closed_ns),
        source,
        epoch,
        sequence,
        flat,
    )


def _is_finite(trade: Trade) -> bool:
    """Whether its numbers are numbers: prices and quantities near the limits multiply to infinity."""
    numbers = [value for value in _values(trade) if isinstance(value, float)]
    return all(map(math.isfinite, numbers))


def _values(trade: Trade) -> Iterator[Any]:
    return (getattr(trade, name) for name in _TRADE_COLUMNS)
