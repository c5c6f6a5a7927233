"""Derives round trips from the fills as they are stored: the table ``trades``.

Fills are folded in the order (time, source, epoch, sequence), in whatever order they arrive. The state of
each (recorder, strategy, account, venue, instrument) is a row of ``open_round_trips`` that is locked, read
and written in the transaction that stores the fills: a restart continues from there, and a second writer
waits. After every 256 fills the state is also kept in ``round_trip_checkpoints``. When reports change
something before the newest fill folded (a late fill, a bust, a correction, an earlier report of the same
execution), the fills since the newest checkpoint before it are folded again: the cost depends on how late it
is, not on the history. :mod:`decahertz.executions` decides which reports count. A round trip with an amount
that overflows to infinity is not stored.

A transaction folds at most 1,000 fills again, so that a very late fill does not hold up the writer. The rest
is due, and :func:`fold_due` folds it in transactions of its own::

    current ── change at a place: changed_from = the first such place ──► changed
    changed ── fold_due: back to the checkpoint before it ──► behind
    behind ── fold_due: folds the next fills ──► behind, or at the newest one current (changed, if there
              was a change at a place that had been folded already)

Until then ``trades`` keeps the former round trips of the fills that are not folded again yet, and while
*behind* new fills wait for their turn.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from decahertz.accounting import CostMethod
from decahertz.clock import to_datetime
from decahertz.event import Fill, FillKind, Side
from decahertz.executions import FillId, Place, Report, corrected, executions, fill_id
from decahertz.round_trip import OpenRoundTrip, RoundTrip
from storage.schema.events import fill_values

if TYPE_CHECKING:
    from storage.database import AnyConnection

Key: TypeAlias = tuple[str, str, str, str, str]
"""(recorder, strategy, account, venue, instrument)."""
PlacedFill: TypeAlias = tuple[Place, Fill]

BEFORE_ALL: Place = (0, "", 0, 0)
AFTER_ALL: Place = (2**63 - 1, "", 0, 0)
_FOLDED_AT_ONCE = 500
"""Fills folded before the event loop gets a turn."""
_CHECKPOINT_FILLS = 256
"""Fills between two checkpoints: a late fill folds at most this many more than those that follow it."""
_REFOLDED_AT_ONCE = 1_000
"""Reports read again in one transaction: a late fill holds up the writer no longer than these take."""
_DUE_AT_ONCE = 16
"""Keys folded again in one transaction."""
_OF_KEY = "recorder = $1 AND strategy = $2 AND account = $3 AND venue = $4 AND instrument = $5"
_LOCK = """
INSERT INTO open_round_trips (recorder, strategy, account, venue, instrument)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[])
ON CONFLICT (recorder, strategy, account, venue, instrument) DO UPDATE SET strategy = excluded.strategy
RETURNING *
"""
# The nearest to the present first: what is done soon does not wait for what takes long. Rows that the writer
# has locked are left to the next round: so nobody waits in a circle.
_DUE = f"""
SELECT * FROM open_round_trips WHERE recorder = $1 AND (behind OR changed_ns IS NOT NULL)
ORDER BY last_ns DESC LIMIT {_DUE_AT_ONCE} FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - a constant
_SAVE = f"""
UPDATE open_round_trips SET position = $6, state = $7, uncovered_fills = $8, time = $9,
    last_ns = $10, last_source = $11, last_epoch = $12, last_sequence = $13, behind = $14,
    changed_ns = $15, changed_source = $16, changed_epoch = $17, changed_sequence = $18
WHERE {_OF_KEY}
"""  # noqa: S608 - a constant
_CHECKPOINT_BEFORE = f"""
SELECT state, last_ns, last_source, last_epoch, last_sequence FROM round_trip_checkpoints
WHERE {_OF_KEY} AND (last_ns, last_source, last_epoch, last_sequence)
    < ($6::bigint, $7::text, $8::bigint, $9::bigint)
ORDER BY last_ns DESC, last_source DESC, last_epoch DESC, last_sequence DESC LIMIT 1
"""  # noqa: S608 - a constant
_DELETE_CHECKPOINTS = f"""
DELETE FROM round_trip_checkpoints
WHERE {_OF_KEY} AND (last_ns, last_source, last_epoch, last_sequence)
    >= ($6::bigint, $7::text, $8::bigint, $9::bigint)
    AND (last_ns, last_source, last_epoch, last_sequence)
    <= ($10::bigint, $11::text, $12::bigint, $13::bigint)
"""  # noqa: S608 - a constant
_DELETE_TRADES = f"""
DELETE FROM trades
WHERE {_OF_KEY} AND (closed_ns, closed_source, closed_epoch, closed_sequence)
    >= ($6::bigint, $7::text, $8::bigint, $9::bigint)
    AND (closed_ns, closed_source, closed_epoch, closed_sequence)
    <= ($10::bigint, $11::text, $12::bigint, $13::bigint)
"""  # noqa: S608 - a constant
_FILLS_AFTER = f"""
SELECT * FROM fills
WHERE {_OF_KEY} AND (time_ns, source, epoch, sequence) > ($6::bigint, $7::text, $8::bigint, $9::bigint)
ORDER BY time_ns, source, epoch, sequence LIMIT $10
"""  # noqa: S608 - a constant
# Filters by order and fill id only, to match the index fills_order. With strategy, venue and instrument too,
# the planner may choose fills_round_trip on a table without statistics, and read the whole history for each
# fill.
_REPORTS = """
SELECT strategy, account, venue, instrument, order_id, fill_id,
    time_ns, source, epoch, sequence, kind, side, price, quantity
FROM fills
WHERE recorder = $1 AND (order_id, fill_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))
"""
_FILL_AT = """
SELECT * FROM fills
WHERE recorder = $1 AND order_id = $2 AND fill_id = $3
    AND (time_ns, source, epoch, sequence) = ($4::bigint, $5::text, $6::bigint, $7::bigint)
"""
_ROUND_TRIP_COLUMNS = RoundTrip.__struct_fields__
_COLUMNS = (
    *("recorder", *_ROUND_TRIP_COLUMNS),
    *("opened_at", "time", "closed_source", "closed_epoch", "closed_sequence", "closed_flat"),
    "excursion_due_ns",
)
_CHECKPOINT_COLUMNS = (
    *("recorder", "strategy", "account", "venue", "instrument", "state", "time"),
    *("last_ns", "last_source", "last_epoch", "last_sequence"),
)


