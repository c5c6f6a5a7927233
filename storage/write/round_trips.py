"""Derives round trips from the fills as they are stored: the table ``trades``.

Fills are folded in the order (time, source, epoch, sequence), in whatever order they arrive. The state of
each (recorder, strategy, venue, instrument) is a row of ``open_round_trips`` that is locked, read and written
in the transaction that stores the fills: a restart continues from there, and a second writer waits. When a
fill arrives that is older than the newest one folded, everything since the last flat position before it is
folded again. A fill reported several times (same strategy, venue, instrument, order and fill id under other
sequences, as from a trading process that restarts and replays its fills) counts once, at its first place. A
round trip with an amount that overflows to infinity is not stored.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from decahertz.clock import to_datetime
from decahertz.event import Fill
from decahertz.round_trip import OpenRoundTrip, RoundTrip
from storage.schema.events import fill_values

if TYPE_CHECKING:
    from storage.database import AnyConnection

Place: TypeAlias = tuple[int, str, int, int]
"""The place of a fill in the order of all fills: (time_ns, source, epoch, sequence)."""
Key: TypeAlias = tuple[str, str, str, str]
"""(recorder, strategy, venue, instrument)."""
PlacedFill: TypeAlias = tuple[Place, Fill]
FillId: TypeAlias = tuple[str, str, str, str, str]
"""(strategy, venue, instrument, order_id, fill_id)."""

BEFORE_ALL: Place = (0, "", 0, 0)
_FOLDED_AT_ONCE = 500
"""Fills folded before the event loop gets a turn."""
_LOCK = """
INSERT INTO open_round_trips (recorder, strategy, venue, instrument)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[])
ON CONFLICT (recorder, strategy, venue, instrument) DO UPDATE SET strategy = excluded.strategy
RETURNING strategy, venue, instrument, state, last_ns, last_source, last_epoch, last_sequence
"""
_SAVE = """
UPDATE open_round_trips SET position = $5, state = $6, time = $7,
    last_ns = $8, last_source = $9, last_epoch = $10, last_sequence = $11
WHERE recorder = $1 AND strategy = $2 AND venue = $3 AND instrument = $4
"""
_FLAT_BEFORE = """
SELECT closed_ns, closed_source, closed_epoch, closed_sequence FROM trades
WHERE recorder = $1 AND strategy = $2 AND venue = $3 AND instrument = $4
    AND closed_flat AND (closed_ns, closed_source, closed_epoch, closed_sequence)
        < ($5::bigint, $6::text, $7::bigint, $8::bigint)
ORDER BY closed_ns DESC, closed_source DESC, closed_epoch DESC, closed_sequence DESC LIMIT 1
"""
_DELETE_AFTER = """
DELETE FROM trades
WHERE recorder = $1 AND strategy = $2 AND venue = $3 AND instrument = $4
    AND (closed_ns, closed_source, closed_epoch, closed_sequence)
        > ($5::bigint, $6::text, $7::bigint, $8::bigint)
"""
_FILLS_AFTER = """
SELECT * FROM fills
WHERE recorder = $1 AND strategy = $2 AND venue = $3 AND instrument = $4
    AND (time_ns, source, epoch, sequence) > ($5::bigint, $6::text, $7::bigint, $8::bigint)
ORDER BY time_ns, source, epoch, sequence
"""
# Filters by order and fill id only, to match the index fills_order. With strategy, venue and instrument too,
# the planner may choose fills_round_trip on a table without statistics, and read the whole history for each
# fill.
_FIRST_REPORTS = """
SELECT DISTINCT ON (strategy, venue, instrument, order_id, fill_id)
    strategy, venue, instrument, order_id, fill_id, time_ns, source, epoch, sequence
