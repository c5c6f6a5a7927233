"""Trades, kept in step with the fills.

Fills are folded in the order (time, source, epoch, sequence), whatever order they arrive in. Where the
derivation of each (strategy, venue, instrument) stands is a row of ``round_trips`` that is locked, read and
written in the transaction that stores the fills: a restart goes on from there, and a second writer waits its
turn. A fill older than the newest one folded makes everything from the last flat point before it fold anew.
A fill reported several times (same strategy, venue, instrument, order and fill id under other sequences, as a
trading process does that restarts and replays its executions) counts once, at the first of its places.
A trade whose money is beyond what a number can hold is left out.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from decahertz.clock import to_datetime
from decahertz.event import Fill, Liquidity, Side
from decahertz.round_trip import OpenRoundTrip, RoundTrip

if TYPE_CHECKING:
    from storage.database import AnyConnection

Place: TypeAlias = tuple[int, str, int, int]
"""Where a fill stands among all fills: (time_ns, source, epoch, sequence)."""
Key: TypeAlias = tuple[str, str, str]
"""(strategy, venue, instrument)."""
PlacedFill: TypeAlias = tuple[Place, Fill]
Execution: TypeAlias = tuple[str, str, str, str, str]
"""What a fill reports: (strategy, venue, instrument, order_id, fill_id)."""

BEFORE_ALL: Place = (0, "", 0, 0)
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
# Asked by order and fill only, as the index fills_order has them: with strategy, venue and instrument beside
# them, a table without statistics might be read through fills_round_trip, all the history for each fill.
_FIRST_PLACES = """
SELECT DISTINCT ON (strategy, venue, instrument, order_id, fill_id)
    strategy, venue, instrument, order_id, fill_id, time_ns, source, epoch, sequence
FROM fills
WHERE (order_id, fill_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
ORDER BY strategy, venue, instrument, order_id, fill_id, time_ns, source, epoch, sequence
"""
_TRADE_COLUMNS = RoundTrip.__struct_fields__
_COLUMNS = (
    *_TRADE_COLUMNS,
    *("opened", "closed", "closed_source", "closed_epoch", "closed_sequence", "closed_flat"),
)


@dataclass(slots=True)
class Fold:
    """The derivation of one key: what is open, the newest fill in it, and the trades that came out."""

    trip: OpenRoundTrip = field(default_factory=OpenRoundTrip)
    last: Place = BEFORE_ALL
    trades: list[tuple[RoundTrip, Place, bool]] = field(default_factory=list)
    """Each with the place of its closing fill and whether that left no position."""

    def add(self, place: Place, fill: Fill) -> None:
        """Fold the next fill in."""
        trade = self.trip.add(fill)
        self.last = place
        if trade is not None:
            self.trades.append((trade, place, self.trip.position == 0.0))


async def fold_fills(connection: AnyConnection, fills: Iterable[PlacedFill]) -> int:
    """Bring the trades up to date after these fills were stored, in the same transaction.

    Those that repeat an execution stored at an earlier place change nothing. Returns how many trades were
    written.
    """
    stored = sorted(fills, key=_place)
    if not stored:
        return 0
    states = await _lock(connection, sorted({_key(fill) for _, fill in stored}))
    # Asked under the lock: nobody else can store an earlier report of these executions unseen.
    by_key: dict[Key, list[PlacedFill]] = {}
    for start in range(0, len(stored), _FOLDED_AT_ONCE):
        for placed in await _without_repeats(connection, stored[start : start + _FOLDED_AT_ONCE]):
            by_key.setdefault(_key(placed[1]), []).append(placed)
    records: list[tuple[Any, ...]] = []
    saved: list[tuple[Any, ...]] = []
    for key, new in by_key.items():
        fold = states[key]
        # A first report that comes after others of its execution is late: folding anew takes those out.
        if new[0][0] > fold.last:
            for number, (place, fill) in enumerate(new, start=1):
                fold.add(place, fill)
                if number % _FOLDED_AT_ONCE == 0:
                    await asyncio.sleep(0)
        else:
            fold = await _fold_anew(connection, key, new[0][0])
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


def _key(fill: Fill) -> Key:
    return fill.strategy, fill.venue, fill.instrument


async def _without_repeats(connection: AnyConnection, fills: Sequence[PlacedFill]) -> list[PlacedFill]:
    """Those of these stored fills that are the first report of their execution."""
    orders, ids = zip(*{(fill.order_id, fill.fill_id) for _, fill in fills}, strict=True)
    first: dict[Execution, Place] = {
        (row[0], row[1], row[2], row[3], row[4]): (row[5], row[6], row[7], row[8])
        for row in await connection.fetch(_FIRST_PLACES, orders, ids)
    }
    return [
        (place, fill) for place, fill in fills if first[(*_key(fill), fill.order_id, fill.fill_id)] == place
    ]


async def _lock(connection: AnyConnection, keys: Sequence[Key]) -> dict[Key, Fold]:
    rows = await connection.fetch(_LOCK, *(list(column) for column in zip(*keys, strict=True)))
    states = {}
    for row in rows:
        trip = msgspec.msgpack.decode(row["state"], type=OpenRoundTrip) if row["state"] else OpenRoundTrip()
        last = (row["last_ns"], row["last_source"], row["last_epoch"], row["last_sequence"])
        states[row["strategy"], row["venue"], row["instrument"]] = Fold(trip, last)
    return states


async def _fold_anew(connection: AnyConnection, key: Key, late: Place) -> Fold:
    """Fold again everything after the last flat point before a late fill."""
    row = await connection.fetchrow(_FLAT_BEFORE, *key, *late)
    start: Place = BEFORE_ALL if row is None else (row[0], row[1], row[2], row[3])
    await connection.execute(_FORGET, *key, *start)
    fold = Fold()
    cursor = await connection.cursor(_FILLS, *key, *start)
    while rows := await cursor.fetch(_FOLDED_AT_ONCE):
        for place, fill in await _without_repeats(connection, [_placed(row) for row in rows]):
            fold.add(place, fill)
    return fold


def _placed(row: Any) -> PlacedFill:  # noqa: ANN401 - a record, by column name
    return (row["time_ns"], row["source"], row["epoch"], row["sequence"]), fill_of(row)


def _record(closed: tuple[RoundTrip, Place, bool]) -> tuple[Any, ...]:
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


def _is_finite(trade: RoundTrip) -> bool:
    """Whether its numbers are numbers: prices and quantities near the limits multiply to infinity."""
    numbers = [value for value in _values(trade) if isinstance(value, float)]
    return all(map(math.isfinite, numbers))


def _values(trade: RoundTrip) -> Iterator[Any]:
    return (getattr(trade, name) for name in _TRADE_COLUMNS)