@dataclass(slots=True)
class Fold:
    """The derivation for one key: what is open, the newest fill in it, and the round trips it closed."""

    cost: CostMethod
    trip: OpenRoundTrip = field(default_factory=OpenRoundTrip)
    last: Place = BEFORE_ALL
    uncovered: int = 0
    """Fills since the last checkpoint."""
    behind: bool = False
    """Whether fills after ``last`` are not folded yet."""
    changed_from: Place | None = None
    """First place that differs from what was folded."""
    closed: list[tuple[RoundTrip, Place, bool]] = field(default_factory=list)
    """Each with the place of its closing fill and whether that left no position."""
    checkpoints: list[tuple[Place, bytes]] = field(default_factory=list)

    @property
    def is_due(self) -> bool:
        """Whether fills are to be folded again."""
        return self.behind or self.changed_from is not None

    def change(self, first: Place) -> None:
        """Notes the first place that differs, unless it is not folded yet."""
        if not self.behind or first <= self.last:
            self.changed_from = first if self.changed_from is None else min(self.changed_from, first)

    def add(self, place: Place, fill: Fill) -> None:
        """Folds the next fill."""
        finished = self.trip.add(fill, self.cost)
        self.last = place
        if finished is not None:
            self.closed.append((finished, place, self.trip.opening is None))
        self.uncovered += 1
        if self.uncovered >= _CHECKPOINT_FILLS:
            self.uncovered = 0
            self.checkpoints.append((place, msgspec.msgpack.encode(self.trip)))

    def rewind(self, checkpoint: Fold) -> None:
        """Continues from an earlier state; every fill after it is to be folded again."""
        self.trip, self.last, self.uncovered = checkpoint.trip, checkpoint.last, 0
        self.behind, self.changed_from = True, None


async def fold_fills(
    connection: AnyConnection, recorder: str, fills: Iterable[PlacedFill], cost: CostMethod
) -> None:
    """Updates the round trips after these fills were stored, in the same transaction.

    A report that repeats an execution stored at an earlier place changes nothing. More fills than a
    transaction folds again are left to :func:`fold_due`.
    """
    stored = sorted(fills, key=_place)
    if not stored:
        return
    keys = sorted({_key(recorder, fill) for _, fill in stored})
    folds = await _lock(connection, recorder, keys, cost)
    # Only under the lock: no other writer can store a report of these executions unseen.
    added, changed_from = await _changes(connection, recorder, stored)
    left = _REFOLDED_AT_ONCE
    for key, first in changed_from.items():
        fold = folds[key]
        if first > fold.last and key in added and not fold.behind:
            for number, (place, fill) in enumerate(added[key], start=1):
                fold.add(place, fill)
                if number % _FOLDED_AT_ONCE == 0:
                    await asyncio.sleep(0)
            continue
        fold.change(first)
        if left and not fold.behind:
            left -= await _refold(connection, key, fold, left)
    await _save(connection, {key: folds[key] for key in changed_from})