FROM fills
WHERE recorder = $1 AND (order_id, fill_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))
ORDER BY strategy, venue, instrument, order_id, fill_id, time_ns, source, epoch, sequence
"""
_ROUND_TRIP_COLUMNS = RoundTrip.__struct_fields__
_COLUMNS = (
    *("recorder", *_ROUND_TRIP_COLUMNS),
    *("opened_at", "time", "closed_source", "closed_epoch", "closed_sequence", "closed_flat"),
)


@dataclass(slots=True)
class Fold:
    """The derivation for one key: what is open, the newest fill in it, and the round trips it closed."""

    trip: OpenRoundTrip = field(default_factory=OpenRoundTrip)
    last: Place = BEFORE_ALL
    closed: list[tuple[RoundTrip, Place, bool]] = field(default_factory=list)
    """Each with the place of its closing fill and whether that left no position."""

    def add(self, place: Place, fill: Fill) -> None:
        """Fold the next fill."""
        finished = self.trip.add(fill)
        self.last = place
        if finished is not None:
            self.closed.append((finished, place, self.trip.position == 0.0))


async def fold_fills(connection: AnyConnection, recorder: str, fills: Iterable[PlacedFill]) -> None:
    """Update the round trips after these fills were stored, in the same transaction.

    A fill that repeats one stored at an earlier place changes nothing.
    """
    stored = sorted(fills, key=_place)
    if not stored:
        return
    folds = await _lock(connection, recorder, sorted({_key(recorder, fill) for _, fill in stored}))
    # Only under the lock: no other writer can store an earlier report of these fills unseen.
    by_key: dict[Key, list[PlacedFill]] = {}
    for start in range(0, len(stored), _FOLDED_AT_ONCE):
        for placed in await _without_repeats(connection, recorder, stored[start : start + _FOLDED_AT_ONCE]):
            by_key.setdefault(_key(recorder, placed[1]), []).append(placed)
    records: list[tuple[Any, ...]] = []
    states: list[tuple[Any, ...]] = []
    for key, new in by_key.items():
        fold = folds[key]
        # If an earlier report of an already counted fill arrives, refolding makes the later one the repeat.
        if new[0][0] > fold.last:
            for number, (place, fill) in enumerate(new, start=1):
                fold.add(place, fill)
                if number % _FOLDED_AT_ONCE == 0:
                    await asyncio.sleep(0)
        else:
            fold = await _refold(connection, key, new[0][0])
        records += [_record(recorder, *closed) for closed in fold.closed if _is_finite(closed[0])]
        state = msgspec.msgpack.encode(fold.trip)
        states.append((*key, fold.trip.position, state, to_datetime(fold.last[0]), *fold.last))
    if records:
        await connection.copy_records_to_table("trades", records=records, columns=_COLUMNS)
    await connection.executemany(_SAVE, states)


def _place(placed: PlacedFill) -> Place:
    return placed[0]


def _key(recorder: str, fill: Fill) -> Key:
    return recorder, fill.strategy, fill.venue, fill.instrument


async def _without_repeats(
    connection: AnyConnection, recorder: str, fills: Sequence[PlacedFill]
) -> list[PlacedFill]:
    """The stored fills that are the first report of their fill id."""
    orders, ids = zip(*{(fill.order_id, fill.fill_id) for _, fill in fills}, strict=True)
    first: dict[FillId, Place] = {
        (row[0], row[1], row[2], row[3], row[4]): (row[5], row[6], row[7], row[8])
        for row in await connection.fetch(_FIRST_REPORTS, recorder, orders, ids)
    }
    return [(place, fill) for place, fill in fills if first[_fill_id(fill)] == place]


def _fill_id(fill: Fill) -> FillId:
    return fill.strategy, fill.venue, fill.instrument, fill.order_id, fill.fill_id


async def _lock(connection: AnyConnection, recorder: str, keys: Sequence[Key]) -> dict[Key, Fold]:
    _, *columns = (list(column) for column in zip(*keys, strict=True))
    folds = {}
    for row in await connection.fetch(_LOCK, recorder, *columns):
        trip = msgspec.msgpack.decode(row["state"], type=OpenRoundTrip) if row["state"] else OpenRoundTrip()
        last = (row["last_ns"], row["last_source"], row["last_epoch"], row["last_sequence"])
        folds[recorder, row["strategy"], row["venue"], row["instrument"]] = Fold(trip, last)
    return folds


async def _refold(connection: AnyConnection, key: Key, late: Place) -> Fold:
    """Fold again everything since the last flat position before a late fill."""
    row = await connection.fetchrow(_FLAT_BEFORE, *key, *late)
    start: Place = BEFORE_ALL if row is None else (row[0], row[1], row[2], row[3])
    await connection.execute(_DELETE_AFTER, *key, *start)
    fold = Fold()
    cursor = await connection.cursor(_FILLS_AFTER, *key, *start)
    while rows := await cursor.fetch(_FOLDED_AT_ONCE):
        for place, fill in await _without_repeats(connection, key[0], [_placed(row) for row in rows]):
            fold.add(place, fill)
    return fold


def _placed(row: Any) -> PlacedFill:  # noqa: ANN401 - a record, by column name
    return (row["time_ns"], row["source"], row["epoch"], row["sequence"]), Fill(**fill_values(row))


def _record(recorder: str, trip: RoundTrip, place: Place, flat: bool) -> tuple[Any, ...]:  # noqa: FBT001 - a column
    opened_at, time = to_datetime(trip.opened_ns), to_datetime(trip.closed_ns)
    return (recorder, *_values(trip), opened_at, time, *place[1:], flat)


def _is_finite(trip: RoundTrip) -> bool:
    """Whether its numbers are finite: prices and quantities near the limits multiply to infinity."""
    numbers = [value for value in _values(trip) if isinstance(value, float)]
    return all(map(math.isfinite, numbers))


def _values(trip: RoundTrip) -> Iterator[Any]:
    return (getattr(trip, name) for name in _ROUND_TRIP_COLUMNS)
