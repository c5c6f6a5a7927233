"""Worst and best P&L of a finished round trip while it was open, from what is stored.

Between two of its fills the P&L of a round trip depends on the mid alone, and rises or falls with it all the
way: its extremes lie at the least and the greatest mid. So the fills of the round trip are folded again, and
each interval between two of them is compared with the raw samples of the market, ten a second. Nothing but
the database is needed: the answer is the same after a restart, and follows late fills. Amounts in a
settlement currency count at the rate of the fill before. J. Sweeney: *Campaign Trading* (1996) for the terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Struct

from decahertz.clock import to_datetime
from decahertz.event import Fill
from decahertz.executions import FillId, Place, Report, corrected, executions, fill_id
from decahertz.round_trip import OpenRoundTrip, trade_id
from storage.schema.events import fill_values

if TYPE_CHECKING:
    from storage.database import Reads

_MOST_FILLS = 10_000
_KEY = ("recorder", "strategy", "account", "venue", "instrument")
EXCURSION_KEY = (*_KEY, "trade_id", "opened_ns", "closed_ns")
"""Columns that name a round trip."""
_OF_KEY = " AND ".join(f"{name} = ${number}" for number, name in enumerate(_KEY, start=1))
_BEFORE = f"""
SELECT state, last_ns, last_source, last_epoch, last_sequence FROM round_trip_checkpoints
WHERE {_OF_KEY} AND last_ns < $6
ORDER BY last_ns DESC, last_source DESC, last_epoch DESC, last_sequence DESC LIMIT 1
"""  # noqa: S608 - a constant
# All reports of an execution: a bust or correction may come after the round trip was closed. They are looked
# up by their ids (OFFSET 0 keeps the planner to it): all fills of the key would be read for each round trip.
_FILLS = f"""
WITH ids AS MATERIALIZED (
    SELECT DISTINCT order_id, fill_id FROM fills
    WHERE {_OF_KEY} AND (time_ns, source, epoch, sequence) > ($6::bigint, $7::text, $8::bigint, $9::bigint)
        AND time_ns <= $10
)
SELECT fills.* FROM ids, LATERAL (
    SELECT * FROM fills WHERE order_id = ids.order_id AND fill_id = ids.fill_id OFFSET 0
) AS fills
WHERE {_OF_KEY}
ORDER BY time_ns, source, epoch, sequence LIMIT {_MOST_FILLS + 1}
"""  # noqa: S608 - a constant
_HAS_MARKET = "SELECT to_regclass('market_samples') IS NOT NULL AS has_market"
# $6 and $7 repeat the bounds of all parts: they select the partitions when the statement is planned.
_MIDS = """
SELECT part.number, mids.lowest, mids.highest, mids.count
FROM unnest($4::timestamptz[], $5::timestamptz[]) WITH ORDINALITY AS part (begins, ends, number),
LATERAL (
    SELECT min(mid) AS lowest, max(mid) AS highest, count(mid) AS count FROM market_samples
    WHERE recorder = $1 AND venue = $2 AND instrument = $3 AND time >= part.begins AND time < part.ends
        AND time >= $6 AND time < $7
) AS mids
"""
NO_MIDS = "no mid is stored of the time in which it was open"
NOT_YET = "it is computed a few seconds after the close"
NO_RATE = "a fill has no rate to the account currency"
TOO_MANY = f"it has more than {_MOST_FILLS:,} fills"


class Excursion(Struct, frozen=True, kw_only=True):
    """Worst and best P&L in the account currency, realised part and fees included; ``None`` with a reason."""

    mae: float | None = None
    mfe: float | None = None
    mids: int = 0
    """Mids that were compared."""
    reason: str | None = None


class _Part(NamedTuple):
    """A round trip between two of its fills."""

    begins_ns: int
    ends_ns: int
    trip: OpenRoundTrip
    """As it was."""
    rate: float | None

    def pnl(self, mid: float) -> float | None:
        """P&L at a mid, in the account currency."""
        realised, unrealised = self.trip.realised(), self.trip.unrealised(mid)
        if realised is None or unrealised is None or self.rate is None:
            return None
        return realised + unrealised * self.rate


async def excursion_of(database: Reads, trade: Mapping[str, Any]) -> Excursion:
    """Computes the excursion of a row of ``trades``, with the columns of :data:`EXCURSION_KEY`."""
    key = [trade[name] for name in _KEY]
    place: Place = (0, "", 0, 0)
    trip = OpenRoundTrip()
    for row in await database.fetch(_BEFORE, (*key, trade["opened_ns"])):
        trip = msgspec.msgpack.decode(row["state"], type=OpenRoundTrip)
        place = (row["last_ns"], row["last_source"], row["last_epoch"], row["last_sequence"])
    rows = await database.fetch(_FILLS, (*key, *place, trade["closed_ns"]))
    if len(rows) > _MOST_FILLS:
        return Excursion(reason=TOO_MANY)
    parts = _parts_of(trade["trade_id"], trip, _executed(rows, place))
    if any(part.rate is None or part.trip.realised() is None for part in parts):
        return Excursion(reason=NO_RATE)
    (found,) = await database.fetch(_HAS_MARKET, ())
    if not (parts and found["has_market"]):
        return Excursion(reason=NO_MIDS)
    begins = [_on_or_after(part.begins_ns) for part in parts]
    ends = [_on_or_after(part.ends_ns) for part in parts]
    whose = (key[0], trade["venue"], trade["instrument"])
    mids = await database.fetch(_MIDS, (*whose, begins, ends, min(begins), max(ends)))
    return _extremes(parts, mids)


def _on_or_after(time_ns: int) -> datetime:
    """The first microsecond that is not before a time: cycles fall on whole ones."""
    return to_datetime(-(-time_ns // 1000) * 1000)


def _extremes(parts: Sequence[_Part], mids: Sequence[Any]) -> Excursion:
    pnls: list[float] = []
    count = 0
    for row in mids:
        if row["count"]:
            count += row["count"]
            found = (parts[row["number"] - 1].pnl(row[name]) for name in ("lowest", "highest"))
            pnls += [pnl for pnl in found if pnl is not None]
    if not pnls:
        return Excursion(reason=NO_MIDS)
    return Excursion(mae=min(pnls), mfe=max(pnls), mids=count)


def _executed(rows: Sequence[Any], after: Place) -> list[Fill]:
    """The executions among reports of fills, in order, later than a place."""
    fills: dict[Place, Fill] = {}
    groups: dict[FillId, list[Report]] = {}
    for row in rows:
        place = (row["time_ns"], row["source"], row["epoch"], row["sequence"])
        fill = fills[place] = Fill(**fill_values(row))
        report = Report(place, fill.kind, fill.side, fill.price, fill.quantity)
        groups.setdefault(fill_id(fill), []).append(report)
    found: list[tuple[Place, Fill]] = []
    for reports in groups.values():
        for place, content in executions(reports).items():
            if place > after:
                fill = fills[place] if place == content else corrected(fills[place], fills[content], place[0])
                found.append((place, fill))
    return [fill for _, fill in sorted(found, key=lambda one: one[0])]


def _parts_of(wanted: str, trip: OpenRoundTrip, fills: Sequence[Fill]) -> list[_Part]:
    """The intervals of the round trip with this id; ``trip`` is what was open before the fills."""
    parts: list[_Part] = []
    begins_ns, rate = 0, None
    for fill in fills:
        opening = trip.opening
        if opening is not None and trade_id(opening) == wanted and fill.time_ns > begins_ns > 0:
            parts.append(_Part(begins_ns, fill.time_ns, msgspec.structs.replace(trip), rate))
        trip.book(fill)
        begins_ns, rate = fill.time_ns, 1.0 if fill.currency is None else fill.rate
    return parts