async def fold_due(connection: AnyConnection, recorder: str, cost: CostMethod) -> int:
    """Folds some of the fills that are due again, in the open transaction; returns the number of keys."""
    folds = {_key_of(row): _continued(row, cost) for row in await connection.fetch(_DUE, recorder)}
    for key, fold in folds.items():
        await _refold(connection, key, fold, max(_REFOLDED_AT_ONCE // len(folds), 1))
    await _save(connection, folds)
    return len(folds)


async def _save(connection: AnyConnection, folds: Mapping[Key, Fold]) -> None:
    records: list[tuple[Any, ...]] = []
    states: list[tuple[Any, ...]] = []
    checkpoints: list[tuple[Any, ...]] = []
    for key, fold in folds.items():
        records += [_record(key[0], *closed) for closed in fold.closed if _is_finite(closed[0])]
        state, time = msgspec.msgpack.encode(fold.trip), to_datetime(fold.last[0])
        changed = fold.changed_from or (None, None, None, None)
        states.append(
            (*key, fold.trip.position, state, fold.uncovered, time, *fold.last, fold.behind, *changed)
        )
        checkpoints += [(*key, data, to_datetime(place[0]), *place) for place, data in fold.checkpoints]
    if records:
        await connection.copy_records_to_table("trades", records=records, columns=_COLUMNS)
    if checkpoints:
        await connection.copy_records_to_table(
            "round_trip_checkpoints", records=checkpoints, columns=_CHECKPOINT_COLUMNS
        )
    await connection.executemany(_SAVE, states)


async def _changes(
    connection: AnyConnection, recorder: str, stored: Sequence[PlacedFill]
) -> tuple[dict[Key, list[PlacedFill]], dict[Key, Place]]:
    """Returns the executions that new reports, in order, add, and the first place that differs.

    A key whose reports do more than add executions has no entry in the first answer.
    """
    added: dict[Key, list[PlacedFill]] = {}
    changed_from: dict[Key, Place] = {}
    amended: set[Key] = set()
    places = {place for place, _ in stored}
    for start in range(0, len(stored), _FOLDED_AT_ONCE):
        chunk = stored[start : start + _FOLDED_AT_ONCE]
        groups = await _reports(connection, recorder, [fill for _, fill in chunk])
        for place, fill in chunk:
            key, group = _key(recorder, fill), groups[fill_id(fill)]
            before = executions(report for report in group if report.place not in places)
            after = executions(group)
            changes = [at for at, _ in before.items() ^ after.items()]
            if changes:
                changed_from[key] = min(changed_from.get(key, place), *changes)
            if place in changes and after.get(place) == place:
                added.setdefault(key, []).append((place, fill))
            if any(after.get(at) != at or at not in places for at in changes):
                amended.add(key)
    return {key: fills for key, fills in added.items() if key not in amended}, changed_from


def _place(placed: PlacedFill) -> Place:
    return placed[0]


def _key(recorder: str, fill: Fill) -> Key:
    return recorder, fill.strategy, fill.account, fill.venue, fill.instrument


async def _reports(
    connection: AnyConnection, recorder: str, fills: Sequence[Fill]
) -> Mapping[FillId, list[Report]]:
    """All stored reports with the ids of these fills."""
    orders, ids = zip(*{(fill.order_id, fill.fill_id) for fill in fills}, strict=True)
    groups: dict[FillId, list[Report]] = {}
    for row in await connection.fetch(_REPORTS, recorder, orders, ids):
        report = Report((row[6], row[7], row[8], row[9]), FillKind(row[10]), Side(row[11]), row[12], row[13])
        groups.setdefault((row[0], row[1], row[2], row[3], row[4], row[5]), []).append(report)
    return groups


async def _lock(
    connection: AnyConnection, recorder: str, keys: Sequence[Key], cost: CostMethod
) -> dict[Key, Fold]:
    _, *columns = (list(column) for column in zip(*keys, strict=True))
    rows = await connection.fetch(_LOCK, recorder, *columns)
    return {_key_of(row): _continued(row, cost) for row in rows}


def _key_of(row: Any) -> Key:  # noqa: ANN401 - a record
    return row["recorder"], row["strategy"], row["account"], row["venue"], row["instrument"]


def _continued(row: Any, cost: CostMethod) -> Fold:  # noqa: ANN401 - a record
    fold = _state(row, cost)
    fold.uncovered, fold.behind = row["uncovered_fills"], row["behind"]
    if row["changed_ns"] is not None:
        fold.changed_from = _place_in(row, "changed")
    return fold


def _state(row: Any, cost: CostMethod) -> Fold:  # noqa: ANN401 - a record
    trip = msgspec.msgpack.decode(row["state"], type=OpenRoundTrip) if row["state"] else OpenRoundTrip()
    return Fold(cost, trip, _place_in(row, "last"))


def _place_in(row: Any, name: str) -> Place:  # noqa: ANN401 - a record
    return row[f"{name}_ns"], row[f"{name}_source"], row[f"{name}_epoch"], row[f"{name}_sequence"]


async def _refold(connection: AnyConnection, key: Key, fold: Fold, most: int) -> int:
    """Folds what is due again, at most ``most`` reports; returns how many it read."""
    ns, source, epoch, sequence = fold.last
    first = (ns, source, epoch, sequence + 1)
    if not fold.behind and fold.changed_from is not None:
        first = fold.changed_from
        row = await connection.fetchrow(_CHECKPOINT_BEFORE, *key, *first)
        fold.rewind(Fold(fold.cost) if row is None else _state(row, fold.cost))
    read = await _fold_next(connection, key, fold, most)
    # What was derived from these fills before makes room for what they close now.
    last = fold.last if fold.behind else AFTER_ALL
    await connection.execute(_DELETE_CHECKPOINTS, *key, *first, *last)
    await connection.execute(_DELETE_TRADES, *key, *first, *last)
    fold.closed = [one for one in fold.closed if one[1] >= first]
    return read


async def _fold_next(connection: AnyConnection, key: Key, fold: Fold, most: int) -> int:
    """Folds the fills after the newest one, at most ``most`` reports; returns how many it read."""
    read = 0
    while fold.behind and read < most:
        wanted = min(_FOLDED_AT_ONCE, most - read)
        placed = [_placed(row) for row in await connection.fetch(_FILLS_AFTER, *key, *fold.last, wanted)]
        read += len(placed)
        fold.behind = len(placed) == wanted
        if not placed:
            break
        groups = await _reports(connection, key[0], [fill for _, fill in placed])
        for place, fill in placed:
            await _fold_report(connection, key, fold, place, fill, groups[fill_id(fill)])
        fold.last = placed[-1][0]  # also where that report does not count: it is not read again
        await asyncio.sleep(0)
    return read


async def _fold_report(
    connection: AnyConnection, key: Key, fold: Fold, place: Place, fill: Fill, group: Sequence[Report]
) -> None:
    """Folds a fill, if it counts, with the content that counts. ``group``: all reports with its ids."""
    if len(group) == 1 and fill.kind is not FillKind.BUST:
        fold.add(place, fill)
        return
    content = executions(group).get(place)
    if content is None:
        return
    if content != place:
        row = await connection.fetchrow(_FILL_AT, key[0], fill.order_id, fill.fill_id, *content)
        fill = corrected(fill, _placed(row)[1], place[0])
    fold.add(place, fill)


def _placed(row: Any) -> PlacedFill:  # noqa: ANN401 - a record, by column name
    return (row["time_ns"], row["source"], row["epoch"], row["sequence"]), Fill(**fill_values(row))


def _record(recorder: str, trip: RoundTrip, place: Place, flat: bool) -> tuple[Any, ...]:  # noqa: FBT001 - a column
    opened_at, time = to_datetime(trip.opened_ns), to_datetime(trip.closed_ns)
    return (recorder, *_values(trip), opened_at, time, *place[1:], flat, trip.closed_ns)


def _is_finite(trip: RoundTrip) -> bool:
    """Whether its numbers are finite: prices and quantities near the limits multiply to infinity."""
    numbers = [value for value in _values(trip) if isinstance(value, float)]
    return all(map(math.isfinite, numbers))


def _values(trip: RoundTrip) -> Iterator[Any]:
    return (getattr(trip, name) for name in _ROUND_TRIP_COLUMNS)
